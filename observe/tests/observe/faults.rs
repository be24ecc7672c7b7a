//! Faults that are staged, one group after the other, and the alerts that they have.

use std::time::{Duration, Instant};

use heliograph_faults::bed::say;
use heliograph_observe::{
    live,
    load::{Crowd, shout, stalled},
    stand::{CLUSTER, Stand},
};
use heliograph_sandbox::{cluster::Role, prometheus::Alert, wait};

use crate::restart::replace;

/// What a page may take.
const PAGE: Duration = Duration::from_secs(5 * 60);

/// What a ticket about a target that is gone may take: it waits for 15 minutes.
const GONE: Duration = Duration::from_secs(17 * 60);

/// What a ticket about slowness may take: a window and a wait of 5 minutes each.
const SLOW: Duration = Duration::from_secs(11 * 60);

/// What doesn't shrink with time: scrapes, time-outs, leases.
const DETECTION: Duration = Duration::from_secs(15);

/// How long an alert may last after its fault: the longest window of its cause, and what came late to it.
const AFTERWARDS: Duration = Duration::from_secs(12 * 60);

/// How late the database's answers come.
const DATABASE_DELAY: Duration = Duration::from_millis(450);

/// What a reader that stops is sent, for each of its subscriptions.
const SHOUT_BYTES: usize = 200_000;

/// What fires for late deliveries.
const DELIVERY: &str = "HeliographDeliveryBudgetBurn";

/// Readers that stop.
const STALLED: usize = 12;

/// How often a process has to start to be noticed.
const CRASHES: usize = 3;

/// How fast time goes for the rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Day {
    pub(crate) factor: f64,
}

#[track_caller]
pub(crate) fn are_noticed(stand: &mut Stand, day: Day) {
    // First, while nothing else makes deliveries late.
    day.readers_stop(stand);
    day.members_gone(stand);
    day.ingest_stopped(stand);
    day.nothing_delivered(stand);
    day.database_slow(stand);
    day.crashes(stand);
}

impl Day {
    /// Readers stop: they are told of, and nobody is woken for what they didn't read.
    fn readers_stop(self, stand: &Stand) {
        let alerts = [("HeliographSlowConsumers", SLOW)];
        let start = live::now(&stand.prometheus);
        let readers = self.stage(stand, &alerts, |stand| {
            let readers = stalled(stand.bed.gateway(0), STALLED);
            shout(stand.bed.gateway(1), SHOUT_BYTES);
            readers
        });
        drop(readers);
        self.over(stand, &alerts);
        let fired = live::fired_since(&stand.prometheus, start);
        let late = fired.iter().find(|alert| alert.contains(DELIVERY));
        assert_eq!(late, None, "slow readers are nobody else's lateness");
    }

    /// A gateway, a matcher and the canary don't come back; clients of the gateway find no room elsewhere.
    fn members_gone(self, stand: &mut Stand) {
        let alerts = [
            ("HeliographConnectBudgetBurn", PAGE),
            ("HeliographConnectionsNearLimit", SLOW),
            ("HeliographGatewayDown", GONE),
            ("HeliographMatcherDown", GONE),
            ("HeliographCanaryAbsent", GONE),
        ];
        let crowd = self.stage(stand, &alerts, |stand| {
            stand.bed.kill(Role::Gateway, 2);
            stand.bed.kill(Role::Matcher, 1);
            stand.kill_canary();
            Crowd::start(stand.bed.gateways()[..2].to_vec())
        });
        drop(crowd);
        stand.bed.restart(Role::Matcher, 1);
        stand.bed.restart(Role::Gateway, 2);
        stand.restart_canary();
        // The budget burns in a window of half an hour too.
        self.over(stand, &alerts[1..]);
    }

    /// One worker is dead, the other one hangs.
    fn ingest_stopped(self, stand: &Stand) {
        let alerts = [
            ("HeliographIngestStopped", PAGE),
            ("HeliographCanaryMissing", PAGE),
            ("HeliographPublishBudgetBurn", PAGE),
        ];
        self.stage(stand, &alerts, |stand| {
            stand.bed.kill(Role::Ingest, 0);
            stand.bed.pause(Role::Ingest, 1);
        });
        stand.bed.resume(Role::Ingest, 1);
        stand.bed.restart(Role::Ingest, 0);
        self.over(stand, &alerts[..2]);
    }

    /// Both matchers hang: events are stored and reach nobody.
    fn nothing_delivered(self, stand: &Stand) {
        let alerts = [("HeliographCanaryMissing", PAGE)];
        self.stage(stand, &alerts, |stand| {
            stand.bed.pause(Role::Matcher, 0);
            stand.bed.pause(Role::Matcher, 1);
        });
        stand.bed.resume(Role::Matcher, 0);
        stand.bed.resume(Role::Matcher, 1);
        self.over(stand, &alerts);
    }

    /// The database answers late.
    fn database_slow(self, stand: &Stand) {
        let alerts = [("HeliographStoreSlow", SLOW)];
        self.stage(stand, &alerts, |stand| {
            stand.database.slow(DATABASE_DELAY, Duration::ZERO);
        });
        stand.database.heal();
        self.over(stand, &alerts);
    }

    /// A worker dies again and again; the other one does its work.
    fn crashes(self, stand: &Stand) {
        let alerts = [("HeliographRestarts", PAGE)];
        self.stage(stand, &alerts, |stand| {
            for _ in 0..CRASHES {
                replace(stand, Role::Ingest, 1, |bed| {
                    bed.kill(Role::Ingest, 1);
                });
            }
        });
    }

    /// Breaks something while none of these alerts fires, and waits until all do.
    #[track_caller]
    fn stage<T>(
        self,
        stand: &Stand,
        alerts: &[(&str, Duration)],
        fault: impl FnOnce(&Stand) -> T,
    ) -> T {
        self.over(stand, alerts);
        let broken = fault(stand);
        let began = Instant::now();
        let mut waiting = alerts.to_vec();
        wait::within(GONE * 2, "end of the wait", || {
            let alerts = live::alerts(&stand.prometheus)?;
            waiting.retain(|(name, within)| {
                let fires = |alert: &&Alert| live::fires(alert, name, CLUSTER);
                let Some(alert) = alerts.iter().find(fires) else {
                    let patience = within.div_f64(self.factor) + DETECTION;
                    let waited = began.elapsed();
                    assert!(
                        waited < patience,
                        "no alert {name} after {waited:?}: {alerts:#?}"
                    );
                    return true;
                };
                let took = began.elapsed().as_secs_f64();
                let minutes = took * self.factor / 60.0;
                let severity = &alert.labels["severity"];
                say(&format!(
                    "    {name} ({severity}) after {took:.1} s, {minutes:.1} min to the rules"
                ));
                false
            });
            waiting.is_empty().then_some(())
        });
        broken
    }

    /// Waits until none of these alerts fires.
    #[track_caller]
    fn over(self, stand: &Stand, alerts: &[(&str, Duration)]) {
        let patience = AFTERWARDS.div_f64(self.factor) + DETECTION;
        let start = Instant::now();
        for (name, _) in alerts {
            live::wait_until_ends(&stand.prometheus, CLUSTER, name, patience);
        }
        let took = start.elapsed().as_secs_f64();
        say(&format!("    silent after {took:.1} s"));
    }
}
