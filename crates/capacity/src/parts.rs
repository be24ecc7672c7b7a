//! The parts of a cluster, one by one: how many of each, of what size, and why.

use crate::{
    assumptions::{
        BACKLOG, COMMITS_KEPT, DATABASE_CORE_GIB, DATABASE_CORE_OPS, DISK_FILL, MEMORY_FILL,
        OUTBOX_BYTES, REPLICAS, SLOW_SHARE, UNEVEN,
    },
    coefficients::Coefficients,
    load::{Build, Load, Refused},
    plan::{Bandwidth, Demand, GB, MIB, Part},
};

/// Servers of NATS: three carry a stream with three copies, and more don't make a stream faster.
const NATS_SERVERS: f64 = 3.0;

/// Of these, those that carry the load while one is away.
const NATS_CARRY: f64 = NATS_SERVERS - 1.0;

/// Cores of a server of NATS up to which a plan makes sense: past it the streams want to be divided.
const NATS_CORES_MAX: f64 = 32.0;

/// Members of a role at most: far beyond what anybody has run.
const MEMBERS_MAX: f64 = 1_000.0;

/// The reason of a database that disks are the need of, and the share of what its cores may do below
/// which that is worth a word.
pub(crate) const BY_DISK: &str = "disk";
pub(crate) const IDLE_SHARE: f64 = 0.25;

/// Numbers of members that different needs ask for; the greatest counts.
struct Needs(Vec<(f64, String)>);

impl Needs {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn of(mut self, count: f64, what: impl Into<String>) -> Self {
        self.0.push((count.ceil().max(1.0), what.into()));
        self
    }

    /// The greatest with its reason, the first of equals; spares come on top.
    fn greatest(self) -> (f64, String) {
        let first = (0.0, String::new());
        self.0.into_iter().fold(
            first,
            |best, need| if need.0 > best.0 { need } else { best },
        )
    }

    /// How many members, why, and how many of them carry the load while spares are away.
    fn members(self, role: &str, spare: f64) -> Result<(f64, f64, String), Refused> {
        let (carry, what) = self.greatest();
        if carry + spare > MEMBERS_MAX {
            return Err(Refused::TooMuch(format!(
                "{carry} × {role} ({what}): no cluster of that size has been tried; make members or their links \
                 larger, or divide the load over several relays"
            )));
        }
        let why = if spare > 0.0 {
            format!("{what}; {spare} to spare")
        } else {
            what
        };
        Ok((carry + spare, carry, why))
    }
}

/// What a machine may send, in bits a second.
pub(crate) fn network(build: &Build) -> f64 {
    build.network_gbit * 1e9 * build.utilisation
}

/// Memory of a connection at a gateway: with one home feed open it was measured, and without any.
pub(crate) fn connection_bytes(load: &Load, c: &Coefficients) -> f64 {
    let idle = c.single.figures.connection_bytes.median;
    let feed = (c.cluster.figures.connection_gateway_bytes.median - idle).max(0.0);
    idle + load.subscriptions * feed + SLOW_SHARE.value * OUTBOX_BYTES.value
}

/// `matchers` carry the load: a gateway is served by one at a time, so fewer gateways than these would
/// leave some with nothing to do.
pub(crate) fn gateways(
    load: &Load,
    build: &Build,
    c: &Coefficients,
    demand: Demand,
    bandwidth: Bandwidth,
    matchers: f64,
) -> Result<Part, Refused> {
    let (f, s) = (&c.cluster.figures, &c.single.figures);
    let answered = mix(
        load,
        c.question(|q| &q.gateway_micros),
        c.question(|q| &q.archive_gateway_micros),
    );
    let cores = (load.events * f.event_gateway_micros.median
        + demand.reqs * answered
        + demand.deliveries * s.delivery_micros.median
        + demand.opened * s.connection_micros.median)
        / 1e6;
    let (count, carry, bound_by) = Needs::new()
        .of(load.connections / build.gateway_connections, "connections")
        .of(cores / (build.gateway_cores * build.utilisation), "CPU")
        .of(
            bandwidth.clients_out / network(build),
            "bandwidth to clients",
        )
        .of(matchers, "one for each matcher")
        .members("gateway", build.spare)?;
    let sockets = load.connections / carry * connection_bytes(load, c);
    let memory = (f.gateway_base_bytes.median + sockets) / MEMORY_FILL.value;
    Ok(Part {
        role: "gateway",
        count: whole(count),
        cores: build.gateway_cores,
        memory_gib: gib(memory),
        disk_gb: 0.0,
        bound_by,
        memory_for: "connections with their subscriptions, and outboxes of slow readers".to_owned(),
        busy: cores / (carry * build.gateway_cores),
    })
}

