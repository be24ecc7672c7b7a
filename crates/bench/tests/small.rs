//! A small run against the relay itself: every cell completes, and every count is right.

use std::fs;

use clap::Parser as _;
use heliograph_bench::{
    options::{Options, Sizes},
    report::{Metric, Report, Summary},
    run,
};
use heliograph_testkit::process::{binary, conformance_config};

/// The relay with these settings beside those of the conformance suites, and with time enough to read
/// for a debug build on a busy machine.
fn relay(name: &str, settings: &str) -> String {
    format!(
        "{name}=exec '{}' --config '{}' --data {{dir}} --listen 127.0.0.1:{{port}} \
         --set admin.listen=127.0.0.1:0 --set store.scan_ms_max=60000 {settings}",
        binary().display(),
        conformance_config().display()
    )
}

/// Runs a small bench; returns the report, and the table as it was written.
fn bench(sizes: Sizes, arguments: &[&str]) -> (Report, String) {
    let (report, table, _) = bench_with_summary(sizes, arguments);
    (report, table)
}

/// The same, with the first relay's summary if it has one.
fn bench_with_summary(sizes: Sizes, arguments: &[&str]) -> (Report, String, Option<Summary>) {
    let out = tempfile::tempdir().expect("a directory");
    let path = out.path().join("results");
    let fixed = [
        "bench",
        "--out",
        path.to_str().expect("a plain path"),
        "--worker",
        env!("CARGO_BIN_EXE_heliograph-bench"),
    ];
    let mut options = Options::parse_from(fixed.iter().chain(arguments));
    options.sizes = Some(sizes);
    let mut lines = Vec::new();
    let report = run(&options, &mut |line| lines.push(line.to_owned()));
    let report = report.unwrap_or_else(|error| panic!("{error:#}\n{}", lines.join("\n")));
    let json = fs::read_to_string(path.join("bench.json")).expect("it is written");
    let written: Report = serde_json::from_str(&json).expect("a report");
    assert_eq!(
        (&written.corpus, &written.passes),
        (&report.corpus, &report.passes)
    );
    let summary = path.join(&report.relays[0].name).join("summary.json");
    let summary = fs::read_to_string(&summary).ok().map(|text| {
        let text = serde_json::from_str(&text).expect("a summary");
        assert!(summary.with_extension("md").is_file(), "both are written");
        text
    });
    let entries = fs::read_dir(&path).expect("it is there");
    let left: Vec<_> = entries.flatten().collect();
    let written = 2 + usize::from(summary.is_some());
    assert_eq!(
        left.len(),
        written,
        "data directories are removed: {left:?}"
    );
    let table = fs::read_to_string(path.join("bench.md")).expect("it is written");
    (report, table, summary)
}

/// Every subscriber got every note, and the relay said how often it wrote for that.
fn check_sustained(report: &Report) {
    for name in ["live 1→20, 50 notes", "live 1→20, 50 notes, deflate"] {
        let cell = report.relays[0].cell(name).expect("it ran");
        let figures = &cell.passes[0];
        assert_eq!(figures.counts, [50; 20], "{name}");
        let writes = figures.extra["write calls each"];
        assert!((0.01..=10.0).contains(&writes), "{name}: {writes}");
    }
}

#[test]
fn every_cell_completes_with_right_counts() {
    let import = format!(
        "own=exec '{}' --data {{dir}} import {{file}}",
        binary().display()
    );
    let (report, table, summary) = bench_with_summary(
        Sizes::small(),
        &[
            "--relay",
            &relay("own", ""),
            "--sockets-per-address",
            "50",
            "--import",
            &import,
            "--tls",
            &relay(
                "own",
                "--set 'gateway.certificate={certificate}' --set 'gateway.key={key}'",
            ),
            "--passes",
            "1",
        ],
    );
    assert!(report.findings.is_empty(), "{table}");
    let own = &report.relays[0];
    // Import, load, ten kinds of questions twice, four ways to publish, four fans, eight of connections.
    assert_eq!(own.cells.len(), 1 + 1 + 20 + 4 + 4 + 8, "{table}");
    assert!(own.is_valid(), "{table}");
    for cell in &own.cells {
        let [figures] = cell.passes.as_slice() else {
            panic!("{}: {:?}", cell.name, cell.failures);
        };
        let refusals = &figures.refusals;
        assert_eq!(
            (refusals.limited, refusals.refused),
            (0, 0),
            "{}: {refusals:?}",
            cell.name
        );
        assert_eq!(figures.faults, [""; 0], "{}", cell.name);
        assert!(
            figures.operations > 0 && figures.wall_secs > 0.0,
            "{}",
            cell.name
        );
        // Those that others hold count no bytes.
        let loaded = ["import", "sockets"].contains(&cell.name.as_str());
        assert!(
            loaded || (figures.latency.count > 0 && figures.bytes_received > 0),
            "{}",
            cell.name
        );
    }
    let figures = |name: &str| &own.cell(name).unwrap().passes[0];
    assert_eq!(figures("load").operations, 3_000);
    assert!(figures("load").server_cpu_secs > 0.0 && figures("load").disk > 100_000);
    assert_eq!(figures("publish 50×20").operations, 300);
    assert_eq!(figures("live 1→50 at 10/s").operations, 200);
    check_sustained(&report);
    assert!(figures("idle, deflate offered").extra["with deflate"] > 29.0);
    for name in ["idle, TLS", "idle, distinct feeds"] {
        assert_eq!(figures(name).counts, [30], "{name}");
        let grown = figures(name).extra.keys();
        assert!(grown.into_iter().any(|name| name.starts_with("bytes a ")));
    }
    assert!(figures("REQ kind 1, limit 500 (20×)").rows >= 500);
    let sockets = &figures("sockets").extra;
    assert_eq!(sockets["connections"], 200.0);
    assert_eq!((sockets["missing"], sockets["duplicate"]), (0.0, 0.0));
    assert_eq!(figures("sockets").operations, 400);
    assert_eq!(figures("stalled readers").operations, 38 * 250);
    let told = &figures("stalled readers").extra;
    let ends = told
        .iter()
        .filter(|(name, _)| name.starts_with("stalled: "));
    assert_eq!(ends.map(|(_, count)| count).sum::<f64>(), 2.0, "{table}");
    check_summary(&summary.expect("both cells ran"));
}

