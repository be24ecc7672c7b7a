//! What a machine lacks skips a test with a line, but not in CI.

use crate::{Error, environment};

/// What could be started or installed; nothing, after saying so, where it can't be had on this machine.
///
/// # Panics
///
/// With the error if it is another one, or in CI, where nothing may be missing.
#[track_caller]
#[expect(
    clippy::print_stdout,
    reason = "for tests, whose runner shows it with them"
)]
pub fn or_skip<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error @ Error::Missing { .. }) if environment::variable("CI").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
