//! `corpus`: signed events for benchmarks, the same for the same seed.

use std::{
    fs::File,
    io::{BufWriter, Write},
    num::NonZero,
    thread,
};

use anyhow::Context as _;
use heliograph_corpus::{Corpus, Options, Summary};
use heliograph_protocol::Timestamp;

use super::output::note;
use crate::cli;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the events to the file or else to the standard output, and their fingerprint to the
/// standard error stream.
pub(crate) fn run(arguments: &cli::Corpus, out: &mut impl Write) -> anyhow::Result<()> {
    let defaults = Options::new(arguments.seed, arguments.events);
    let options = Options {
        authors: arguments.authors.unwrap_or(defaults.authors),
        time_start: arguments.time_start.map_or(defaults.time_start, |start| {
            since_epoch(start, Timestamp::now())
        }),
        time_span: arguments.time_span.unwrap_or(defaults.time_span),
        ..defaults
    };
    let threads = arguments
        .threads
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let corpus = Corpus::new(options, threads)?;
    let summary = match &arguments.output {
        None => corpus.write(threads, out)?,
        Some(path) => {
            let failed = || format!("can't write {}", path.display());
            let file = File::create(path).with_context(failed)?;
            let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
            let summary = corpus.write(threads, &mut writer).with_context(failed)?;
            writer.flush().with_context(failed)?;
            summary
        }
    };
    note(&line(&summary));
    Ok(())
}

/// What is below zero is counted back from `now`, and ends at the epoch.
fn since_epoch(start: i64, now: Timestamp) -> u64 {
    match u64::try_from(start) {
        Ok(start) => start,
        Err(_) => now.as_secs().saturating_sub(start.unsigned_abs()),
    }
}

fn line(summary: &Summary) -> String {
    let Summary {
        events,
        bytes,
        fingerprint,
    } = summary;
    format!("{events} events, {bytes} bytes, sha256 {fingerprint}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use heliograph_protocol::Event;
    use heliograph_verify::verify_one;

    use super::*;
    use crate::cli::{Cli, Command, Tool};

    /// Runs the tool and returns what it wrote to the standard output.
    fn corpus(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let line = ["heliograph", "corpus"].iter().chain(arguments);
        let Some(Command::Tool(Tool::Corpus(arguments))) = Cli::parse_from(line).command else {
            panic!("another tool")
        };
        let mut out = Vec::new();
        run(&arguments, &mut out).map(|()| out)
    }

    #[test]
    fn its_events_pass_the_relays_own_checks() {
        let out = corpus(&["--seed", "7", "--events", "300"]).unwrap();
        let lines = str::from_utf8(&out).unwrap().lines();
        let events: Vec<Event> = lines.map(|line| Event::parse(line).unwrap()).collect();
        assert_eq!(events.len(), 300);
        assert!(events.iter().all(|event| verify_one(event).is_ok()));
    }

    #[test]
    fn a_file_gets_the_same_bytes_as_the_output() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corpus.jsonl");
        let given = ["--events", "50", "--authors", "9", "--time-span", "60"];
        let file = ["--threads", "3", "-o", path.to_str().unwrap()];
        assert!(corpus(&[&given[..], &file].concat()).unwrap().is_empty());
        assert_eq!(fs::read(path).unwrap(), corpus(&given).unwrap());
    }

    #[test]
    fn authors_and_time_are_as_asked() {
        let given = [
            "--events",
            "200",
            "--authors",
            "2",
            "--time-start",
            "1000000",
        ];
        let out = corpus(&given).unwrap();
        let lines = str::from_utf8(&out).unwrap().lines();
        let events: Vec<Event> = lines.map(|line| Event::parse(line).unwrap()).collect();
        let mut authors: Vec<_> = events.iter().map(Event::pubkey).collect();
        authors.sort_unstable();
        authors.dedup();
        assert_eq!(authors.len(), 2);
        assert_eq!(events[0].created_at().as_secs(), 1_000_000);
        assert!(corpus(&["--events", "1", "--authors", "0"]).is_err());
    }

    #[test]
    fn a_start_below_zero_is_so_many_seconds_ago() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(since_epoch(-86_400, now), 913_600);
        assert_eq!(since_epoch(-2_000_000, now), 0);
        assert_eq!(since_epoch(i64::MIN, now), 0);
        assert_eq!(since_epoch(86_400, now), 86_400);
        let out = corpus(&[
            "--events",
            "1",
            "--time-start",
            "-3600",
            "--time-span",
            "60",
        ])
        .unwrap();
        let event = Event::parse(str::from_utf8(&out).unwrap().trim_end()).unwrap();
        let ago = Timestamp::now().as_secs() - event.created_at().as_secs();
        assert!((3_500..=3_700).contains(&ago), "{ago} s ago");
    }

    #[test]
    fn the_fingerprint_is_told() {
        let summary = Summary {
            events: 2,
            bytes: 900,
            fingerprint: "ab".to_owned(),
        };
        assert_eq!(line(&summary), "2 events, 900 bytes, sha256 ab");
    }
}
