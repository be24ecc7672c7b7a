//! A relay in one process: everything that matters on one board, without NATS, without the database
//! of a cluster, without recording rules.

use super::{
    super::board::{
        Board, Limits, Row, heat, lines, number, quantiles, quantiles_by, query, rates, row,
        stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-single-process",
        title: "Heliograph / Single process",
        description: "A relay in one process. Asks for nothing that a cluster has and a single process has not, and works without the recording rules.",
        anchor: "heliograph_store_broken",
        inputs: &[],
        rows: vec![
            now(),
            rate(),
            duration(),
            disk(),
            memory(),
            limits(),
            process(),
        ],
    }
}

fn now() -> Row {
    row(
        "Now",
        vec![
            number(
                "Connections",
                "Open WebSockets.",
                unit::COUNT,
                Limits::None,
                vec![query("sum(heliograph_connections)", "")],
            ),
            number(
                "Share of the connections that fit",
                "Open connections over gateway.connections_max, or what the limit of open files allows.",
                unit::SHARE,
                Limits::Above(0.7, 0.85),
                vec![query("max(heliograph_connections / heliograph_connections_max)", "")],
            )
            .alerts(&["HeliographConnectionsNearLimit"]),
            number(
                "Subscriptions",
                "Open subscriptions.",
                unit::COUNT,
                Limits::None,
                vec![query("sum(heliograph_subscriptions)", "")],
            ),
            number(
                "EVENTs that went badly",
                "Share of the EVENTs of the time shown that got error, or an OK later than 1 s; what a rule refused and duplicates don't count. Objective: 0.1 % at most.",
                unit::SHARE,
                Limits::Above(0.0005, 0.001),
                vec![query(
                    r#"(sum(increase(heliograph_events_result_total{result="refused", reason="error"}[$__range])) + sum(increase(heliograph_publish_ok_seconds_count[$__range])) - sum(increase(heliograph_publish_ok_seconds_bucket{le="1.0"}[$__range]))) / (sum(increase(heliograph_events_result_total{result="accepted", reason!="duplicate"}[$__range])) + sum(increase(heliograph_events_result_total{result="refused", reason="error"}[$__range])))"#,
                    "",
                )],
            )
            .alerts(&["HeliographPublishBudgetBurn"]),
            number(
                "Disk free",
                "Share of the file system under store.dir that is free.",
                unit::SHARE,
                Limits::Below(0.1, 0.2),
                vec![query("min(heliograph_store_disk_free_bytes / heliograph_store_disk_size_bytes)", "")],
            )
            .alerts(&["HeliographDiskFullSoon", "HeliographDiskFilling"]),
            number(
                "Store takes writes",
                "1 while it does. 0: a write failed in a way that only a restart mends.",
                unit::COUNT,
                Limits::Below(1.0, 1.0),
                vec![query("1 - max(heliograph_store_broken)", "")],
            )
            .alerts(&["HeliographStoreBroken"]),
        ],
    )
}

fn rate() -> Row {
    row(
        "Rate and errors",
        vec![
            stacked(
                "Client messages, by verb",
                "Messages from clients a second.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_client_messages_total", "verb"),
            )
            .width(6),
            stacked(
                "EVENTs answered, by result",
                "`error` is the relay's fault; other refusals are the client's.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_events_result_total", "result, reason"),
            )
            .alerts(&["HeliographPublishBudgetBurn"])
            .width(6),
            stacked(
                "REQs, by how they ended",
                "REQs a second: EOSE, CLOSED, or ended before by the client.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_req_total", "result"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"])
            .width(6),
            lines(
                "Live deliveries, and slow clients",
                "Live events a second handed to subscriptions, and connections or subscriptions ended for slowness.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_deliveries_total[$i]))", "deliveries"),
                    query("sum(rate(heliograph_slow_consumer_total[$i]))", "ended for slowness"),
                ],
            )
            .alerts(&["HeliographSlowConsumers"])
            .width(6),
        ],
    )
}

