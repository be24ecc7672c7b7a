//! Failures one after another, of which the log shows the beginning and the end.

use heliograph_telemetry::RateLimit;

/// Beginnings that are logged: one in so many seconds.
const LOG_EVERY_SECS: u64 = 10;

/// A series of failures, or none.
#[derive(Debug)]
pub(crate) struct Run {
    failures: u64,
    is_logged: bool,
    limit: RateLimit,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            failures: 0,
            is_logged: false,
            limit: RateLimit::every(LOG_EVERY_SECS),
        }
    }
}

impl Run {
    /// Counts a failure; whether it begins a run that is to be logged.
    pub(crate) fn fail(&mut self) -> bool {
        self.failures += 1;
        if self.failures == 1 {
            self.is_logged = self.limit.pass().is_some();
            return self.is_logged;
        }
        false
    }

    /// It works; after how many failures, if their beginning was logged.
    pub(crate) fn end(&mut self) -> Option<u64> {
        let failures = std::mem::take(&mut self.failures);
        (failures > 0 && self.is_logged).then_some(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_logged_at_both_ends() {
        let mut run = Run::default();
        assert_eq!(run.end(), None);
        assert!(run.fail() && !run.fail() && !run.fail());
        assert_eq!(run.end(), Some(3));
        assert_eq!(run.end(), None);
    }

    #[test]
    fn runs_that_follow_each_other_quickly_are_logged_once() {
        let mut run = Run::default();
        assert!(run.fail());
        run.end();
        assert!(!run.fail());
        assert_eq!(run.end(), None);
    }
}
