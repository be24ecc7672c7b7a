//! Which matcher serves a gateway: as the roles of the program choose, by leases and by whether it can be
//! reached.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use heliograph_link::{Client, Target, rendezvous};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::Cluster;
use crate::process::Process;

/// How often a gateway looks which matcher is to serve it.
const LOOK: Duration = Duration::from_millis(100);

/// Time without a session after which a gateway tries another matcher, and for how long it then
/// passes the first one over.
const PATIENCE: Duration = Duration::from_millis(500);
const PASSED_OVER: Duration = Duration::from_secs(5);

/// Chooses a gateway's matcher.
pub(super) struct Choosing {
    pub(super) cluster: Cluster,
    pub(super) process: Arc<Process>,
    pub(super) passed_over: BTreeMap<String, Instant>,
}

impl Choosing {
    pub(super) async fn run(mut self, targets: watch::Sender<Option<Target>>, client: Client) {
        let mut away_since = Instant::now();
        loop {
            let now = Instant::now();
            self.passed_over.retain(|_, until| *until > now);
            let members = self.cluster.members(&self.process);
            let current = targets.borrow().clone();
            if client.is_connected() {
                away_since = now;
            } else if let Some(current) = &current
                && away_since + PATIENCE <= now
            {
                let until = now + PASSED_OVER;
                self.passed_over.insert(current.name.clone(), until);
                away_since = now;
            }
            let left = members.iter();
            let left = left.filter(|member| !self.passed_over.contains_key(&member.name));
            let left: Vec<Target> = left.cloned().collect();
            let name = self.process.name();
            let best = rendezvous(name, &left).or_else(|| rendezvous(name, &members));
            // Who can't see the members stays where it is.
            if best.is_some() && best != current.as_ref() {
                let matcher = best.map_or("", |target| &target.name);
                let journal = &self.cluster.shared.journal;
                journal.note(name, format_args!("goes to {matcher}"));
                targets.send_replace(best.cloned());
                away_since = now;
            }
            sleep(LOOK + self.cluster.shared.random.millis(0..20)).await;
        }
    }
}
