//! Made-up texts with the lengths, signs and compressibility of real ones.
//!
//! Of 2,035 notes in the sample 31 % have a line break, 8 % a quotation mark, 28 % a sign beyond
//! ASCII (4 % of all bytes), 28 % a link; words have 6.6 bytes on average, 4 most often; deflate
//! leaves 63 % of a note's JSON and 59 % of all events'.

use crate::random::Random;

const BREAK_PERCENT: u64 = 31;
const QUOTE_PERCENT: u64 = 8;
const FOREIGN_PERCENT: u64 = 28;
const LINK_PERCENT: u64 = 28;

/// Made-up words; the first ones are short and frequent.
const WORDS: usize = 4_096;

/// Hashtags; the sample has 407 different ones in 704, the most frequent 26 times.
const TOPICS: usize = 2_048;

const SYLLABLES: [&str; 32] = [
    "re", "lay", "no", "te", "sun", "mir", "ror", "li", "ght", "ka", "zu", "ton", "ver", "sta",
    "mel", "do", "qui", "fa", "ing", "or", "ba", "chi", "en", "wo", "pra", "is", "gu", "ly", "the",
    "an", "xe", "hop",
];

const FOREIGN: [&str; 8] = ["🤙", "für", "日本", "día", "💜", "привет", "“", "naïve"];

/// The vocabulary of a corpus; the same for every seed.
#[derive(Debug)]
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn new() -> Self {
        let mut random = Random::new(0x5e77_1ab1);
        let word = |rank: usize| {
            let long = usize::from(rank >= 48) + usize::from(rank >= 1_200);
            let syllables = 1 + long + usize::from(random.index(4) == 0);
            let parts = (0..syllables).map(|_| SYLLABLES[random.index(SYLLABLES.len())]);
            parts.collect::<String>()
        };
        Self((0..WORDS).map(word).collect())
    }

    /// One word, frequent ones more often.
    pub(crate) fn word(&self, random: &mut Random) -> &str {
        let widest = random.index(WORDS) + 1;
        &self.0[random.index(widest)]
    }

    /// A hashtag.
    pub(crate) fn topic(&self, random: &mut Random) -> &str {
        &self.0[random.skewed(TOPICS)]
    }

    /// Appends a text of `bytes` bytes, up to three fewer so as not to cut a sign in two.
    pub(crate) fn text(&self, bytes: usize, random: &mut Random, out: &mut String) {
        let end = out.len() + bytes;
        let (breaks, quotes) = (random.percent(BREAK_PERCENT), random.percent(QUOTE_PERCENT));
        let (foreign, link) = (
            random.percent(FOREIGN_PERCENT),
            random.percent(LINK_PERCENT) && bytes > 60,
        );
        if link {
            link_to(random, out);
            out.push(' ');
        }
        while out.len() < end {
            let word = self.word(random);
            match random.below(12) {
                0 if foreign => out.push_str(FOREIGN[random.index(FOREIGN.len())]),
                1 if quotes => out.extend(["\"", word, "\""]),
                2 if breaks => out.extend([word, "\n"]),
                3 => out.extend([word, "."]),
                _ => out.push_str(word),
            }
            out.push(' ');
        }
        cut(end, out);
    }

    /// Appends a JSON object of about `bytes` bytes, as profiles and reposts have in their content.
    pub(crate) fn json(&self, bytes: usize, random: &mut Random, out: &mut String) {
        const NAMES: [&str; 6] = ["name", "about", "picture", "nip05", "lud16", "banner"];
        let end = out.len() + bytes.max(2) - 2;
        out.push('{');
        for at in 0.. {
            let left = end.saturating_sub(out.len());
            if left < 16 {
                break;
            }
            if at > 0 {
                out.push(',');
            }
            out.extend(["\"", NAMES[at % NAMES.len()], "\":\""]);
            if matches!(at % NAMES.len(), 2 | 5) && left > 70 {
                link_to(random, out);
            } else {
                let bytes = random.index(left.min(160)) + 1;
                let value_end = (out.len() + bytes).min(end);
                while out.len() < value_end {
                    out.push_str(self.word(random));
                    out.push(' ');
                }
                cut(value_end, out);
            }
            out.push('"');
        }
        out.push('}');
    }
}

/// Appends the address of a picture, 61 bytes.
pub(crate) fn link_to(random: &mut Random, out: &mut String) {
    out.push_str("https://media.example.com/");
    random.hex(16, out);
    out.push_str(".jpg");
}

/// Appends what looks like something encrypted (NIP-04, NIP-44).
pub(crate) fn base64(bytes: usize, random: &mut Random, out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0;
    for at in 0..bytes {
        if at % 10 == 0 {
            bits = random.next();
        }
        out.push(char::from(DIGITS[(bits & 63) as usize]));
        bits >>= 6;
    }
}

fn cut(end: usize, out: &mut String) {
    let end = out.floor_char_boundary(end);
    out.truncate(end);
}