fn duration() -> Row {
    row(
        "Duration",
        vec![
            lines(
                "EVENT to OK, by durability",
                "From reading an EVENT to its OK true. Objective: 99.9 % within 1 s.",
                unit::SECONDS,
                Limits::Above(0.5, 1.0),
                quantiles_by("heliograph_publish_ok_seconds", "durability"),
            )
            .alerts(&["HeliographPublishBudgetBurn"])
            .width(6),
            lines(
                "Signature check",
                "From handing an event to the pool to its verdict.",
                unit::SECONDS,
                Limits::Above(0.05, 0.1),
                quantiles("heliograph_verify_seconds"),
            )
            .alerts(&["HeliographVerifySaturated"])
            .width(6),
            lines(
                "REQ to first event",
                "From reading a REQ to writing its first stored event.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles("heliograph_req_first_event_seconds"),
            )
            .width(6),
            lines(
                "REQ to EOSE, by plan",
                "`recent` was answered from memory, `archive` needed the store. Objective: 99 % within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles_by("heliograph_req_eose_seconds", "plan"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"])
            .width(6),
            heat(
                "EVENT to a subscriber's socket: how deliveries spread",
                "Deliveries by how long they took. Objective: 99 % within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                super::heat_of(super::DELIVERY),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "Store, by operation",
                "Appending to the log, its sync, moving batches to the database, and scans. The sync is the disk; OK waits for it.",
                unit::SECONDS,
                Limits::Above(0.1, 0.5),
                quantiles_by("heliograph_store_seconds", "op"),
            )
            .alerts(&["HeliographStoreSlow"])
            .width(12),
        ],
    )
}

fn disk() -> Row {
    row(
        "Disk and store",
        vec![
            lines(
                "Free bytes of the disk, and in three days",
                "The file system under store.dir, and where the last hour leads. Below 0 it will be full.",
                unit::BYTES,
                Limits::None,
                vec![
                    query("min(heliograph_store_disk_free_bytes)", "free"),
                    query("min(predict_linear(heliograph_store_disk_free_bytes[1h], 72 * 3600))", "in three days"),
                ],
            )
            .alerts(&["HeliographDiskFullSoon", "HeliographDiskFilling"]),
            lines(
                "Database and log",
                "Bytes of the database's map, those in use, and the newest segment of the log.",
                unit::BYTES,
                Limits::None,
                vec![
                    query("sum(heliograph_store_map_bytes)", "map"),
                    query("sum(heliograph_store_map_used_bytes)", "in use"),
                    query("sum(heliograph_store_log_bytes)", "log"),
                ],
            ),
            lines(
                "On the way to the database",
                "Events in memory that are in the log and not yet in the database, and reads that wait for a thread.",
                unit::COUNT,
                Limits::Above(50_000.0, 200_000.0),
                vec![
                    query("sum(heliograph_store_overlay_events)", "events"),
                    query("sum(heliograph_store_reads_queued)", "reads that wait"),
                ],
            ),
            lines(
                "Events for a sync",
                "Events that share one sync of the log. More under load is how it keeps up.",
                unit::COUNT,
                Limits::None,
                vec![query(
                    "sum(rate(heliograph_store_log_events_total[$i])) / sum(rate(heliograph_store_log_groups_total[$i]))",
                    "events",
                )],
            ),
            lines(
                "Moves to the database",
                "Batches moved a second, and moves that failed and are repeated.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_store_flushes_total[$i]))", "moved"),
                    query("sum(rate(heliograph_store_flush_failures_total[$i]))", "failed"),
                ],
            )
            .alerts(&["HeliographStoreBroken", "HeliographDiskFullSoon"]),
            lines(
                "Rows scanned",
                "Rows and events a second that the archive looked at, and what answers returned.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_store_rows_scanned_total[$i]))", "scanned in the archive"),
                    query("sum(rate(heliograph_req_rows_scanned_sum[$i]))", "scanned"),
                    query("sum(rate(heliograph_req_rows_returned_sum[$i]))", "returned"),
                ],
            ),
        ],
    )
}

