//! The manifest of an archive: a file of JSON lines that only grows.
//!
//! Each line ends with a checksum of itself, so that one that was damaged is told from one that a crash
//! cut short: that can be the last line alone, and it says nothing that isn't done again.

use heliograph_protocol::{EventId, Timestamp, encode_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The form that this program writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// Hex digits of a line's checksum.
const SUM_DIGITS: usize = 16;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// The first one.
    Archive {
        /// [`FORMAT`].
        format: u32,
        /// What is archived.
        source: Origin,
    },
    /// Which relay this is of, from here on.
    Relay {
        /// Its URLs: requests to vanish that name one of them are in force.
        urls: Vec<String>,
    },
    /// From here on everything is archived anew, and once that is complete, what was before doesn't
    /// count any more unless it is kept.
    Pass {
        /// Its number, from 1.
        pass: u64,
        /// Unix seconds.
        at: u64,
        /// Why.
        reason: String,
        /// Whether what was before counts all the same.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        keeps: bool,
    },
    /// A segment was sealed.
    Segment(Segment),
    /// The seats that nobody holds; those of the line before don't count any more, but their file stays
    /// for whoever reads it.
    Seats(Seats),
    /// Everything that was acknowledged before this moment is in the segments above.
    CaughtUp {
        /// The pass that is complete by now.
        pass: u64,
        /// Unix seconds.
        at: u64,
        /// Where to go on.
        cursor: Cursor,
    },
}

/// A sealed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Its number, from 1, that of the file.
    pub(crate) number: u64,
    /// The pass that it belongs to.
    pub(crate) pass: u64,
    /// Lines.
    pub(crate) events: u64,
    /// Of the file.
    pub(crate) bytes: u64,
    /// Of the lines.
    pub(crate) text_bytes: u64,
    /// Of the file, in hex.
    pub(crate) sha256: String,
    /// When it was sealed, in Unix seconds.
    pub(crate) at: u64,
    /// Where to go on.
    pub(crate) cursor: Cursor,
}

/// A file of vacant seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seats {
    /// That of the file, counted with segments.
    pub(crate) number: u64,
    /// How many.
    pub(crate) seats: u64,
    /// Of the file.
    pub(crate) bytes: u64,
    /// Of the file, in hex.
    pub(crate) sha256: String,
    /// Of the lines, in hex: whether it's the same again.
    pub(crate) text_sha256: String,
}

/// What is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// An embedded store.
    Store,
    /// A cluster.
    Cluster,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Store => "a store",
            Self::Cluster => "a cluster",
        })
    }
}

/// Where an archive goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cursor {
    /// A place in an embedded store.
    Store(String),
    /// A place in the stream of commits.
    Commits {
        /// Which stream: another one has other commits under the same numbers.
        stream: String,
        /// The last commit that was read.
        number: u64,
        /// How far the database was read, newest first, if that isn't complete.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        scan: Option<Scanned>,
    },
}

/// How far a database was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scanned {
    /// Not at all.
    Nothing,
    /// Down to this event.
    Event {
        /// Its `created_at`.
        at: u64,
        /// Its id.
        #[serde(with = "hex_id")]
        id: EventId,
    },
}

impl Scanned {
    /// The place, as a scan takes it.
    pub(crate) fn after(self) -> Option<(Timestamp, EventId)> {
        match self {
            Self::Nothing => None,
            Self::Event { at, id } => Some((Timestamp::from_secs(at), id)),
        }
    }
}

mod hex_id {
    use heliograph_protocol::EventId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(id: &EventId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&id.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EventId, D::Error> {
        let text = String::deserialize(from)?;
        EventId::from_hex(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// A line, with its line break.
pub(crate) fn write(record: &Record) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(record)?;
    // The closing brace, for now.
    text.pop();
    let sum = sum(&text);
    text.push_str(&tail(&sum));
    text.push('\n');
    Ok(text)
}

/// Reads a line without its line break.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read(line: &str) -> Result<Record, String> {
    let damaged = || "its checksum is wrong".to_owned();
    let split = line.len().checked_sub(tail("").len() + SUM_DIGITS);
    let (text, end) = split
        .and_then(|at| line.split_at_checked(at))
        .ok_or_else(damaged)?;
    if end != tail(&sum(text)) {
        return Err(damaged());
    }
    serde_json::from_str(line).map_err(|error| error.to_string())
}

fn tail(sum: &str) -> String {
    format!(r#","sum":"{sum}"}}"#)
}

fn sum(text: &str) -> String {
    let mut hex = hex(&Sha256::digest(text));
    hex.truncate(SUM_DIGITS);
    hex
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(2 * bytes.len());
    encode_hex(bytes, &mut digits);
    String::from_utf8(digits).expect("hex digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::CaughtUp {
            pass: 3,
            at: 1_700_000_000,
            cursor: Cursor::Commits {
                stream: "x".to_owned(),
                number: 7,
                scan: Some(Scanned::Event {
                    at: 5,
                    id: EventId::new([0xab; 32]),
                }),
            },
        }
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        let line = write(&record()).unwrap();
        assert_eq!(read(line.trim_end()), Ok(record()));
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }

    #[test]
    fn a_line_of_which_any_byte_differs_is_not_read() {
        let line = write(&record()).unwrap();
        let line = line.trim_end();
        for at in 0..line.len() {
            let mut bytes = line.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(read(&changed).is_err(), "byte {at}");
        }
        for end in 0..line.len() {
            assert!(read(&line[..end]).is_err(), "cut at {end}");
        }
    }
}
