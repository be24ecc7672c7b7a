//! What a cluster keeps: streams of NATS and the database.

use super::{
    super::board::{
        Board, Limits, Row, lines, median_and_end, number, quantiles, quantiles_by, query, rates,
        row, stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-storage",
        title: "Heliograph / Storage",
        description: "Streams of NATS JetStream and the database of a cluster, as the roles see them.",
        anchor: "heliograph_build_info",
        inputs: &[],
        rows: vec![summary(), streams(), statements(), driver(), rows()],
    }
}

fn summary() -> Row {
    row(
        "Now",
        vec![
            number(
                "Fullest stream",
                "The largest share of its bytes that a stream holds.",
                unit::SHARE,
                Limits::Above(0.8, 0.95),
                vec![query(format!("max(heliograph_bus_stream_bytes / heliograph_bus_stream_max_bytes {})", super::LOOKED), "")],
            )
            .alerts(&["HeliographStreamNearlyFull"])
            .width(6),
            number(
                "Copies behind, all streams",
                "Copies of streams that are not current, or offline.",
                unit::COUNT,
                Limits::Zero,
                vec![query(format!("sum(max by (stream) (heliograph_bus_stream_replicas_behind {}))", super::LOOKED), "")],
            )
            .alerts(&["HeliographReplicaBehind"])
            .width(6),
            number(
                "Statements, slow end",
                "One statement in a hundred to the database takes longer.",
                unit::SECONDS,
                Limits::Above(0.1, 0.5),
                vec![query("histogram_quantile(0.99, sum by (le) (rate(heliograph_scylla_statement_seconds_bucket[$i])))", "")],
            )
            .alerts(&["HeliographStoreSlow"])
            .width(6),
            number(
                "Statements failed or repeated",
                "Share of the statements to the database that failed or had to be sent again.",
                unit::SHARE,
                Limits::Above(0.001, 0.01),
                vec![query(failed(""), "")],
            )
            .alerts(&["HeliographStoreTimeouts"])
            .width(6),
        ],
    )
}

/// The share of statements that didn't work the first time.
fn failed(by: &str) -> String {
    let rate = |metric: &str| format!("sum{by} (rate(heliograph_scylla_{metric}_total[$i]))");
    format!(
        "({} + {}) / {}",
        rate("failed_statements"),
        rate("repeated_statements"),
        rate("statements")
    )
}

fn streams() -> Row {
    row(
        "Streams of NATS JetStream",
        vec![
            lines(
                "Bytes, as a share of what the stream may hold",
                "Events: full means that publishers are refused. Committed: full means that the oldest go early. Dead letters: full means that they stay with ingest.",
                unit::SHARE,
                Limits::Above(0.8, 0.95),
                vec![query(
                    "max by (stream) (heliograph_bus_stream_bytes / heliograph_bus_stream_max_bytes)",
                    "{{stream}}",
                )],
            )
            .alerts(&["HeliographStreamNearlyFull"])
            .width(6),
            lines(
                "Messages",
                "Messages that each stream holds.",
                unit::COUNT,
                Limits::None,
                vec![query("max by (stream) (heliograph_bus_stream_messages)", "{{stream}}")],
            )
            .width(6),
            lines(
                "Copies behind",
                "Copies that are not current, or offline. With one of three behind, one more server lost stops the stream.",
                unit::COUNT,
                Limits::Above(1.0, 2.0),
                vec![query("max by (stream) (heliograph_bus_stream_replicas_behind)", "{{stream}}")],
            )
            .alerts(&["HeliographReplicaBehind"])
            .width(6),
            lines(
                "Acknowledging",
                "Until NATS acknowledged a batch, 99 of 100 times, retries included.",
                unit::SECONDS,
                Limits::Above(0.1, 1.0),
                vec![
                    query("histogram_quantile(0.99, sum by (le) (rate(heliograph_bus_publish_ack_seconds_bucket[$i])))", "events p99"),
                    query("histogram_quantile(0.99, sum by (le) (rate(heliograph_bus_commit_ack_seconds_bucket[$i])))", "commits p99"),
                ],
            )
            .width(6),
        ],
    )
}

