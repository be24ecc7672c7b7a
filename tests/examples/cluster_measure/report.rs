//! The tables: of each figure the median of all repetitions and, in brackets, the least and the
//! greatest.

use std::{fmt, fs, thread, time::Duration};

use heliograph_sandbox::tools::{CASSANDRA_VERSION, NATS_VERSION};

use crate::{
    figures::{Cpu, Sample},
    options::Options,
};

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    head: String,
    cores: usize,
    idle: Option<Sample>,
    /// By name, in the order of their first repetition.
    phases: Vec<(String, Vec<Sample>)>,
}

/// A column: its heading, and its figure of one sample.
type Column = (&'static str, fn(&Sample) -> f64);

const EVENTS: [Column; 12] = [
    ("events/s", |s| per_second(s.seen.count, s)),
    ("gateway µs", |s| per_count(s, s.cpu.gateway())),
    ("ingest µs", |s| per_count(s, s.cpu.ingest)),
    ("matcher µs", |s| per_count(s, s.cpu.matcher)),
    ("NATS µs", |s| per_count(s, s.cpu.nats)),
    ("CQL µs", |s| per_count(s, s.cpu.cql)),
    ("client µs", |s| per_count(s, s.cpu.client)),
    ("OK p50 ms", |s| millis(s.seen.answer.p50)),
    ("OK p99 ms", |s| millis(s.seen.answer.p99)),
    ("OK max ms", |s| millis(s.seen.answer.max)),
    ("superseded, %", |s| {
        100.0 * ratio(s.seen.superseded, s.seen.count)
    }),
    ("no answer in time, %", |s| {
        100.0 * ratio(s.seen.late, s.seen.count)
    }),
];

const LIVE: [Column; 6] = [
    ("deliveries per event", |s| {
        ratio(s.seen.received, s.seen.count)
    }),
    ("deliveries/s", |s| per_second(s.seen.received, s)),
    ("last gateway, µs per delivery", |s| {
        micros(s.cpu.last_gateway()) / count(s.seen.received)
    }),
    ("live p50 ms", |s| millis(s.seen.live.p50)),
    ("live p99 ms", |s| millis(s.seen.live.p99)),
    ("live max ms", |s| millis(s.seen.live.max)),
];

const QUESTIONS: [Column; 13] = [
    ("per s", |s| per_second(s.seen.count, s)),
    ("gateway µs", |s| per_count(s, s.cpu.gateway())),
    ("matcher µs", |s| per_count(s, s.cpu.matcher)),
    ("NATS µs", |s| per_count(s, s.cpu.nats)),
    ("CQL µs", |s| per_count(s, s.cpu.cql)),
    ("client µs", |s| per_count(s, s.cpu.client)),
    ("p50 ms", |s| millis(s.seen.answer.p50)),
    ("p99 ms", |s| millis(s.seen.answer.p99)),
    ("max ms", |s| millis(s.seen.answer.max)),
    ("events each", |s| ratio(s.seen.received, s.seen.count)),
    ("rows scanned per row returned", |s| {
        s.rows.scanned / s.rows.returned
    }),
    ("from archive, %", |s| {
        100.0 * s.rows.archive / (s.rows.recent + s.rows.archive)
    }),
    ("CLOSED, %", |s| 100.0 * ratio(s.seen.closed, s.seen.count)),
];

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let head = format!(
            "`{}` at {}: {}; NATS {NATS_VERSION}, Apache Cassandra {CASSANDRA_VERSION}.\n{} cores ({}) \
             for servers, roles and clients together; {} repetitions, median (least–greatest).",
            options.command,
            options.commit,
            options.describe(),
            cores,
            processor().as_deref().unwrap_or("unknown processor"),
            options.repeat,
        );
        Self {
            head,
            cores,
            idle: None,
            phases: Vec::new(),
        }
    }

    /// What the cluster costs while nobody wants anything.
    pub(crate) fn idle(&mut self, sample: Sample) {
        self.idle = Some(sample);
    }

    /// Adds one repetition of a phase.
    pub(crate) fn add(&mut self, phase: &str, sample: Sample) {
        match self.phases.iter_mut().find(|(name, _)| name == phase) {
            Some((_, samples)) => samples.push(sample),
            None => self.phases.push((phase.to_owned(), vec![sample])),
        }
    }

    /// All repetitions of a phase.
    pub(crate) fn samples(&self, phase: &str) -> Option<&[Sample]> {
        let mut phases = self.phases.iter();
        let (_, samples) = phases.find(|(name, _)| name == phase)?;
        Some(samples)
    }

    /// Where it was measured, on what.
    pub(crate) fn machine(&self, options: &Options) -> String {
        let processor = processor().unwrap_or_else(|| "unknown processor".to_owned());
        format!(
            "{processor}, {} cores for servers, roles and clients; {}; NATS {NATS_VERSION}, Apache Cassandra \
             {CASSANDRA_VERSION}; other processes used {} % of the machine",
            self.cores,
            options.describe(),
            short(100.0 * self.others())
        )
    }

    /// The share of the machine that went to others while the clock ran.
    fn others(&self) -> f64 {
        let samples = || self.phases.iter().flat_map(|(_, samples)| samples);
        let others: Duration = samples().map(|sample| sample.others).sum();
        let span: Duration = samples().map(|sample| sample.span).sum();
        others.as_secs_f64() / (span.as_secs_f64() * count(self.cores as u64))
    }

    fn of<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a (String, Vec<Sample>)> {
        let wanted = |name: &String| names.contains(&name.as_str());
        self.phases.iter().filter(move |(name, _)| wanted(name))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = short(100.0 * self.others());
        writeln!(
            f,
            "{} Other processes used {others} % of the machine.\n",
            self.head
        )?;
        if let Some(idle) = &self.idle {
            writeln!(f, "{}\n", idle_line(idle))?;
        }
        let events = ["new events", "the same again", "one at a time", "fan-out"];
        table(f, "EVENT, CPU time for each", self.of(&events), &EVENTS)?;
        let live = ["one at a time", "fan-out"];
        table(f, "live", self.of(&live), &LIVE)?;
        let questions = self
            .phases
            .iter()
            .filter(|(name, _)| !events.contains(&name.as_str()));
        table(f, "REQ or COUNT, CPU time for each", questions, &QUESTIONS)
    }
}

