//! From a load to what it needs. Each function is one formula of `docs/capacity.md`.

use serde::Serialize;

use crate::{
    assumptions::{
        BACKLOG, COMMITS_KEPT, ENVELOPE_BYTES, MEAN_SHARE, MONTH_HOURS, REPLICAS, REQ_PAUSE,
    },
    coefficients::Coefficients,
    load::{Build, Load, Prices, Refused},
    notes, parts,
    single::single,
};

/// Bytes of a MiB and of a GB.
pub(crate) const MIB: f64 = 1_048_576.0;
pub(crate) const GB: f64 = 1e9;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Whichever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One process if it suffices, else a cluster.
    Auto,
    /// One process, or a refusal.
    Single,
    /// A cluster, however small.
    Cluster,
}

/// What a load needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// `single` or `cluster`.
    pub mode: Mode,
    /// What it is made for.
    pub load: Load,
    /// What was derived from that.
    pub demand: Demand,
    /// What runs.
    pub parts: Vec<Part>,
    /// What streams of NATS hold; none with one process.
    pub streams: Option<Streams>,
    /// Bytes of stored events with all copies, at the end of the retention.
    pub stored_bytes: f64,
    /// What crosses.
    pub bandwidth: Bandwidth,
    /// What it costs a month.
    pub cost: Cost,
    /// What to know beside.
    pub notes: Vec<String>,
}

/// Rates and sizes that follow from the load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Demand {
    /// REQs a second.
    pub reqs: f64,
    /// Deliveries of live events a second.
    pub deliveries: f64,
    /// Connections opened a second.
    pub opened: f64,
    /// Bytes of an event.
    pub event_bytes: f64,
    /// Events at the end of the retention.
    pub events_kept: f64,
    /// Events that a recent tier indexes.
    pub recent_events: f64,
}

/// Some processes or servers of a kind, all alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Its role.
    pub role: &'static str,
    /// How many, spares counted.
    pub count: u64,
    /// Cores of each.
    pub cores: f64,
    /// Memory of each, in GiB: the limit to set.
    pub memory_gib: f64,
    /// Disk of each, in GB.
    pub disk_gb: f64,
    /// What decides how many there are.
    pub bound_by: String,
    /// What decides how much memory.
    pub memory_for: String,
    /// The load of each core while the spares are away, as a share.
    pub busy: f64,
}

/// Streams of NATS, on each server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Streams {
    /// Bytes of `<cluster>_committed`: for `nats.committed_bytes_max`.
    pub committed_bytes: f64,
    /// Bytes of `<cluster>_events` while the database is down: for `nats.events_bytes_max`.
    pub events_bytes: f64,
}

/// Bits a second in the busiest hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bandwidth {
    /// From clients.
    pub clients_in: f64,
    /// To clients, compressed.
    pub clients_out: f64,
    /// Out of all servers of NATS together.
    pub nats_out: f64,
    /// From matchers to gateways at most: no two who want an event are at the same one.
    pub link: f64,
}

/// What it costs a month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Cores.
    pub cores: f64,
    /// Memory.
    pub memory: f64,
    /// Disk.
    pub disk: f64,
    /// Bytes to clients.
    pub egress: f64,
    /// All.
    pub total: f64,
}

/// Makes a plan.
///
/// # Errors
///
/// An input makes no sense, or no such machines are enough.
pub fn plan(
    mode: Mode,
    load: &Load,
    build: &Build,
    prices: &Prices,
    c: &Coefficients,
) -> Result<Plan, Refused> {
    load.check()?;
    build.check()?;
    prices.check()?;
    let demand = Demand::of(load, c);
    match mode {
        Mode::Cluster => cluster(load, build, prices, c, demand),
        Mode::Single => single(load, build, prices, c, demand).map_err(Refused::TooMuch),
        Mode::Auto => match single(load, build, prices, c, demand) {
            Ok(plan) => Ok(plan),
            Err(why) => {
                let mut plan = cluster(load, build, prices, c, demand)?;
                plan.notes
                    .insert(0, format!("One process isn't enough: {why}."));
                Ok(plan)
            }
        },
    }
}

impl Demand {
    fn of(load: &Load, c: &Coefficients) -> Self {
        let new = load.events * MEAN_SHARE.value * load.retention_days * DAY;
        let events_kept = load.stored + new;
        Self {
            reqs: load.reqs.unwrap_or(load.connections / REQ_PAUSE.value),
            deliveries: load.events * load.fanout,
            opened: load.connections / (load.connection_minutes * 60.0),
            event_bytes: load
                .event_bytes
                .unwrap_or(c.single.figures.event_bytes.median),
            events_kept,
            recent_events: load.recent_events.min(events_kept).max(1_000.0),
        }
    }
}

