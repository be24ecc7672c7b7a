//! What goes wrong, and when.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Journal,
    cluster::{Cluster, Role},
    random::Random,
};

/// Does harm until its time is over, then mends everything.
#[derive(Debug)]
pub(crate) struct Nemesis {
    /// Whom.
    pub(crate) cluster: Cluster,
    /// Everyone, with their roles.
    pub(crate) names: Vec<(Role, String)>,
    /// Its choices.
    pub(crate) random: Random,
    /// For people.
    pub(crate) journal: Journal,
    /// The pause between two deeds at most, in milliseconds.
    pub(crate) pause_max: u64,
    /// Whether processes may stand still, or be cut off, for longer than commits are kept.
    pub(crate) long_pauses: bool,
}

impl Nemesis {
    /// Runs for this time, and returns when all is mended.
    pub(crate) async fn run(self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(self.random.millis(50..self.pause_max)).await;
            self.strike();
        }
        self.mend();
    }

    fn strike(&self) {
        let Some((role, name)) = self.random.pick(&self.names) else {
            return;
        };
        let long = if self.long_pauses { 6_000 } else { 1_500 };
        let time = self.random.millis(100..long);
        let journal = &self.journal;
        match self.random.range(0..100) {
            0..25 => self.kill(*role, name),
            25..40 => {
                journal.note(name, format_args!("stands still for {time:?}"));
                if let Some(process) = self.cluster.process(name) {
                    process.stop();
                    self.later(time, move |_| process.go_on());
                }
            }
            40..52 => {
                journal.note(name, format_args!("is cut off the bus for {time:?}"));
                if let Some(process) = self.cluster.process(name) {
                    process.cut_off(true);
                    self.later(time, move |_| process.cut_off(false));
                }
            }
            52..66 => self.with_link(|network, gateway, matcher| {
                journal.note(gateway, format_args!("loses its link to {matcher}"));
                network.break_off(gateway, matcher);
            }),
            66..80 => self.with_link(|network, gateway, matcher| {
                journal.note(
                    gateway,
                    format_args!("hears nothing of {matcher} for {time:?}"),
                );
                network.stall(gateway, matcher, time);
            }),
            80..86 => {
                journal.note("bus", format_args!("is down for {time:?}"));
                self.cluster.server().go_down(time);
            }
            86..92 => {
                journal.note("database", format_args!("is down for {time:?}"));
                self.cluster.database().go_down(time);
            }
            _ => {
                let secs = i64::try_from(self.random.range(0..240)).unwrap_or(0) - 120;
                journal.note(name, format_args!("goes wrong by {secs} s"));
                self.cluster.skew(name, secs);
            }
        }
    }

    fn kill(&self, role: Role, name: &str) {
        self.cluster.kill(name);
        let time = self.random.millis(50..3_000);
        let name = name.to_owned();
        self.later(time, move |cluster| {
            let dead = cluster
                .process(&name)
                .is_none_or(|process| process.is_dead());
            if dead {
                cluster.start(role, &name);
            }
        });
    }

    /// Between a gateway and a matcher, whichever they are.
    fn with_link(&self, act: impl FnOnce(&crate::network::Network, &str, &str)) {
        let of = |role: Role| -> Vec<&String> {
            let names = self.names.iter();
            let names = names.filter(|(other, _)| *other == role);
            names.map(|(_, name)| name).collect()
        };
        let (gateways, matchers) = (of(Role::Gateway), of(Role::Matcher));
        let gateway = self.random.pick(&gateways);
        let matcher = self.random.pick(&matchers);
        if let (Some(gateway), Some(matcher)) = (gateway, matcher) {
            act(self.cluster.network(), gateway, matcher);
        }
    }

    fn later(&self, time: Duration, act: impl FnOnce(&Cluster) + Send + 'static) {
        let cluster = self.cluster.clone();
        self.cluster.outsider("nemesis").spawn("later", async move {
            sleep(time).await;
            act(&cluster);
        });
    }

    fn mend(&self) {
        self.journal
            .note("nemesis", format_args!("mends everything"));
        for (role, name) in &self.names {
            self.cluster.skew(name, 0);
            match self.cluster.process(name) {
                Some(process) if !process.is_dead() => {
                    process.cut_off(false);
                    process.go_on();
                }
                _ => self.cluster.start(*role, name),
            }
        }
    }
}
