//! Gateways: connections, messages, EVENT, REQ, delivery, and what lies behind them.

use super::{
    super::board::{
        Board, Limits, Row, heat, lines, median_and_end, number, quantiles, quantiles_by, query,
        rates, row, stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-gateway",
        title: "Heliograph / Gateway",
        description: "Connections, messages, EVENT, REQ and delivery of the gateways, and their way to NATS and to their matcher.",
        anchor: "heliograph_connections",
        inputs: &[],
        rows: vec![
            connections(),
            messages(),
            publish(),
            ask(),
            deliver(),
            behind(),
            super::processes("heliograph_connections"),
        ],
    }
}

fn connections() -> Row {
    row(
        "Connections",
        vec![
            number(
                "Connections",
                "Open WebSockets now, all gateways together.",
                unit::COUNT,
                Limits::None,
                vec![query("sum(heliograph_connections)", "")],
            ),
            number(
                "Fullest gateway",
                "The largest share that a gateway has of the connections that it may have. At 100 % it refuses.",
                unit::SHARE,
                Limits::Above(0.7, 0.85),
                vec![query("max(heliograph_connections / heliograph_connections_max)", "")],
            )
            .alerts(&["HeliographConnectionsNearLimit"]),
            number(
                "Subscriptions",
                "Open subscriptions now, all gateways together.",
                unit::COUNT,
                Limits::None,
                vec![query("sum(heliograph_subscriptions)", "")],
            ),
            number(
                "EVENTs a second",
                "EVENTs answered, whichever way.",
                unit::A_SECOND,
                Limits::None,
                vec![query("sum(rate(heliograph_events_result_total[$i]))", "")],
            ),
            number(
                "Deliveries a second",
                "Live events handed to subscriptions.",
                unit::A_SECOND,
                Limits::None,
                vec![query("sum(rate(heliograph_deliveries_total[$i]))", "")],
            ),
            number(
                "Closed for slowness",
                "Connections a second closed because their client read too slowly.",
                unit::A_SECOND,
                Limits::Zero,
                vec![query(r#"sum(rate(heliograph_slow_consumer_total{action="close"}[$i]))"#, "")],
            )
            .alerts(&["HeliographSlowConsumers"]),
            lines(
                "Connections, by gateway",
                "A gateway with far fewer than the others has just started, or the balancer leaves it out.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_connections)", "{{pod}}")],
            )
            .alerts(&["HeliographGatewayDown"]),
            lines(
                "Share of the connections that fit, by gateway",
                "Open connections over gateway.connections_max, or what the limit of open files allows.",
                unit::SHARE,
                Limits::Above(0.7, 0.85),
                vec![query("max by (pod) (heliograph_connections / heliograph_connections_max)", "{{pod}}")],
            )
            .alerts(&["HeliographConnectionsNearLimit"]),
            stacked(
                "Opened, by protocol",
                "WebSockets opened a second.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_connections_opened_total", "proto"),
            ),
            stacked(
                "Closed, by code and reason",
                "WebSockets ended a second. 1006 is a connection that broke without a close frame.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_connections_closed_total", "code, reason"),
            ),
            lines(
                "Handshake",
                "From the end of a request to its WebSocket, and the wait for a look at the connection. Objective: 99.95 % within 2 s.",
                unit::SECONDS,
                Limits::Above(1.0, 2.0),
                quantiles("heliograph_handshake_seconds"),
            )
            .alerts(&["HeliographConnectBudgetBurn"]),
            lines(
                "Age of connections when they end",
                "Half, and all but one in a hundred, lived no longer. Short lives are clients that reconnect in a loop.",
                unit::SECONDS,
                Limits::None,
                median_and_end("heliograph_connection_age_seconds"),
            ),
        ],
    )
}

fn messages() -> Row {
    row(
        "Messages",
        vec![
            stacked(
                "Client messages, by verb",
                "Messages from clients a second. `invalid` could not be read.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_client_messages_total", "verb"),
            )
            .width(6),
            stacked(
                "Bandwidth on the wire",
                "Bytes of frames a second, by direction, and whether compressed.",
                unit::BYTES_A_SECOND,
                Limits::None,
                vec![query(
                    "sum by (dir, compressed) (rate(heliograph_client_bytes_total[$i]))",
                    "{{dir}}, compressed: {{compressed}}",
                )],
            )
            .width(6),
            lines(
                "Bytes of messages for a byte on the wire",
                "What compression saves: 1 is nothing, 4 a quarter of the bytes. Clients that don't offer it keep it down.",
                unit::COUNT,
                Limits::None,
                vec![query(
                    "sum by (dir) (rate(heliograph_client_payload_bytes_total[$i])) / sum by (dir) (rate(heliograph_client_bytes_total[$i]))",
                    "{{dir}}",
                )],
            )
            .width(6),
            lines(
                "Frames for a system call",
                "How many frames one write takes. More is cheaper; 1 under load means that sockets are written one by one.",
                unit::COUNT,
                Limits::None,
                vec![query(
                    "sum by (pod) (rate(heliograph_client_frames_sent_total[$i])) / sum by (pod) (rate(heliograph_client_writes_total[$i]))",
                    "{{pod}}",
                )],
            )
            .width(6),
        ],
    )
}

