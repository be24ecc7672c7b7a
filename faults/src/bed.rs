//! A cluster that faults happen to.
//!
//! [`Bed`] is a cluster of its own for one test. What a test does to it, it does through the bed, so
//! that the history of its clients says when it happened.

use std::{
    net::SocketAddr,
    ops::Deref,
    process::ExitStatus,
    sync::{Condvar, Mutex, PoisonError},
    thread,
};

use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions, Links, NatsServers, Role},
    nats::NatsOptions,
    or_skip,
};
use heliograph_testkit::{
    client::Client,
    history::History,
    process::{binary, conformance_config},
};

use crate::effects::Effects;
pub use crate::{
    wait::{PATIENCE, hold, say, until, within},
    ways::{Harm, Way},
};

/// Every cluster's settings beside those of the conformance configuration: time enough for a debug
/// build and a Java database on a busy machine. What decides how long a fault is felt (leases,
/// acknowledgements) is as in production.
const SETTINGS: [&str; 6] = [
    "relay.url=wss://relay.example.com",
    "store.scan_ms_max=60000",
    "store.count_ms_max=60000",
    "scylla.read_timeout_ms=10000",
    "scylla.requests_max=256",
    "nats.timeout_ms=5000",
];

/// Lines of each member's log that a failure shows.
const LOG_LINES: usize = 60;

/// Beds at a time: a cluster that waits for a fault to be over leaves most of two cores to another.
const BEDS_MAX: usize = 2;

/// How many places for beds are taken, and who waits for one.
static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// So many of [`BEDS_MAX`] places, until it is dropped.
#[derive(Debug)]
struct Turn(usize);

impl Turn {
    fn wait(places: usize) -> Self {
        let (taken, fewer) = &TAKEN;
        let full = |taken: &mut usize| *taken + places > BEDS_MAX;
        let guard = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = fewer.wait_while(guard, full);
        *guard.unwrap_or_else(PoisonError::into_inner) += places;
        Self(places)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, fewer) = &TAKEN;
        *taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        fewer.notify_all();
    }
}

/// A cluster whose logs are shown when a test fails that holds it.
#[derive(Debug)]
pub struct Bed {
    // Before the turn: the next cluster starts when this one is gone.
    cluster: Cluster,
    history: History,
    is_linked: bool,
    _turn: Turn,
}

impl Deref for Bed {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Bed {
    /// Two of each role with an empty store, on servers that all beds share. `None` after saying so
    /// where the servers can't be had.
    ///
    /// # Panics
    ///
    /// If it doesn't start, or the servers can't be had and `CI` is set.
    #[track_caller]
    #[must_use]
    pub fn fresh(settings: &[&str]) -> Option<Self> {
        Self::with(|_| {}, settings)
    }

    /// As [`fresh`](Self::fresh) with three NATS servers of its own, so that they can be killed.
    ///
    /// # Panics
    ///
    /// As [`fresh`](Self::fresh).
    #[track_caller]
    #[must_use]
    pub fn on_three_nats(settings: &[&str]) -> Option<Self> {
        let three = |options: &mut ClusterOptions| {
            options.nats = NatsServers::Start(NatsOptions {
                nodes: 3,
                // As production has it: what is acknowledged survives.
                sync_always: true,
                ..NatsOptions::default()
            });
        };
        Self::with(three, settings)
    }

    /// As [`fresh`](Self::fresh) with links that can be cut, silenced and slowed, and with members in
    /// network namespaces where the machine allows it.
    ///
    /// # Panics
    ///
    /// As [`fresh`](Self::fresh).
    #[track_caller]
    #[must_use]
    pub fn linked(settings: &[&str]) -> Option<Self> {
        let bed = Self::with(|options| options.links = Links::Namespaces, settings)?;
        if !bed.has_namespaces() {
            say("no network namespaces here: members are isolated by proxies");
        }
        Some(bed)
    }

    /// A cluster with an empty store, changed in any way. `settings` are `key=value` and win over
    /// those of every bed. There is no other meanwhile.
    ///
    /// # Panics
    ///
    /// As [`fresh`](Self::fresh).
    #[track_caller]
    #[must_use]
    pub fn with(change: impl FnOnce(&mut ClusterOptions), settings: &[&str]) -> Option<Self> {
        Self::in_turn(Turn::wait(BEDS_MAX), change, settings)
    }

