//! Notices that the configuration file has changed, for platforms that replace files and send no
//! signal, such as mounted objects of Kubernetes.
//!
//! A change is told as SIGHUP to this very process, so that there is one way to reload.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getpid, kill_process};

/// How often the file is read. Kubernetes takes a minute to replace it, so this adds little.
const INTERVAL: Duration = Duration::from_secs(5);

/// A file and what was in it last.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    seen: Vec<u8>,
}

impl Watched {
    /// Remembers what is in the file now. Taken before the configuration is loaded, no change is
    /// missed.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let seen = std::fs::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            seen,
        })
    }

    /// Whether there is something else in it than last time. One that can't be read is between two
    /// states.
    fn has_changed(&mut self) -> bool {
        match std::fs::read(&self.path) {
            Ok(now) if now != self.seen => {
                self.seen = now;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Looks at it from now on, as long as the process runs.
    ///
    /// # Errors
    ///
    /// No thread is to be had.
    pub(crate) fn follow(mut self) -> io::Result<()> {
        let look = move || {
            loop {
                wait(INTERVAL);
                if self.has_changed()
                    && let Err(error) = kill_process(getpid(), Signal::HUP)
                {
                    tracing::warn!(%error, "failed to say that the configuration has changed");
                }
            }
        };
        // Not joined: it holds nothing, and ends with the process.
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(look)?;
        Ok(())
    }
}

/// Waits; nobody wakes this thread, but the system may.
fn wait(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_change_is_seen_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heliograph.toml");
        fs::write(&path, "a").unwrap();
        let mut file = Watched::new(&path).unwrap();
        assert!(!file.has_changed());
        fs::write(&path, "b").unwrap();
        assert!(file.has_changed());
        assert!(!file.has_changed());
    }

    /// Kubernetes turns a link over: `heliograph.toml` → `..data/heliograph.toml`, `..data` → a folder.
    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (folder, text) in [("1", "a"), ("2", "b")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("heliograph.toml"), text).unwrap();
        }
        symlink("1", at("..data")).unwrap();
        symlink("..data/heliograph.toml", at("heliograph.toml")).unwrap();
        let mut file = Watched::new(&at("heliograph.toml")).unwrap();
        symlink("2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert!(file.has_changed());
    }

    #[test]
    fn a_file_that_is_away_for_a_while_is_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heliograph.toml");
        fs::write(&path, "a").unwrap();
        let mut file = Watched::new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!file.has_changed());
        fs::write(&path, "a").unwrap();
        assert!(!file.has_changed());
    }
}
