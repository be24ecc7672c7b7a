//! What processes cost, read from `/proc`: CPU time and memory of a relay with all its children, and of
//! this process; what a directory takes on the disk.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Length of a clock tick of `/proc`: 1/100 s on every architecture that Rust has Linux for
/// (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// By how much the count of ticks may be ahead of the count by threads before threads that have ended
/// are the likelier reason than rounding.
const ROUNDING: Duration = Duration::from_millis(30);

/// Memory of a relay, all its processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident bytes, with pages of files that are mapped.
    pub resident: u64,
    /// Resident bytes that belong to no file.
    pub anonymous: u64,
}

/// What a relay has used and uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time in whole ticks, with threads and children that have ended.
    ticks: Duration,
    /// Time on a CPU by the scheduler's own count, in nanoseconds, of threads that live.
    threads: Duration,
    pub(crate) memory: Memory,
}

impl Usage {
    /// Adds up the process group and everything below its members, without those that are counted
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// There is no such process, or `/proc` isn't that of Linux.
    pub(crate) fn of_group(leader: u32, without: &[u32]) -> Result<Self> {
        let pids = members(leader)?.into_iter();
        Self::of(pids.filter(|pid| !without.contains(pid)))
    }

    /// Adds up some processes.
    ///
    /// # Errors
    ///
    /// None of them is there.
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut found = false;
        let mut usage = Self::default();
        for pid in pids {
            // A process that ends meanwhile has given its time to its parent.
            let Some(stat) = Stat::read(pid) else {
                continue;
            };
            found = true;
            usage.ticks += TICK * stat.ticks;
            usage.threads += time_of_threads(pid);
            if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
                usage.memory.resident += kibibytes(&status, "VmRSS:") * 1_024;
                usage.memory.anonymous += kibibytes(&status, "RssAnon:") * 1_024;
            }
        }
        found.then_some(usage).context("the relay has ended")
    }

    /// CPU time since an earlier look: by the scheduler's count, which is finer, unless threads ended
    /// in between and took theirs with them.
    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        let ticks = self.ticks.saturating_sub(before.ticks);
        let threads = self.threads.saturating_sub(before.threads);
        if threads + ROUNDING < ticks {
            ticks
        } else {
            threads
        }
    }
}

impl Memory {
    /// Adds that of other processes.
    pub(crate) fn add(&mut self, other: Self) {
        self.resident += other.resident;
        self.anonymous += other.anonymous;
    }
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of children of this process that have ended and were waited for, with theirs.
pub(crate) fn cpu_of_ended_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    let stat = Stat::parse(&stat).context("/proc/self/stat")?;
    Ok(TICK * stat.ended)
}

/// Model of the CPU, number of cores, memory and kernel, as far as they are told.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown CPU", |rest| {
        rest.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = kibibytes(&read("/proc/meminfo"), "MemTotal:") / 1_024;
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{model}, {cores} cores, {memory} MiB, Linux {}",
        kernel.trim()
    )
}

/// Whether a process runs. One that has ended and waits for its parent to hear of it doesn't.
pub(crate) fn living(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| !stat.is_zombie)
}

/// What is needed of `/proc/<pid>/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// It only waits for its parent to hear of it.
    is_zombie: bool,
    parent: u32,
    group: u32,
    /// User and system time, with children that have ended.
    ticks: u32,
    /// Of that, the children's.
    ended: u32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in parentheses may hold anything, other parentheses too.
    fn parse(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Field 3, the state, is the first here.
        let number = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
        let ended = number(16)?.checked_add(number(17)?)?;
        Some(Self {
            is_zombie: ["Z", "X"].contains(fields.first()?),
            parent: number(4)?,
            group: number(5)?,
            ticks: number(14)?.checked_add(number(15)?)?.checked_add(ended)?,
            ended,
        })
    }
}

/// The members of a process group and all their descendants.
///
/// # Errors
///
/// There is no `/proc`.
pub(crate) fn members(leader: u32) -> Result<BTreeSet<u32>> {
    let entries = fs::read_dir("/proc").context("/proc")?;
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stats: Vec<(u32, Stat)> = pids
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect();
    Ok(family(leader, &stats))
}

fn family(leader: u32, stats: &[(u32, Stat)]) -> BTreeSet<u32> {
    let mut members = BTreeSet::new();
    loop {
        let before = members.len();
        for (pid, stat) in stats {
            if *pid == leader || stat.group == leader || members.contains(&stat.parent) {
                members.insert(*pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

/// The first number of each thread's `schedstat`: nanoseconds on a CPU.
fn time_of_threads(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let times = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse().ok()
    });
    times.map(Duration::from_nanos).sum()
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_follow_the_name_whatever_it_holds() {
        let stat = "12 (a) b (c) S 3 4 5 6 7 8 9 10 11 12 70 8 5 6 20 0 4 0";
        let expected = Stat {
            is_zombie: false,
            parent: 3,
            group: 4,
            ticks: 89,
            ended: 11,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        let ended = Stat::parse(&stat.replace(" S ", " Z "));
        assert!(ended.is_some_and(|stat| stat.is_zombie));
        assert_eq!(Stat::parse("12 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_family_is_the_group_and_all_below_it() {
        let stat = |parent, group| Stat {
            is_zombie: false,
            parent,
            group,
            ticks: 0,
            ended: 0,
        };
        // 12 made a group of its own, 13 is its child; 14 has lost its parent; 20 is a stranger.
        let stats = [
            (13, stat(12, 12)),
            (10, stat(1, 10)),
            (11, stat(10, 10)),
            (12, stat(11, 12)),
            (14, stat(1, 10)),
            (20, stat(1, 20)),
        ];
        assert_eq!(family(10, &stats), BTreeSet::from([10, 11, 12, 13, 14]));
    }

    #[test]
    fn the_finer_count_is_taken_unless_threads_have_ended() {
        let usage = |ticks, threads| Usage {
            ticks: Duration::from_millis(ticks),
            threads: Duration::from_micros(threads),
            ..Usage::default()
        };
        let before = usage(100, 95_000);
        assert_eq!(
            usage(110, 101_500).cpu_since(&before),
            Duration::from_micros(6_500)
        );
        assert_eq!(
            usage(600, 20_000).cpu_since(&before),
            Duration::from_millis(500)
        );
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        assert!(own_cpu() > Duration::ZERO);
        let usage = Usage::of_group(std::process::id(), &[]).unwrap();
        assert!(usage.threads > Duration::ZERO);
        assert!(usage.memory.resident >= usage.memory.anonymous);
        assert!(usage.memory.anonymous > 0);
    }

    #[test]
    fn the_machine_is_described() {
        assert!(machine().contains(" cores, "), "{}", machine());
    }
}
