//! Somebody who only waits, longer than every lease, TTL and stream age, still gets what comes.

use std::time::{Duration, Instant};

use heliograph_faults::bed::Bed;
use heliograph_protocol::Event;
use heliograph_sandbox::{
    cluster::{ClusterOptions, NatsServers, Role},
    nats::NatsOptions,
};
use heliograph_testkit::{client::Client, keys::Key};
use serde_json::json;

use crate::outage::{accepted_again, ids, now};

/// Short lives for all that has one: leases 1 s, announcements 5 s, events on their way 60 s.
const SETTINGS: [&str; 3] = [
    "nats.lease_secs=1",
    "nats.committed_age_secs=5",
    "nats.events_age_max_secs=60",
];

/// Longer than each of these, and than the minute after which a NATS server forgets a reader.
const LONG: Duration = Duration::from_secs(70);

/// Longer than what was announced can be read again.
const SHORT: Duration = Duration::from_secs(8);

/// Two who wait, each at a gateway of its own, and two who may say something.
struct Scene {
    bed: Bed,
    key: Key,
    waiting: [Client; 2],
    writers: [Client; 2],
    made: u64,
}

/// How they subscribe: by author, by tag, by kind.
const SUBS: [&str; 3] = ["author", "tag", "kind"];

impl Scene {
    fn open(change: impl FnOnce(&mut ClusterOptions)) -> Option<Self> {
        let bed = Bed::beside_another(change, &SETTINGS)?;
        let key = Key::nth(1);
        let waiting = [0, 1].map(|gateway| {
            let mut client = bed.at(gateway);
            client.req("author", &[json!({"authors": [key.hex()]})]);
            client.req("tag", &[json!({"#t": ["idle"]})]);
            client.req("kind", &[json!({"kinds": [1], "limit": 1})]);
            client
        });
        let writers = [0, 1].map(|gateway| bed.at(gateway));
        Some(Self {
            bed,
            key,
            waiting,
            writers,
            made: 0,
        })
    }

    fn event(&mut self) -> Event {
        self.made += 1;
        let content = self.made.to_string();
        self.key.sign(now(), 1, &[&["t", "idle"]], &content)
    }

    /// Nobody says anything; pings are answered.
    #[track_caller]
    fn idle(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for client in self.waiting.iter_mut().chain(&mut self.writers) {
                let came = client.poll(Duration::from_millis(50));
                assert!(came.is_none(), "while nothing happened: {came:?}");
            }
        }
    }

    /// Each writer is accepted at the first try, and everybody gets it.
    #[track_caller]
    fn speak(&mut self) {
        for writer in [0, 1] {
            let event = self.event();
            self.writers[writer].accept(&event);
            self.all_get(&event);
        }
    }

    /// As [`Self::speak`], where a batch may have gone to a worker that is dead.
    #[track_caller]
    fn speak_again(&mut self) {
        for writer in [0, 1] {
            let event = self.event();
            accepted_again("OK true", &mut self.writers[writer], || event.clone());
            self.all_get(&event);
        }
    }

    /// This event comes on every subscription, and none comes twice.
    #[track_caller]
    fn all_get(&mut self, event: &Event) {
        for client in &mut self.waiting {
            for sub in SUBS {
                let mut seen = Vec::new();
                while seen.last() != Some(event) {
                    seen.push(client.next_event(sub));
                }
                let mut once = ids(&seen);
                once.sort();
                once.dedup();
                assert_eq!(once.len(), seen.len(), "an event came twice on {sub}");
            }
        }
    }
}

#[test]
fn who_waits_longer_than_every_lease_and_stream_age_gets_what_comes() {
    let Some(mut scene) = Scene::open(|_| {}) else {
        return;
    };
    scene.idle(LONG);
    scene.speak();
    // Nothing that was announced is kept when the matchers change.
    for matcher in [0, 1] {
        scene.idle(SHORT);
        scene.bed.kill(Role::Matcher, matcher);
        scene.speak();
        scene.bed.restart(Role::Matcher, matcher);
    }
    for worker in [0, 1] {
        scene.idle(SHORT);
        scene.bed.kill(Role::Ingest, worker);
        scene.speak_again();
        scene.bed.restart(Role::Ingest, worker);
    }
}

#[test]
fn who_waits_gets_what_comes_after_the_bus_was_away_with_empty_streams() {
    let own = |options: &mut ClusterOptions| {
        options.nats = NatsServers::Start(NatsOptions::default());
    };
    let Some(mut scene) = Scene::open(own) else {
        return;
    };
    scene.speak();
    for _ in 0..2 {
        scene.idle(SHORT);
        scene.bed.kill_nats(0);
        scene.bed.restart_nats(0);
        for writer in [0, 1] {
            let (key, mut made) = (scene.key.clone(), scene.made);
            let mut last = None;
            accepted_again("OK true", &mut scene.writers[writer], || {
                made += 1;
                let event = key.sign(now(), 1, &[&["t", "idle"]], &made.to_string());
                last.insert(event).clone()
            });
            scene.made = made;
            let last = last.expect("one was accepted");
            scene.all_get(&last);
        }
        // What wasn't accepted at first may come late.
        scene.speak();
    }
}
