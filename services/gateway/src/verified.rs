//! Events whose signatures were checked here lately: the same event often comes from many clients.

use hashbrown::HashMap;
use heliograph_protocol::{Event, EventId, Signature};
use parking_lot::Mutex;

/// Events in one of two generations: each is remembered until at least as many came after it.
/// About 10 MiB in all.
const GENERATION_EVENTS_MAX: usize = 32_768;

/// A memory that forgets the oldest. It says nothing of what is stored: an event can have been
/// deleted since.
#[derive(Debug, Default)]
pub struct Verified {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<EventId, Signature>,
    old: HashMap<EventId, Signature>,
}

impl Verified {
    /// Whether this very event, its signature included, was checked lately.
    pub(crate) fn holds(&self, event: &Event) -> bool {
        let generations = self.generations.lock();
        let Generations { young, old } = &*generations;
        let known = young.get(event.id()).or_else(|| old.get(event.id()));
        known == Some(&event.sig())
    }

    /// Notes an event whose signature is right.
    pub(crate) fn note(&self, event: &Event) {
        let mut generations = self.generations.lock();
        generations.young.insert(*event.id(), event.sig());
        if generations.young.len() >= GENERATION_EVENTS_MAX {
            generations.old = std::mem::take(&mut generations.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Kind, PublicKey, Timestamp};

    use super::*;

    fn event(number: u32, signature: u8) -> Event {
        let tags: [Vec<&str>; 0] = [];
        Event::build(
            PublicKey::new([1; 32]),
            Timestamp::from_secs(1),
            Kind::new(1),
            &tags,
            &number.to_string(),
            |_| Signature::new([signature; 64]),
        )
    }

    #[test]
    fn an_event_is_known_with_its_own_signature_only() {
        let verified = Verified::default();
        verified.note(&event(1, 7));
        assert!(verified.holds(&event(1, 7)));
        assert!(!verified.holds(&event(1, 8)));
        assert!(!verified.holds(&event(2, 7)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let verified = Verified::default();
        let max = u32::try_from(GENERATION_EVENTS_MAX).unwrap();
        for number in 0..2 * max {
            verified.note(&event(number, 1));
        }
        assert!(!verified.holds(&event(0, 1)));
        assert!(verified.holds(&event(2 * max - 1, 1)));
    }
}
