//! What people publish: mostly notes, some of everything that interacts.

use std::sync::Arc;

use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::random::Random;

use super::Shared;

/// Values of `t` tags, for subscriptions by tag.
pub(super) const TOPICS: usize = 6;

/// Values of `d` tags: few, so that versions compete.
const PLACES: usize = 4;

/// Far enough ahead that nothing expires during a test.
const EXPIRES_AFTER_SECS: u64 = 7 * 86_400;

/// Kinds that occur.
pub(super) const NOTE: u16 = 1;
pub(super) const REACTION: u16 = 7;
pub(super) const PROFILE: u16 = 0;
pub(super) const RELAYS: u16 = 10_002;
pub(super) const ARTICLE: u16 = 30_023;
pub(super) const TYPING: u16 = 20_001;
pub(super) const DELETION: u16 = 5;

/// The events of one publisher.
#[derive(Debug)]
pub(super) struct Events {
    shared: Arc<Shared>,
    random: Random,
    /// The publisher's own key.
    own: usize,
    count: u64,
}

impl Events {
    pub(super) fn new(shared: &Arc<Shared>, number: usize) -> Self {
        let seed = shared.options.seed.wrapping_add(number as u64 * 7_919);
        Self {
            shared: Arc::clone(shared),
            random: Random::seeded(seed),
            own: number + 1,
            count: 0,
        }
    }

    /// The next event, signed.
    pub(super) fn next(&mut self) -> Event {
        self.count += 1;
        match self.random.below(100) {
            0..55 => self.note(&[]),
            55..65 => self.reaction(),
            65..75 => self.replaceable(),
            75..87 => self.article(),
            87..92 => self.deletion_by_id(),
            92..95 => self.deletion_by_address(),
            95..98 => self.typing(),
            _ => self.expiring(),
        }
    }

    fn note(&mut self, more: &[&[&str]]) -> Event {
        let topic = topic(self.random.below(TOPICS));
        let mut tags: Vec<&[&str]> = vec![];
        let tag = ["t", &topic];
        tags.push(&tag);
        tags.extend_from_slice(more);
        self.sign(self.own, NOTE, 0, &tags)
    }

    fn expiring(&mut self) -> Event {
        let end = now() + EXPIRES_AFTER_SECS;
        self.note(&[&["expiration", &end.to_string()]])
    }

    fn reaction(&mut self) -> Event {
        let to = self.shared.lately(&mut self.random, 1);
        let tags: Vec<[String; 2]> = to
            .iter()
            .flat_map(|event| [("e", event.id().to_hex()), ("p", event.pubkey().to_hex())])
            .map(|(name, value)| [name.to_owned(), value])
            .collect();
        let tags: Vec<[&str; 2]> = tags
            .iter()
            .map(|[name, value]| [&**name, &**value])
            .collect();
        let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
        self.sign(self.own, REACTION, 0, &tags)
    }

    /// Of the first author, who writes at every gateway, or of the publisher's own: versions of
    /// the same second, and older ones that come late.
    fn replaceable(&mut self) -> Event {
        let (author, age) = (self.some_author(), self.random.below(3) as u64);
        let kind = *self.random.pick(&[PROFILE, RELAYS]);
        self.sign(author, kind, age, &[])
    }

    fn article(&mut self) -> Event {
        let (author, age) = (self.some_author(), self.random.below(3) as u64);
        let place = place(self.random.below(PLACES));
        let topic = topic(self.random.below(TOPICS));
        self.sign(author, ARTICLE, age, &[&["d", &place], &["t", &topic]])
    }

    /// Names one of the latest events; if another author's, it does nothing (NIP-09).
    fn deletion_by_id(&mut self) -> Event {
        let all = self.shared.lately(&mut self.random, 8);
        let mine = |event: &&Event| self.author_of(event).is_some();
        let Some(target) = all.iter().find(mine).or(all.first()) else {
            return self.note(&[]);
        };
        let author = self.author_of(target).unwrap_or(self.own);
        self.sign(author, DELETION, 0, &[&["e", &target.id().to_hex()]])
    }

    fn deletion_by_address(&mut self) -> Event {
        let (author, age) = (self.some_author(), self.random.below(3) as u64);
        let place = place(self.random.below(PLACES));
        let address = format!("{ARTICLE}:{}:{place}", self.shared.keys[author].hex());
        self.sign(author, DELETION, age, &[&["a", &address]])
    }

    fn typing(&mut self) -> Event {
        let topic = topic(self.random.below(TOPICS));
        self.sign(self.own, TYPING, 0, &[&["t", &topic]])
    }

    fn some_author(&mut self) -> usize {
        if self.random.once_in(2) { 0 } else { self.own }
    }

    /// The key that may delete this, if it is one of the two that sign here.
    fn author_of(&self, event: &Event) -> Option<usize> {
        let signs = |key: &usize| self.shared.keys[*key].public() == *event.pubkey();
        [self.own, 0].into_iter().find(signs)
    }

    fn sign(&self, author: usize, kind: u16, age: u64, tags: &[&[&str]]) -> Event {
        let content = format!("{} of publisher {}", self.count, self.own);
        self.shared.keys[author].sign(now().saturating_sub(age), kind, tags, &content)
    }
}

pub(super) fn topic(n: usize) -> String {
    format!("topic-{n}")
}

pub(super) fn place(n: usize) -> String {
    format!("place-{n}")
}

/// A place that some article has.
pub(super) fn any_place(random: &mut Random) -> String {
    place(random.below(PLACES))
}

fn now() -> u64 {
    Timestamp::now().as_secs()
}
