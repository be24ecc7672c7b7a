//! The version before this one, and members that become it or stop being it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use heliograph_sandbox::cluster::Role;
use heliograph_testkit::process::option;

use crate::bed::{Bed, say};

/// Names the relay of the commit before; `cargo xtask test` builds it.
const PREVIOUS: &str = "HELIOGRAPH_PREVIOUS_BIN";

/// The relay of the version before this one. `None` after saying so where it isn't given.
///
/// # Panics
///
/// If it isn't given and `CI` is set.
#[must_use]
pub fn previous() -> Option<PathBuf> {
    if let Some(path) = option(PREVIOUS) {
        return Some(PathBuf::from(path));
    }
    let why = format!("{PREVIOUS} isn't set: `cargo xtask test --only test` does it");
    assert!(option("CI").is_none(), "{why}");
    say(&format!("skipped: {why}"));
    None
}

impl Bed {
    /// Replaces a member by another build of it, as a deployment does: SIGTERM, its end, a new start, ready.
    ///
    /// # Panics
    ///
    /// If it ends badly, isn't ready in time, or what runs then isn't that build.
    #[track_caller]
    pub fn replace(&self, role: Role, number: usize, build: &Path) {
        let status = self.terminate(role, number);
        assert_eq!(status.code(), Some(0), "{}", self.output(role, number));
        let set = self.set_build(role, number, build);
        set.unwrap_or_else(|error| panic!("{error}"));
        self.restart(role, number);
        let runs = fs::read_link(format!("/proc/{}/exe", self.member(role, number).pid));
        let wanted = build.canonicalize();
        assert_eq!(runs.ok(), wanted.ok(), "{} {number}", role.subcommand());
    }
}
