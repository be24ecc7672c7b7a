//! Servers that are gone for a while: what clients are told meanwhile, and that everything goes on
//! by itself afterwards.

use std::{
    slice::from_ref,
    time::{Duration, Instant},
};

use heliograph_faults::{
    bed::{Bed, PATIENCE, hold, until, within},
    workload::Workload,
};
use heliograph_protocol::{Event, Timestamp};
use heliograph_sandbox::{
    cluster::{ClusterOptions, CqlServers, NatsServers},
    cql::CassandraOptions,
    nats::NatsOptions,
};
use heliograph_testkit::{
    client::{Client, End},
    history::Expect,
    keys::Key,
};
use serde_json::{Value, json};

/// How long a server is gone.
const AWAY: Duration = Duration::from_secs(20);

/// The gateway answers an EVENT after 4 s at the latest; the rest is for a machine that has other
/// things to do.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// The quickest of them comes in time.
const QUICKEST_MAX: Duration = Duration::from_millis(4_500);

/// An answer to a REQ or a COUNT may take a read of the database and another attempt.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

/// Stored events that are older than what matchers keep in memory, and those that they keep.
const OLD: usize = 1_200;
const NEW: usize = 200;

/// Of the old ones, how many are asked for.
const FAR: usize = 100;

/// When the oldest event was made.
const LONG_AGO: u64 = 1_700_000_000;

/// What is asked of events of which nobody is told.
const EPHEMERAL: u16 = 20_001;

/// How a server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// SIGKILL, then a start on the same data.
    Killed,
    /// SIGSTOP, then SIGCONT: connections stay and nothing answers.
    Paused,
}

/// Which server goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Cql,
    Nats,
}

impl Server {
    fn leave(self, bed: &Bed, way: Way) {
        match (self, way) {
            (Self::Cql, Way::Killed) => bed.kill_cql(0),
            (Self::Cql, Way::Paused) => bed.pause_cql(0),
            (Self::Nats, Way::Killed) => bed.kill_nats(0),
            (Self::Nats, Way::Paused) => bed.pause_nats(0),
        }
    }

    fn come_back(self, bed: &Bed, way: Way) {
        match (self, way) {
            (Self::Cql, Way::Killed) => bed.restart_cql(0),
            (Self::Cql, Way::Paused) => bed.resume_cql(0),
            (Self::Nats, Way::Killed) => bed.restart_nats(0),
            (Self::Nats, Way::Paused) => bed.resume_nats(0),
        }
    }
}

/// A cluster of two each on servers of its own, with time-outs as in production and matchers that
/// hold a thousand events.
fn bed() -> Option<Bed> {
    let own = |options: &mut ClusterOptions| {
        options.nats = NatsServers::Start(NatsOptions::default());
        options.cql = CqlServers::Cassandra(CassandraOptions {
            keeps_all: true,
            ..CassandraOptions::default()
        });
    };
    let settings = [
        "recent.events_max=1000",
        "scylla.read_timeout_ms=2000",
        "nats.timeout_ms=2000",
    ];
    Bed::beside_another(own, &settings)
}

pub(crate) fn now() -> u64 {
    Timestamp::now().as_secs()
}

/// Publishes all, a hundred at a time, which have to be accepted.
#[track_caller]
pub(crate) fn accept_all(client: &mut Client, events: &[Event]) {
    for part in events.chunks(100) {
        part.iter().for_each(|event| client.send_event(event));
        for event in part {
            let answer = client.ok(&event.id().to_hex());
            assert!(answer.0, "{answer:?} for {}", event.as_str());
        }
    }
}

/// Publishes until an event is accepted again; of those before, nobody knows what became.
#[track_caller]
pub(crate) fn accepted_again(what: &str, client: &mut Client, mut event: impl FnMut() -> Event) {
    until(what, || {
        let (accepted, text) = client.publish(&event());
        assert!(accepted || text.starts_with("error: "), "{text}");
        accepted.then_some(())
    });
}

/// The stored part of an answer has to hold all of `want` and nothing else.
#[track_caller]
pub(crate) fn whole(client: &mut Client, filter: &Value, want: &[Event]) {
    let answer = client.query(from_ref(filter));
    assert!(matches!(answer.end, End::Eose(_)), "{:?}", answer.end);
    let (mut got, mut want) = (answer.ids(), ids(want));
    got.sort();
    want.sort();
    assert_eq!(got, want);
}

pub(crate) fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id().to_hex()).collect()
}

/// Notes of one key, one a second.
pub(crate) fn notes(key: &Key, from: u64, count: usize) -> Vec<Event> {
    let note = |n: usize| key.note(from + n as u64, &n.to_string());
    (0..count).map(note).collect()
}

/// What is stored before a server goes, and who subscribed.
struct Scene {
    bed: Bed,
    server: Server,
    old_key: Key,
    new_key: Key,
    old: Vec<Event>,
    new: Vec<Event>,
    /// One at each gateway, subscribed to what `new_key` writes.
    clients: [Client; 2],
    made: u64,
    /// The quickest refusal of an EVENT.
    quickest: Duration,
}

