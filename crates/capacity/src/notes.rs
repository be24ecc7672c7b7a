//! What to know beside a plan.

use crate::{
    assumptions::UNEVEN,
    figure::thousands,
    load::Build,
    parts::{BY_DISK, IDLE_SHARE},
    plan::{MIB, Mode, Part, Plan},
};

/// Keys of the configuration that a plan may need more of, with their defaults.
pub const KEYS: [(&str, f64); 4] = [
    ("gateway.connections_max", 50_000.0),
    ("recent.events_max", 2_000_000.0),
    ("nats.events_bytes_max", 4_096.0 * MIB),
    ("nats.committed_bytes_max", 1_024.0 * MIB),
];

/// Gateways for each matcher from which on `uneven` holds: that many it was computed for.
const GATEWAYS_EACH: f64 = 2.5;

/// All of them; the most important first.
pub(crate) fn of(plan: &Plan, build: &Build) -> Vec<String> {
    let mut notes = match plan.mode {
        Mode::Single => vec![
            "One process suffices for the load. It has no spare: while its machine is away, so is the relay. \
             `--mode cluster` says what it takes to lose one without notice."
                .to_owned(),
        ],
        Mode::Cluster | Mode::Auto => of_cluster(plan, build),
    };
    notes.extend(keys(plan, build));
    notes
}

fn of_cluster(plan: &Plan, build: &Build) -> Vec<String> {
    let mut notes = Vec::new();
    let part = |role: &str| plan.parts.iter().find(|part| part.role == role);
    if let Some(database) = part("database")
        && database.bound_by.starts_with(BY_DISK)
        && database.busy < IDLE_SHARE * build.utilisation
    {
        notes.push(
            "The database is full long before it is busy: nodes with fewer cores and more disk \
             (`--database-cores`, `--database-disk-gb`) or a shorter `--retention` cost less."
                .to_owned(),
        );
    }
    if let (Some(gateways), Some(matchers)) = (part("gateway"), part("matcher")) {
        let [gateways, matchers] = [gateways, matchers].map(|part| carry(part, build));
        if matchers > 1.0 && gateways < GATEWAYS_EACH * matchers {
            notes.push(format!(
                "{gateways} gateways on {matchers} matchers spread unevenly: the busiest matcher may have more \
                 than {} times its share, which is what is planned for. Larger matchers (`--matcher-cores`, \
                 `--network-gbit`) or smaller gateways (`--gateway-connections`) spread better.",
                UNEVEN.value
            ));
        }
    }
    if build.spare > 1.0 {
        notes.push(format!(
            "`--spare {}` is for gateways, ingest workers and matchers. The database and NATS keep three copies \
             and need two of them: they stand the loss of one.",
            build.spare
        ));
    }
    notes
}

/// Keys whose defaults are too low.
fn keys(plan: &Plan, build: &Build) -> Vec<String> {
    let mut holders = plan.parts.iter();
    let holder = holders.find(|part| ["gateway", "single"].contains(&part.role));
    let connections = holder.map_or(0.0, |part| match part.role {
        "single" => plan.load.connections,
        _ => plan.load.connections / carry(part, build),
    });
    let bytes = |bytes: f64| (bytes / MIB).ceil() * MIB;
    let needed = [
        connections.ceil(),
        plan.demand.recent_events.ceil(),
        plan.streams.map_or(0.0, |s| bytes(s.events_bytes)),
        plan.streams.map_or(0.0, |s| bytes(s.committed_bytes)),
    ];
    let short = KEYS.iter().zip(needed);
    let short = short.filter(|((_, default), needed)| needed > default);
    let note = |((key, default), needed): (&(&str, f64), f64)| {
        let default = thousands(*default);
        format!("Raise `{key}` from its default, {default}, to {needed:.0}.")
    };
    short.map(note).collect()
}

/// Members that are left while the spares are away.
fn carry(part: &Part, build: &Build) -> f64 {
    part.count as f64 - build.spare
}