fn cluster(
    load: &Load,
    build: &Build,
    prices: &Prices,
    c: &Coefficients,
    demand: Demand,
) -> Result<Plan, Refused> {
    let (gateways, matchers, bandwidth) = serving(load, build, c, demand)?;
    let ingest = parts::ingest(load, build, c)?;
    let nats = parts::nats(load, build, c, demand, bandwidth)?;
    let (database, stored_bytes) = parts::database(load, build, c, demand)?;
    let streams = Streams {
        committed_bytes: load.events * demand.message_bytes() * COMMITS_KEPT.value,
        events_bytes: load.events * demand.message_bytes() * BACKLOG.value,
    };
    let parts = vec![gateways, ingest, matchers, nats, database];
    let cost = Cost::of(&parts.iter().collect::<Vec<_>>(), bandwidth, prices);
    let mut plan = Plan {
        mode: Mode::Cluster,
        load: load.clone(),
        demand,
        parts,
        streams: Some(streams),
        stored_bytes,
        bandwidth,
        cost,
        notes: Vec::new(),
    };
    plan.notes = notes::of(&plan, build);
    Ok(plan)
}

/// Gateways and matchers ask for each other: an event crosses to each gateway, which fills the links of
/// matchers, and a matcher without a gateway has nothing to do. Begins with the fewest and adds until
/// both are served, so that these are the least.
fn serving(
    load: &Load,
    build: &Build,
    c: &Coefficients,
    demand: Demand,
) -> Result<(Part, Part, Bandwidth), Refused> {
    let mut bandwidth = Bandwidth::of(load, c, demand);
    let mut served = 1.0;
    loop {
        let gateways = parts::gateways(load, build, c, demand, bandwidth, served)?;
        bandwidth.link = Bandwidth::link(load, c, demand, gateways.count);
        let matchers = parts::matchers(load, build, c, demand, bandwidth)?;
        let carry = matchers.count as f64 - build.spare;
        if carry <= served {
            bandwidth.nats_out = Bandwidth::nats_out(load, demand, matchers.count);
            return Ok((gateways, matchers, bandwidth));
        }
        served = carry;
    }
}

impl Demand {
    pub(crate) fn message_bytes(&self) -> f64 {
        self.event_bytes + ENVELOPE_BYTES.value
    }
}

impl Bandwidth {
    /// That of clients; what crosses in a cluster comes with its parts.
    pub(crate) fn of(load: &Load, c: &Coefficients, demand: Demand) -> Self {
        let message = demand.message_bytes();
        let asked = demand.reqs * c.single_question(|q| &q.asked_bytes);
        let to_clients = demand.deliveries * message + answers(c, demand);
        Self {
            clients_in: 8.0 * (load.events * message + asked),
            clients_out: 8.0 * to_clients * load.compression,
            nats_out: 0.0,
            link: 0.0,
        }
    }

    /// An event crosses once to each gateway with a subscription that wants it.
    fn link(load: &Load, c: &Coefficients, demand: Demand, gateways: u64) -> f64 {
        let wanting = load.fanout.min(gateways as f64);
        8.0 * (load.events * wanting * demand.message_bytes() + answers(c, demand))
    }

    /// Streams: to two more copies of each; to one worker and every matcher.
    fn nats_out(load: &Load, demand: Demand, matchers: u64) -> f64 {
        let copies = 2.0 * (REPLICAS.value - 1.0) + 1.0 + matchers as f64;
        8.0 * load.events * demand.message_bytes() * copies
    }
}

/// Bytes of answers a second.
fn answers(c: &Coefficients, demand: Demand) -> f64 {
    demand.reqs * c.single_question(|q| &q.answer_bytes)
}

impl Cost {
    pub(crate) fn of(parts: &[&Part], bandwidth: Bandwidth, prices: &Prices) -> Self {
        let sum = |of: fn(&Part) -> f64| -> f64 {
            parts.iter().map(|part| part.count as f64 * of(part)).sum()
        };
        let cores = sum(|part| part.cores) * prices.core_hour * MONTH_HOURS.value;
        let memory = sum(|part| part.memory_gib) * prices.gib_hour * MONTH_HOURS.value;
        let disk = sum(|part| part.disk_gb) * prices.disk_gb_month;
        let sent = bandwidth.clients_out / 8.0 * MEAN_SHARE.value * MONTH_HOURS.value * 3_600.0;
        let egress = sent / GB * prices.egress_gb;
        Self {
            cores,
            memory,
            disk,
            egress,
            total: cores + memory + disk + egress,
        }
    }
}