/// Everything that is asked of a relay but how long it took, which says nothing here.
fn check_summary(summary: &Summary) {
    let mut warnings = summary.warnings.iter();
    assert!(
        warnings.all(|warning| warning.starts_with("The generator used ")),
        "{summary:?}"
    );
    let software = summary.relay.software.as_deref();
    assert!(software.is_some_and(|software| software.ends_with("/heliograph")));
    assert_eq!(
        summary.scenarios.keys().collect::<Vec<_>>(),
        ["slow_readers", "sockets"]
    );
    let wrong = summary.scenarios.values().flat_map(|scenario| {
        let limits = scenario.thresholds.iter();
        limits.filter(|limit| !limit.passed && limit.metric != "slow_healthy_slowdown")
    });
    assert_eq!(wrong.count(), 0, "{summary:?}");
    let closed = &summary.scenarios["slow_readers"].metrics["slow_closed"];
    assert_eq!(*closed, Metric::Count { count: 2 });
}

#[test]
fn a_relay_that_keeps_readers_that_stall_is_told() {
    let sizes = Sizes {
        events: 300,
        stalled: (20, 50, 5, 100),
        ..Sizes::small()
    };
    // Room for everything: the one that doesn't read is never too slow.
    let patient = relay("patient", "--set gateway.outbox_bytes_max=1073741824");
    let (report, table, summary) = bench_with_summary(
        sizes,
        &["--relay", &patient, "--passes", "1", "--only", "stalled"],
    );
    let cell = report.relays[0].cell("stalled readers").expect("it ran");
    assert!(cell.is_valid(), "{table}");
    assert!(
        table.contains("1 of 1 stalled readers were not closed"),
        "{table}"
    );
    let summary = summary.expect("it ran");
    let limits = &summary.scenarios["slow_readers"].thresholds;
    let open = limits
        .iter()
        .find(|limit| limit.metric == "slow_close_missing");
    assert!(open.is_some_and(|limit| !limit.passed), "{summary:?}");
    assert_eq!(summary.skipped.keys().collect::<Vec<_>>(), ["sockets"]);
}

#[test]
fn a_relay_that_limits_rates_is_marked_invalid() {
    let sizes = Sizes {
        events: 300,
        ..Sizes::small()
    };
    let limited = relay("limited", "--set gateway.events_per_sec=1");
    let (report, table) = bench(
        sizes,
        &[
            "--relay",
            &relay("free", ""),
            "--relay",
            &limited,
            "--only",
            "nothing else",
        ],
    );
    let [free, limited] = report.relays.as_slice() else {
        panic!("{table}");
    };
    assert!(free.is_valid() && !limited.is_valid(), "{table}");
    assert!(table.contains("limited, load: INVALID"), "{table}");
    let orders: Vec<Vec<&str>> = report
        .passes
        .iter()
        .map(|order| order.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(orders, [["free", "limited"], ["limited", "free"]]);
    assert_eq!(
        (free.cells[0].passes.len(), limited.cells[0].passes.len()),
        (2, 2)
    );
}

#[test]
fn a_relay_that_starts_only_once_leaves_the_figures_it_has() {
    let sizes = Sizes {
        events: 300,
        ..Sizes::small()
    };
    let marks = tempfile::tempdir().expect("a directory");
    let mark = marks.path().join("started");
    let once = relay("once", "").replacen(
        '=',
        &format!("=test -e '{0}' && exit 3; touch '{0}'; ", mark.display()),
        1,
    );
    let (report, table) = bench(sizes, &["--relay", &once, "--only", "nothing else"]);
    let once = &report.relays[0];
    assert!(!once.is_valid(), "{table}");
    assert_eq!(once.cell("load").unwrap().passes.len(), 1);
    let start = once.cell("start").expect("the failure is a cell");
    assert!(start.failures[0].contains("exit status: 3"), "{start:?}");
    assert!(
        table.contains("once, start: failed: once doesn't start"),
        "{table}"
    );
}

#[test]
fn an_import_that_brings_nothing_is_invalid() {
    let sizes = Sizes {
        events: 300,
        ..Sizes::small()
    };
    let (report, table) = bench(
        sizes,
        &[
            "--relay",
            &relay("own", ""),
            "--import",
            "own=true {file}",
            "--passes",
            "1",
            "--only",
            "import",
        ],
    );
    let own = &report.relays[0];
    assert!(!own.cell("import").unwrap().is_valid(), "{table}");
    assert!(own.cell("load").unwrap().is_valid(), "{table}");
    assert!(
        table.contains("own, import: INVALID, after the import, author and kind: 0 rows, "),
        "{table}"
    );
}
