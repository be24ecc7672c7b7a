//! A mix of subscriptions and events as relays see them, from a seed; shared by the tests and the
//! benchmark.
//!
//! Of the subscriptions 60 % are home feeds (200 to 1,000 draws of authors, popularity by Zipf 0.9;
//! half with `since`, a fifth with a second filter for mentions), 20 % ask for mentions, 10 % for
//! answers to events, 5 % for a kind or a topic, 5 % for ids. Authors of events are drawn by Zipf 0.6.

use heliograph_protocol::{
    Event, EventId, Filter, Kind, PublicKey, Signature, TagCondition, Timestamp,
};

/// What `since` and `created_at` lie around.
pub(crate) const NOW: u64 = 1_700_000_000;

const AUTHORS: u32 = 300_000;
const NOTES: u64 = 200_000;
const TOPICS: u64 = 2_000;
const FEED_KINDS: [&[u16]; 6] = [
    &[1, 6],
    &[1],
    &[1, 6, 7],
    &[1, 6, 16, 30_023],
    &[0, 1, 3, 6, 7],
    &[1, 6, 9735, 30_023],
];
const PLAIN_KINDS: [u16; 8] = [30_023, 1984, 30_311, 9802, 1063, 30_018, 31_922, 1];
/// Kinds of events, for hundredths of all.
const EVENT_KINDS: [(u16, u64); 9] = [
    (1, 42),
    (7, 72),
    (6, 80),
    (9735, 87),
    (0, 91),
    (1059, 95),
    (3, 97),
    (30_023, 98),
    (30_311, 100),
];

/// Draws subscriptions and events.
pub(crate) struct Mix {
    state: u64,
    followed: Vec<u32>,
    writing: Vec<u32>,
}

impl Mix {
    pub(crate) fn new(seed: u64) -> Self {
        let mut mix = Self {
            state: seed,
            followed: Vec::new(),
            writing: Vec::new(),
        };
        mix.followed = mix.draws(0.9);
        mix.writing = mix.draws(0.6);
        mix
    }

    /// The filters of one subscription.
    pub(crate) fn subscription(&mut self) -> Vec<Filter> {
        match self.below(100) {
            0..60 => {
                let mut filters = vec![self.home_feed()];
                if self.below(5) == 0 {
                    filters.push(self.mentions());
                }
                filters
            }
            60..80 => vec![self.mentions()],
            80..90 => vec![Filter {
                kinds: kinds(&[1, 6, 7, 9735]),
                ..self.answers()
            }],
            90..95 => vec![self.topic_or_kind()],
            _ => {
                let mut ids: Vec<_> = (0..=self.below(5))
                    .map(|_| EventId::new(bytes(9, self.next())))
                    .collect();
                ids.sort_unstable();
                vec![Filter {
                    ids: Some(ids),
                    ..Filter::default()
                }]
            }
        }
    }

    /// The posts of those somebody follows.
    pub(crate) fn home_feed(&mut self) -> Filter {
        let draws = 200 + self.below(801);
        let mut authors: Vec<_> = (0..draws).map(|_| self.drawn_author(false)).collect();
        authors.sort_unstable();
        authors.dedup();
        let since = (self.below(2) == 0).then(|| Timestamp::from_secs(NOW - self.below(86_400)));
        let kinds = kinds(FEED_KINDS[self.below(6) as usize]);
        Filter {
            authors: Some(authors),
            kinds,
            since,
            limit: Some(200),
            ..Filter::default()
        }
    }

    /// One event.
    pub(crate) fn event(&mut self) -> Event {
        let roll = self.below(100);
        let kind = EVENT_KINDS
            .iter()
            .find(|(_, upto)| roll < *upto)
            .map_or(1, |(kind, _)| *kind);
        let mut tags = Vec::new();
        if matches!(kind, 1 | 6 | 7 | 9735) {
            tags.push(vec!["e".to_owned(), self.note()]);
        }
        if matches!(kind, 1 | 6 | 7 | 9735 | 1059) {
            for _ in 0..=self.below(2) {
                tags.push(vec!["p".to_owned(), self.drawn_author(false).to_hex()]);
            }
        }
        if kind == 1 && self.below(4) == 0 {
            tags.push(vec!["t".to_owned(), self.topic()]);
        }
        let created_at = Timestamp::from_secs(NOW + self.below(60));
        let author = self.drawn_author(true);
        note(author, created_at, Kind::new(kind), &tags)
    }

    fn mentions(&mut self) -> Filter {
        let me = self.below(u64::from(AUTHORS));
        let values = vec![author(me).to_hex()];
        Filter {
            kinds: kinds(&[1, 6, 7, 9735]),
            ..tagged(b'p', values)
        }
    }

    fn answers(&mut self) -> Filter {
        let count = 1 + self.below(20);
        tagged(b'e', (0..count).map(|_| self.note()).collect())
    }

    fn topic_or_kind(&mut self) -> Filter {
        if self.below(2) == 0 {
            return tagged(b't', vec![self.topic()]);
        }
        let kind = PLAIN_KINDS[self.below(8) as usize];
        Filter {
            kinds: kinds(&[kind]),
            ..Filter::default()
        }
    }

    fn note(&mut self) -> String {
        EventId::new(bytes(2, self.below(NOTES))).to_hex()
    }

    fn topic(&mut self) -> String {
        let rank = self.below(TOPICS);
        format!("topic{}", rank * rank / TOPICS)
    }

    fn drawn_author(&mut self, writing: bool) -> PublicKey {
        let draws = if writing {
            &self.writing
        } else {
            &self.followed
        };
        let at = splitmix(&mut self.state) as usize % draws.len();
        author(u64::from(draws[at]))
    }

    /// A table of draws: a million authors by rank, the popular ones often.
    fn draws(&mut self, exponent: f64) -> Vec<u32> {
        let mut total = 0.0;
        let sums: Vec<f64> = (1..=AUTHORS)
            .map(|rank| {
                total += f64::from(rank).powf(-exponent);
                total
            })
            .collect();
        (0..1 << 20)
            .map(|_| {
                let point = (self.next() >> 11) as f64 / (1_u64 << 53) as f64 * total;
                sums.partition_point(|sum| *sum < point) as u32
            })
            .collect()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        splitmix(&mut self.state)
    }
}

/// An event with a signature of zeros.
pub(crate) fn note(
    author: PublicKey,
    created_at: Timestamp,
    kind: Kind,
    tags: &[Vec<String>],
) -> Event {
    Event::build(author, created_at, kind, tags, "", |_id| {
        Signature::new([0; 64])
    })
}

fn author(number: u64) -> PublicKey {
    PublicKey::new(bytes(1, number))
}

fn kinds(kinds: &[u16]) -> Option<Vec<Kind>> {
    Some(kinds.iter().copied().map(Kind::new).collect())
}

fn tagged(letter: u8, values: Vec<String>) -> Filter {
    let mut values: Vec<Box<str>> = values.into_iter().map(Box::from).collect();
    values.sort_unstable();
    values.dedup();
    Filter {
        tags: vec![TagCondition { letter, values }],
        ..Filter::default()
    }
}

fn bytes(kind: u64, number: u64) -> [u8; 32] {
    let mut state = number << 8 | kind;
    let mut out = [0; 32];
    for part in out.chunks_exact_mut(8) {
        part.copy_from_slice(&splitmix(&mut state).to_be_bytes());
    }
    out
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