    /// As [`with`](Self::with), beside another such one: for tests that wait most of their time, and for whom it
    /// doesn't matter for how long.
    ///
    /// # Panics
    ///
    /// As [`fresh`](Self::fresh).
    #[track_caller]
    #[must_use]
    pub fn beside_another(
        change: impl FnOnce(&mut ClusterOptions),
        settings: &[&str],
    ) -> Option<Self> {
        Self::in_turn(Turn::wait(1), change, settings)
    }

    #[track_caller]
    fn in_turn(
        turn: Turn,
        change: impl FnOnce(&mut ClusterOptions),
        settings: &[&str],
    ) -> Option<Self> {
        let mut options = or_skip(ClusterOptions::on_shared(binary().to_owned()))?;
        options.settings = merge(settings);
        options.config = Some(conformance_config());
        change(&mut options);
        let cluster = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        Some(Self {
            cluster,
            history: History::new(),
            is_linked: options.links != Links::Direct,
            _turn: turn,
        })
    }

    /// Where each gateway takes connections.
    #[must_use]
    pub fn gateways(&self) -> Vec<SocketAddr> {
        (0..self.members(Role::Gateway).len())
            .map(|number| self.gateway(number))
            .collect()
    }

    /// A connection to this gateway, which nothing records.
    #[must_use]
    #[track_caller]
    pub fn at(&self, gateway: usize) -> Client {
        Client::connect(self.gateway(gateway))
    }

    /// What clients saw and what was done to the cluster; clones share it.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Begins a new history, for a workload that is checked alone.
    pub fn renew_history(&mut self) {
        self.history = History::new();
    }

    /// What clients felt from entry number `from` of the history on.
    #[must_use]
    pub fn effects(&self, from: usize) -> Effects {
        Effects::of(&self.history.entries_from(from))
    }

    /// Whether it was started as [`linked`](Self::linked).
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.is_linked
    }

    /// Writes into the history that something happens now.
    pub fn mark(&self, what: &str) {
        self.note(what);
        self.history.mark(what);
    }

    /// Writes into the history that a fault begins.
    pub fn begin(&self, fault: &str) {
        self.note(fault);
        self.history.begin(fault);
    }

    /// Writes into the history that the fault of this name is over.
    pub fn end(&self, fault: &str) {
        self.note(&format!("{fault}: over"));
        self.history.end(fault);
    }

    /// SIGKILL. The fault is over when [`restart`](Self::restart) returns.
    pub fn kill(&self, role: Role, number: usize) {
        self.begin(&away(role, number));
        self.mark(&format!("kill {} {number}", role.subcommand()));
        self.cluster.kill(role, number);
    }

    /// SIGTERM, and waits for the end. The fault is over when [`restart`](Self::restart) returns.
    ///
    /// # Panics
    ///
    /// If it runs on after a minute.
    #[track_caller]
    pub fn terminate(&self, role: Role, number: usize) -> ExitStatus {
        let name = role.subcommand();
        self.begin(&away(role, number));
        self.mark(&format!("terminate {name} {number}"));
        let status = self.cluster.terminate(role, number);
        let status = status.unwrap_or_else(|error| panic!("{error}"));
        self.mark(&format!("{name} {number} has ended"));
        status
    }

    /// Starts a member again, as a supervisor would, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it isn't in time.
    #[track_caller]
    pub fn restart(&self, role: Role, number: usize) {
        self.mark(&format!("start {} {number}", role.subcommand()));
        let started = self.cluster.restart(role, number);
        started.unwrap_or_else(|error| panic!("{error}"));
        self.end(&away(role, number));
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self, role: Role, number: usize) {
        if role == Role::Gateway {
            self.history.freeze(number);
        }
        self.begin(&paused(role, number));
        self.cluster.pause(role, number);
    }

    /// SIGCONT.
    pub fn resume(&self, role: Role, number: usize) {
        self.cluster.resume(role, number);
        self.end(&paused(role, number));
        if role == Role::Gateway {
            self.history.thaw(number);
        }
    }

