//! What kinds of events there are, and how long, and with which tags: fitted to a sample.
//!
//! The sample: 6,686 distinct events by 2,067 authors, dated 2021 to 2026, collected from the test
//! data of public clients and libraries, every id and signature checked. For each kind with 14 events
//! or more (95 % of the sample): how many there are, the bytes of their content, and for each name of
//! a tag that one event in twenty has, how many of them an event has; each as the values at 0, 10,
//! 25, 50, 75, 90, 95, 99 and 100 % of the kind's events (`random::POINTS`). What deviates:
//!
//! - **References.** In the sample, where threads are torn, a third of `e` tags name an event of the
//!   sample; here five of six do, as on a relay that keeps whole threads.
//! - **Size.** Relays differ in what they take above 64 KiB and 2,000 tags (6 and 2 events of the
//!   sample). So an event has 800 tags of a name at most and 48,000 bytes of content, and all relays
//!   store the same.
//! - **Ephemeral kinds**, 0.6 % of the sample, are left out: relays refuse old ones.
//! - **Kinds 39000 to 39002**, 1 %, are left out: relays sign those themselves.
//! - **Deletions** name a note of their author in the corpus; in the sample most name what is missing.
//! - **Authors** of profiles, follow lists and relay lists are drawn evenly (in the sample 1,085 wrote
//!   1,349 profiles), those of all others by popularity.

use crate::random::Quantiles;

/// One kind of events.
#[derive(Debug)]
pub(crate) struct KindModel {
    pub(crate) kind: u16,
    /// Events in the sample.
    pub(crate) share: u32,
    pub(crate) writers: Writers,
    pub(crate) content: Content,
    /// Bytes of content.
    pub(crate) bytes: Quantiles,
    pub(crate) tags: &'static [TagModel],
}

/// Who writes a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Everybody alike.
    Even,
    /// Some much more than others.
    Popular,
    /// The author of the note that is referred to, which is taken back.
    Target,
}

/// What a content looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    Json,
    Base64,
    /// A sign; the bytes of the table aren't asked.
    Reaction,
}

/// The tags of one name.
#[derive(Debug)]
pub(crate) struct TagModel {
    pub(crate) name: &'static str,
    /// How many an event has.
    pub(crate) count: Quantiles,
    pub(crate) value: Value,
}

/// What a tag holds behind its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// Ids: of the note that is referred to, of its thread's first note, of others.
    Event,
    /// As `Event`, with relay and marker (NIP-10).
    MarkedEvent,
    /// Keys: of the note's author, then of popular ones.
    Author,
    /// Different keys, as follow lists have.
    Follows,
    /// An address of somebody's (NIP-01).
    Address,
    /// A hashtag.
    Topic,
    /// One of so many identifiers that an author reuses.
    Identifier(u64),
    /// An identifier that no other event has.
    Serial,
    /// An address of a relay.
    Relay,
    /// Several of those.
    Relays,
    /// The address of a picture.
    Link,
    /// 32 bytes.
    Hex,
    /// A count or time.
    Number,
    /// Words of so many bytes.
    Text(u32),
    /// An event as JSON of so many bytes.
    Json(u32),
    /// Signs as of something encrypted or encoded.
    Base64(u32),
    /// Always the same.
    Fixed(&'static str),
}

/// References of a hundred that go to events and addresses which the corpus doesn't have.
pub(crate) const ELSEWHERE_PERCENT: u64 = 17;

/// Tags of one name at most.
pub(crate) const TAGS_MAX: u32 = 800;

/// Bytes of content at most.
pub(crate) const CONTENT_BYTES_MAX: u32 = 48_000;

/// Signs of reactions with how many of 906 have them.
pub(crate) const REACTIONS: [(&str, u64); 8] = [
    ("+", 531),
    ("🤙", 266),
    ("😂", 40),
    ("", 20),
    ("❤️", 19),
    ("💜", 12),
    ("🧡", 10),
    ("-", 8),
];