impl Scene {
    fn open(server: Server) -> Option<Self> {
        let bed = bed()?;
        let (old_key, new_key) = (Key::nth(1), Key::nth(2));
        let old = notes(&old_key, LONG_AGO, OLD);
        let new = notes(&new_key, now() - NEW as u64, NEW);
        let mut writer = bed.at(0);
        accept_all(&mut writer, &old);
        accept_all(&mut writer, &new);
        let clients = [0, 1].map(|gateway| {
            let mut client = bed.at(gateway);
            let author = new_key.hex();
            client.req("live", &[json!({"authors": [author], "limit": 0})]);
            client
        });
        Some(Self {
            bed,
            server,
            old_key,
            new_key,
            old,
            new,
            clients,
            made: 0,
            quickest: Duration::MAX,
        })
    }

    /// What the database alone can answer.
    fn far(&self) -> Value {
        let until = LONG_AGO + FAR as u64 - 1;
        json!({"authors": [self.old_key.hex()], "until": until, "limit": OLD})
    }

    /// An event that nobody has seen yet.
    fn event(&mut self, kind: u16) -> Event {
        self.made += 1;
        self.new_key
            .sign(now(), kind, &[], &format!("made {}", self.made))
    }

    /// What both gateways are asked; `about` says what of.
    fn timed<T>(&mut self, about: &str, max: Duration, ask: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let answer = ask(self);
        let took = start.elapsed();
        self.bed.mark(&format!("{about}: after {took:?}"));
        assert!(took < max, "{about} took {took:?}");
        answer
    }

    #[track_caller]
    fn publish_refused(&mut self, gateway: usize) {
        for _ in 0..2 {
            let (event, start) = (self.event(1), Instant::now());
            let about = format!("EVENT refused by gateway {gateway}");
            self.timed(&about, ANSWER_MAX, |scene| {
                scene.clients[gateway].refuse(&event, "error");
            });
            self.quickest = self.quickest.min(start.elapsed());
        }
    }

    /// The machine can't have been busy all the time.
    #[track_caller]
    fn check_quickest(&self) {
        assert!(self.quickest < QUICKEST_MAX, "{:?} at best", self.quickest);
    }

    /// A server that stands still is noticed after some seconds; until then nobody knows that an
    /// event of which there is no receipt goes nowhere.
    #[track_caller]
    fn ephemeral_refused(&mut self, gateway: usize) {
        let start = Instant::now();
        until("a refusal of an ephemeral event", || {
            let event = self.event(EPHEMERAL);
            let (accepted, text) = self.clients[gateway].publish(&event);
            assert!(accepted || text.starts_with("error: "), "{text}");
            (!accepted).then_some(())
        });
        let took = start.elapsed();
        self.bed
            .mark(&format!("ephemeral events refused after {took:?}"));
    }

    #[track_caller]
    fn read_refused(&mut self, gateway: usize, filter: &Value) {
        let about = format!("REQ {filter} refused by gateway {gateway}");
        let end = self.timed(&about, REFUSAL_MAX, |scene| {
            scene.clients[gateway].query(from_ref(filter)).end
        });
        assert!(
            matches!(&end, End::Closed(text) if text.starts_with("error: ")),
            "{filter}: {end:?}"
        );
    }

    #[track_caller]
    fn count_refused(&mut self, gateway: usize, filter: &Value) {
        let about = format!("COUNT {filter} refused by gateway {gateway}");
        let answer = self.timed(&about, REFUSAL_MAX, |scene| {
            scene.clients[gateway].count("count", from_ref(filter))
        });
        let text = answer.expect_err("nobody can count that");
        assert!(text.starts_with("error: "), "{text}");
    }

    /// Ephemeral events go from each gateway to both.
    #[track_caller]
    fn ephemeral_goes_on(&mut self) {
        for gateway in [0, 1] {
            let event = self.event(EPHEMERAL);
            self.clients[gateway].accept(&event);
            for client in &mut self.clients {
                let next = within(PATIENCE, "the ephemeral event", || {
                    let next = client.next_event("live");
                    // Stored before the fault is felt, or by a redelivery.
                    next.kind().is_ephemeral().then_some(next)
                });
                assert_eq!(next, event);
            }
        }
    }

