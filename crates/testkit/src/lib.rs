//! Tests only: signed events, a raw WebSocket client, vector files, child processes

use std::time::Duration;

pub mod client;
pub mod frame;
mod handshake;
pub mod history;
pub mod http;
pub mod keys;
pub mod process;
pub mod random;
pub mod reply;
pub mod server;
pub mod tool;
pub mod vectors;
pub mod websocket;

/// How long a test waits for something that should come at once: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The relay's own URL in the conformance configuration and in the vector files.
pub const RELAY_URL: &str = "wss://relay.example.com";
