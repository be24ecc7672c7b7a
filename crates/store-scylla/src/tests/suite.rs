//! The suite that every backend runs: as it is, and with buckets so small that every key needs many.

use std::ops::Deref;

use heliograph_store::conformance::{Backend, Effort, compare};

use super::{bed::Bed, block_on};
use crate::ScyllaStore;

/// Every event is a dozen statements.
const EFFORT: Effort = Effort {
    orders: 24,
    ways: 2,
};

/// A store with options of its own on a pooled keyspace.
struct Tuned {
    store: ScyllaStore,
    _bed: Bed,
}

impl Deref for Tuned {
    type Target = ScyllaStore;

    fn deref(&self) -> &ScyllaStore {
        &self.store
    }
}

mod as_it_is {
    use super::*;

    struct Fresh;

    impl Backend for Fresh {
        type Store = ScyllaStore;
        type Handle = Bed;

        async fn open(&self) -> Bed {
            Bed::open().await
        }

        fn effort(&self) -> Effort {
            EFFORT
        }
    }

    heliograph_store::conformance_tests!(block_on, Fresh);
}

struct SmallBuckets(u32);

impl Backend for SmallBuckets {
    type Store = ScyllaStore;
    type Handle = Tuned;

    async fn open(&self) -> Tuned {
        let bed = Bed::open().await;
        let store = bed.small_buckets(self.0).await;
        Tuned { store, _bed: bed }
    }

    fn effort(&self) -> Effort {
        EFFORT
    }
}

mod in_small_buckets {
    use super::*;

    heliograph_store::conformance_tests!(block_on, SmallBuckets(3));
}

#[test]
fn more_random_events_match_the_memory_store_in_tiny_buckets() {
    block_on(async {
        for seed in 100..104 {
            compare(&SmallBuckets(1), seed, 250, 150).await;
        }
    });
}
