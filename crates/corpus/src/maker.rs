//! Makes the events one after the other, without their signatures: each may refer to those before.

use heliograph_protocol::{Event, EventId, Kind, Signature, Timestamp};

use crate::{
    Options,
    authors::Authors,
    random::{Random, Zipf, draw},
    tables::{
        CONTENT_BYTES_MAX, Content, ELSEWHERE_PERCENT, KINDS, KindModel, REACTIONS, TAGS_MAX,
        TagModel, Value, Writers,
    },
    targets::{Note, Targets},
    text::{Words, base64, link_to},
};

/// Relays that tags name.
const RELAYS: u64 = 48;

/// How far behind its place an event may be dated, in seconds: not everything comes at once.
const LATE: u64 = 120;

/// Kinds of addresses that tags name.
const ADDRESS_KINDS: [u16; 3] = [30_023, 30_311, 34_550];

/// An event that lacks its signature: where it belongs there are zeros.
#[derive(Debug)]
pub(crate) struct Unsigned {
    pub(crate) event: Event,
    pub(crate) author: u32,
}

/// Everything that an event depends on.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    options: Options,
    authors: &'a Authors,
    random: Random,
    popularity: Zipf,
    words: Words,
    targets: Targets,
    /// The newest `created_at` of each author, so that the later event is the newer one.
    newest: Vec<u64>,
    /// When an author was last drawn for a follow list, by number of the event.
    followed: Vec<u64>,
    made: u64,
}

/// What one event is about.
#[derive(Debug, Clone, Copy)]
struct Subject {
    note: Option<Note>,
    author: u32,
    deletes: bool,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(options: &Options, authors: &'a Authors) -> Self {
        Self {
            options: *options,
            authors,
            random: Random::new(options.seed ^ 0x68_656c_696f),
            popularity: Zipf::new(options.authors),
            words: Words::new(),
            targets: Targets::default(),
            newest: vec![0; authors.count()],
            followed: vec![0; authors.count()],
            made: 0,
        }
    }

    /// The next event; there is always one.
    pub(crate) fn make(&mut self) -> Unsigned {
        self.made += 1;
        let model = self.kind();
        let note = match model.writers {
            // What a deletion names is the note itself, not its thread.
            Writers::Target => self.targets.any(&mut self.random),
            Writers::Even | Writers::Popular => self.targets.draw(&mut self.random),
        };
        let author = match (model.writers, note) {
            (Writers::Even, _) => self.even(),
            (Writers::Target, Some(note)) => note.author,
            (Writers::Target, None) | (Writers::Popular, _) => self.popular(),
        };
        let elsewhere = model.writers != Writers::Target && self.random.percent(ELSEWHERE_PERCENT);
        let subject = Subject {
            note: note.filter(|_| !elsewhere),
            author,
            deletes: model.writers == Writers::Target,
        };
        let mut tags = Vec::new();
        for tag in model.tags {
            self.tags(tag, &subject, &mut tags);
        }
        let content = self.content(model);
        let created_at = self.time(author);
        let event = Event::build(
            self.authors.public(author),
            Timestamp::from_secs(created_at),
            Kind::new(model.kind),
            &tags,
            &content,
            |_id| Signature::new([0; 64]),
        );
        if model.kind == 1 {
            let answers = tags.iter().any(|tag| tag[0] == "e");
            let root = subject.note.filter(|_| answers);
            let root = root.map(|note| note.root.unwrap_or(note.id));
            let id = *event.id();
            self.targets
                .add(Note { id, author, root }, &mut self.random);
        }
        Unsigned { event, author }
    }

