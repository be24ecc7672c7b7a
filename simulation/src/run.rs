//! One run: a cluster, clients, faults, and the verdict.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use heliograph_bus::Committed;
use heliograph_protocol::{EventId, Filter};
use heliograph_recent::RecentOptions;
use tokio::{sync::watch, time::sleep};

use crate::{
    Journal,
    check::{self, Facts},
    client::{self, Client, Plan},
    cluster::{Cluster, Role},
    connection::Place,
    history::History,
    nemesis::Nemesis,
    panics,
    random::Random,
    workload::Workload,
};

/// How long everything may take to settle after the last fault.
const SETTLE: Duration = Duration::from_secs(120);

/// The longest that anything is waited for by those who ask at the end.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// How long commits are kept where that is short. An event that is announced later than the stream
/// goes back can be missed, as it is in a cluster; so pauses are short there too.
const SHORT: Duration = Duration::from_secs(9);

/// A pause in which late messages come: longer than every time-out on the way.
const QUIET: Duration = Duration::from_secs(12);

/// How much goes wrong, and the sizes that make it matter.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Delays are below these; most are far below.
    pub bus_delay: Duration,
    /// Of each commit on its way to a matcher.
    pub feed_delay: Duration,
    /// Of each request to the database.
    pub store_delay: Duration,
    /// Of each write to a connection.
    pub network_delay: Duration,
    /// Requests to the bus without an answer, in a thousand; half of them are carried out.
    pub lost_requests: u64,
    /// Messages that never come, in a thousand.
    pub lost_messages: u64,
    /// Messages that come twice, in a thousand.
    pub repeated_messages: u64,
    /// Requests to the database that fail, in a thousand; of writes, half the events are written.
    pub store_failures: u64,
    /// Time after which a batch goes to another worker.
    pub ack_wait: Duration,
    /// Age up to which the bus keeps commits.
    pub commits_kept: Duration,
    /// Time after which the database doesn't call an event fresh any more. Shorter than commits are
    /// kept, by the time for which a gateway may be without a matcher.
    pub fresh: Duration,
    /// Time without a matcher after which a gateway gives its subscriptions up.
    pub give_up: Duration,
    /// Whether the bus alone acknowledges events.
    pub quorum: bool,
    /// The recent tier of each matcher.
    pub recent: RecentOptions,
    /// Bytes of events that a matcher keeps for gateways that come from others.
    pub replay_bytes: usize,
    /// Bytes that may wait for one gateway.
    pub link_queue_bytes: usize,
    /// Bytes on the way on one connection.
    pub pipe_bytes: usize,
}

impl Faults {
    /// None, without delays, and room for everything.
    #[must_use]
    pub fn none() -> Self {
        Self {
            bus_delay: Duration::ZERO,
            feed_delay: Duration::ZERO,
            store_delay: Duration::ZERO,
            network_delay: Duration::ZERO,
            lost_requests: 0,
            lost_messages: 0,
            repeated_messages: 0,
            store_failures: 0,
            ack_wait: Duration::from_secs(30),
            commits_kept: Duration::from_secs(900),
            fresh: Duration::from_secs(600),
            give_up: Duration::from_secs(10),
            quorum: false,
            recent: RecentOptions::default(),
            replay_bytes: 1 << 20,
            link_queue_bytes: 1 << 20,
            pipe_bytes: 1 << 20,
        }
    }

