//! What is nobody's concern: every process is replaced, one after the other, as a deployment does; one of each role
//! is away for ten minutes, one after the other.

use std::{collections::BTreeSet, time::Duration};

use heliograph_faults::bed::{Bed, hold, until};
use heliograph_observe::{
    live,
    stand::{CANARY, Stand},
};
use heliograph_sandbox::cluster::Role;

/// Alerts over days, of which a run has seen nothing but its own first minutes.
const LONG: [&str; 1] = ["HeliographBudgetSlowBurn"];

/// Alerts about a disk that the machine's other programs fill and empty too: in an hour that takes three minutes, their
/// burst of half a minute is a day's trend. `deploy/prometheus/tests/disk.yaml` holds both rules to their word.
const OF_THE_MACHINE: [&str; 2] = ["HeliographDiskFullSoon", "HeliographDiskFilling"];

/// How long one process may be away.
const AWAY: Duration = Duration::from_secs(10 * 60);

/// The longest wait of a rule for what it sees, with a window before it: what happened before has had its alert.
const AFTERWARDS: Duration = Duration::from_secs(17 * 60);

/// Every process ends as it is told to, and starts again.
#[track_caller]
pub(crate) fn roll(stand: &mut Stand) {
    for role in Role::ALL {
        for number in 0..stand.bed.members(role).len() {
            replace(stand, role, number, |bed| {
                let ended = bed.terminate(role, number);
                assert!(ended.success(), "{} {number}: {ended}", role.subcommand());
            });
        }
    }
    let before = began_before(stand, CANARY);
    stand.restart_canary();
    until_replaced(stand, CANARY, before);
}

/// The machine of one process of each role is lost, also of the gateway that the canary publishes through, and the next
/// one takes it.
#[track_caller]
pub(crate) fn lose_one_of_each(stand: &Stand, factor: f64) {
    for role in Role::ALL {
        replace(stand, role, 0, |bed| {
            bed.kill(role, 0);
            hold(AWAY.div_f64(factor));
        });
    }
}

/// Nothing has fired since `start`, in Unix seconds, nor is anything about to, once every rule has had the time to.
#[track_caller]
pub(crate) fn was_silent(stand: &Stand, start: f64, factor: f64) {
    hold(AFTERWARDS.div_f64(factor));
    let mut fired = live::fired_since(&stand.prometheus, start);
    let is_left_out = |alert: &str| {
        let mut left_out = LONG.iter().chain(&OF_THE_MACHINE);
        left_out.any(|name| alert.contains(name))
    };
    fired.retain(|alert| !is_left_out(alert));
    assert_eq!(fired, BTreeSet::new(), "alerts that fired or are about to");
}

/// Ends a member, starts it again and waits until Prometheus has seen the new one.
#[track_caller]
pub(crate) fn replace(stand: &Stand, role: Role, number: usize, end: impl FnOnce(&Bed)) {
    let pod = stand.bed.member(role, number).name;
    let before = began_before(stand, &pod);
    end(&stand.bed);
    stand.bed.restart(role, number);
    until_replaced(stand, &pod, before);
}

/// When the process of a pod began. That is told in whole seconds, so this one is over when it returns: the next
/// process begins in another.
#[track_caller]
fn began_before(stand: &Stand, pod: &str) -> Option<f64> {
    let began = began(stand, pod)?;
    until("next second", || {
        (live::now(&stand.prometheus) >= began + 1.0).then_some(())
    });
    Some(began)
}

/// When the process of a pod began, as far as Prometheus knows it; nothing while it is away.
fn began(stand: &Stand, pod: &str) -> Option<f64> {
    let expression = format!("heliograph_process_start_time_seconds{{pod=\"{pod}\"}}");
    let found = stand.prometheus.query(&expression).ok()?;
    found.first()?.last()
}

/// Waits until Prometheus has scraped the new process of a pod: a deployment goes on then.
#[track_caller]
fn until_replaced(stand: &Stand, pod: &str, before: Option<f64>) {
    until(&format!("scrape of the new {pod}"), || {
        began(stand, pod).filter(|now| Some(*now) != before)
    });
}
