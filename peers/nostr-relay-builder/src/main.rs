//! A relay of the crate `nostr-relay-builder` on its LMDB store, with its limits as far open as they go:
//! a peer for `cargo xtask bench` and for the load scripts.
//!
//! `peer-nostr-relay-builder PORT DIRECTORY`, on 127.0.0.1. It syncs before it answers OK, knows neither NIP-11
//! nor compression, and ends by a signal.

use std::{error::Error, future::pending};

use nostr_lmdb::NostrLMDB;
use nostr_relay_builder::{LocalRelay, RelayBuilder, builder::RateLimit};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("expected PORT DIRECTORY".into());
    };
    let open = RateLimit {
        max_reqs: usize::MAX,
        notes_per_minute: u32::MAX,
    };
    let builder = RelayBuilder::default()
        .port(port.parse()?)
        .database(NostrLMDB::open(directory)?)
        .rate_limit(open);
    let relay = LocalRelay::new(builder);
    relay.run().await?;
    // It ends when it is dropped.
    pending().await
}