fn publish() -> Row {
    row(
        "EVENT",
        vec![
            stacked(
                "EVENTs, by kind",
                "EVENTs received a second, by what they are. Kinds without a name of their own are counted by how they are kept.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_events_received_total", "kind_class"),
            ),
            stacked(
                "EVENTs answered, by result",
                "`error` is the relay's fault; other refusals are the client's.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_events_result_total", "result, reason"),
            )
            .alerts(&["HeliographPublishBudgetBurn"]),
            lines(
                "EVENTs accepted",
                "Share of the EVENTs that got OK true, new ones and those that were known.",
                unit::SHARE,
                Limits::Below(0.5, 0.8),
                vec![
                    query(
                        r#"sum(rate(heliograph_events_result_total{result="accepted"}[$i])) / sum(rate(heliograph_events_result_total[$i]))"#,
                        "accepted",
                    ),
                    query(
                        r#"sum(rate(heliograph_events_result_total{reason="stored"}[$i])) / sum(rate(heliograph_events_result_total[$i]))"#,
                        "new",
                    ),
                ],
            ),
            lines(
                "EVENT to OK, by durability",
                "From reading an EVENT to its OK true. Objective: 99.9 % within 1 s.",
                unit::SECONDS,
                Limits::Above(0.5, 1.0),
                quantiles_by("heliograph_publish_ok_seconds", "durability"),
            )
            .alerts(&["HeliographPublishBudgetBurn"]),
            lines(
                "Signature check",
                "From handing an event to the pool to its verdict, the wait included. About 40 µs without a queue; past 100 ms events are turned away.",
                unit::SECONDS,
                Limits::Above(0.05, 0.1),
                quantiles("heliograph_verify_seconds"),
            )
            .alerts(&["HeliographVerifySaturated"]),
            lines(
                "Signatures: threads busy, and events that wait",
                "Cores that check signatures, and the length of the queue before them.",
                unit::COUNT,
                Limits::Warn(1000.0),
                vec![
                    query("sum by (pod) (rate(heliograph_verify_busy_seconds_total[$i]))", "threads {{pod}}"),
                    query("sum by (pod) (heliograph_verify_queue)", "waiting {{pod}}"),
                ],
            )
            .alerts(&["HeliographVerifySaturated"]),
            stacked(
                "Signatures, by verdict",
                "Events a second by what became of their check. `rejected` found the queue full, `overdue` waited too long: both were told rate-limited.",
                unit::A_SECOND,
                Limits::None,
                ["valid", "bad", "known", "rejected", "overdue"]
                    .map(|verdict| query(format!("sum(rate(heliograph_verify_{verdict}_total[$i]))"), verdict))
                    .into(),
            )
            .alerts(&["HeliographVerifySaturated"]),
            lines(
                "Checks saved",
                "EVENTs a second whose signature was not checked again: known before the check, or checked here before.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_duplicates_early_total[$i]))", "known"),
                    query("sum(rate(heliograph_verifications_spared_total[$i]))", "checked before"),
                ],
            ),
            lines(
                "Keys found parsed",
                "Share of checks whose public key was in the cache. A low share costs CPU: authors change all the time, or the cache is small.",
                unit::SHARE,
                Limits::None,
                vec![query(
                    "sum(rate(heliograph_verify_key_hits_total[$i])) / (sum(rate(heliograph_verify_key_hits_total[$i])) + sum(rate(heliograph_verify_key_misses_total[$i])))",
                    "found",
                )],
            ),
        ],
    )
}

fn ask() -> Row {
    row(
        "REQ and COUNT",
        vec![
            stacked(
                "REQs, by how they ended",
                "REQs a second: EOSE, CLOSED, or ended before by the client.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_req_total", "result"),
            ),
            stacked(
                "Closed, by prefix",
                "REQs and COUNTs a second that were answered with CLOSED.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_reqs_closed_total", "reason"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"]),
            lines(
                "In flight",
                "Questions whose stored part is under way. A number that only grows waits for a matcher.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_query_inflight)", "{{pod}}")],
            ),
            lines(
                "REQ to EOSE, by plan",
                "`recent` was answered from memory, `archive` needed the store. Objective: 99 % within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles_by("heliograph_req_eose_seconds", "plan"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"]),
            lines(
                "REQ to first event",
                "From reading a REQ to writing its first stored event.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles("heliograph_req_first_event_seconds"),
            ),
            lines(
                "COUNT",
                "From reading a COUNT to its answer.",
                unit::SECONDS,
                Limits::Above(1.0, 5.0),
                quantiles("heliograph_count_seconds"),
            ),
        ],
    )
}

