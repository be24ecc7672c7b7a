//! When the next operation is due: at once when a place becomes free, or by a clock that waits for
//! nobody.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

/// Below this a wait spins: the timer has a resolution of a millisecond, which is as much as is
/// measured.
const SPIN: Duration = Duration::from_micros(1_500);

/// Operations a second from a common start, whether or not those before them are answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Instant,
    per_second: u32,
}

impl Schedule {
    pub(super) fn start(per_second: u32) -> Self {
        Self {
            start: Instant::now(),
            per_second: per_second.max(1),
        }
    }

    /// When operation `nth` is due.
    pub(super) fn due(&self, nth: u64) -> Instant {
        self.start + Duration::from_secs_f64(nth as f64 / f64::from(self.per_second))
    }
}

/// Waits for a time to the resolution of the timer, about a millisecond late.
pub(super) async fn wait(due: Instant) {
    sleep_until(due.into()).await;
}

/// Waits for a time exactly, with a core of its own for the last millisecond.
pub(super) async fn wait_exactly(due: Instant) {
    if let Some(early) = due.checked_sub(SPIN) {
        sleep_until(early.into()).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

/// Hands out numbers below `count` to connections that share them.
#[derive(Debug)]
pub(super) struct Numbers {
    next: Cell<u64>,
    count: u64,
}

impl Numbers {
    pub(super) fn below(count: u64) -> Self {
        Self {
            next: Cell::new(0),
            count,
        }
    }

    pub(super) fn take(&self) -> Option<u64> {
        let next = self.next.get();
        (next < self.count).then(|| {
            self.next.set(next + 1);
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_goes_on_whatever_happens() {
        let schedule = Schedule::start(200);
        assert_eq!(schedule.due(0), schedule.start);
        assert_eq!(
            schedule.due(300) - schedule.start,
            Duration::from_millis(1_500)
        );
    }

    #[test]
    fn each_number_is_handed_out_once() {
        let numbers = Numbers::below(2);
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take()],
            [Some(0), Some(1), None]
        );
    }

    #[test]
    fn nothing_is_sent_early() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let due = Instant::now() + Duration::from_millis(5);
            wait_exactly(due).await;
            assert!(Instant::now() >= due);
        });
    }
}