pub(crate) fn ingest(load: &Load, build: &Build, c: &Coefficients) -> Result<Part, Refused> {
    let f = &c.cluster.figures;
    let cores = load.events * f.event_ingest_micros.median / 1e6;
    let (count, carry, bound_by) = Needs::new()
        .of(cores / (build.ingest_cores * build.utilisation), "CPU")
        .members("ingest", build.spare)?;
    Ok(Part {
        role: "ingest",
        count: whole(count),
        cores: build.ingest_cores,
        memory_gib: gib((f.ingest_base_bytes.median + 256.0 * MIB) / MEMORY_FILL.value),
        disk_gb: 0.0,
        bound_by,
        memory_for: "batches under way".to_owned(),
        busy: cores / (carry * build.ingest_cores),
    })
}

/// Each matcher sees every event; questions and deliveries are shared.
pub(crate) fn matchers(
    load: &Load,
    build: &Build,
    c: &Coefficients,
    demand: Demand,
    bandwidth: Bandwidth,
) -> Result<Part, Refused> {
    let f = &c.cluster.figures;
    let every = load.events * f.event_matcher_micros.median / 1e6;
    let answered = mix(
        load,
        c.question(|q| &q.matcher_micros),
        c.question(|q| &q.archive_matcher_micros),
    );
    let shared =
        (demand.reqs * answered + demand.deliveries * f.delivery_matcher_micros.median) / 1e6;
    let room = build.matcher_cores * build.utilisation;
    if every > room / 2.0 {
        return Err(Refused::TooMuch(format!(
            "following {} events a second takes {every:.1} cores of each matcher, however many there are: \
             give them more than --matcher-cores {} ({:.0} would do)",
            load.events,
            build.matcher_cores,
            (2.0 * every / build.utilisation).ceil()
        )));
    }
    let (count, carry, bound_by) = Needs::new()
        .of(
            UNEVEN.value * shared / (room - every),
            "CPU: questions and deliveries",
        )
        .of(
            UNEVEN.value * bandwidth.link / network(build),
            "bandwidth to gateways",
        )
        .members("matcher", build.spare)?;
    let index = demand.recent_events * f.index_event_bytes.median;
    let uneven = if carry > 1.0 { UNEVEN.value } else { 1.0 };
    let open = load.connections * load.subscriptions * f.subscription_matcher_bytes.median;
    let open = open / carry * uneven;
    let memory = (f.matcher_base_bytes.median + index + index + open) / MEMORY_FILL.value;
    Ok(Part {
        role: "matcher",
        count: whole(count),
        cores: build.matcher_cores,
        memory_gib: gib(memory.max(8.0 * index)),
        disk_gb: 0.0,
        bound_by,
        memory_for: memory_for(8.0 * index > memory, open > index),
        busy: (every + uneven * shared / carry) / build.matcher_cores,
    })
}

