//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first pause at most: who was sent away by a gateway that stops is back at once.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow until something has worked.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The connection was of use: start again with short pauses.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next pause: any length up to twice the one before (full jitter), 5 s and a quarter of
    /// the deadline, so that probes on their way are found once the relay is back.
    pub(crate) fn pause(&mut self, deadline: Duration) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.attempts.min(16));
        self.attempts += 1;
        let longest = longest.min(LONGEST).min(deadline / 4);
        longest.mul_f64(fraction())
    }
}

/// Anything from 0 to 1.
fn fraction() -> f64 {
    let mut random = [0; 4];
    // Without random numbers the pause is the longest one.
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX),
        Err(_none) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded_by_the_time_since_the_last_success() {
        let mut backoff = Backoff::default();
        let deadline = Duration::from_secs(60);
        for attempt in 0..40 {
            let pause = backoff.pause(deadline);
            let longest = FIRST * (1 << attempt.min(6));
            assert!(pause <= longest.min(LONGEST), "{attempt}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause(deadline) <= FIRST);
    }

    #[test]
    fn no_pause_outlasts_the_probes_on_their_way() {
        let mut backoff = Backoff::default();
        let deadline = Duration::from_secs(1);
        assert!((0..40).all(|_| backoff.pause(deadline) <= deadline / 4));
    }

    #[test]
    fn pauses_differ() {
        let pause = || Backoff { attempts: 9 }.pause(LONGEST * 4);
        let first = pause();
        assert!((0..16).any(|_| pause() != first));
    }
}
