//! The dashboards: what each one shows, and how it is asked.

mod abuse;
mod gateway;
mod ingest_matcher;
mod overview;
mod single_process;
mod storage;

use super::board::{Board, Limits, Panel, Row, lines, query, row};

/// Units, as Grafana names them.
mod unit {
    pub(super) const COUNT: &str = "short";
    pub(super) const SECONDS: &str = "s";
    pub(super) const SHARE: &str = "percentunit";
    pub(super) const BYTES: &str = "bytes";
    pub(super) const BYTES_A_SECOND: &str = "Bps";
    pub(super) const A_SECOND: &str = "cps";
    pub(super) const DOLLARS: &str = "currencyUSD";
}

/// Deliveries that the objective counts: those that waited for no slow reader.
const DELIVERY: &str = r#"heliograph_delivery_seconds{reader!="slow"}"#;

/// Workers that JetStream has answered within a minute: what others tell of it is old.
const LOOKED: &str =
    "and on (cluster, namespace, job, instance) heliograph:ingest_looked_age:seconds < 60";

/// Every board.
pub(super) fn all() -> Vec<Board> {
    vec![
        overview::board(),
        gateway::board(),
        ingest_matcher::board(),
        storage::board(),
        abuse::board(),
        single_process::board(),
    ]
}

/// Use, saturation and limits of the processes that export `metric`.
fn processes(metric: &str) -> Row {
    let of = |expression: &str| {
        format!("max by (pod) ({expression} and on (cluster, namespace, job, instance) {metric})")
    };
    row(
        "Processes",
        vec![
            share(
                "CPU used of what the process may use",
                "CPU time a second over the cores that the process may use. Above 70 % start another one: queues form long before 100 %.",
                Limits::Above(0.7, 0.9),
                &of("rate(heliograph_process_cpu_seconds_total[$i]) / heliograph_process_cores"),
            ),
            share(
                "Resident memory of what the process may use",
                "Resident memory over the limit of the control group, or the machine's memory. At 100 % the kernel kills it.",
                Limits::Above(0.8, 0.95),
                &of(
                    "heliograph_process_resident_memory_bytes / heliograph_process_memory_limit_bytes",
                ),
            ),
            share(
                "Open files of what the process may open",
                "Sockets and files over the limit of open files. A gateway takes no connection beyond it.",
                Limits::Above(0.8, 0.9),
                &of("heliograph_process_open_fds / heliograph_process_max_fds"),
            ),
            share(
                "Busy time of the data workers",
                "Time that the runtime's threads spent working. Near 100 % every task waits for the others, whatever the CPU of the machine says.",
                Limits::Above(0.7, 0.9),
                &of("rate(heliograph_runtime_busy_seconds_total[$i]) / heliograph_runtime_workers"),
            ),
            lines(
                "CPU used",
                "CPU time a second, in cores.",
                unit::COUNT,
                Limits::None,
                vec![query(
                    of("rate(heliograph_process_cpu_seconds_total[$i])"),
                    "{{pod}}",
                )],
            ),
            lines(
                "Resident memory",
                "Memory that the process holds. Growth that never ends is a leak; a matcher grows until its recent tier is full.",
                unit::BYTES,
                Limits::None,
                vec![query(
                    of("heliograph_process_resident_memory_bytes"),
                    "{{pod}}",
                )],
            ),
        ],
    )
}

fn share(
    title: &'static str,
    description: &'static str,
    limits: Limits,
    expression: &str,
) -> Panel {
    lines(
        title,
        description,
        unit::SHARE,
        limits,
        vec![query(expression, "{{pod}}")],
    )
    .width(6)
}

/// A histogram as it is drawn over time, with example traces.
fn heat_of(histogram: &str) -> Vec<super::board::Query> {
    let (name, labels) = match histogram.split_once('{') {
        Some((name, labels)) => (name, format!("{{{labels}")),
        None => (histogram, String::new()),
    };
    vec![query(
        format!("sum by (le) (increase({name}_bucket{labels}[$i]))"),
        "{{le}}",
    )]
}
