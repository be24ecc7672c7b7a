//! What the system grants this process: memory and open files.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The memory that this process may use, in bytes: the least limit of its control group and of those
/// around it, or what the machine has. `None` where the system doesn't say.
#[must_use]
pub fn memory_limit_bytes() -> Option<u64> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = limit_files(&cgroup)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_memory(&text));
    group.chain(machine).min()
}

/// Where the limits of a process with this `/proc/self/cgroup` may stand. In a container its own
/// group is the root; without one it is a path below (`0::/system.slice/x.service`).
fn limit_files(cgroup: &str) -> Vec<String> {
    const ROOT: &str = "/sys/fs/cgroup";
    let mut files = vec![format!("{ROOT}/memory/memory.limit_in_bytes")];
    let mut path = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("");
    loop {
        let group = path.trim_end_matches('/');
        files.push(format!("{ROOT}{group}/memory.max"));
        match group.rsplit_once('/') {
            Some((parent, _)) => path = parent,
            None => return files,
        }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// How many files and sockets this process may have open; `None` is no limit.
#[must_use]
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the limit of open files as far as the system allows, and returns it; `None` is no limit.
/// Where that is refused the limit stays as it is.
pub fn raise_open_files_limit() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "limit of open files stays");
            open_files_limit()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_read_in_bytes() {
        assert_eq!(
            total_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"),
            Some(2_097_152)
        );
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_limits_of_every_enclosing_group_count() {
        let files = limit_files("0::/system.slice/relay.service\n");
        for group in ["/system.slice/relay.service", "/system.slice", ""] {
            let file = format!("/sys/fs/cgroup{group}/memory.max");
            assert!(files.contains(&file), "{file}");
        }
        assert!(limit_files("").contains(&"/sys/fs/cgroup/memory.max".to_owned()));
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_its_maximum() {
        assert_eq!(raise_open_files_limit(), open_files_limit());
        assert_eq!(open_files_limit(), getrlimit(Resource::Nofile).maximum);
    }
}
