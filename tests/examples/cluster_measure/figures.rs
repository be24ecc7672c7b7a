//! What a phase cost: CPU time from `/proc`, rows and tiers from the matchers' metrics.

use std::{
    fs,
    ops::{AddAssign, Sub},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::latency::Latency;

/// Length of a clock tick of `/proc`: 1/100 s on every architecture that Rust has Linux for
/// (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Each gateway.
    pub(crate) gateways: Vec<Duration>,
    /// All ingest workers.
    pub(crate) ingest: Duration,
    /// All matchers.
    pub(crate) matcher: Duration,
    /// All NATS servers.
    pub(crate) nats: Duration,
    /// All nodes of the database.
    pub(crate) cql: Duration,
    /// This process.
    pub(crate) client: Duration,
}

impl Cpu {
    /// All gateways.
    pub(crate) fn gateway(&self) -> Duration {
        self.gateways.iter().sum()
    }

    /// The gateway at which clients subscribe.
    pub(crate) fn last_gateway(&self) -> Duration {
        self.gateways.last().copied().unwrap_or_default()
    }

    /// Everything but this process.
    pub(crate) fn servers(&self) -> Duration {
        self.gateway() + self.ingest + self.matcher + self.nats + self.cql
    }
}

impl Sub for &Cpu {
    type Output = Cpu;

    fn sub(self, before: &Cpu) -> Cpu {
        let gateways = self.gateways.iter().zip(&before.gateways);
        Cpu {
            gateways: gateways
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
            ingest: self.ingest.saturating_sub(before.ingest),
            matcher: self.matcher.saturating_sub(before.matcher),
            nats: self.nats.saturating_sub(before.nats),
            cql: self.cql.saturating_sub(before.cql),
            client: self.client.saturating_sub(before.client),
        }
    }
}

/// What matchers counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) scanned: f64,
    pub(crate) returned: f64,
    /// Answers that needed the recent tier alone.
    pub(crate) recent: f64,
    /// Answers that needed the archive too.
    pub(crate) archive: f64,
}

impl Rows {
    /// Reads the metrics page of one matcher.
    ///
    /// # Errors
    ///
    /// A metric isn't there.
    pub(crate) fn read(page: &str) -> Result<Self> {
        let value = |series: &str| metric(page, series);
        Ok(Self {
            scanned: value("heliograph_req_rows_scanned_sum")?,
            returned: value("heliograph_req_rows_returned_sum")?,
            recent: value(r#"heliograph_matcher_answers_total{tier="recent"}"#)?,
            archive: value(r#"heliograph_matcher_answers_total{tier="archive"}"#)?,
        })
    }
}

impl AddAssign for Rows {
    fn add_assign(&mut self, other: Self) {
        self.scanned += other.scanned;
        self.returned += other.returned;
        self.recent += other.recent;
        self.archive += other.archive;
    }
}

impl Sub for Rows {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            scanned: self.scanned - before.scanned,
            returned: self.returned - before.returned,
            recent: self.recent - before.recent,
            archive: self.archive - before.archive,
        }
    }
}

/// What clients saw in one phase.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Events published, questions answered.
    pub(crate) count: u64,
    /// Events received.
    pub(crate) received: u64,
    /// Events that weren't taken because a newer version is stored.
    pub(crate) superseded: u64,
    /// Events that the gateway waited for in vain: what is too slow for its patience.
    pub(crate) late: u64,
    /// Questions that ended with CLOSED.
    pub(crate) closed: u64,
    /// Time to OK, EOSE or the count.
    pub(crate) answer: Latency,
    /// Time from publishing to delivery.
    pub(crate) live: Latency,
}

/// One measured phase.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) seen: Seen,
    pub(crate) cpu: Cpu,
    pub(crate) rows: Rows,
    /// CQL statements that ingest workers and matchers sent.
    pub(crate) statements: f64,
    pub(crate) wall: Duration,
    /// From rest to rest, and what other processes of the machine used of it.
    pub(crate) span: Duration,
    pub(crate) others: Duration,
}

/// The value of one series, written as the page has it.
///
/// # Errors
///
/// It isn't there, or no number.
pub(crate) fn metric(page: &str, series: &str) -> Result<f64> {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .with_context(|| format!("no metric {series}"))?;
    value.parse().with_context(|| format!("{series}: {value}"))
}

/// CPU time that the machine has used since its start, by whatever process.
///
/// # Errors
///
/// `/proc` isn't that of Linux.
pub(crate) fn cpu_of_machine() -> Result<Duration> {
    let path = "/proc/stat";
    let stat = fs::read_to_string(path).context(path)?;
    busy_ticks(&stat).map(|ticks| TICK * ticks).context(path)
}

/// The first line without idle time and waiting, which are its fourth and fifth number (proc(5)). Time
/// of guests is in the others.
fn busy_ticks(stat: &str) -> Option<u32> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers = numbers.split_ascii_whitespace().take(8).enumerate();
    let busy = numbers.filter(|(index, _)| !matches!(index, 3 | 4));
    let busy: Option<u64> = busy.map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    u32::try_from(busy?).ok()
}

/// CPU time of a process since its start: by the scheduler's count of its threads, which is finer, or
/// by ticks if threads have ended and taken theirs with them.
///
/// # Errors
///
/// It has ended.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let ticks = ticks(&stat).map(|ticks| TICK * ticks).context(path)?;
    Ok(ticks.max(cpu_of_threads(pid)))
}

/// The first number of each thread's `schedstat`, in nanoseconds.
fn cpu_of_threads(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let nanos = threads.flatten().filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The sum over all labels of a series, 0 if there is none.
pub(crate) fn sum(page: &str, name: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let plain = series.split_once('{').map_or(series, |(name, _)| name);
        (plain == name).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

/// Fields 14 and 15, user and system time (proc(5)). The name before them may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_follow_the_name_whatever_it_holds() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 70 8 0 0 20 0 4 0";
        assert_eq!(ticks(stat), Some(78));
        assert_eq!(ticks("12 (a) S 1"), None);
    }

    #[test]
    fn the_time_of_the_machine_is_without_idling_and_waiting() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), Some(63));
        assert_eq!(busy_ticks("cpu0 1"), None);
    }

    #[test]
    fn the_time_of_this_process_is_part_of_that_of_the_machine() {
        let own = cpu_of(std::process::id()).unwrap();
        assert!(own <= cpu_of_machine().unwrap());
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "a_total_more 7\na_total 3\nb{tier=\"recent\"} 4\n";
        assert_eq!(metric(page, "a_total").unwrap(), 3.0);
        assert_eq!(metric(page, "b{tier=\"recent\"}").unwrap(), 4.0);
        assert!(metric(page, "c").is_err());
    }

    #[test]
    fn a_sum_is_over_all_labels_of_that_name() {
        let page = "a_total{x=\"1 2\"} 4\na_total{x=\"b\"} 3\na_total_more 9\n# a_total 1\n";
        assert_eq!(sum(page, "a_total"), 7.0);
        assert_eq!(sum(page, "b"), 0.0);
    }

    #[test]
    fn what_a_phase_cost_is_the_difference() {
        let at = |secs: u64| Cpu {
            gateways: vec![Duration::from_secs(secs), Duration::from_secs(2 * secs)],
            cql: Duration::from_secs(secs),
            ..Cpu::default()
        };
        let cost = &at(5) - &at(2);
        assert_eq!(cost.gateway(), Duration::from_secs(9));
        assert_eq!(cost.last_gateway(), Duration::from_secs(6));
        assert_eq!(cost.servers(), Duration::from_secs(12));
    }
}