    /// Does something to a way, such as `Link::silence`, under a name that the history gets. The
    /// fault is over at [`heal`](Self::heal).
    ///
    /// # Panics
    ///
    /// If this bed isn't [`linked`](Self::linked).
    pub fn harm(&self, way: Way, harm: Harm) {
        self.begin(&format!("{way}: {harm}"));
        harm.apply(&way.link(self));
    }

    /// Ends [`harm`](Self::harm).
    ///
    /// # Panics
    ///
    /// If this bed isn't [`linked`](Self::linked).
    pub fn heal(&self, way: Way, harm: Harm) {
        way.link(self).heal();
        self.end(&format!("{way}: {harm}"));
    }

    /// Cuts a member off from servers and members without a word; its clients stay.
    ///
    /// # Panics
    ///
    /// If this bed isn't [`linked`](Self::linked).
    #[track_caller]
    pub fn isolate(&self, role: Role, number: usize) {
        self.begin(&isolated(role, number));
        let done = self.cluster.isolate(role, number);
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Ends [`isolate`](Self::isolate).
    ///
    /// # Panics
    ///
    /// If this bed isn't [`linked`](Self::linked).
    #[track_caller]
    pub fn rejoin(&self, role: Role, number: usize) {
        let done = self.cluster.rejoin(role, number);
        done.unwrap_or_else(|error| panic!("{error}"));
        self.end(&isolated(role, number));
    }

    /// Sees that nobody has ended: whoever was killed or stopped has been started again, so it would
    /// be by itself.
    ///
    /// # Panics
    ///
    /// If one has.
    #[track_caller]
    pub fn check_running(&self) {
        for role in Role::ALL {
            for (number, member) in self.members(role).iter().enumerate() {
                if let Some(status) = self.ended(role, number) {
                    // What it said is shown when the bed is dropped.
                    panic!("{} ended ({status})", member.name);
                }
            }
        }
    }

    /// Into the output of the test, with the time in the history.
    fn note(&self, what: &str) {
        say(&format!(
            "{:7.2} {what}",
            self.history.elapsed().as_secs_f64()
        ));
    }

    /// A series of this name and these labels, such as `name{a="b"}`, summed over all members of a
    /// role that answer; 0 where nobody has it.
    #[must_use]
    pub fn sum(&self, role: Role, series: &str) -> f64 {
        let members = 0..self.members(role).len();
        let pages = members.filter_map(|number| self.metrics(role, number).ok());
        pages.filter_map(|page| metric(&page, series)).sum()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        say(&self.last_words(LOG_LINES));
    }
}

/// The fault of a member that has been killed or stopped.
fn away(role: Role, number: usize) -> String {
    format!("{} {number} is away", role.subcommand())
}

/// The fault of a member that nobody hears.
fn isolated(role: Role, number: usize) -> String {
    format!("{} {number} is isolated", role.subcommand())
}

/// The fault of a member that stands still.
fn paused(role: Role, number: usize) -> String {
    format!("{} {number} is paused", role.subcommand())
}

/// The settings of every bed but those that are given, then those.
fn merge(given: &[&str]) -> Vec<(String, String)> {
    let key = |setting: &str| setting.split_once('=').map(|(key, _)| key.to_owned());
    let others = SETTINGS.iter().filter(|setting| {
        let same = |other: &&str| key(other) == key(setting);
        !given.iter().any(same)
    });
    let pair = |setting: &&str| {
        let (key, value) = setting.split_once('=').expect("key=value");
        (key.to_owned(), value.to_owned())
    };
    others.chain(given).map(pair).collect()
}

/// The value of a series on a page of metrics.
fn metric(page: &str, series: &str) -> Option<f64> {
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_given_win() {
        let merged = merge(&["nats.timeout_ms=100", "nats.lease_secs=1"]);
        let of = |key: &str| -> Vec<&str> {
            let found = merged.iter().filter(|(name, _)| name == key);
            found.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(of("nats.timeout_ms"), ["100"]);
        assert_eq!(of("nats.lease_secs"), ["1"]);
        assert_eq!(of("scylla.requests_max"), ["256"]);
    }

    #[test]
    fn a_series_is_found_with_its_labels() {
        let page = "# HELP a b\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4.5 1700000000\n";
        assert_eq!(metric(page, "a_total{x=\"2\"}"), Some(4.5));
        assert_eq!(metric(page, "a_total"), None);
    }
}