fn table<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    phases: impl Iterator<Item = &'a (String, Vec<Sample>)>,
    columns: &[Column],
) -> fmt::Result {
    write!(f, "| {title} |")?;
    for (heading, _) in columns {
        write!(f, " {heading} |")?;
    }
    writeln!(f, "\n| --- |{}", " --- |".repeat(columns.len()))?;
    for (name, samples) in phases {
        write!(f, "| {name} |")?;
        for (_, figure) in columns {
            write!(f, " {} |", cell(samples.iter().map(figure).collect()))?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

/// `median (least–greatest)`; a dash where there is nothing to show.
fn cell(mut figures: Vec<f64>) -> String {
    figures.retain(|figure| figure.is_finite());
    figures.sort_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (figures.first(), figures.last()) else {
        return "–".to_owned();
    };
    let middle = figures.len() / 2;
    let median = if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    };
    let (median, least, greatest) = (short(median), short(*least), short(*greatest));
    if least == greatest {
        return median;
    }
    format!("{median} ({least}–{greatest})")
}

/// With about three digits.
fn short(figure: f64) -> String {
    match figure {
        0.0 => "0".to_owned(),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

fn idle_line(sample: &Sample) -> String {
    let share = |cpu: Duration| short(1_000.0 * cpu.as_secs_f64() / sample.wall.as_secs_f64());
    let Cpu {
        ingest,
        matcher,
        nats,
        cql,
        ..
    } = sample.cpu;
    format!(
        "Idle, in ms of CPU time a second: gateways {}, ingest {}, matchers {}, NATS {}, CQL {}.",
        share(sample.cpu.gateway()),
        share(ingest),
        share(matcher),
        share(nats),
        share(cql),
    )
}

fn per_count(sample: &Sample, cpu: Duration) -> f64 {
    micros(cpu) / count(sample.seen.count)
}

fn per_second(events: u64, sample: &Sample) -> f64 {
    count(events) / sample.wall.as_secs_f64()
}

fn ratio(part: u64, whole: u64) -> f64 {
    count(part) / count(whole)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Nothing takes no time: then it wasn't measured.
fn millis(duration: Duration) -> f64 {
    if duration.is_zero() {
        return f64::NAN;
    }
    duration.as_secs_f64() * 1e3
}

/// Counts here are far below 2^53.
fn count(number: u64) -> f64 {
    number as f64
}

/// The processor's name, as Linux knows it.
pub(crate) fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(figures: &[f64], expected: &str) {
        assert_eq!(cell(figures.to_vec()), expected);
    }

    #[test]
    fn a_cell_has_the_median_and_the_spread() {
        check(&[3.0, 1.0, 20.0], "3.00 (1.00–20.0)");
        check(&[1.0, 2.0], "1.50 (1.00–2.00)");
        check(&[123.4], "123");
        check(&[0.0, 0.0], "0");
    }

    #[test]
    fn what_cannot_be_divided_is_a_dash() {
        check(&[f64::NAN, f64::INFINITY], "–");
        check(&[], "–");
    }
}
