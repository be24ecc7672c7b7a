//! What the index keeps of one event: 64 bytes, beside its text.

use std::{cmp::Reverse, sync::Arc};

use heliograph_protocol::{Event, EventId, Kind, Timestamp};

use crate::slab::Slab;

/// The number of an entry in the slab.
pub(crate) type Slot = u32;

/// The place in the order of every answer; sorts ascending into it (R01-53).
pub(crate) type Position = (Reverse<Timestamp>, EventId);

/// All entries.
pub(crate) type Entries = Slab<Entry>;

/// One event in the index.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) created_at: Timestamp,
    pub(crate) id: EventId,
    /// The author's slot in the table of authors.
    pub(crate) author: u32,
    pub(crate) kind: Kind,
    /// Whether it came through the stream of committed events, not only from the archive.
    pub(crate) announced: bool,
    /// Whether the index knows an expiration for it.
    pub(crate) expires: bool,
    pub(crate) body: Body,
}

/// The text, or what is needed to find the entry in the lists without it.
#[derive(Debug)]
pub(crate) enum Body {
    Text(Arc<Event>),
    /// For kinds with an address the four words of its key, then the keys of the tags.
    Keys(Box<[u32]>),
}

impl Entry {
    pub(crate) fn position(&self) -> Position {
        (Reverse(self.created_at), self.id)
    }

    pub(crate) fn text(&self) -> Option<&Arc<Event>> {
        match &self.body {
            Body::Text(event) => Some(event),
            Body::Keys(_) => None,
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            created_at: Timestamp::default(),
            id: EventId::new([0; 32]),
            author: 0,
            kind: Kind::new(0),
            announced: false,
            expires: false,
            body: Body::Keys(Box::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_fills_one_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }
}
