//! What events refer to: notes of the corpus so far, new and popular ones more often, within a
//! bounded memory.

use heliograph_protocol::EventId;

use crate::random::Random;

/// Notes that are remembered; older ones are referred to no more unless they are hot.
const RECENT: usize = 65_536;

/// Notes that many refer to: the sample's most named three have a tenth of all references.
const HOT: usize = 64;

/// One note in so many becomes hot and takes the place of another.
const HOT_EVERY: u64 = 50;

/// Of a hundred references, how many go to a hot note.
const HOT_PERCENT: u64 = 20;

/// A note that may be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) id: EventId,
    pub(crate) author: u32,
    /// The first note of its thread, if it is an answer itself.
    pub(crate) root: Option<EventId>,
}

/// The notes so far.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    recent: Vec<Note>,
    /// Where the next one goes in a full ring.
    next: usize,
    hot: Vec<Note>,
}

impl Targets {
    pub(crate) fn add(&mut self, note: Note, random: &mut Random) {
        if self.recent.len() < RECENT {
            self.recent.push(note);
        } else {
            self.recent[self.next] = note;
            self.next = (self.next + 1) % RECENT;
        }
        if self.hot.len() < HOT {
            self.hot.push(note);
        } else if random.below(HOT_EVERY) == 0 {
            self.hot[random.index(HOT)] = note;
        }
    }

    /// A note; `None` if there is none yet.
    pub(crate) fn draw(&self, random: &mut Random) -> Option<Note> {
        if random.percent(HOT_PERCENT) && !self.hot.is_empty() {
            return Some(self.hot[random.skewed(self.hot.len())]);
        }
        let count = self.recent.len();
        let age = random.skewed(count.max(1));
        let newest = if count < RECENT {
            count
        } else {
            self.next + RECENT
        };
        let at = newest.checked_sub(1 + age)?;
        Some(self.recent[at % count])
    }

    /// A note, each alike, as one that its author takes back: the popular ones stay.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Note> {
        self.recent.get(random.index(self.recent.len())).copied()
    }
}