fn memory() -> Row {
    row(
        "Recent tier and live subscriptions",
        vec![
            stacked(
                "Answers, by tier",
                "Answers a second from memory alone, with the archive, and those over their budget.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_matcher_answers_total", "tier"),
            )
            .width(6),
            lines(
                "How far back memory reaches",
                "Age of the oldest event from which on all are in memory.",
                unit::SECONDS,
                Limits::None,
                vec![query("max(time() - (heliograph_recent_floor_seconds < 1e12))", "floor")],
            )
            .width(6),
            lines(
                "Memory of the recent tier",
                "Bytes of the index and of the texts.",
                unit::BYTES,
                Limits::None,
                vec![
                    query("sum(heliograph_recent_index_bytes)", "index"),
                    query("sum(heliograph_recent_text_bytes)", "texts"),
                ],
            )
            .width(6),
            lines(
                "Matching one event",
                "Time to find the subscriptions that want an event and to hand it on.",
                unit::SECONDS,
                Limits::Above(0.001, 0.01),
                quantiles("heliograph_match_seconds"),
            )
            .width(6),
        ],
    )
}

fn limits() -> Row {
    row(
        "Limits",
        vec![
            stacked(
                "Too fast, by limit",
                "Turned away a second for coming too fast.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_rate_limited_total", "limit"),
            ),
            stacked(
                "Too many or too large, by limit",
                "Turned away a second for being more or larger than it may.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_limit_rejections_total", "limit"),
            ),
            stacked(
                "Signatures, by verdict",
                "Events a second by what became of their check.",
                unit::A_SECOND,
                Limits::None,
                ["valid", "bad", "known", "rejected", "overdue"]
                    .map(|verdict| {
                        query(
                            format!("sum(rate(heliograph_verify_{verdict}_total[$i]))"),
                            verdict,
                        )
                    })
                    .into(),
            )
            .alerts(&["HeliographVerifySaturated"]),
        ],
    )
}

fn process() -> Row {
    row(
        "Process",
        vec![
            lines(
                "CPU used of what the process may use",
                "CPU time a second over the cores that the process may use, and the share that checks signatures.",
                unit::SHARE,
                Limits::Above(0.7, 0.9),
                vec![
                    query("max(rate(heliograph_process_cpu_seconds_total[$i]) / heliograph_process_cores)", "all"),
                    query("max(rate(heliograph_verify_busy_seconds_total[$i]) / heliograph_process_cores)", "signatures"),
                ],
            )
            .width(6),
            lines(
                "Resident memory of what the process may use",
                "Resident memory over the limit of the control group, or the machine's memory.",
                unit::SHARE,
                Limits::Above(0.8, 0.95),
                vec![query(
                    "max(heliograph_process_resident_memory_bytes / heliograph_process_memory_limit_bytes)",
                    "memory",
                )],
            )
            .width(6),
            lines(
                "Bandwidth, on the wire and before compression",
                "Bytes of frames as sent and received, and of the messages in them.",
                unit::BYTES_A_SECOND,
                Limits::None,
                vec![
                    query("sum by (dir) (rate(heliograph_client_bytes_total[$i]))", "{{dir}}, wire"),
                    query("sum by (dir) (rate(heliograph_client_payload_bytes_total[$i]))", "{{dir}}, messages"),
                ],
            )
            .width(6),
            lines(
                "Open files, and busy time of the data workers",
                "Shares of what the process may open, and of the time that the runtime's threads have.",
                unit::SHARE,
                Limits::Above(0.8, 0.9),
                vec![
                    query("max(heliograph_process_open_fds / heliograph_process_max_fds)", "open files"),
                    query("max(rate(heliograph_runtime_busy_seconds_total[$i]) / heliograph_runtime_workers)", "workers busy"),
                ],
            )
            .alerts(&["HeliographRestarts", "HeliographClockSkew"])
            .width(6),
        ],
    )
}