    /// Those of a seed: each run is bad in its own way.
    fn draw(random: &Random) -> Self {
        let few = |one_in: u64, range: std::ops::Range<u64>| {
            let value = random.range(range);
            if random.next().is_multiple_of(one_in) {
                value
            } else {
                0
            }
        };
        let short = random.chance(300);
        let size = |sizes: &[usize]| random.pick(sizes).copied().unwrap_or_default();
        Self {
            bus_delay: random.millis(2..200),
            feed_delay: random.millis(2..300),
            store_delay: random.millis(2..100),
            network_delay: random.millis(2..120),
            lost_requests: few(2, 1..80),
            lost_messages: few(2, 1..120),
            repeated_messages: few(2, 1..120),
            store_failures: few(2, 1..60),
            ack_wait: if short {
                SHORT / 10
            } else {
                Duration::from_millis(2_500)
            },
            fresh: Duration::from_secs(if short { 5 } else { 600 }),
            give_up: Duration::from_secs(if short { 2 } else { 10 }),
            commits_kept: if short {
                SHORT
            } else {
                Duration::from_secs(900)
            },
            quorum: random.chance(200),
            recent: RecentOptions {
                events_max: size(&[4, 16, 64, 2_000]),
                ..RecentOptions::default()
            },
            replay_bytes: size(&[0, 2_000, 1 << 20]),
            link_queue_bytes: size(&[2_000, 16_000, 1 << 20]),
            pipe_bytes: 1 << 20,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Everything that happened.
    pub journal: String,
    /// What is wrong.
    pub violations: Vec<String>,
    /// How much there was to check.
    pub counts: Counts,
}

/// How much happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events sent.
    pub publications: usize,
    /// Of these, taken.
    pub accepted: usize,
    /// Questions asked.
    pub subscriptions: usize,
    /// Of these, closed by the relay.
    pub closed: usize,
    /// Events that came.
    pub deliveries: usize,
    /// Subscriptions that were open to the end.
    pub open: usize,
    /// Commits.
    pub commits: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            publications,
            accepted,
            subscriptions,
            closed,
            deliveries,
            open,
            commits,
        } = self;
        write!(
            f,
            "publications={publications} accepted={accepted} subscriptions={subscriptions} \
             closed={closed} deliveries={deliveries} open={open} commits={commits}"
        )
    }
}

/// Runs a seed to its end, on this thread and without a real clock.
#[must_use]
pub fn simulate(seed: u64) -> Report {
    panics::watch();
    let before = panics::count();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let mut report = runtime.block_on(Box::pin(run(seed)));
    drop(runtime);
    let panicked = panics::count() - before;
    if panicked > 0 {
        report.violations.push(format!("{panicked} tasks panicked"));
    }
    report
}

/// The parts of a run.
struct Run {
    cluster: Cluster,
    history: History,
    journal: Journal,
    random: Random,
    workload: Workload,
    faults: Faults,
    names: Vec<(Role, String)>,
}

async fn run(seed: u64) -> Report {
    let random = Random::new(seed);
    let journal = Journal::begin();
    let faults = Faults::draw(&random);
    journal.note("seed", format_args!("{seed:#018x} {faults:?}"));
    let cluster = Cluster::new(&faults, &random, &journal);
    let names = names(&random);
    for (role, name) in &names {
        cluster.start(*role, name);
    }
    let run = Run {
        history: History::default(),
        workload: Workload::new(random.fork(), journal.clone()),
        cluster,
        journal,
        random,
        faults,
        names,
    };
    run.act().await;
    let mut violations = run.settle().await;
    let last = run.ask_everyone(&mut violations).await;
    let held = run.ask_matchers(&mut violations).await;
    run.verdict(seed, last, &held, violations)
}

/// Two or three of each.
fn names(random: &Random) -> Vec<(Role, String)> {
    let roles = [
        (Role::Gateway, "gateway"),
        (Role::Ingest, "ingest"),
        (Role::Matcher, "matcher"),
    ];
    let mut names = Vec::new();
    for (role, name) in roles {
        for number in 0..random.range(2..4) {
            names.push((role, format!("{name}-{number}")));
        }
    }
    names
}

impl Run {
    fn gateways(&self) -> Vec<String> {
        let gateways = self.names.iter();
        let gateways = gateways.filter(|(role, _)| *role == Role::Gateway);
        gateways.map(|(_, name)| name.clone()).collect()
    }

    fn place(&self, name: &str) -> Place {
        Place {
            cluster: self.cluster.clone(),
            history: self.history.clone(),
            journal: self.journal.clone(),
            process: self.cluster.outsider(name),
        }
    }

    /// Clients do what they do while things go wrong.
    async fn act(&self) {
        let (active_in, active) = watch::channel(true);
        for number in 0..self.random.range(2..5) {
            let place = self.place(&format!("client-{number}"));
            let plan = Plan {
                gateways: self.gateways(),
                active: active.clone(),
                pause_max: self.random.range(50..600),
            };
            let process = Arc::clone(&place.process);
            let client = Client::new(place, plan, self.random.fork(), self.workload.clone());
            process.spawn("client", client.run());
        }
        let nemesis = Nemesis {
            cluster: self.cluster.clone(),
            names: self.names.clone(),
            random: self.random.fork(),
            journal: self.journal.clone(),
            pause_max: self.random.range(200..3_000),
            long_pauses: self.faults.commits_kept > SHORT,
        };
        // Some time without faults, so that there is something to lose.
        sleep(self.random.millis(100..2_000)).await;
        nemesis.run(self.random.millis(4_000..14_000)).await;
        sleep(self.random.millis(100..2_000)).await;
        active_in.send_replace(false);
    }

