//! Gateway: sockets, sessions, and the event path up to the bus.
//!
//! First steps of the path: **socket → parse → id → admit → verify → bus** → store → match →
//! **deliver**. A gateway holds no data, only sockets: it needs a bus, never a store. Nothing
//! reaches a client's socket but through its outbox, which is bounded in bytes.

mod addresses;
mod admission;
mod budget;
mod http;
mod hub;
mod kinds;
mod metrics;
mod options;
mod outbox;
mod pipeline;
mod proxy;
mod received;
mod seats;
mod server;
mod session;
mod shape;
mod stream;
mod tally;
mod tls;
mod tops;
mod verified;
mod websocket;

pub use http::limitation;
pub use hub::Hub;
pub use metrics::{Durability, Metrics};
pub use options::{ConnectionLimits, Info, Options};
pub use pipeline::{Known, Lookup};
pub use server::{Clock, Gateway, attend, run};
pub use stream::Stream;
pub use tls::{CertificateFiles, IdentityError, Tls};
pub use verified::Verified;
