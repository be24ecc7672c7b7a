//! The sequence of stopping.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{LeftTasks, Phase, Shutdown, Tasks};

/// How long stopping may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopPlan {
    /// Time in [`Phase::Unready`].
    pub unready: Duration,
    /// Time from the start of stopping to [`Phase::Stopped`], whatever still runs.
    pub grace: Duration,
}

/// How stopping went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopReport {
    /// The tasks that were left, none in a clean stop.
    pub left: LeftTasks,
    /// Whether it was cut short by a second signal.
    pub forced: bool,
}

/// Stops in order: Unready for its time, then Draining until every task is over, the grace period
/// ends or `force` completes, then Stopped. Tasks watch the phases and end by themselves; those
/// that don't are in the report and end with the runtime.
pub async fn stop(
    shutdown: &Shutdown,
    tasks: &Tasks,
    plan: StopPlan,
    force: impl Future,
) -> StopReport {
    let deadline = Instant::now() + plan.grace;
    let in_order = async {
        shutdown.advance(Phase::Unready);
        // A cluster's balancers need this time even if no connection is open.
        sleep(plan.unready.min(plan.grace)).await;
        shutdown.advance(Phase::Draining);
        tasks
            .wait(deadline.saturating_duration_since(Instant::now()))
            .await
    };
    // In order first: if both are done, nothing had to be forced.
    let (left, forced) = tokio::select! {
        biased;
        left = in_order => (left, false),
        _forced = force => (tasks.left(), true),
    };
    shutdown.advance(Phase::Stopped);
    if left.count() > 0 {
        tracing::warn!(tasks = left.count(), %left, forced, "stopped with tasks left");
    }
    StopReport { left, forced }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use super::*;

    const PLAN: StopPlan = StopPlan {
        unready: Duration::from_secs(10),
        grace: Duration::from_secs(150),
    };

    type Seen = Arc<Mutex<Vec<(Phase, u64)>>>;

    /// Notes each phase with the second in which it was reached.
    fn observe(shutdown: &Shutdown) -> Seen {
        let seen = Seen::default();
        let (mut watch, started) = (shutdown.watch(), Instant::now());
        let notes = Arc::clone(&seen);
        tokio::runtime::Handle::current().spawn(async move {
            for phase in [Phase::Unready, Phase::Draining, Phase::Stopped] {
                let reached = watch.reached(phase).await;
                notes
                    .lock()
                    .unwrap()
                    .push((reached, started.elapsed().as_secs()));
            }
        });
        seen
    }

    async fn settle(seen: &Seen) -> Vec<(Phase, u64)> {
        while seen.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        seen.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn phases_come_in_order_and_end_with_the_last_task() {
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let seen = observe(&shutdown);
        let mut watch = shutdown.watch();
        tasks.spawn("connection", async move {
            watch.reached(Phase::Draining).await;
            sleep(Duration::from_secs(5)).await;
        });
        let report = stop(&shutdown, &tasks, PLAN, pending::<()>()).await;
        assert_eq!(
            report,
            StopReport {
                left: LeftTasks::default(),
                forced: false
            }
        );
        assert_eq!(
            settle(&seen).await,
            [
                (Phase::Unready, 0),
                (Phase::Draining, 10),
                (Phase::Stopped, 15)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stays_is_named_when_the_grace_period_ends() {
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let seen = observe(&shutdown);
        tasks.spawn("stubborn", pending::<()>());
        let report = stop(&shutdown, &tasks, PLAN, pending::<()>()).await;
        assert_eq!(report.left, LeftTasks(vec![("stubborn", 1)]));
        assert_eq!(settle(&seen).await[2], (Phase::Stopped, 150));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_cuts_every_phase_short() {
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        tasks.spawn("stubborn", pending::<()>());
        let started = Instant::now();
        let report = stop(&shutdown, &tasks, PLAN, sleep(Duration::from_secs(2))).await;
        assert!(report.forced);
        assert_eq!(report.left.count(), 1);
        assert_eq!(
            (shutdown.phase(), started.elapsed().as_secs()),
            (Phase::Stopped, 2)
        );
    }
}
