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

/// How long a matcher that could not be reached is passed over while there are others.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// What the choice depends on.
#[derive(Debug, Default)]
struct Choice {
    gateway: String,
    ready: Vec<Target>,
    /// Matchers that could not be reached, and until when they are passed over.
    failed: HashMap<Target, Instant>,
    current: Option<Target>,
    /// Since when there has been no session with the current one.
    away_since: Option<Instant>,
    /// Since when another one would be better.
    better_since: Option<Instant>,
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
        choice.ready = ready(&members.borrow_and_update());
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
        self.failed.retain(|_, until| *until > now);
        if connected || self.current.is_none() {
            self.away_since = None;
        } else if now - *self.away_since.get_or_insert(now) >= PATIENCE {
            self.failed.extend(
                self.current
                    .clone()
                    .map(|target| (target, now + PASSED_OVER)),
            );
            self.away_since = None;
        }
        let best = self.best();
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

    /// The best of those that didn't fail lately; if all did, the best of all.
    fn best(&self) -> Option<Target> {
        let ready = self.ready.iter();
        let left: Vec<Target> = ready
            .filter(|target| !self.failed.contains_key(target))
            .cloned()
            .collect();
        let among = if left.is_empty() { &self.ready } else { &left };
        rendezvous(&self.gateway, among).cloned()
    }
}

fn ready(members: &[Member]) -> Vec<Target> {
    let ready = members.iter().filter(|member| member.ready);
    ready
        .map(|member| Target {
            name: member.name.clone(),
            address: member.address.clone(),
        })
        .collect()
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
        assert!(!choice.look(false, start + PATIENCE));
        assert_eq!(choice.current, Some(first));
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
