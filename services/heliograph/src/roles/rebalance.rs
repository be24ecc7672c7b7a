//! Which matcher serves this gateway, as matchers come, go and fail.

use std::{collections::HashMap, time::Duration};

use heliograph_bus_nats::{Member, Members};
use heliograph_link::{Target, rendezvous};
use tokio::{sync::watch, time::Instant};

/// How long a gateway stays with a matcher that works although another one is now its own: a
/// matcher that has just come may go again, and not all gateways should move at once.
const MOVE_AFTER: Duration = Duration::from_secs(3);

/// How often the link is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Time without a session after which the next matcher is tried: a process that was killed holds
/// its lease for some seconds more.
const PATIENCE: Duration = Duration::from_millis(500);

/// The same where no other one is left that wasn't tried in vain just before: on a machine that is
/// slow a session takes its time, and one that is given up too soon never comes.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// How long a matcher that could not be reached is passed over while there are others: twice as
/// long each time, since each try takes the gateway away from one that works.
const PASSED_OVER: Duration = Duration::from_secs(10);
const PASSED_OVER_MAX: Duration = Duration::from_mins(5);

/// What the choice depends on.
#[derive(Debug, Default)]
struct Choice {
    gateway: String,
    ready: Vec<Target>,
    /// Matchers that take no new work, and still do what they have.
    leaving: Vec<Target>,
    /// Matchers that could not be reached since they came.
    failed: HashMap<Target, Failed>,
    current: Option<Target>,
    /// Since when there has been no session with the current one.
    away_since: Option<Instant>,
    /// Since when another one would be better.
    better_since: Option<Instant>,
}

/// Until when a matcher is passed over, and how long that is.
#[derive(Debug, Clone, Copy)]
struct Failed {
    until: Instant,
    wait: Duration,
}

