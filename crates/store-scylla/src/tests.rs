//! Tests against a real CQL server: the conformance suite, races, crashes, buckets, migrations.

mod bed;
mod behaviour;
mod buckets;
mod crash;
mod races;
mod schema;
mod suite;

use std::sync::atomic::{AtomicI64, Ordering};

use heliograph_store::StoreError;

pub(crate) use bed::block_on;

use crate::statement::Op;

/// Ends a client after some statements, as a crash would.
#[derive(Debug)]
pub(crate) struct Stop(AtomicI64);

impl Default for Stop {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Stop {
    /// After so many more writing statements, nothing gets through any more.
    pub(crate) fn after(&self, writes: i64) {
        self.0.store(writes, Ordering::SeqCst);
    }

    /// Lets one statement through, or not.
    pub(crate) fn pass(&self, op: Op) -> Result<(), StoreError> {
        let left = if op.writes() {
            self.0.fetch_sub(1, Ordering::SeqCst)
        } else {
            self.0.load(Ordering::SeqCst)
        };
        if left > 0 {
            return Ok(());
        }
        Err(StoreError::Failed("stopped by the test".to_owned()))
    }
}