pub(crate) fn nats(
    load: &Load,
    build: &Build,
    c: &Coefficients,
    demand: Demand,
    bandwidth: Bandwidth,
) -> Result<Part, Refused> {
    let f = &c.cluster.figures;
    let cores = (load.events * f.event_nats_micros.median
        + demand.reqs * c.question(|q| &q.nats_micros))
        / 1e6;
    // Leaders of streams do most; with one server away the other two do it all.
    let each = (cores / NATS_CARRY / build.utilisation).ceil().max(2.0);
    if each > NATS_CORES_MAX {
        return Err(Refused::TooMuch(format!(
            "each server of NATS would need {each} cores; divide the load over several relays"
        )));
    }
    let sent = bandwidth.nats_out / NATS_CARRY;
    if sent > network(build) {
        return Err(Refused::TooMuch(format!(
            "each server of NATS would send {:.0} Mbit/s, and {:.0} may be sent: give machines more than \
             --network-gbit {}, or divide the load over several relays",
            sent / 1e6,
            network(build) / 1e6,
            build.network_gbit
        )));
    }
    let disk = load.events * demand.message_bytes() * (COMMITS_KEPT.value + BACKLOG.value);
    // What the streams reserve by default, 6 GiB, is never less than what they need.
    let disk = disk.max(6.0 * 1_024.0 * MIB) / DISK_FILL.value;
    Ok(Part {
        role: "nats",
        count: whole(NATS_SERVERS),
        cores: each,
        memory_gib: 4.0,
        disk_gb: (disk / GB).ceil(),
        bound_by: "three copies of each stream; one may be away".to_owned(),
        memory_for: "as it is shipped".to_owned(),
        busy: cores / (each * NATS_CARRY),
    })
}

pub(crate) fn database(
    load: &Load,
    build: &Build,
    c: &Coefficients,
    demand: Demand,
) -> Result<(Part, f64), Refused> {
    let f = &c.cluster.figures;
    let archived = demand.reqs * load.archive_share * c.question(|q| &q.archive_statements);
    let ops = (load.events * f.event_statements.median + archived) * REPLICAS.value;
    let cores = ops / DATABASE_CORE_OPS.value;
    let size = demand.event_bytes / c.single.figures.event_bytes.median;
    let bytes = demand.events_kept * f.database_event_bytes.median * size * REPLICAS.value;
    let (count, carry, bound_by) = Needs::new()
        .of(
            REPLICAS.value - build.spare.min(1.0),
            "a node for each copy",
        )
        .of(
            cores / (build.database_cores * build.utilisation),
            "statements",
        )
        .of(
            bytes / (build.database_disk_gb * GB * DISK_FILL.value),
            BY_DISK,
        )
        .members("database node", build.spare.min(1.0))?;
    // Racks of equal size, one for each copy.
    let racks = (count / REPLICAS.value).ceil();
    let part = Part {
        role: "database",
        count: whole(racks * REPLICAS.value),
        cores: build.database_cores,
        memory_gib: build.database_cores * DATABASE_CORE_GIB.value,
        disk_gb: build.database_disk_gb,
        bound_by,
        memory_for: "cache".to_owned(),
        busy: cores / (carry * build.database_cores),
    };
    Ok((part, bytes))
}

/// The mean of answers from memory and from the archive.
fn mix(load: &Load, recent: f64, archive: f64) -> f64 {
    recent * (1.0 - load.archive_share) + archive * load.archive_share
}

pub(crate) fn memory_for(by_rule: bool, mostly_open: bool) -> String {
    let what = match (by_rule, mostly_open) {
        (true, _) => "the recent tier, which takes an eighth of the limit at most",
        (false, true) => "open subscriptions",
        (false, false) => "the recent tier",
    };
    what.to_owned()
}

/// Up to the next quarter of a GiB, half a GiB at least.
pub(crate) fn gib(bytes: f64) -> f64 {
    ((bytes / (256.0 * MIB)).ceil() / 4.0).max(0.5)
}

/// A count that [`MEMBERS_MAX`] or a range bounds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 1 to a thousand or so"
)]
fn whole(count: f64) -> u64 {
    debug_assert!(
        (1.0..=1e9).contains(&count) && count.fract() == 0.0,
        "{count}"
    );
    count as u64
}
