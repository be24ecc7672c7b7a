//! Ids of ephemeral events delivered lately: nothing stores them, so nothing else knows that one is
//! sent again (CL-2).

use hashbrown::HashSet;
use heliograph_protocol::EventId;

/// Ids in one of two generations: an id is remembered until at least as many came after it. About
/// 1 MiB in all; the policy refuses ephemeral events that are older than a minute anyway.
const GENERATION_IDS_MAX: usize = 8_192;

/// A set that forgets the oldest.
#[derive(Debug, Default)]
pub(crate) struct Lately {
    young: HashSet<EventId>,
    old: HashSet<EventId>,
}

impl Lately {
    /// Notes an id; `false` if it was noted lately.
    pub(crate) fn note(&mut self, id: &EventId) -> bool {
        if self.old.contains(id) || !self.young.insert(*id) {
            return false;
        }
        if self.young.len() >= GENERATION_IDS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> EventId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        EventId::new(bytes)
    }

    #[test]
    fn an_id_is_remembered_for_a_generation_and_memory_is_bounded() {
        let mut lately = Lately::default();
        for n in 0..3 * GENERATION_IDS_MAX {
            assert!(lately.note(&id(n)));
            assert!(!lately.note(&id(n.saturating_sub(GENERATION_IDS_MAX - 1))));
            assert!(lately.young.len() + lately.old.len() <= 2 * GENERATION_IDS_MAX);
        }
        assert!(lately.note(&id(0)), "forgotten");
    }
}
