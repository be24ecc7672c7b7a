//! One process: everything on one machine, or why not.

use crate::{
    assumptions::{DISK_FILL, MEMORY_FILL, SINGLE_GIB, SINGLE_READS},
    coefficients::Coefficients,
    load::{Build, Load, Prices},
    notes,
    parts::{connection_bytes, gib, memory_for, network},
    plan::{Bandwidth, Cost, Demand, GB, Mode, Part, Plan},
};

/// What it would need.
struct Needs {
    cores: f64,
    /// Bits a second to clients.
    sent: f64,
    /// Bytes, without room for compaction.
    disk: f64,
    /// Reads a second from there.
    reads: f64,
    /// GiB, as a limit.
    memory: f64,
}

/// A plan, or why one process isn't enough.
pub(crate) fn single(
    load: &Load,
    build: &Build,
    prices: &Prices,
    c: &Coefficients,
    demand: Demand,
) -> Result<Plan, String> {
    let (s, f) = (&c.single.figures, &c.cluster.figures);
    let bandwidth = Bandwidth::of(load, c, demand);
    let micros = load.events * s.event_micros.median
        + demand.reqs * c.single_question(|q| &q.micros)
        + demand.deliveries * s.delivery_micros.median
        + demand.opened * s.connection_micros.median;
    let size = demand.event_bytes / s.event_bytes.median;
    let index = demand.recent_events * f.index_event_bytes.median;
    let open = load.subscriptions * f.subscription_matcher_bytes.median;
    let sockets = load.connections * (connection_bytes(load, c) + open);
    let memory = (s.resident_bytes.median + 2.0 * index + sockets) / MEMORY_FILL.value;
    let needs = Needs {
        cores: micros / 1e6,
        sent: bandwidth.clients_out,
        disk: demand.events_kept * s.disk_event_bytes.median * size,
        reads: demand.reqs * load.archive_share * c.question(|q| &q.archive_statements),
        memory: gib(memory.max(8.0 * index)),
    };
    needs.check(load, build)?;
    let part = Part {
        role: "single",
        count: 1,
        cores: build.single_cores,
        memory_gib: needs.memory,
        disk_gb: (needs.disk / DISK_FILL.value / GB).ceil().max(10.0),
        bound_by: "one process suffices".to_owned(),
        memory_for: memory_for(8.0 * index > memory, sockets > index),
        busy: needs.cores / build.single_cores,
    };
    let cost = Cost::of(&[&part], bandwidth, prices);
    let mut plan = Plan {
        mode: Mode::Single,
        load: load.clone(),
        demand,
        parts: vec![part],
        streams: None,
        stored_bytes: needs.disk,
        bandwidth,
        cost,
        notes: Vec::new(),
    };
    plan.notes = notes::of(&plan, build);
    Ok(plan)
}

impl Needs {
    fn check(&self, load: &Load, build: &Build) -> Result<(), String> {
        let busiest = build.single_cores * build.utilisation;
        let disk = build.database_disk_gb * GB * DISK_FILL.value;
        let limits = [
            (
                self.cores,
                busiest,
                format!(
                    "it would need {:.1} cores, and {busiest:.1} of the machine's {} may be busy",
                    self.cores, build.single_cores
                ),
            ),
            (
                load.connections,
                build.gateway_connections,
                format!(
                    "{} connections, and one process is to have {} at most",
                    load.connections, build.gateway_connections
                ),
            ),
            (
                self.sent,
                network(build),
                format!(
                    "{:.2} Gbit/s to clients, and {:.2} are to be had",
                    self.sent / 1e9,
                    network(build) / 1e9
                ),
            ),
            (
                self.disk,
                disk,
                format!(
                    "{:.0} GB of events, and half of a disk of {} GB may be used",
                    self.disk / GB,
                    build.database_disk_gb
                ),
            ),
            (
                self.reads,
                SINGLE_READS.value,
                format!(
                    "{:.0} reads a second from its disk for --archive-share {}, and {:.0} are assumed to be \
                     the most",
                    self.reads, load.archive_share, SINGLE_READS.value
                ),
            ),
            (
                self.memory,
                SINGLE_GIB.value,
                format!(
                    "{} GiB of memory, and {} are assumed to be the most: fewer --recent-events or \
                     --subscriptions take less",
                    self.memory, SINGLE_GIB.value
                ),
            ),
        ];
        let past = limits.into_iter().find(|(needed, most, _)| needed > most);
        past.map_or(Ok(()), |(_, _, why)| Err(why))
    }
}
