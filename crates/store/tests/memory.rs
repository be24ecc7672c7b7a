//! The memory store passes the suite that every backend passes.

use heliograph_store::{MemoryStore, conformance};

struct Memory;

impl conformance::Backend for Memory {
    type Store = MemoryStore;
    type Handle = Box<MemoryStore>;

    async fn open(&self) -> Box<MemoryStore> {
        Box::new(MemoryStore::new(conformance::relay_urls()))
    }
}

/// Runs a future on a runtime of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

heliograph_store::conformance_tests!(block_on, Memory);
