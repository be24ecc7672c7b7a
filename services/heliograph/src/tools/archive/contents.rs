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
    /// Those that counted before: somebody may be reading or copying them.
    pub(crate) seats_before: Option<Seats>,
    /// The URLs of the relay, none if they were never noted.
    pub(crate) relay_urls: Vec<String>,
    /// Where to go on in the last pass.
    pub(crate) cursor: Option<Cursor>,
    /// The last place in any pass: what tells this source from another.
    pub(crate) place: Option<Cursor>,
    /// The first pass that counts once the last one is complete.
    counts_from: u64,
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
            Record::Relay { urls } => self.relay_urls.clone_from(urls),
            Record::Pass { pass, keeps, .. } => {
                self.pass = *pass;
                self.cursor = None;
                if !keeps {
                    self.counts_from = *pass;
                }
            }
            Record::Segment(segment) => {
                self.last_number = self.last_number.max(segment.number);
                self.reached(&segment.cursor);
                self.segments.push(segment.clone());
            }
            Record::Seats(seats) => {
                self.last_number = self.last_number.max(seats.number);
                self.seats_before = self.seats.replace(seats.clone());
            }
            Record::CaughtUp { pass, at, cursor } => {
                self.complete = *pass;
                self.caught_up = Some(*at);
                self.reached(cursor);
                let from = self.counts_from;
                self.segments.retain(|segment| segment.pass >= from);
            }
        }
    }

    fn reached(&mut self, place: &Cursor) {
        self.cursor = Some(place.clone());
        self.place = Some(place.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(contents: &mut Contents, keeps: bool) {
        contents.add(&Record::Pass {
            pass: contents.pass + 1,
            at: 0,
            reason: String::new(),
            keeps,
        });
        contents.add(&Record::Segment(Segment {
            number: contents.last_number + 1,
            pass: contents.pass,
            events: 1,
            bytes: 1,
            text_bytes: 1,
            sha256: String::new(),
            at: 0,
            cursor: Cursor::Store(String::new()),
        }));
    }

    fn complete(contents: &mut Contents) -> Vec<u64> {
        contents.add(&Record::CaughtUp {
            pass: contents.pass,
            at: 0,
            cursor: Cursor::Store(String::new()),
        });
        contents.segments.iter().map(|s| s.number).collect()
    }

    #[test]
    fn only_a_pass_that_keeps_nothing_drops_what_was_before_once_it_is_complete() {
        let mut contents = Contents::default();
        pass(&mut contents, false);
        assert_eq!(complete(&mut contents), [1]);
        pass(&mut contents, true);
        assert_eq!(complete(&mut contents), [1, 2]);
        pass(&mut contents, false);
        assert_eq!(contents.segments.len(), 3);
        // Commits were missed in the midst of it.
        pass(&mut contents, true);
        assert_eq!(complete(&mut contents), [3, 4]);
        pass(&mut contents, true);
        assert_eq!(complete(&mut contents), [3, 4, 5]);
    }
}
