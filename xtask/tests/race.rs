//! A small race of all three contestants that need nothing but this repository and the registry: this
//! relay, a peer that is built for it, and a cluster. What is fast or slow says nothing here; that all do
//! the same work, and that each is counted whole, does.

use std::fs;

use clap::Parser as _;
use heliograph_bench::{
    options::{Options, Sizes},
    report::Report,
    run,
};
use heliograph_sandbox::{or_skip, peers, tools};
use heliograph_testkit::process::binary;

/// Cells that every contestant can do, by how their names begin.
const CELLS: [&str; 9] = [
    "REQ by id",
    "REQ author",
    "REQ thread",
    "REQ inbox",
    "REQ limit 0",
    "publish 50",
    "live 1→10,",
    "idle, plain",
    "connect",
];

/// As many cells as these are: five questions asked twice, loading, notes with and without compression, and three
/// others.
const COUNT: usize = 1 + 5 * 2 + 2 + 3;

#[test]
fn this_relay_a_peer_and_a_cluster_do_the_same_work() {
    // What the cluster stands on.
    if [tools::install_nats(), tools::install_cassandra()]
        .into_iter()
        .any(|server| or_skip(server).is_none())
    {
        return;
    }
    let Some(peer) = or_skip(peers::nostr_relay_builder()) else {
        return;
    };
    let out = tempfile::tempdir().expect("a directory");
    let binary = binary();
    let peer = format!("nostr-relay-builder={}", peer.display());
    let mut arguments = vec![
        "bench",
        "--out",
        out.path().to_str().expect("a plain path"),
        "--binary",
        binary.to_str().expect("a plain path"),
        "--xtask",
        env!("CARGO_BIN_EXE_xtask"),
        "--peer-program",
        &peer,
        "--peer",
        "nostr-relay-builder",
        "--cluster",
        "2x1x1",
        "--passes",
        "1",
    ];
    arguments.extend(CELLS.iter().flat_map(|cell| ["--only", cell]));
    let mut options = Options::parse_from(arguments);
    options.sizes = Some(Sizes {
        events: 400,
        // In order, so that what is deleted is there before.
        load: (1, 16),
        ask_secs: 0.1,
        publish_many: 100,
        live_sustained: (10, 30),
        ..Sizes::small()
    });
    let mut lines = Vec::new();
    let report = run(&options, &mut |line| lines.push(line.to_owned()));
    let report = report.unwrap_or_else(|error| panic!("{error:#}\n{}", lines.join("\n")));
    let table = fs::read_to_string(out.path().join("bench.md")).expect("it is written");
    let json = fs::read_to_string(out.path().join("bench.json")).expect("it is written");
    let written: Report = serde_json::from_str(&json).expect("a report");
    assert_eq!(written.relays.len(), 3);
    // Where all differ from NIP-01 alike, they agree: an event for one reader alone isn't given to all.
    let apart = report
        .findings
        .iter()
        .filter(|finding| finding.between_relays);
    assert_eq!(apart.count(), 0, "{table}");
    for relay in &report.relays {
        assert_eq!(relay.cells.len(), COUNT, "{}: {table}", relay.name);
        assert!(relay.is_valid(), "{}: {table}", relay.name);
        assert!(!relay.durability.contains("unknown"), "{table}");
        for cell in &relay.cells {
            let [figures] = cell.passes.as_slice() else {
                panic!("{}, {}: {:?}", relay.name, cell.name, cell.failures);
            };
            assert!(
                figures.operations > 0 && figures.memory.resident > 0,
                "{}, {}: {table}",
                relay.name,
                cell.name
            );
            let row = format!("| {} | {} |", cell.name, relay.name);
            assert!(table.contains(&row), "{row}\n{table}");
        }
    }
    let [own, _, cluster] = report.relays.as_slice() else {
        panic!("{table}");
    };
    assert_eq!(
        own.software.software.as_deref(),
        cluster.software.software.as_deref()
    );
    // The parts of a cluster stand apart, and together are the whole.
    let figures = &cluster.cell("load").expect("it was loaded").passes[0];
    let part = |name: &str| figures.extra.get(&format!("CPU µs each, {name}")).copied();
    let parts = ["roles", "NATS", "CQL"].map(|name| part(name).unwrap_or(0.0));
    assert!(parts.iter().all(|cpu| *cpu > 0.0), "{parts:?}: {table}");
    let whole = figures.server_cpu_secs * 1e6 / figures.operations as f64;
    assert!(
        (parts.iter().sum::<f64>() - whole).abs() < 1.0,
        "{parts:?}, {whole}"
    );
    assert!(own.cell("load").is_some_and(|cell| {
        let extra = &cell.passes[0].extra;
        !extra.keys().any(|name| name.contains("NATS"))
    }));
}
