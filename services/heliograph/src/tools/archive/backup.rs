//! An archive as it is read: what counts of it, and whether that is whole.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::bail;
use heliograph_protocol::{Event, EventId, Timestamp, decode_hex};
use heliograph_store_embedded::VacantSeat;
use sha2::{Digest, Sha256};

use super::{
    contents::{self, Contents},
    directory::{hold, seats_name, segment_name},
    manifest::hex,
};

/// What an event that has an end says in its text.
const EXPIRATION: &[u8] = b"\"expiration\"";

const BUFFER_BYTES: usize = 256 << 10;

/// What is to be imported of an archive.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) contents: Contents,
    /// The segments that are whole.
    pub(crate) files: Vec<PathBuf>,
    /// What keeps old versions away.
    pub(crate) seats: SeatMap,
    /// What is wrong, and what is lost by that.
    pub(crate) damage: Vec<String>,
    /// Nothing of it is removed as long as this is there.
    pub(crate) held: Option<File>,
}

/// Versions that aren't there and keep older ones away all the same, by address.
#[derive(Debug, Default)]
pub(crate) struct SeatMap(HashMap<[u8; 16], VacantSeat>);

impl SeatMap {
    fn add(&mut self, seat: VacantSeat) {
        let best = self.0.entry(seat.key).or_insert(seat);
        if (best.created_at, std::cmp::Reverse(best.id))
            < (seat.created_at, std::cmp::Reverse(seat.id))
        {
            *best = seat;
        }
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        other.0.into_values().for_each(|seat| self.add(seat));
    }

    /// All of them.
    pub(crate) fn to_vec(&self) -> Vec<VacantSeat> {
        self.0.values().copied().collect()
    }

    /// Whether a better version of its address was there.
    pub(crate) fn keep_away(&self, event: &Event) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let address = event.address();
        let seat = address.and_then(|address| self.0.get(&VacantSeat::key_of(&address)));
        seat.is_some_and(|seat| seat.is_better_than(event))
    }
}

/// One vacant seat as a line.
pub(crate) fn seat_line(seat: &VacantSeat) -> String {
    let (at, id) = (seat.created_at.as_secs(), seat.id.to_hex());
    format!("{} {at} {id}", hex(&seat.key))
}

fn read_seat(line: &str) -> Option<VacantSeat> {
    let mut fields = line.split(' ');
    Some(VacantSeat {
        key: decode_hex(fields.next()?.as_bytes())?,
        created_at: Timestamp::from_secs(fields.next()?.parse().ok()?),
        id: EventId::from_hex(fields.next()?.as_bytes()).ok()?,
    })
}

impl Backup {
    /// Reads an archive whole. Events that have expired by `now` are no longer to be had, but keep older
    /// versions of their addresses away.
    ///
    /// # Errors
    ///
    /// It is none. What is damaged is no error yet.
    pub(crate) fn read(dir: &Path, now: Timestamp) -> anyhow::Result<Self> {
        let held = hold(dir)?;
        let parsed = contents::read(dir)?;
        let mut backup = Self {
            contents: parsed.contents,
            files: Vec::new(),
            seats: SeatMap::default(),
            damage: parsed.damage,
            held,
        };
        if backup.contents.origin.is_none() && backup.damage.is_empty() {
            bail!("{} is no archive: its manifest is empty", dir.display());
        }
        if backup.contents.complete == 0 {
            let unfinished = "it isn't complete: the first run of heliograph archive was \
                              interrupted, so events are missing";
            backup.damage.push(unfinished.to_owned());
        }
        // First: the next ones but one take their place, also where this is a copy that is being made.
        backup.read_seats(dir);
        backup.read_segments(dir, now);
        Ok(backup)
    }

    fn read_segments(&mut self, dir: &Path, now: Timestamp) {
        for segment in &self.contents.segments {
            let name = segment_name(segment.number);
            let path = dir.join(&name);
            let wanted = (segment.bytes, segment.sha256.as_str(), segment.events);
            let mut seats = Vec::new();
            let whole = check(&path, wanted, |line| {
                if memchr::memmem::find(line, EXPIRATION).is_some() {
                    seats.extend(seat_of_expired(line, now));
                }
                Ok(())
            });
            match whole {
                Ok(()) => {
                    seats.into_iter().for_each(|seat| self.seats.add(seat));
                    self.files.push(path);
                }
                Err(why) => self.damage.push(format!(
                    "{name} {why}: its {} events are lost",
                    segment.events
                )),
            }
        }
    }

    fn read_seats(&mut self, dir: &Path) {
        let Some(seats) = &self.contents.seats else {
            return;
        };
        let name = seats_name(seats.number);
        let wanted = (seats.bytes, seats.sha256.as_str(), seats.seats);
        let mut read = Vec::new();
        let whole = check(&dir.join(&name), wanted, |line| {
            let text = std::str::from_utf8(line).ok();
            let seat = text.and_then(read_seat);
            read.push(seat.ok_or_else(|| "has a line that isn't a seat".to_owned())?);
            Ok(())
        });
        match whole {
            Ok(()) => read.into_iter().for_each(|seat| self.seats.add(seat)),
            Err(why) => self.damage.push(format!(
                "{name} {why}: old versions of what was deleted may come back"
            )),
        }
    }
}

fn seat_of_expired(line: &[u8], now: Timestamp) -> Option<VacantSeat> {
    let event = Event::parse(std::str::from_utf8(line).ok()?).ok()?;
    event
        .is_expired(now)
        .then(|| VacantSeat::left_by(&event))
        .flatten()
}

/// Reads a file of lines and compares it with what the manifest says.
fn check(
    path: &Path,
    (bytes, sha256, lines): (u64, &str, u64),
    mut each: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("is missing".to_owned());
        }
        file => file.map_err(|error| format!("can't be read ({error})"))?,
    };
    // First as bytes: the text of what is damaged is of no interest.
    let found = digest(file).map_err(|error| format!("can't be read ({error})"))?;
    if found.0 != bytes {
        return Err(format!("is damaged ({} bytes instead of {bytes})", found.0));
    }
    if found.1 != sha256 {
        return Err("is damaged (its SHA-256 isn't that of the manifest)".to_owned());
    }
    let mut read = || -> io::Result<Result<u64, String>> {
        let decoder = zstd::Decoder::new(File::open(path)?)?;
        let mut text = BufReader::with_capacity(BUFFER_BYTES, decoder);
        let (mut line, mut count) = (Vec::new(), 0);
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                return Ok(Ok(count));
            }
            count += 1;
            if let Err(why) = each(line.trim_ascii_end()) {
                return Ok(Err(why));
            }
        }
    };
    match read().map_err(|error| format!("is damaged ({error})"))?? {
        count if count == lines => Ok(()),
        count => Err(format!("is damaged ({count} lines instead of {lines})")),
    }
}

/// Bytes and SHA-256 of a file.
fn digest(mut file: File) -> io::Result<(u64, String)> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&digest.finalize()))),
            length => {
                digest.update(&buffer[..length]);
                bytes += length as u64;
            }
        }
    }
}
