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
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) use bed::block_on;

use crate::statement::Op;

/// Ends a client after some statements, as a crash would, or holds one of them back.
#[derive(Debug)]
pub(crate) struct Stop {
    writes_left: AtomicI64,
    hold: Mutex<Option<Hold>>,
}

/// A statement of this kind waits, and says so, until it is let go.
#[derive(Debug)]
struct Hold {
    op: Op,
    there: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            writes_left: AtomicI64::new(i64::MAX),
            hold: Mutex::default(),
        }
    }
}

impl Stop {
    /// After so many more writing statements, nothing gets through any more.
    pub(crate) fn after(&self, writes: i64) {
        self.writes_left.store(writes, Ordering::SeqCst);
    }

    /// Holds the next statement of this kind back: tells when it is there, and lets it go when the
    /// other end is dropped.
    pub(crate) fn hold(&self, op: Op) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (there, told) = oneshot::channel();
        let (let_go, go) = oneshot::channel();
        *self.hold.lock() = Some(Hold { op, there, go });
        (told, let_go)
    }

    /// Lets one statement through, or not.
    pub(crate) async fn pass(&self, op: Op) -> Result<(), StoreError> {
        let held = self.hold.lock().take_if(|hold| hold.op == op);
        if let Some(Hold { there, go, .. }) = held {
            there.send(()).unwrap_or_default();
            drop(go.await);
        }
        let left = if op.writes() {
            self.writes_left.fetch_sub(1, Ordering::SeqCst)
        } else {
            self.writes_left.load(Ordering::SeqCst)
        };
        if left > 0 {
            return Ok(());
        }
        Err(StoreError::Failed("stopped by the test".to_owned()))
    }
}
