//! What is published by hand: one event of each sort that is easily lost, or easily comes back.

use heliograph_protocol::{Event, Timestamp};
use heliograph_sandbox::wait::within;
use heliograph_testkit::{RELAY_URL, client::Client, keys::Key};
use serde_json::json;

use crate::{
    moving_bed::PATIENCE,
    support::{accept_all, ids, notes, now},
};

/// Long enough to be published, short enough to be waited for.
const EXPIRES_AFTER_SECS: u64 = 20;

/// Newer than everything else, and more than is kept in memory.
const FILLER: usize = 1_100;

pub(super) struct Story {
    author: Key,
    recipient: Key,
    /// Vanishes before the snapshot.
    left: Key,
    /// Vanishes after it.
    leaving: Key,
    /// When it begins.
    at: u64,
    /// What is there at the end, by when it was published.
    before: Vec<Event>,
    after: Vec<Event>,
    /// What had gone when the snapshot was taken.
    gone: Vec<Event>,
    /// What expires, before the snapshot or after it.
    expiring: Vec<Event>,
    /// What goes after it.
    doomed: Vec<Event>,
    filler: Vec<Event>,
}

impl Story {
    pub(super) fn new() -> Self {
        let [author, recipient, left, leaving] = [2_000, 2_001, 2_002, 2_003].map(Key::nth);
        Self {
            author,
            recipient,
            left,
            leaving,
            at: now() - 100_000,
            before: Vec::new(),
            after: Vec::new(),
            gone: Vec::new(),
            expiring: Vec::new(),
            doomed: Vec::new(),
            filler: Vec::new(),
        }
    }

    /// Everybody who writes or is written to, but for the filler.
    pub(super) fn parties(&self) -> Vec<Key> {
        let parties = [&self.author, &self.recipient, &self.left, &self.leaving];
        parties.into_iter().cloned().collect()
    }

    /// Who writes the filler.
    pub(super) fn filler(&self) -> Key {
        Key::nth(2_004)
    }

    /// What has to be there at the end.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Event> {
        let kept = self.before.iter().chain(&self.after);
        kept.chain(&self.filler)
    }

    /// What happens before the snapshot.
    #[track_caller]
    pub(super) fn begin(&mut self, client: &mut Client) {
        let soon = (now() + EXPIRES_AFTER_SECS).to_string();
        self.gone = vec![
            self.author.note(self.at, "deleted"),
            self.author.sign(self.at, 0, &[], "replaced"),
            self.article(0, "deleted", "deleted by its address"),
            // What took its place is over soon.
            self.article(0, "outlived", "not to come back"),
            // What took its place is deleted by its id.
            self.article(0, "bereft", "not to come back"),
            self.article(1, "bereft", "deleted by its id"),
            self.left.note(self.at, "vanished"),
        ];
        self.expiring = vec![
            self.sign(1, 1, &[&["expiration", &soon]], "over soon"),
            self.sign(
                1,
                30_023,
                &[&["d", "outlived"], &["expiration", &soon]],
                "over soon",
            ),
        ];
        self.doomed = vec![
            self.sign(1, 1, &[], "deleted later"),
            self.sign(1, 0, &[], "replaced later"),
            self.article(1, "replaced", "replaced later"),
            self.article(1, "emptied", "deleted later, by its address"),
            self.leaving.note(self.at, "vanishes later"),
            self.sign(1, 1_059, &[&["p", &self.leaving.hex()]], "vanishes too"),
        ];
        let to = self.recipient.hex();
        let later = (now() + 7 * 86_400).to_string();
        self.before = vec![
            self.sign(1, 1, &[], "stays"),
            self.sign(1, 1, &[&["expiration", &later]], "over much later"),
            self.sign(1, 4, &[&["p", &to]], "private?iv=a"),
            self.sign(1, 1_059, &[&["p", &to]], "private"),
            self.sign(2, 7, &[&["e", &self.doomed[0].id().to_hex()]], "+"),
            self.deletion(2, &self.gone[0]),
            self.deletion_of_address(2, "deleted"),
            self.deletion(2, &self.gone[5]),
            vanish(&self.left, self.at + 2),
        ];
        // In an order in which each is new when it comes.
        let first = self.gone.iter().chain(&self.expiring);
        for event in first.chain(&self.doomed).chain(&self.before) {
            client.accept(event);
        }
        self.filler = notes(&self.filler(), now() - FILLER as u64, FILLER);
        accept_all(client, &self.filler);
    }

    /// What happens after it.
    #[track_caller]
    pub(super) fn go_on(&mut self, client: &mut Client) {
        let to = self.recipient.hex();
        self.after = vec![
            self.deletion(3, &self.doomed[0]),
            self.sign(3, 0, &[], "the last profile"),
            self.article(3, "replaced", "the last version"),
            self.deletion_of_address(3, "emptied"),
            vanish(&self.leaving, self.at + 3),
            self.sign(3, 1, &[], "new"),
            self.sign(3, 4, &[&["p", &to]], "new?iv=a"),
            self.sign(3, 1_059, &[&["p", &to]], "new"),
        ];
        for event in &self.after {
            client.accept(event);
        }
    }

    /// Waits until what was to expire has.
    #[track_caller]
    pub(super) fn wait_until_over(&self, client: &mut Client) {
        within(PATIENCE, "end of what expires", || {
            let over = |event: &Event| event.is_expired(Timestamp::now());
            self.expiring.iter().all(over).then_some(())
        });
        let asked = json!({"ids": ids(&self.expiring)});
        assert_eq!(client.query(&[asked]).ids(), [""; 0]);
    }

    /// From the snapshot alone comes everything that it is of, and nothing that had gone by then.
    #[track_caller]
    pub(super) fn check_snapshot(&self, client: &mut Client) {
        let there: Vec<&Event> = self.before.iter().chain(&self.doomed).collect();
        let gone = self.gone.iter().chain(&self.expiring);
        let asked = ids(there.iter().copied().chain(gone));
        let mut found = client.query(&[json!({ "ids": asked })]).ids();
        let mut expected = ids(there);
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    /// What is gone isn't taken again: what keeps it away is restored too.
    #[track_caller]
    pub(super) fn check_gone(&self, client: &mut Client) {
        for event in self.gone.iter().chain(&self.expiring).chain(&self.doomed) {
            let (accepted, text) = client.publish(event);
            assert!(!accepted, "{text:?}: {}", event.as_str());
        }
    }

    fn sign(&self, second: u64, kind: u16, tags: &[&[&str]], text: &str) -> Event {
        self.author.sign(self.at + second, kind, tags, text)
    }

    fn article(&self, second: u64, d: &str, text: &str) -> Event {
        self.sign(second, 30_023, &[&["d", d], &["t", "drill"]], text)
    }

    fn deletion(&self, second: u64, of: &Event) -> Event {
        self.sign(second, 5, &[&["e", &of.id().to_hex()]], "")
    }

    fn deletion_of_address(&self, second: u64, d: &str) -> Event {
        let address = format!("30023:{}:{d}", self.author.hex());
        self.sign(second, 5, &[&["a", &address]], "")
    }
}

/// A request to vanish (NIP-62).
fn vanish(key: &Key, at: u64) -> Event {
    key.sign(at, 62, &[&["relay", RELAY_URL]], "")
}