    fn kind(&mut self) -> &'static KindModel {
        let whole: u64 = KINDS.iter().map(|model| u64::from(model.share)).sum();
        let mut at = self.random.below(whole);
        for model in KINDS {
            match at.checked_sub(u64::from(model.share)) {
                Some(left) => at = left,
                None => return model,
            }
        }
        &KINDS[0]
    }

    fn even(&mut self) -> u32 {
        let nth = self.random.below(self.options.authors.into());
        u32::try_from(nth).expect("as many as a u32 counts")
    }

    fn popular(&mut self) -> u32 {
        self.popularity.draw(&mut self.random)
    }

    /// A time about the event's place in the span, later than anything by this author.
    fn time(&mut self, author: u32) -> u64 {
        let (place, events) = (u128::from(self.made - 1), u128::from(self.options.events));
        let offset = u128::from(self.options.time_span) * place / events.max(1);
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        let late = self.random.below(LATE).min(offset);
        let newest = &mut self.newest[author as usize];
        *newest = (self.options.time_start + offset - late).max(*newest + 1);
        *newest
    }

    fn content(&mut self, model: &KindModel) -> String {
        let mut out = String::new();
        let bytes = draw(&model.bytes, &mut self.random).min(CONTENT_BYTES_MAX) as usize;
        match model.content {
            Content::Reaction => out.push_str(self.reaction()),
            _ if bytes == 0 => {}
            Content::Text => self.words.text(bytes, &mut self.random, &mut out),
            Content::Json => self.words.json(bytes, &mut self.random, &mut out),
            Content::Base64 => base64(bytes, &mut self.random, &mut out),
        }
        out
    }

    fn reaction(&mut self) -> &'static str {
        let whole: u64 = REACTIONS.iter().map(|(_, share)| share).sum();
        let mut at = self.random.below(whole);
        for (sign, share) in REACTIONS {
            match at.checked_sub(share) {
                Some(left) => at = left,
                None => return sign,
            }
        }
        "+"
    }

    fn tags(&mut self, tag: &TagModel, subject: &Subject, out: &mut Vec<Vec<String>>) {
        let count = draw(&tag.count, &mut self.random).min(TAGS_MAX);
        for nth in 0..count {
            let mut element = vec![tag.name.to_owned()];
            if self.value(tag.value, nth, subject, &mut element) {
                out.push(element);
            }
        }
    }

    /// Appends what stands behind a tag's name; `false` if there is nothing more to name.
    fn value(&mut self, value: Value, nth: u32, subject: &Subject, out: &mut Vec<String>) -> bool {
        match value {
            Value::Event => out.push(self.event(nth, subject)),
            Value::MarkedEvent => {
                let marker = if nth == 0 { "root" } else { "reply" };
                let event = self.event(nth, subject);
                let relay = if self.random.percent(40) {
                    self.relay()
                } else {
                    String::new()
                };
                out.extend([event, relay, marker.to_owned()]);
            }
            Value::Author => {
                let author = match subject.note {
                    Some(note) if nth == 0 => note.author,
                    _ => self.popular(),
                };
                out.push(self.authors.hex(author).to_owned());
            }
            Value::Follows => {
                let Some(author) = self.unfollowed() else {
                    return false;
                };
                out.push(self.authors.hex(author).to_owned());
            }
            Value::Address => {
                let kind = ADDRESS_KINDS[self.random.index(ADDRESS_KINDS.len())];
                let (author, name) = (self.popular(), self.random.below(4));
                out.push(format!("{kind}:{}:{name}", self.authors.hex(author)));
            }
            Value::Topic => out.push(self.words.topic(&mut self.random).to_owned()),
            Value::Identifier(count) => {
                let name = self.random.below(count);
                out.push(format!("list-{name}-of-{:08x}", subject.author));
            }
            Value::Serial => out.push(format!("{:016x}", self.made)),
            Value::Relay => out.push(self.relay()),
            Value::Relays => out.extend([self.relay(), self.relay(), self.relay(), self.relay()]),
            Value::Number => out.push((1_000_000_000 + self.random.below(1 << 30)).to_string()),
            Value::Fixed(text) => out.push(text.to_owned()),
            Value::Link | Value::Hex | Value::Text(_) | Value::Json(_) | Value::Base64(_) => {
                out.push(self.text(value));
            }
        }
        true
    }

    fn text(&mut self, value: Value) -> String {
        let (mut out, random) = (String::new(), &mut self.random);
        match value {
            Value::Link => link_to(random, &mut out),
            Value::Hex => random.hex(32, &mut out),
            Value::Json(bytes) => self.words.json(bytes as usize, random, &mut out),
            Value::Base64(bytes) => base64(bytes as usize, random, &mut out),
            Value::Text(bytes) => self.words.text(bytes as usize, random, &mut out),
            _ => {}
        }
        out
    }

    /// The `nth` event that is named: the thread's first note and the one that is answered, then
    /// others.
    fn event(&mut self, nth: u32, subject: &Subject) -> String {
        let other = |maker: &mut Self| -> Option<EventId> {
            let found = maker.targets.draw(&mut maker.random);
            found.filter(|_| subject.note.is_some()).map(|note| note.id)
        };
        let id = match (nth, subject.note) {
            (0, Some(note)) if subject.deletes => Some(note.id),
            (0, Some(note)) => Some(note.root.unwrap_or(note.id)),
            (1, Some(note)) if note.root.is_some() => Some(note.id),
            _ => other(self),
        };
        id.map_or_else(|| self.text(Value::Hex), |id| id.to_hex())
    }

    fn relay(&mut self) -> String {
        format!("wss://relay{}.example.com", self.random.below(RELAYS))
    }

    /// An author that this event doesn't follow yet; `None` if none is found soon.
    fn unfollowed(&mut self) -> Option<u32> {
        for _ in 0..16 {
            let author = self.popular();
            let last = &mut self.followed[author as usize];
            if *last != self.made {
                *last = self.made;
                return Some(author);
            }
        }
        None
    }
}