fn statements() -> Row {
    row(
        "Database: statements",
        vec![
            stacked(
                "Statements, by sort",
                "Statements a second sent to the database.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_scylla_statements_total", "statement"),
            ),
            lines(
                "Time, by sort",
                "One statement in a hundred of each sort takes longer.",
                unit::SECONDS,
                Limits::Above(0.1, 0.5),
                vec![query(
                    "histogram_quantile(0.99, sum by (le, statement) (rate(heliograph_scylla_statement_seconds_bucket[$i])))",
                    "p99 {{statement}}",
                )
                ],
            )
            .alerts(&["HeliographStoreSlow"]),
            lines(
                "Time, all sorts",
                "From sending a statement to its answer, retries included.",
                unit::SECONDS,
                Limits::Above(0.1, 0.5),
                quantiles("heliograph_scylla_statement_seconds"),
            )
            .alerts(&["HeliographStoreSlow"]),
            lines(
                "Failed or repeated, by role",
                "Share of the statements that failed or had to be sent again, after time-outs or for lack of replicas.",
                unit::SHARE,
                Limits::Above(0.001, 0.01),
                vec![query(failed(" by (role)"), "{{role}}")],
            )
            .alerts(&["HeliographStoreTimeouts"]),
            stacked(
                "Given up, by sort",
                "Statements a second given up after all retries.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_scylla_failed_statements_total", "statement"),
            )
            .alerts(&["HeliographStoreTimeouts"]),
            lines(
                "Ingest: writing, by operation",
                "`write`: a batch until it is durable. `fresh`: noting what was written lately.",
                unit::SECONDS,
                Limits::Above(0.5, 2.0),
                quantiles_by("heliograph_ingest_store_seconds", "op"),
            )
            .alerts(&["HeliographStoreSlow", "HeliographIngestLagging"]),
        ],
    )
}

fn driver() -> Row {
    row(
        "Database: driver",
        vec![
            lines(
                "Open connections, by process",
                "To all nodes. Fewer than before: a node is gone.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_scylla_driver_connections)", "{{pod}}")],
            )
            .width(6),
            lines(
                "Trouble",
                "A second: requests that ran out of time, failed or were tried again, connections not made in time.",
                unit::A_SECOND,
                Limits::Zero,
                vec![
                    query("sum(rate(heliograph_scylla_driver_request_timeouts_total[$i]))", "timed out"),
                    query("sum(rate(heliograph_scylla_driver_errors_total[$i]))", "failed"),
                    query("sum(rate(heliograph_scylla_driver_retries_total[$i]))", "tried again"),
                    query("sum(rate(heliograph_scylla_driver_connection_timeouts_total[$i]))", "connections timed out"),
                ],
            )
            .alerts(&["HeliographStoreTimeouts"])
            .width(6),
            lines(
                "Requests for a statement",
                "Requests that the driver sent for each statement. Above 1: it asks a second node when the first is slow (speculative execution).",
                unit::COUNT,
                Limits::Warn(1.5),
                vec![query(
                    "sum(rate(heliograph_scylla_driver_requests_total[$i])) / sum(rate(heliograph_scylla_statements_total[$i]))",
                    "requests",
                )],
            )
            .width(6),
            lines(
                "Events in a write",
                "Events of one write to the database.",
                unit::COUNT,
                Limits::None,
                median_and_end("heliograph_scylla_batch_events"),
            )
            .width(6),
        ],
    )
}

fn rows() -> Row {
    row(
        "Database: rows",
        vec![
            lines(
                "Index rows read",
                "Index rows a second that scans looked at, and look-ups of an event that another one in flight answered.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_scylla_read_rows_total[$i]))", "rows"),
                    query(
                        "sum(rate(heliograph_scylla_shared_reads_total[$i]))",
                        "shared look-ups",
                    ),
                ],
            ),
            lines(
                "Tidying",
                "A second: events removed, stale index rows removed by scans, events taken back for another worker's.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query(
                        "sum(rate(heliograph_scylla_removed_events_total[$i]))",
                        "events removed",
                    ),
                    query(
                        "sum(rate(heliograph_scylla_stale_rows_total[$i]))",
                        "stale rows",
                    ),
                    query(
                        "sum(rate(heliograph_scylla_lost_races_total[$i]))",
                        "taken back",
                    ),
                    query(
                        "sum(rate(heliograph_scylla_full_buckets_total[$i]))",
                        "buckets found full",
                    ),
                ],
            ),
            stacked(
                "Answers, by tier",
                "Answers a second that memory gave alone, and those that needed the database.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_matcher_answers_total", "tier"),
            ),
        ],
    )
}
