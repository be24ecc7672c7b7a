//! The events: kinds and sizes as relays see them, the same in every run but for the time.

use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::{frame::Frame, keys::Key};

/// Who writes.
const AUTHORS: usize = 600;

/// Authors of a home feed.
pub(crate) const FEED_AUTHORS: usize = 500;

/// Authors of live events, who are in every home feed.
const LIVE_AUTHORS: usize = 100;

/// Events before the clock starts.
const WARM_UP: usize = 2_000;

/// Over how long the stored events are spread, in seconds: thirty days.
const SPAN: u64 = 30 * 24 * 3_600;

/// An event that is ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Its id in hex.
    pub(crate) id: String,
    /// The whole EVENT frame, masked.
    pub(crate) frame: Vec<u8>,
}

/// Events for one repetition of the live phases.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Sent one at a time.
    pub(crate) single: Vec<Prepared>,
    /// Sent to many subscribers.
    pub(crate) fan_out: Vec<Prepared>,
}

/// Everything that is sent, and what questions are made of.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// Sent before the clock starts.
    pub(crate) warm_up: Vec<Prepared>,
    /// One part for each repetition.
    pub(crate) parts: Vec<Vec<Prepared>>,
    /// One for each repetition.
    pub(crate) live: Vec<Live>,
    /// Public keys in hex.
    pub(crate) authors: Vec<String>,
    /// Ids of notes older than `until`, which stay.
    pub(crate) notes: Vec<String>,
    /// Half of the stored events are newer: what a small recent tier doesn't hold.
    pub(crate) until: u64,
}

impl Corpus {
    /// Makes and signs all events, about 40 µs each.
    pub(crate) fn sign(events: u32, repeat: u8, live_events: u16) -> Self {
        let now = Timestamp::now().as_secs();
        let keys: Vec<Key> = (0..AUTHORS).map(Key::nth).collect();
        let mut writer = Writer::new(&keys, now);
        let total = events as usize;
        let stored: Vec<Event> = (0..total).map(|nth| writer.stored(nth, total)).collect();
        let warm_up = (0..WARM_UP).map(|nth| writer.stored(nth, WARM_UP));
        let warm_up = warm_up.map(|event| prepare(&event)).collect();
        let mut live = || {
            let notes = (0..live_events).map(|nth| prepare(&writer.live(nth)));
            notes.collect::<Vec<Prepared>>()
        };
        let live = (0..repeat).map(|_| Live {
            single: live(),
            fan_out: live(),
        });
        let live = live.collect();
        let until = now - SPAN / 2;
        let old_note =
            |event: &&Event| event.kind().as_u16() == 1 && event.created_at().as_secs() < until;
        let notes = stored.iter().filter(old_note);
        let notes = notes.map(|event| event.id().to_hex()).collect();
        // Interleaved, so that each part has events of all ages.
        let repeat = usize::from(repeat);
        let parts = (0..repeat)
            .map(|part| stored.iter().skip(part).step_by(repeat))
            .map(|part| part.map(prepare).collect());
        Self {
            warm_up,
            parts: parts.collect(),
            live,
            authors: keys.iter().map(Key::hex).collect(),
            notes,
            until,
        }
    }

    /// The authors that reader `nth` follows: those of live events, and most of the others.
    pub(crate) fn feed(&self, nth: usize) -> Vec<&str> {
        let (live, others) = self.authors.split_at(LIVE_AUTHORS);
        let chosen = others.iter().cycle().skip(nth * 7 % others.len());
        let chosen = live.iter().chain(chosen.take(FEED_AUTHORS - LIVE_AUTHORS));
        chosen.map(String::as_str).collect()
    }
}

/// Makes events; deterministic but for the time.
struct Writer<'a> {
    keys: &'a [Key],
    hex: Vec<String>,
    now: u64,
    random: u64,
    made: usize,
    /// Ids and authors of notes so far, which others refer to.
    notes: Vec<(String, usize)>,
}

impl<'a> Writer<'a> {
    fn new(keys: &'a [Key], now: u64) -> Self {
        Self {
            keys,
            hex: keys.iter().map(Key::hex).collect(),
            now,
            random: 1,
            made: 0,
            notes: Vec::new(),
        }
    }