fn deliver() -> Row {
    row(
        "Live events",
        vec![
            heat(
                "EVENT to a subscriber's socket: how deliveries spread",
                "Deliveries by how long they took from the gateway that read the event.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                super::heat_of(super::DELIVERY),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "EVENT to a subscriber's socket",
                "Objective: 99 % within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles(super::DELIVERY),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"])
            .width(12),
            lines(
                "Deliveries, by gateway",
                "Live events a second handed to subscriptions, and received from matchers: one that many want is received once.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum by (pod) (rate(heliograph_deliveries_total[$i]))", "handed on {{pod}}"),
                    query("sum by (pod) (rate(heliograph_link_deliveries_received_total[$i]))", "received {{pod}}"),
                ],
            ),
            lines(
                "Bytes that wait for a socket",
                "A sample of what lies in front of connections' sockets. Past gateway.outbox_bytes_max (1 MiB) no stored events are read for it, past four times that it is closed.",
                unit::BYTES,
                Limits::Above(1_048_576.0, 4_194_304.0),
                median_and_end("heliograph_outbound_queue_bytes"),
            )
            .alerts(&["HeliographSlowConsumers"]),
            lines(
                "Slow clients",
                "Connections closed, and subscriptions dropped, a second for slowness.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_slow_consumer_total", "action"),
            )
            .alerts(&["HeliographSlowConsumers"]),
        ],
    )
}

fn behind() -> Row {
    row(
        "Towards NATS and the matcher (cluster)",
        vec![
            lines(
                "Publishing to the stream of events",
                "Until NATS acknowledged a batch, retries included. With sync_interval always this is the disks of NATS.",
                unit::SECONDS,
                Limits::Above(0.1, 1.0),
                quantiles("heliograph_bus_publish_ack_seconds"),
            )
            .alerts(&["HeliographReplicaBehind"])
            .width(6),
            lines(
                "Publishers that wait for a receipt",
                "EVENTs published and not answered yet.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_bus_pending_receipts)", "{{pod}}")],
            )
            .alerts(&["HeliographIngestStopped"])
            .width(6),
            lines(
                "Receipts that didn't come, and batches published again",
                "Publishers a second that got no receipt, by reason, and messages published again after an error.",
                unit::A_SECOND,
                Limits::Zero,
                {
                    let mut queries = rates("heliograph_bus_receipts_missing_total", "reason");
                    queries.push(query("sum by (what) (rate(heliograph_bus_publish_retries_total[$i]))", "again: {{what}}"));
                    queries
                },
            )
            .alerts(&["HeliographIngestStopped", "HeliographNatsDisconnected"])
            .width(6),
            lines(
                "Events in a batch",
                "Batches grow while the one before is under way: under load they get larger, not more.",
                unit::COUNT,
                Limits::None,
                median_and_end("heliograph_bus_batch_events"),
            )
            .width(6),
            lines(
                "Gateways with a matcher",
                "1 while a matcher serves the gateway. Without one REQs get CLOSED error after 2 s.",
                unit::COUNT,
                Limits::Below(1.0, 1.0),
                vec![query("min by (pod) (heliograph_link_connected)", "{{pod}}")],
            )
            .alerts(&["HeliographMatcherDown", "HeliographHistoryBudgetBurn"])
            .width(6),
            lines(
                "Changes of matcher",
                "Sessions a second opened after the first one, subscriptions that no matcher could go on with, and answers asked for again.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_link_reconnects_total[$i]))", "sessions"),
                    query("sum(rate(heliograph_link_subscriptions_ended_total[$i]))", "subscriptions ended"),
                    query("sum(rate(heliograph_answers_interrupted_total[$i]))", "answers asked again"),
                ],
            )
            .alerts(&["HeliographMatcherDown"])
            .width(6),
            lines(
                "Going on at another matcher",
                "From a new session until its subscriptions have what they missed. Live events pause for so long.",
                unit::SECONDS,
                Limits::Above(1.0, 10.0),
                median_and_end("heliograph_link_resume_seconds"),
            )
            .width(6),
            lines(
                "Connected to NATS",
                "1 while the gateway is connected.",
                unit::COUNT,
                Limits::Below(1.0, 1.0),
                vec![query("min by (pod) (heliograph_bus_connected and on (cluster, namespace, job, instance) heliograph_connections)", "{{pod}}")],
            )
            .alerts(&["HeliographNatsDisconnected"])
            .width(6),
        ],
    )
}