    /// Waits until all is stored and every matcher is ready, then for what is late.
    async fn settle(&self) -> Vec<String> {
        self.journal.note("run", format_args!("settles"));
        let settled = async {
            let matchers = self.names.iter();
            let matchers = matchers.filter(|(role, _)| *role == Role::Matcher).count();
            while !self.cluster.server().is_idle() || self.cluster.recents().len() < matchers {
                sleep(Duration::from_millis(500)).await;
            }
        };
        let mut violations = Vec::new();
        if tokio::time::timeout(SETTLE, settled).await.is_err() {
            violations.push("what was published is never worked off".to_owned());
        }
        sleep(QUIET).await;
        // What is live is to be live still.
        let place = self.place("probe");
        for number in 0..Workload::authors() {
            let probe = self.workload.probe(number);
            let gateways = self.gateways();
            let gateway = &gateways[number % gateways.len()];
            if !client::publish(&place, gateway, &probe, LAST_WORDS).await {
                violations.push(format!("{gateway} takes no events at the end"));
            }
        }
        sleep(QUIET).await;
        violations
    }

    /// Asks every gateway for everything, one way and another; the numbers of the questions.
    async fn ask_everyone(&self, violations: &mut Vec<String>) -> BTreeSet<usize> {
        self.journal.note("run", format_args!("asks everyone"));
        let place = self.place("last");
        let mut last = BTreeSet::new();
        let ids: Vec<String> = self.history.sent().keys().map(|id| id.to_hex()).collect();
        let by_id = format!(r#"{{"ids":["{}"]}}"#, ids.join(r#"",""#));
        for gateway in self.gateways() {
            for filter in ["{}", &by_id] {
                match client::ask(&place, &gateway, filter, LAST_WORDS).await {
                    Some(number) => drop(last.insert(number)),
                    None => violations.push(format!("{gateway} answers nothing at the end")),
                }
            }
        }
        last
    }

    /// Reads everything through the recent tier of every matcher, whomever it serves.
    async fn ask_matchers(&self, violations: &mut Vec<String>) -> Vec<(String, Vec<EventId>)> {
        let mut held = Vec::new();
        for (name, recent) in self.cluster.recents() {
            let reading = async {
                loop {
                    if let Ok(ids) = check::read_all(&recent, self.journal.now()).await {
                        return ids;
                    }
                }
            };
            match tokio::time::timeout(LAST_WORDS, reading).await {
                Ok(ids) => held.push((name, ids)),
                Err(_elapsed) => violations.push(format!("{name} can't be read at the end")),
            }
        }
        held
    }

    /// Events that were announced so long after they were stored that nobody called them fresh any
    /// more: whoever read them before may get them once again.
    fn late(&self) -> BTreeSet<EventId> {
        let stored_at = self.cluster.database().stored_at();
        let mut announced = BTreeSet::new();
        let mut late = BTreeSet::new();
        for (at, commit) in self.cluster.server().history() {
            for change in commit {
                if let Committed::Winner(event) = change
                    && announced.insert(*event.id())
                    && let Some(stored) = stored_at.get(event.id())
                    && *stored + self.faults.fresh <= at
                {
                    late.insert(*event.id());
                }
            }
        }
        late
    }

    fn verdict(
        self,
        seed: u64,
        last: BTreeSet<usize>,
        held: &[(String, Vec<EventId>)],
        mut violations: Vec<String>,
    ) -> Report {
        let commits: Vec<_> = self
            .cluster
            .server()
            .history()
            .into_iter()
            .map(|(_, commit)| commit)
            .collect();
        let late = self.late();
        let facts = Facts::gather(
            &self.history,
            &commits,
            &self.cluster.database().written(),
            last,
            self.cluster.urls(),
            self.journal.now(),
            self.faults.commits_kept > SHORT,
            late,
        );
        violations.extend(facts.violations());
        let everything = Filter::default();
        let stored = self.cluster.database().events();
        let stored = check::visible(stored, &everything, facts.now);
        check::compare(
            "the database",
            &stored,
            &facts.expected(&everything),
            &mut violations,
        );
        for (name, ids) in held {
            check::compare(name, ids, &facts.expected(&everything), &mut violations);
        }
        let counts = Counts {
            commits: commits.len(),
            ..facts.counts()
        };
        Report {
            seed,
            journal: self.journal.text(),
            violations,
            counts,
        }
    }
}