    /// A number below `bound`, by `SplitMix64`.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bounded = (mixed ^ (mixed >> 31)) % bound.max(1) as u64;
        usize::try_from(bounded).expect("below a usize")
    }

    /// An author; a few write most.
    fn author(&mut self) -> usize {
        let widest = self.below(AUTHORS) + 1;
        self.below(widest)
    }

    /// Event `nth` of `total` over the span: notes, reactions, reposts, replies, profiles, follow
    /// lists, relay lists, articles.
    fn stored(&mut self, nth: usize, total: usize) -> Event {
        let age = SPAN - SPAN * nth as u64 / total as u64;
        let at = self.now - age.max(3_600);
        let author = self.author();
        self.made += 1;
        match self.below(100) {
            _ if self.notes.is_empty() => self.note(author, at),
            0..40 => self.note(author, at),
            40..68 => self.about_note(author, at, 7, "+"),
            68..78 => self.about_note(author, at, 1, &text(self.made, 140)),
            78..86 => self.about_note(author, at, 6, ""),
            86..90 => self.keys[author].sign(at, 0, &[], &profile(self.made)),
            90..93 => self.follow_list(author, at),
            93..96 => {
                let tags: &[&[&str]] = &[&["r", "wss://relay.example.com"]];
                self.keys[author].sign(at, 10_002, tags, "")
            }
            _ => {
                let d = format!("article-{}", self.made % 5);
                let tags: &[&[&str]] = &[&["d", &d], &["title", "An article"], &["t", "nostr"]];
                self.keys[author].sign(at, 30_023, tags, &text(self.made, 3_000))
            }
        }
    }

    /// A note of one of the live authors, of about now.
    fn live(&mut self, nth: u16) -> Event {
        self.made += 1;
        let author = usize::from(nth) % LIVE_AUTHORS;
        self.keys[author].note(self.now, &text(self.made, 200))
    }

    fn note(&mut self, author: usize, at: u64) -> Event {
        let content = text(self.made, 40 + self.made % 300);
        let event = self.keys[author].note(at, &content);
        self.notes.push((event.id().to_hex(), author));
        event
    }

    /// An event with the tags of a reply to one of the notes so far.
    fn about_note(&mut self, author: usize, at: u64, kind: u16, content: &str) -> Event {
        let chosen = self.below(self.notes.len());
        let (note, of) = self.notes[chosen].clone();
        // Two likes of the same note in the same second would be one event.
        let unique = self.made.to_string();
        let tags: &[&[&str]] = &[&["e", &note], &["p", &self.hex[of]], &["nonce", &unique]];
        self.keys[author].sign(at, kind, tags, content)
    }

    fn follow_list(&mut self, author: usize, at: u64) -> Event {
        let first = self.below(AUTHORS);
        let followed = self.hex.iter().cycle().skip(first).take(150);
        let tags: Vec<[&str; 2]> = followed.map(|key| ["p", key.as_str()]).collect();
        let tags: Vec<&[&str]> = tags.iter().map(<[&str; 2]>::as_slice).collect();
        self.keys[author].sign(at, 3, &tags, "")
    }
}

pub(crate) fn prepare(event: &Event) -> Prepared {
    let message = format!(r#"["EVENT",{}]"#, event.as_str());
    Prepared {
        id: event.id().to_hex(),
        frame: Frame::text(message).encode(),
    }
}

/// About `length` characters that differ with `seed`.
pub(crate) fn text(seed: usize, length: usize) -> String {
    const WORDS: [&str; 8] = [
        "relay",
        "note",
        "zap",
        "sun",
        "ünïcode",
        "gm",
        "\"quoted\"",
        "plain",
    ];
    let mut out = format!("{seed}");
    let mut word = seed;
    while out.len() < length {
        out.push(' ');
        out.push_str(WORDS[word % WORDS.len()]);
        word = word / 3 + seed + out.len();
    }
    out
}

fn profile(seed: usize) -> String {
    let about = text(seed, 200).replace('"', "'");
    format!(
        r#"{{"name":"user {seed}","about":"{about}","picture":"https://example.com/{seed}.png"}}"#
    )
}
