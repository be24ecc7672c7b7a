//! Which core the generator has: the last one, and everything that it starts the others.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The generator's core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Core(usize);

/// Takes the last core from this thread, so that processes started from now on don't have it either.
///
/// # Errors
///
/// There is one core only.
pub(super) fn leave_last_core() -> Result<Core> {
    let mut cores = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| cores.is_set(*core));
    let last = last
        .filter(|_| cores.count() > 1)
        .context("two cores are needed to keep the generator apart; or say --unpinned")?;
    cores.unset(last);
    sched_setaffinity(None, &cores)?;
    Ok(Core(last))
}

/// Gives this thread the generator's core, if it has one of its own.
///
/// # Errors
///
/// It has gone.
pub(super) fn take(core: Option<Core>) -> Result<()> {
    if let Some(Core(core)) = core {
        let mut own = CpuSet::new();
        own.set(core);
        sched_setaffinity(None, &own)?;
    }
    Ok(())
}