    /// All is as before, without anybody's help: writing, reading both tiers, counting, live.
    #[track_caller]
    fn all_is_well(&mut self) {
        let start = Instant::now();
        for gateway in [0, 1] {
            let (key, mut made) = (self.new_key.clone(), self.made);
            let next = || {
                made += 1;
                key.sign(now(), 1, &[], &format!("made {made}"))
            };
            accepted_again("OK true", &mut self.clients[gateway], next);
            self.made = made;
            let took = start.elapsed();
            self.bed
                .mark(&format!("gateway {gateway} accepts after {took:?}"));
        }
        let far = self.far();
        for gateway in [0, 1] {
            let client = &mut self.clients[gateway];
            until("an answer from the archive", || {
                let answer = client.query(from_ref(&far));
                matches!(answer.end, End::Eose(_)).then_some(())
            });
            let took = start.elapsed();
            self.bed
                .mark(&format!("gateway {gateway} answers whole after {took:?}"));
            let client = &mut self.clients[gateway];
            whole(client, &far, &self.old[..FAR]);
            assert_eq!(client.count("count", from_ref(&far)), Ok(FAR as u64));
            let new = json!({"ids": ids(&self.new)});
            whole(client, &new, &self.new);
        }
        self.live_goes_on();
    }

    /// What is published now comes to both, once; nothing else does twice.
    #[track_caller]
    fn live_goes_on(&mut self) {
        let last = self.event(1);
        self.clients[1].accept(&last);
        for client in &mut self.clients {
            let mut seen = Vec::new();
            while seen.last() != Some(&last) {
                seen.push(client.next_event("live"));
            }
            let mut once = ids(&seen);
            once.sort();
            once.dedup();
            assert_eq!(once.len(), seen.len(), "an event came twice");
        }
    }
}

/// `meanwhile` runs while the server is away, which it is for [`AWAY`] at least.
fn check(server: Server, way: Way, meanwhile: impl FnOnce(&mut Scene)) {
    let Some(mut scene) = Scene::open(server) else {
        return;
    };
    scene.server.leave(&scene.bed, way);
    let start = Instant::now();
    meanwhile(&mut scene);
    hold(AWAY.saturating_sub(start.elapsed()));
    scene.server.come_back(&scene.bed, way);
    scene.all_is_well();
}

/// Writing is refused, what is in memory is answered, what isn't is refused, and what needs no
/// database goes on.
fn without_database(scene: &mut Scene) {
    let new = json!({"authors": [scene.new_key.hex()], "kinds": [1], "limit": 20});
    let newest: Vec<Event> = scene.new[NEW - 20..].to_vec();
    let far = scene.far();
    let by_id = json!({"ids": [scene.old[0].id().to_hex()]});
    for gateway in [0, 1] {
        whole(&mut scene.clients[gateway], &new, &newest);
        scene.publish_refused(gateway);
        whole(&mut scene.clients[gateway], &new, &newest);
        scene.read_refused(gateway, &far);
        scene.read_refused(gateway, &by_id);
        scene.count_refused(gateway, &far);
    }
    scene.ephemeral_goes_on();
    scene.check_quickest();
}

/// Nothing is accepted and nothing is answered, all of it in time; nobody is sent away.
fn without_bus(scene: &mut Scene) {
    let new = json!({"authors": [scene.new_key.hex()], "kinds": [1], "limit": 20});
    for gateway in [0, 1] {
        scene.publish_refused(gateway);
        scene.ephemeral_refused(gateway);
        scene.read_refused(gateway, &new);
        scene.count_refused(gateway, &new);
    }
    scene.check_quickest();
}

/// Clients of all sorts go on working while the server is away, and what they saw is checked.
fn check_under_load(server: Server, way: Way) {
    let Some(bed) = bed() else {
        return;
    };
    let work = Workload::start(7, bed.gateways(), bed.history().clone());
    work.progress(200, PATIENCE);
    server.leave(&bed, way);
    hold(AWAY);
    server.come_back(&bed, way);
    for gateway in [0, 1] {
        work.progress_at(gateway, 100, PATIENCE);
    }
    let summary = work.finish(&Expect::default());
    bed.mark(&format!("{summary:?}"));
    assert!(summary.errors > 0, "nobody noticed");
}

#[test]
fn nothing_is_lost_or_comes_twice_when_the_database_is_killed() {
    check_under_load(Server::Cql, Way::Killed);
}

#[test]
fn nothing_is_lost_or_comes_twice_when_the_database_stands_still() {
    check_under_load(Server::Cql, Way::Paused);
}

#[test]
fn nothing_is_lost_or_comes_twice_when_the_bus_is_killed() {
    check_under_load(Server::Nats, Way::Killed);
}

#[test]
fn nothing_is_lost_or_comes_twice_when_the_bus_stands_still() {
    check_under_load(Server::Nats, Way::Paused);
}

#[test]
fn a_database_that_is_killed_is_missed_only_where_it_is_needed() {
    check(Server::Cql, Way::Killed, without_database);
}

#[test]
fn a_database_that_stands_still_is_missed_only_where_it_is_needed() {
    check(Server::Cql, Way::Paused, without_database);
}

#[test]
fn nothing_hangs_and_nobody_is_deceived_while_the_bus_is_dead() {
    check(Server::Nats, Way::Killed, without_bus);
}

#[test]
fn nothing_hangs_and_nobody_is_deceived_while_the_bus_stands_still() {
    check(Server::Nats, Way::Paused, without_bus);
}