const NONE: Quantiles = [0; 9];
const ONE: Quantiles = [1; 9];
/// In three of four events.
const MOST: Quantiles = [0, 0, 1, 1, 1, 1, 1, 1, 1];
/// In every second.
const HALF: Quantiles = [0, 0, 0, 1, 1, 1, 1, 1, 1];
/// In a third.
const SOME: Quantiles = [0, 0, 0, 0, 1, 1, 1, 1, 1];
/// In every tenth.
const FEW: Quantiles = [0, 0, 0, 0, 0, 1, 1, 1, 1];

const fn tag(name: &'static str, count: Quantiles, value: Value) -> TagModel {
    TagModel { name, count, value }
}

const fn model(
    kind: u16,
    share: u32,
    content: Content,
    bytes: Quantiles,
    tags: &'static [TagModel],
) -> KindModel {
    KindModel {
        kind,
        share,
        writers: match kind {
            0 | 3 | 10_002 => Writers::Even,
            5 => Writers::Target,
            _ => Writers::Popular,
        },
        content,
        bytes,
        tags,
    }
}

/// Every kind.
pub(crate) const KINDS: &[KindModel] = &[
    model(
        1,
        2_035,
        Content::Text,
        [1, 15, 42, 92, 173, 318, 461, 824, 3_793],
        &[
            tag("e", [0, 0, 0, 1, 2, 2, 2, 3, 4], Value::MarkedEvent),
            tag("p", [0, 0, 0, 1, 2, 4, 5, 10, 49], Value::Author),
            tag("t", [0, 0, 0, 0, 0, 0, 1, 4, 27], Value::Topic),
            tag("proxy", [0, 0, 0, 0, 0, 0, 1, 1, 1], Value::Link),
        ],
    ),
    model(
        0,
        1_349,
        Content::Json,
        [0, 15, 20, 74, 225, 442, 523, 695, 23_932],
        &[],
    ),
    model(
        7,
        906,
        Content::Reaction,
        NONE,
        &[
            tag("e", [1, 1, 1, 1, 1, 3, 3, 4, 5], Value::Event),
            tag("p", [0, 1, 1, 1, 1, 3, 4, 12, 14], Value::Author),
            tag("k", [0, 0, 0, 0, 0, 0, 1, 1, 1], Value::Fixed("1")),
        ],
    ),
    model(
        30_000,
        594,
        Content::Text,
        [0, 10, 10, 10, 10, 30, 52, 2_676, 9_648],
        &[
            tag("d", ONE, Value::Identifier(12)),
            tag("p", [0, 0, 0, 0, 0, 0, 1, 18, 95], Value::Follows),
        ],
    ),
    model(
        4,
        449,
        Content::Base64,
        [52, 52, 52, 116, 180, 328, 456, 1_672, 3_932],
        &[tag("p", [0, 1, 1, 1, 1, 1, 1, 1, 18], Value::Author)],
    ),
    model(
        6,
        168,
        Content::Json,
        [0, 0, 0, 4, 548, 1_054, 1_391, 1_913, 2_163],
        &[
            tag("e", [1, 1, 1, 1, 1, 1, 2, 4, 4], Value::MarkedEvent),
            tag("p", [0, 0, 1, 1, 1, 2, 4, 11, 13], Value::Author),
            tag("proxy", FEW, Value::Link),
            tag("alt", [0, 0, 0, 0, 0, 0, 1, 1, 1], Value::Text(12)),
        ],
    ),
    model(
        38_172,
        96,
        Content::Json,
        [0, 181, 267, 317, 369, 386, 386, 406, 406],
        &[
            tag("u", ONE, Value::Link),
            tag("d", ONE, Value::Serial),
            tag("nuts", ONE, Value::Fixed("4,5,7,8,9")),
            tag("updated_at", ONE, Value::Number),
        ],
    ),
    model(
        9_802,
        95,
        Content::Text,
        [5, 51, 118, 195, 618, 6_160, 14_352, 51_213, 51_213],
        &[
            tag("r", [0, 1, 1, 1, 1, 1, 1, 1, 1], Value::Link),
            tag("p", HALF, Value::Author),
            tag("a", SOME, Value::Address),
            tag("title", FEW, Value::Text(17)),
            tag("excerpt", FEW, Value::Text(347)),
        ],
    ),
    model(
        5,
        90,
        Content::Text,
        [0, 0, 0, 0, 19, 52, 52, 52, 52],
        &[
            tag("e", ONE, Value::Event),
            tag("k", MOST, Value::Fixed("1")),
            tag("alt", SOME, Value::Text(14)),
        ],
    ),
    model(
        9_734,
        83,
        Content::Text,
        [0, 0, 0, 0, 13, 30, 35, 108, 108],
        &[
            tag("relays", ONE, Value::Relays),
            tag("p", ONE, Value::Author),
            tag("amount", HALF, Value::Number),
            tag("a", HALF, Value::Address),
            tag("client", SOME, Value::Text(17)),
            tag("e", SOME, Value::Event),
        ],
    ),
    model(
        3,
        64,
        Content::Json,
        [0, 0, 0, 0, 562, 705, 998, 2_533, 2_533],
        &[
            tag(
                "p",
                [0, 2, 10, 126, 318, 622, 800, 800, 800],
                Value::Follows,
            ),
            tag("client", FEW, Value::Text(8)),
            tag("t", [0, 0, 0, 0, 0, 1, 5, 91, 91], Value::Topic),
        ],
    ),
    model(
        9_735,
        44,
        Content::Text,
        NONE,
        &[
            tag("p", ONE, Value::Author),
            tag("e", MOST, Value::Event),
            tag("bolt11", ONE, Value::Base64(312)),
            tag("description", ONE, Value::Json(764)),
            tag("preimage", HALF, Value::Hex),
            tag("P", SOME, Value::Author),
        ],
    ),
    model(
        30_311,
        43,
        Content::Text,
        NONE,
        &[
            tag("d", ONE, Value::Identifier(4)),
            tag("title", MOST, Value::Text(28)),
            tag("summary", MOST, Value::Text(110)),
            tag("image", HALF, Value::Link),
            tag("starts", ONE, Value::Number),
            tag("status", ONE, Value::Fixed("live")),
            tag("service", ONE, Value::Relay),
            tag("p", [0, 1, 1, 1, 1, 1, 1, 7, 7], Value::Author),
            tag("t", [0, 0, 0, 2, 5, 5, 6, 7, 7], Value::Topic),
            tag("alt", HALF, Value::Text(170)),
        ],
    ),
    model(
        34_550,
        42,
        Content::Text,
        NONE,
        &[
            tag("d", ONE, Value::Serial),
            tag("description", ONE, Value::Text(48)),
            tag("image", ONE, Value::Link),
            tag("p", [0, 1, 1, 1, 1, 2, 5, 7, 7], Value::Author),
            tag("rules", HALF, Value::Text(53)),
            tag("name", SOME, Value::Text(7)),
            tag("relay", [0, 0, 0, 0, 0, 4, 4, 4, 4], Value::Relay),
        ],
    ),
    model(
        10_002,
        39,
        Content::Text,
        NONE,
        &[
            tag("r", [1, 1, 1, 3, 4, 12, 13, 36, 36], Value::Relay),
            tag("proxy", SOME, Value::Link),
        ],
    ),
    model(
        30,
        36,
        Content::Text,
        [128, 164, 240, 342, 451, 515, 537, 550, 550],
        &[tag("e", [2; 9], Value::Event)],
    ),
    model(
        1_311,
        32,
        Content::Text,
        [2, 3, 4, 9, 18, 51, 70, 158, 158],
        &[
            tag("a", ONE, Value::Address),
            tag("client", HALF, Value::Text(17)),
        ],
    ),
    model(
        38_000,
        29,
        Content::Text,
        [5, 6, 20, 64, 78, 295, 325, 388, 388],
        &[
            tag("k", ONE, Value::Fixed("38172")),
            tag("u", ONE, Value::Link),
            tag("d", ONE, Value::Serial),
            tag("a", HALF, Value::Address),
        ],
    ),
    model(
        30_009,
        20,
        Content::Text,
        [0, 0, 0, 0, 0, 31, 52, 52, 52],
        &[
            tag("d", ONE, Value::Serial),
            tag("name", ONE, Value::Text(19)),
            tag("description", ONE, Value::Text(40)),
            tag("image", ONE, Value::Link),
            tag("thumb", [0, 0, 0, 1, 1, 1, 2, 2, 2], Value::Link),
        ],
    ),
    model(
        1_059,
        20,
        Content::Base64,
        [944, 1_046, 1_456, 1_796, 2_844, 5_552, 6_916, 6_916, 6_916],
        &[tag("p", ONE, Value::Author)],
    ),
    model(
        5_300,
        20,
        Content::Text,
        NONE,
        &[
            tag("p", ONE, Value::Author),
            tag("alt", ONE, Value::Text(31)),
            tag("relays", ONE, Value::Relays),
        ],
    ),
    model(
        1_111,
        20,
        Content::Text,
        [13, 19, 39, 172, 327, 534, 719, 719, 719],
        &[
            tag("A", HALF, Value::Address),
            tag("E", HALF, Value::MarkedEvent),
            tag("K", ONE, Value::Fixed("30023")),
            tag("P", HALF, Value::Author),
            tag("e", HALF, Value::MarkedEvent),
            tag("k", ONE, Value::Fixed("1111")),
            tag("p", [0, 0, 0, 1, 1, 12, 13, 13, 13], Value::Author),
            tag("client", SOME, Value::Text(8)),
            tag("alt", SOME, Value::Text(187)),
        ],
    ),
    model(
        16,
        17,
        Content::Json,
        [0, 0, 0, 858, 3_186, 12_987, 23_249, 23_249, 23_249],
        &[
            tag("e", ONE, Value::MarkedEvent),
            tag("p", ONE, Value::Author),
            tag("k", ONE, Value::Fixed("30023")),
            tag("a", HALF, Value::Address),
            tag("alt", HALF, Value::Text(14)),
        ],
    ),
    model(
        30_023,
        16,
        Content::Text,
        [10, 13, 1_775, 7_320, 11_890, 17_125, 28_690, 28_690, 28_690],
        &[
            tag("d", ONE, Value::Serial),
            tag("title", ONE, Value::Text(36)),
            tag("published_at", ONE, Value::Number),
            tag("image", HALF, Value::Link),
            tag("summary", HALF, Value::Text(79)),
            tag("t", [0, 0, 0, 3, 5, 8, 11, 11, 11], Value::Topic),
            tag("r", [0, 0, 0, 0, 0, 3, 11, 11, 11], Value::Link),
        ],
    ),
    model(
        9_041,
        16,
        Content::Text,
        [4, 5, 8, 18, 20, 24, 29, 29, 29],
        &[
            tag("relays", ONE, Value::Relays),
            tag("amount", ONE, Value::Number),
            tag("summary", ONE, Value::Text(99)),
            tag("closed_at", ONE, Value::Number),
        ],
    ),
    model(
        31_234,
        14,
        Content::Base64,
        [0, 0, 0, 688, 1_456, 1_456, 1_796, 1_796, 1_796],
        &[
            tag("d", ONE, Value::Identifier(8)),
            tag("k", ONE, Value::Fixed("1")),
            tag("e", [0, 0, 0, 1, 2, 2, 2, 2, 2], Value::MarkedEvent),
        ],
    ),
];
