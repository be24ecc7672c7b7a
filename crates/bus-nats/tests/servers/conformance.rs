//! The suite that every bus passes.

use heliograph_bus::conformance::Backend;
use heliograph_bus_nats::{NatsBus, NatsOptions};

use crate::bed::{Bed, block_on, options};

struct Server;

impl Backend for Server {
    type Bus = NatsBus;
    type Handle = Bed;

    const REDELIVERS: bool = true;
    const HISTORY: bool = true;

    async fn open(&self) -> Bed {
        Bed::open(options()).await
    }

    async fn open_narrow(&self) -> Bed {
        Bed::open(NatsOptions {
            pending_max: 1,
            ..options()
        })
        .await
    }

    fn close_intake(bus: &NatsBus) {
        bus.close_intake();
    }

    fn close_feed(bus: &NatsBus) {
        bus.close_feed();
    }
}

heliograph_bus::bus_conformance_tests!(block_on, Server);
