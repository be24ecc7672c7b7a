//! Three nodes of the database, of which one dies: a quorum stays, so clients hardly notice.

use std::time::Duration;

use heliograph_faults::{
    bed::{Bed, PATIENCE, hold},
    workload::Workload,
};
use heliograph_sandbox::{
    cluster::{ClusterOptions, CqlServers, Role},
    cql::CassandraOptions,
};
use heliograph_testkit::{
    history::{Expect, History, What},
    keys::Key,
};
use serde_json::json;

use crate::outage::{accept_all, accepted_again, notes, now, whole};

/// How long the node is dead.
const DEAD: Duration = Duration::from_secs(40);

/// Longer than anybody may be refused for it: statements to the dead node have timed out, and the
/// others have noticed. About 3 s when the machine has nothing else to do.
const FAILOVER: Duration = Duration::from_secs(20);

/// Two of each role on three nodes with three copies of each row, time-outs as in production.
fn bed() -> Option<Bed> {
    let three = |options: &mut ClusterOptions| {
        options.cql = CqlServers::Cassandra(CassandraOptions {
            nodes: 3,
            keeps_all: true,
            ..CassandraOptions::default()
        });
    };
    Bed::with(
        three,
        &["scylla.read_timeout_ms=2000", "store.scan_ms_max=60000"],
    )
}

/// When an event was refused or a question not answered last between two moments.
fn last_error(history: &History, from: Duration, to: Duration) -> Option<Duration> {
    let entries = history.entries();
    let within = entries
        .iter()
        .filter(|entry| (from..to).contains(&entry.at));
    let errors = within.filter(|entry| match &entry.what {
        What::Ok { accepted, text, .. } => !accepted && text.starts_with("error: "),
        What::Closed { text, .. } => text.starts_with("error: "),
        _ => false,
    });
    errors.map(|entry| entry.at - from).max()
}

#[test]
fn the_loss_of_one_of_three_nodes_is_felt_for_a_moment_only() {
    let Some(bed) = bed() else {
        return;
    };
    let work = Workload::start(5, bed.gateways(), bed.history().clone());
    work.progress(200, PATIENCE);
    let killed = bed.history().elapsed();
    // The contact point that is named first.
    bed.kill_cql(0);
    hold(DEAD);
    let felt = last_error(bed.history(), killed, killed + DEAD);
    bed.mark(&format!("refused last {felt:?} after the node died"));
    work.progress(100, PATIENCE);
    bed.restart_cql(0);
    work.progress(200, PATIENCE);
    let summary = work.finish(&Expect::default());
    bed.mark(&format!("{summary:?}"));
    assert!(
        felt < Some(FAILOVER),
        "refused {felt:?} after the node died"
    );
}

#[test]
fn roles_start_while_one_of_three_nodes_is_dead() {
    let Some(bed) = bed() else {
        return;
    };
    let key = Key::nth(1);
    let before = notes(&key, now() - 100, 50);
    accept_all(&mut bed.at(0), &before);
    bed.kill_cql(0);
    for role in [Role::Ingest, Role::Matcher] {
        for number in [0, 1] {
            bed.kill(role, number);
            bed.restart(role, number);
        }
    }
    let added = bed.add(Role::Matcher).map_err(|error| error.to_string());
    assert_eq!(added, Ok(2));
    let after = notes(&key, now(), 50);
    let mut writer = bed.at(1);
    // Whoever still waits for the dead node may refuse an event once.
    for note in &after {
        accepted_again("OK true", &mut writer, || note.clone());
    }
    let all: Vec<_> = before.into_iter().chain(after).collect();
    for gateway in [0, 1] {
        let filter = json!({"authors": [key.hex()], "limit": 200});
        whole(&mut bed.at(gateway), &filter, &all);
    }
}
