//! The matcher's slots, given out to sessions in blocks of 65,536: the upper half of a slot tells
//! whose it is, so that the receivers of an event fall apart by session without a look at each.

use std::sync::Arc;

use heliograph_bus::Slot;
use parking_lot::RwLock;

use super::session::Session;

/// Slots of one block; blocks and slots of a block are both 16 bits.
const BLOCK_BITS: u32 = 16;

/// Blocks at most.
const BLOCKS_MAX: usize = 1 << (u32::BITS - BLOCK_BITS);

/// Whose block it is, and which of the session's own blocks.
#[derive(Debug, Clone)]
struct Owner {
    session: Arc<Session>,
    block: u32,
}

/// All blocks.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    owners: RwLock<Vec<Option<Owner>>>,
}

/// The block of a slot.
pub(crate) const fn block_of(slot: u32) -> u32 {
    slot >> BLOCK_BITS
}

/// A slot of another block at the same place within it.
pub(crate) const fn in_block(block: u32, slot: u32) -> u32 {
    (block << BLOCK_BITS) | (slot & ((1 << BLOCK_BITS) - 1))
}

impl Blocks {
    /// Gives `session` a block for its own block number `block`; `None` if all are in use.
    pub(crate) fn take(&self, session: &Arc<Session>, block: u32) -> Option<u32> {
        let owner = Owner {
            session: Arc::clone(session),
            block,
        };
        let mut owners = self.owners.write();
        let free = owners.iter().position(Option::is_none);
        let index = free.unwrap_or(owners.len());
        if index >= BLOCKS_MAX {
            return None;
        }
        if index == owners.len() {
            owners.push(Some(owner));
        } else {
            owners[index] = Some(owner);
        }
        u32::try_from(index).ok()
    }

    /// Takes a block back. Nothing more can come for its slots.
    pub(crate) fn free(&self, index: u32) {
        if let Some(owner) = self.owners.write().get_mut(index as usize) {
            *owner = None;
        }
    }

    /// The session behind one of the matcher's slots, and its own number for it.
    pub(crate) fn find(&self, slot: Slot) -> Option<(Arc<Session>, u32)> {
        let owners = self.owners.read();
        let owner = owners.get(block_of(slot.0) as usize)?.as_ref()?;
        Some((Arc::clone(&owner.session), in_block(owner.block, slot.0)))
    }

    /// The receivers by session, each with its own numbers, ascending.
    pub(crate) fn split(&self, mut slots: Vec<Slot>) -> Vec<(Arc<Session>, Vec<Slot>)> {
        if !slots.is_sorted() {
            slots.sort_unstable();
        }
        let owners = self.owners.read();
        let mut parts: Vec<(Arc<Session>, Vec<Slot>)> = Vec::new();
        for run in slots.chunk_by(|a, b| block_of(a.0) == block_of(b.0)) {
            let owner = owners.get(block_of(run[0].0) as usize);
            let Some(Some(owner)) = owner else {
                continue;
            };
            let own = run.iter().map(|slot| Slot(in_block(owner.block, slot.0)));
            let part = parts
                .iter_mut()
                .find(|(session, _)| Arc::ptr_eq(session, &owner.session));
            match part {
                Some((_, slots)) => slots.extend(own),
                None => parts.push((Arc::clone(&owner.session), own.collect())),
            }
        }
        for (_, slots) in &mut parts {
            // Blocks of one session may lie in another order than the session's own.
            if !slots.is_sorted() {
                slots.sort_unstable();
            }
            slots.dedup();
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use heliograph_bus::{
        BoxFuture, BusError, ConnectionId, Count, Counted, Open, Pages, Requests, Resume,
    };
    use heliograph_protocol::{PublicKey, Refusal};
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    use super::*;
    use crate::{
        queue::Queue,
        server::session::{NotOpened, Numbers, Opening},
    };

    /// A matcher that takes everything and says nothing.
    struct Silent;

    impl Requests for Silent {
        fn open(&self, _open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
            Box::pin(std::future::ready(Err(BusError::Closed)))
        }

        fn resume(&self, _resume: Resume) -> BoxFuture<'_, Result<(), Refusal>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn close(&self, _slot: Slot) {}

        fn authenticate(&self, _connection: ConnectionId, _key: PublicKey) {}

        fn disconnect(&self, _connection: ConnectionId) {}

        fn count(&self, _count: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
            Box::pin(std::future::ready(Err(Refusal::error("no"))))
        }
    }

    fn session(id: u64) -> Arc<Session> {
        let queue = Queue::new(1 << 20, Gauge::default());
        Arc::new(Session::new(
            id,
            format!("g{id}"),
            queue,
            Counter::default(),
        ))
    }

    fn begin(session: &Arc<Session>, numbers: &Numbers, slot: u32) -> Result<Slot, NotOpened> {
        let requests: Arc<dyn Requests> = Arc::new(Silent);
        let mut opening = Opening::new(session, &requests);
        session.begin(numbers, slot, 1, &mut opening)
    }

    #[test]
    fn receivers_fall_apart_by_session_in_the_order_of_each() {
        let numbers = Numbers::default();
        let (a, b) = (session(1), session(2));
        let open = |session, slot| begin(session, &numbers, slot).unwrap();
        let mut slots = vec![open(&a, 70_000), open(&b, 5), open(&a, 9), open(&a, 3)];
        // Of a session that is gone.
        slots.push(Slot(in_block(17, 1)));
        let parts = numbers.blocks.split(slots);
        let parts: Vec<_> = parts
            .iter()
            .map(|(session, slots)| (session.id, slots.iter().map(|slot| slot.0).collect()))
            .collect();
        assert_eq!(parts, [(1, vec![3, 9, 70_000]), (2, vec![5])]);
    }

    #[tokio::test]
    async fn blocks_are_given_back_when_the_last_slot_of_an_ended_session_is_released() {
        let numbers = Numbers::default();
        let (a, b) = (session(1), session(2));
        let one = begin(&a, &numbers, 1).unwrap();
        let two = begin(&a, &numbers, 2).unwrap();
        assert_eq!((one.0, two.0), (1, 2));
        a.end();
        a.clear(&numbers, &Silent).await;
        a.released(&numbers, 1);
        assert_eq!(
            begin(&b, &numbers, 1).unwrap().0,
            in_block(1, 1),
            "still in use"
        );
        a.released(&numbers, 2);
        let c = session(3);
        assert_eq!(begin(&c, &numbers, 1).unwrap(), one);
        assert_eq!(begin(&a, &numbers, 3), Err(NotOpened::Late));
    }

    #[test]
    fn when_all_blocks_are_in_use_nobody_gets_another() {
        let numbers = Numbers::default();
        let a = session(1);
        for _ in 0..BLOCKS_MAX {
            assert!(numbers.blocks.take(&a, 0).is_some());
        }
        assert_eq!(begin(&a, &numbers, 1), Err(NotOpened::Exhausted));
    }
}
