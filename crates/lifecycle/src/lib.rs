//! Start and stop in order: phases that everyone can watch, tasks that are waited for, signals.
//!
//! What always holds: phases only advance (Running → Unready → Draining → Stopped); a task that was
//! spawned through [`Tasks`] is either over when [`stop`] returns or named in its report.
//!
//! Besides [`Failpoint`]s: places where tests have a process end without stopping at all.

mod failpoint;
mod shutdown;
mod signals;
mod stop;
mod tasks;

pub use failpoint::{
    Failpoint, FailpointError, VARIABLE as FAILPOINT_VARIABLE, arm as arm_failpoint,
};
pub use shutdown::{Phase, PhaseWatch, Shutdown};
pub use signals::{Signals, StopSignal};
pub use stop::{StopPlan, StopReport, stop};
pub use tasks::{LeftTasks, Tasks, tasks_panicked};
