//! Waiting for states, lasting faults, and the output of tests.

use std::{thread, time::Duration};

pub use heliograph_sandbox::wait::within;

/// How long anything may take that should happen by itself: machines of continuous integration are
/// slow, and have other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until `look` finds something.
///
/// # Panics
///
/// If it hasn't after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// How long a fault lasts. Not for waiting for a state: that is [`until`].
#[expect(
    clippy::disallowed_methods,
    reason = "what lasts is the fault, which has no end that could be waited for"
)]
pub fn hold(time: Duration) {
    thread::sleep(time);
}

/// Into the output of the test.
#[expect(
    clippy::print_stdout,
    reason = "the output of tests, shown if they fail"
)]
pub fn say(text: &str) {
    println!("{text}");
}
