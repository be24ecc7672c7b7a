//! What an archive says that it holds.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::manifest::{self, Cursor, FORMAT, Origin, Record, Seats, Segment};

/// The name of the manifest.
pub(crate) const MANIFEST: &str = "manifest.jsonl";

/// What the lines of a manifest come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    pub(crate) origin: Option<Origin>,
    /// The last pass that was begun, 0 before the first.
    pub(crate) pass: u64,
    /// The last pass that is complete, 0 if none is.
    pub(crate) complete: u64,
    /// Segments that count, in order.
    pub(crate) segments: Vec<Segment>,
    pub(crate) seats: Option<Seats>,
    /// Where to go on in the last pass.
    pub(crate) cursor: Option<Cursor>,
    /// When everything was in, in Unix seconds.
    pub(crate) caught_up: Option<u64>,
    /// The last number of a file.
    pub(crate) last_number: u64,
}

/// A manifest as it was read.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) contents: Contents,
    /// Bytes up to what a crash cut short.
    pub(crate) good_bytes: u64,
    /// Lines that can't be read, told for the operator.
    pub(crate) damage: Vec<String>,
}

impl Contents {
    /// Adds what a line says.
    pub(crate) fn add(&mut self, record: &Record) {
        match record {
            Record::Archive { source, .. } => self.origin = Some(*source),
            Record::Pass { pass, .. } => {
                self.pass = *pass;
                self.cursor = None;
            }
            Record::Segment(segment) => {
                self.last_number = self.last_number.max(segment.number);
                self.cursor = Some(segment.cursor.clone());
                self.segments.push(segment.clone());
            }
            Record::Seats(seats) => {
                self.last_number = self.last_number.max(seats.number);
                self.seats = Some(seats.clone());
            }
            Record::CaughtUp { pass, at, cursor } => {
                self.complete = *pass;
                self.caught_up = Some(*at);
                self.cursor = Some(cursor.clone());
                self.segments.retain(|segment| segment.pass >= *pass);
            }
        }
    }
}

/// Reads the manifest of a directory.
///
/// # Errors
///
/// There is none, or it can't be read.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Parsed> {
    let path = dir.join(MANIFEST);
    let bytes = fs::read(&path)
        .with_context(|| format!("{} is no archive: can't read its {MANIFEST}", dir.display()))?;
    Ok(parse(dir, &bytes))
}

/// Reads the lines of a manifest, those that can be read.
pub(crate) fn parse(dir: &Path, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    // What has no line break is what a crash left of a line.
    let complete = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    parsed.good_bytes = complete as u64;
    let lines = bytes[..complete].split_inclusive(|byte| *byte == b'\n');
    for (number, line) in (1..).zip(lines) {
        let text = std::str::from_utf8(line).map_err(|_invalid| "it isn't text".to_owned());
        let record = text.and_then(|text| manifest::read(text.trim_end_matches('\n')));
        match record {
            Ok(Record::Archive { format, .. }) if format > FORMAT => parsed.damage.push(format!(
                "{} has form {format}, this program knows up to {FORMAT}: use a newer one",
                dir.display()
            )),
            Ok(record) => parsed.contents.add(&record),
            Err(why) => parsed.damage.push(format!(
                "{} is damaged in line {number}: {why}",
                dir.join(MANIFEST).display()
            )),
        }
    }
    parsed
}
