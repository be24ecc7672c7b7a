//! Waiting for a state, with a deadline.

use std::{
    convert::Infallible,
    thread,
    time::{Duration, Instant},
};

/// How often a state is looked at: often enough not to be noticed, and cheap beside starting a
/// process.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until there is an answer, `patience` is over or asking fails; `None` says it took too long.
/// Asks once at least.
///
/// # Errors
///
/// What `ask` returns.
pub fn until<T, E>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if start.elapsed() >= patience {
            return Ok(None);
        }
        pause();
    }
}

/// Asks until there is an answer, which has to come.
///
/// # Panics
///
/// If none has after `patience`.
#[track_caller]
pub fn within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let answer = until(patience, || Ok::<_, Infallible>(ask()));
    let Ok(answer) = answer;
    answer.unwrap_or_else(|| panic!("no {what} after {patience:?}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that polls, between two looks at the state of another process"
)]
fn pause() {
    thread::sleep(INTERVAL);
}
