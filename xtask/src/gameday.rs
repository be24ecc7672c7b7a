//! `cargo xtask gameday`: every fault that can be staged on this machine, until its alert fires in a real
//! Prometheus, in real time.

use anyhow::{Result, ensure};
use clap::Args;

use crate::{servers, shell};

/// Read by the test that this runs: what rules' durations are divided by.
const FACTOR: &str = "HELIOGRAPH_GAMEDAY_FACTOR";

/// How the day goes.
#[derive(Debug, Args)]
pub(crate) struct GameDay {
    /// Divides every duration of the rules, so that the day is over sooner: 1 is real time, 20 is what
    /// `cargo xtask test` does.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    factor: f64,
}

/// Starts a cluster, a canary, load and Prometheus, breaks one thing after the other and waits for its
/// alert.
///
/// # Errors
///
/// An alert doesn't fire in time, or doesn't end; a server can't be had.
pub(crate) fn run(day: &GameDay) -> Result<()> {
    ensure!(day.factor >= 1.0, "--factor: expected 1 or more");
    let missing = servers::install()?;
    ensure!(missing.is_none(), "{}", missing.unwrap_or_default());
    let servers = servers::Shared::start()?;
    shell::run(
        shell::cargo("test")
            .args(["-p", "heliograph-observe", "--test", "observe", "--"])
            .args(["--ignored", "--exact", "game_day", "--nocapture"])
            .env(FACTOR, day.factor.to_string())
            .envs(servers.variables()),
    )
}