/// Chooses for ever; `is_connected` says whether there is a session with the chosen one.
pub(super) async fn follow(
    gateway: String,
    mut members: Members,
    chosen: watch::Sender<Option<Target>>,
    is_connected: impl Fn() -> bool,
) {
    let mut choice = Choice {
        gateway,
        ..Choice::default()
    };
    loop {
        (choice.ready, choice.leaving) = targets(&members.borrow_and_update());
        if choice.look(is_connected(), Instant::now()) {
            match &choice.current {
                Some(target) => {
                    tracing::info!(matcher = %target.name, address = %target.address, "served by");
                }
                None => tracing::warn!("no matcher serves this gateway"),
            }
            chosen.send_replace(choice.current.clone());
        }
        tokio::select! {
            biased; // news first
            changed = members.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Choice {
    /// Looks at the situation once. Whether another matcher was chosen.
    fn look(&mut self, connected: bool, now: Instant) -> bool {
        let ready = &self.ready;
        self.failed.retain(|target, _| ready.contains(target));
        self.note(connected, now);
        let best = match &self.current {
            // The only one, and it stops: what it still does is more than nothing.
            Some(current)
                if self.ready.is_empty() && connected && self.leaving.contains(current) =>
            {
                Some(current.clone())
            }
            _ => self.best(now),
        };
        if best == self.current {
            self.better_since = None;
            return false;
        }
        let works = connected
            && self
                .current
                .as_ref()
                .is_some_and(|t| self.ready.contains(t));
        if works && now - *self.better_since.get_or_insert(now) < MOVE_AFTER {
            return false;
        }
        self.better_since = None;
        self.away_since = None;
        self.current = best;
        true
    }

    /// How long there may be no session with the current one.
    fn patience(&self, now: Instant) -> Duration {
        let others = |target: &&Target| self.current.as_ref() != Some(*target);
        let untried = |target: &Target| !self.is_passed_over(target, now);
        if self.ready.iter().filter(others).any(untried) {
            PATIENCE
        } else {
            LAST_PATIENCE
        }
    }

    fn is_passed_over(&self, target: &Target, now: Instant) -> bool {
        let failed = self.failed.get(target);
        failed.is_some_and(|failed| failed.until > now)
    }

    /// Notes whether the current one can be reached.
    fn note(&mut self, connected: bool, now: Instant) {
        let patience = self.patience(now);
        let Some(current) = &self.current else {
            self.away_since = None;
            return;
        };
        if connected {
            self.failed.remove(current);
            self.away_since = None;
        } else if now - *self.away_since.get_or_insert(now) >= patience {
            let before = self.failed.get(current);
            let wait = before.map_or(PASSED_OVER, |failed| failed.wait * 2);
            let wait = wait.min(PASSED_OVER_MAX);
            let until = now + wait;
            self.failed.insert(current.clone(), Failed { until, wait });
            self.away_since = None;
        }
    }

    /// The best of those that didn't fail lately; if all did, the one whose turn comes first.
    fn best(&self, now: Instant) -> Option<Target> {
        let ready = self.ready.iter();
        let left: Vec<Target> = ready
            .filter(|target| !self.is_passed_over(target, now))
            .cloned()
            .collect();
        let next = || {
            let until = |target: &&Target| self.failed.get(*target).map(|failed| failed.until);
            self.ready.iter().min_by_key(until)
        };
        rendezvous(&self.gateway, &left).or_else(next).cloned()
    }
}

/// Those that take gateways, and those that don't any more, or not yet.
fn targets(members: &[Member]) -> (Vec<Target>, Vec<Target>) {
    let (ready, others): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.ready);
    let targets = |members: Vec<&Member>| {
        let members = members.into_iter();
        let target = |member: &Member| Target {
            name: member.name.clone(),
            address: member.address.clone(),
        };
        members.map(target).collect()
    };
    (targets(ready), targets(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            address: format!("{name}:7779"),
        }
    }

    /// A choice among these, and the one that is best for the gateway with the next one.
    fn choice(names: &[&str]) -> (Choice, Target, Option<Target>) {
        let ready: Vec<Target> = names.iter().map(|name| target(name)).collect();
        let first = rendezvous("g", &ready).cloned().unwrap();
        let others: Vec<Target> = ready.iter().filter(|t| **t != first).cloned().collect();
        let second = rendezvous("g", &others).cloned();
        let choice = Choice {
            gateway: "g".to_owned(),
            ready,
            ..Choice::default()
        };
        (choice, first, second)
    }

    #[test]
    fn a_matcher_that_can_not_be_reached_is_passed_over_for_a_while() {
        let (mut choice, first, second) = choice(&["a", "b", "c"]);
        let start = Instant::now();
        assert!(choice.look(false, start));
        assert_eq!(choice.current, Some(first.clone()));
        assert!(!choice.look(false, start));
        assert!(choice.look(false, start + PATIENCE));
        assert_eq!(choice.current, second);
        let later = start + PATIENCE + PASSED_OVER;
        assert!(!choice.look(true, later), "it works: no hurry");
        assert!(choice.look(true, later + MOVE_AFTER));
        assert_eq!(choice.current, Some(first));
    }

    #[test]
    fn a_matcher_that_can_never_be_reached_is_tried_less_and_less() {
        let (mut choice, first, second) = choice(&["a", "b"]);
        let mut now = Instant::now();
        let mut last = now;
        let mut waits = Vec::new();
        choice.look(false, now);
        while waits.len() < 8 {
            now += LOOK;
            let unreachable = choice.current.as_ref() == Some(&first);
            if choice.look(!unreachable, now) && unreachable {
                assert_eq!(choice.current, second);
                waits.push((now - last).as_secs());
                last = now;
            }
        }
        // Besides the time for which it has to be the better one.
        assert_eq!(waits[1..4], [13, 23, 43]);
        assert!(waits[7] >= PASSED_OVER_MAX.as_secs(), "{waits:?}");
        let ready = std::mem::take(&mut choice.ready);
        choice.look(false, now);
        choice.ready = ready;
        assert!(choice.look(false, now));
        assert_eq!(choice.current, Some(first), "it has come anew");
    }

    #[test]
    fn where_none_can_be_reached_all_are_tried_in_turn() {
        let (mut choice, first, _) = choice(&["a", "b"]);
        let mut now = Instant::now();
        let mut tried = Vec::new();
        for _ in 0..200 {
            choice.look(false, now);
            tried.push(choice.current == Some(first.clone()));
            now += LAST_PATIENCE;
        }
        let late = &tried[100..];
        assert!(
            late.chunks(4)
                .all(|some| some.contains(&true) && some.contains(&false))
        );
    }

    #[test]
    fn a_matcher_that_is_gone_is_left_at_once() {
        let (mut choice, first, second) = choice(&["a", "b"]);
        let start = Instant::now();
        choice.look(false, start);
        choice.ready.retain(|target| *target != first);
        assert!(choice.look(true, start));
        assert_eq!(choice.current, second);
        choice.ready.clear();
        assert!(choice.look(true, start));
        assert_eq!(choice.current, None);
    }

    #[test]
    fn the_only_matcher_is_tried_again_and_again() {
        let (mut choice, first, _) = choice(&["a"]);
        let start = Instant::now();
        choice.look(false, start);
        assert!(!choice.look(false, start));
        assert!(!choice.look(false, start + LAST_PATIENCE));
        assert_eq!(choice.current, Some(first));
    }

    #[test]
    fn a_slow_matcher_gets_its_time_where_the_others_were_tried_before() {
        let (mut choice, first, second) = choice(&["a", "b"]);
        let start = Instant::now();
        choice.look(false, start);
        assert_eq!(choice.current, Some(first.clone()));
        choice.look(false, start);
        assert!(choice.look(false, start + PATIENCE));
        assert_eq!(choice.current, second);
        let then = start + PATIENCE;
        assert!(!choice.look(false, then));
        assert!(!choice.look(false, then + PATIENCE));
        assert!(!choice.look(false, then + LAST_PATIENCE - LOOK));
        assert!(choice.look(false, then + LAST_PATIENCE));
        assert_eq!(choice.current, Some(first));
    }

    #[test]
    fn the_only_matcher_is_kept_while_it_stops_until_another_one_is_ready() {
        let (mut choice, first, second) = choice(&["a", "b"]);
        let start = Instant::now();
        let second = second.unwrap();
        choice.ready = vec![first.clone()];
        choice.look(false, start);
        choice.look(true, start);
        choice.ready.clear();
        choice.leaving = vec![first.clone(), second.clone()];
        assert!(!choice.look(true, start));
        assert_eq!(choice.current, Some(first.clone()));
        choice.leaving = vec![first];
        choice.ready = vec![second.clone()];
        assert!(choice.look(true, start));
        assert_eq!(choice.current, Some(second.clone()));
        choice.ready.clear();
        choice.leaving = vec![second];
        assert!(choice.look(false, start), "it serves us no longer");
        assert_eq!(choice.current, None);
        assert!(!choice.look(false, start), "nobody begins where one stops");
    }

    #[test]
    fn a_working_matcher_is_kept_for_a_while_when_a_better_one_comes() {
        let (mut choice, first, _) = choice(&["a", "b"]);
        let start = Instant::now();
        choice.ready.retain(|target| *target != first);
        choice.look(false, start);
        choice.ready.push(first.clone());
        assert!(!choice.look(true, start));
        assert!(choice.look(true, start + MOVE_AFTER));
        assert_eq!(choice.current, Some(first));
    }
}
