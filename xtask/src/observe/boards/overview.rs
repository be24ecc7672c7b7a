//! The first board that anybody opens: are promises kept, how much is going on, what does it cost.

use super::{
    super::board::{
        Board, Limits, Query, heat, lines, number, quantiles, query, rates, row, stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-overview",
        title: "Heliograph / Overview",
        description: "Objectives and what is left of their error budgets, rate, errors and duration, what is behind, and what it costs.",
        anchor: "heliograph_build_info",
        inputs: &[
            ("price_egress", "USD for a GB sent", "0.05"),
            ("price_core", "USD for a core and hour", "0.03"),
            ("price_memory", "USD for a GiB and hour", "0.004"),
        ],
        rows: vec![
            objectives(),
            rate(),
            errors(),
            duration(),
            canary(),
            behind(),
            processes(),
            cost(),
        ],
    }
}

const BURNS: [&str; 5] = [
    "HeliographPublishBudgetBurn",
    "HeliographDeliveryBudgetBurn",
    "HeliographHistoryBudgetBurn",
    "HeliographConnectBudgetBurn",
    "HeliographBudgetSlowBurn",
];

fn objectives() -> super::Row {
    row(
        "Objectives (30 days)",
        vec![
            number(
                "Error budget left",
                "What is left of the share that may go badly in 30 days, by objective. 100 %: nothing used; below 0 the objective is missed. Needs 30 days of retention to be the truth.",
                unit::SHARE,
                Limits::Below(0.0, 0.25),
                vec![query("min by (slo) (slo:error_budget_left:ratio)", "{{slo}}")],
            )
            .alerts(&BURNS)
            .width(12),
            number(
                "Alerts that page",
                "Firing alerts of severity page.",
                unit::COUNT,
                Limits::Zero,
                vec![query(firing("page"), "")],
            ),
            number(
                "Alerts for tickets",
                "Firing alerts of severity ticket.",
                unit::COUNT,
                Limits::Warn(1.0),
                vec![query(firing("ticket"), "")],
            ),
            number(
                "Acknowledged events lost",
                "Events of the canary that got OK true and could not be read again, in the time shown. Any is a broken promise.",
                unit::COUNT,
                Limits::Zero,
                vec![query("sum(increase(heliograph_canary_lost_total[$__range]))", "")],
            )
            .alerts(&["HeliographAckedEventLost"]),
            lines(
                "Burn rate of the last hour",
                "How many times faster than allowed the error budget goes. 1 uses it up in 30 days; 14.4 pages, 2 % of the month in an hour.",
                unit::COUNT,
                Limits::Above(6.0, 14.4),
                vec![query(
                    "max by (slo) (sli:error:ratio_rate1h / on (slo) group_left () slo:error_budget:ratio)",
                    "{{slo}}",
                )],
            )
            .alerts(&BURNS),
            lines(
                "Share that went badly",
                "Of what was asked in the last 5 minutes, what was not answered as the objective says: publish (OK within 1 s, no error; refusals and duplicates don't count), delivery (0.5 s), history (EOSE within 0.5 s, no error), connect (2 s).",
                unit::SHARE,
                Limits::Above(0.01, 0.1),
                vec![query("max by (slo) (sli:error:ratio_rate5m)", "{{slo}}")],
            )
            .alerts(&BURNS),
            lines(
                "Error budget left, over time",
                "The same as the numbers above: a slope is something that goes badly all the time, a step an incident.",
                unit::SHARE,
                Limits::Below(0.0, 0.25),
                vec![query("min by (slo) (slo:error_budget_left:ratio)", "{{slo}}")],
            )
            .alerts(&BURNS),
        ],
    )
}

fn firing(severity: &str) -> String {
    format!(
        r#"count(ALERTS{{alertname=~"Heliograph.+", alertstate="firing", severity="{severity}"}}) or vector(0)"#
    )
}

fn rate() -> super::Row {
    row(
        "Rate",
        vec![
            lines(
                "Connections and subscriptions",
                "Open WebSockets and the subscriptions on them, all gateways together.",
                unit::COUNT,
                Limits::None,
                vec![
                    query("sum(heliograph_connections)", "connections"),
                    query("sum(heliograph_subscriptions)", "subscriptions"),
                    query("sum(heliograph_connections_max)", "connections that fit"),
                ],
            )
            .alerts(&["HeliographConnectionsNearLimit"])
            .width(6),
            stacked(
                "EVENTs answered",
                "EVENTs a second by their OK: stored, duplicate, or refused with a prefix of NIP-01.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_events_result_total", "result, reason"),
            )
            .width(6),
            stacked(
                "REQs answered",
                "REQs a second by how they ended: EOSE, CLOSED, or the client gone first.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_req_total", "result"),
            )
            .width(6),
            lines(
                "Live deliveries",
                "Live events a second handed to subscriptions.",
                unit::A_SECOND,
                Limits::None,
                vec![query("sum(rate(heliograph_deliveries_total[$i]))", "deliveries")],
            )
            .width(6),
        ],
    )
}

fn errors() -> super::Row {
    row(
        "Errors",
        vec![
            stacked(
                "EVENTs refused, by prefix",
                "`error` is the relay's fault and counts against the objective; all others are the client's.",
                unit::A_SECOND,
                Limits::None,
                rates(r#"heliograph_events_result_total{result="refused"}"#, "reason"),
            )
            .alerts(&["HeliographPublishBudgetBurn", "HeliographIngestStopped"])
            .width(8),
            stacked(
                "REQs and COUNTs closed, by prefix",
                "`error` is the relay's fault, or a question that was too dear.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_reqs_closed_total", "reason"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"])
            .width(8),
            lines(
                "Connections closed for slowness",
                "Connections and subscriptions a second ended because their client read too slowly.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_slow_consumer_total", "action"),
            )
            .alerts(&["HeliographSlowConsumers"])
            .width(8),
        ],
    )
}

fn duration() -> super::Row {
    row(
        "Duration",
        vec![
            lines(
                "EVENT to OK",
                "From reading an EVENT to its OK true. Objective: 99.9 % within 1 s.",
                unit::SECONDS,
                Limits::Above(0.5, 1.0),
                quantiles("heliograph_publish_ok_seconds"),
            )
            .alerts(&["HeliographPublishBudgetBurn"]),
            lines(
                "EVENT to a subscriber's socket",
                "From reading an EVENT at one gateway to writing it to a subscriber's socket at another, without what waited for a slow reader. Objective: 99 % within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles(super::DELIVERY),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "REQ to first event and EOSE",
                "The stored part of an answer. Objective: 99 % of EOSEs within 0.5 s.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                named("EOSE {}", quantiles("heliograph_req_eose_seconds"))
                    .chain(named("first event {}", quantiles("heliograph_req_first_event_seconds")))
                    .collect(),
            )
            .alerts(&["HeliographHistoryBudgetBurn"]),
            heat(
                "EVENT to a subscriber's socket: how deliveries spread",
                "Deliveries by how long they took. A second band is a second cause: one slow gateway, one matcher behind.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                super::heat_of(super::DELIVERY),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            heat(
                "EVENT to OK: how answers spread",
                "OKs by how long they took.",
                unit::SECONDS,
                Limits::Above(0.5, 1.0),
                super::heat_of("heliograph_publish_ok_seconds"),
            )
            .alerts(&["HeliographPublishBudgetBurn"]),
        ],
    )
}

fn canary() -> super::Row {
    row(
        "Canary: what a client sees from outside",
        vec![
            stacked(
                "Events published, by answer",
                "Events of the canary a second, and those that it read again by their id later.",
                unit::A_SECOND,
                Limits::None,
                {
                    let mut queries = rates("heliograph_canary_published_total", "result");
                    queries.push(query("sum(rate(heliograph_canary_audited_total[$i]))", "read again"));
                    queries
                },
            )
            .alerts(&["HeliographCanaryAbsent"])
            .width(6),
            lines(
                "Events that didn't come",
                "Events of the canary a second that didn't come live in time, by the gateway that they were read through.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_canary_missing_total", "via"),
            )
            .alerts(&["HeliographCanaryMissing"])
            .width(6),
            lines(
                "Time since one came",
                "Seconds since an event was published, delivered and read.",
                unit::SECONDS,
                Limits::Above(30.0, 120.0),
                vec![query("time() - max(heliograph_canary_last_success_timestamp_seconds)", "since the last success")],
            )
            .alerts(&["HeliographCanaryMissing", "HeliographCanaryAbsent"])
            .width(6),
            lines(
                "Publish and delivery",
                "EVENT to OK, and EVENT to the live event by the gateway that it was read through, 99 of 100 times.",
                unit::SECONDS,
                Limits::Above(0.5, 1.0),
                vec![
                    query("histogram_quantile(0.99, sum by (le) (rate(heliograph_canary_publish_seconds_bucket[$i])))", "OK p99"),
                    query("histogram_quantile(0.99, sum by (le, via) (rate(heliograph_canary_delivery_seconds_bucket[$i])))", "live p99 via {{via}}"),
                ],
            )
            .alerts(&["HeliographDeliveryBudgetBurn"])
            .width(6),
        ],
    )
}

fn behind() -> super::Row {
    row(
        "What is behind (cluster)",
        vec![
            lines(
                "Oldest event that isn't stored",
                "Age of the oldest message of the stream of events that ingest hasn't acknowledged. 30 s is a ticket, 300 s a page.",
                unit::SECONDS,
                Limits::Above(30.0, 300.0),
                vec![query("max(heliograph:ingest_oldest_unacked:seconds)", "oldest")],
            )
            .alerts(&["HeliographIngestLagging", "HeliographIngestStopped"]),
            lines(
                "EVENT to matcher",
                "From reading an EVENT at a gateway to matching it.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles("heliograph_matcher_lag_seconds"),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "Streams: share of the bytes that they may hold",
                "A full stream of events refuses publishers; a full stream of commits forgets the oldest.",
                unit::SHARE,
                Limits::Above(0.8, 0.95),
                vec![query(
                    "max by (stream) (heliograph_bus_stream_bytes / heliograph_bus_stream_max_bytes)",
                    "{{stream}}",
                )],
            )
            .alerts(&["HeliographStreamNearlyFull", "HeliographReplicaBehind"]),
        ],
    )
}

fn processes() -> super::Row {
    row(
        "Processes",
        vec![
            lines(
                "Ready, by role",
                "Processes whose /readyz says yes. A draining or starting one says no.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (role) (heliograph_ready)", "{{role}}")],
            )
            .alerts(&["HeliographGatewayDown", "HeliographMatcherDown", "HeliographIngestDown"])
            .width(6),
            lines(
                "Starts in 10 minutes",
                "How often each process started in 10 minutes. More than two is a crash that repeats.",
                unit::COUNT,
                Limits::Above(1.0, 3.0),
                vec![query("max by (role) (changes(heliograph_process_start_time_seconds[10m]))", "{{role}}")],
            )
            .alerts(&["HeliographRestarts"])
            .width(6),
            lines(
                "Versions and configurations, by role",
                "Different versions and configurations among the processes of a role. More than one while a rollout goes on.",
                unit::COUNT,
                Limits::Warn(2.0),
                vec![
                    query("count by (role) (count by (role, version, revision) (heliograph_build_info))", "versions of {{role}}"),
                    query("count by (role) (count by (role, hash) (heliograph_config_hash))", "configurations of {{role}}"),
                ],
            )
            .alerts(&["HeliographConfigSkew", "HeliographCertificateExpires"])
            .width(6),
            lines(
                "Clock against that of Prometheus",
                "How far the clock of the worst process of each role is off. Limits on created_at depend on it.",
                unit::SECONDS,
                Limits::Above(1.0, 5.0),
                vec![query(
                    "max by (role) (abs(heliograph_process_time_seconds - timestamp(heliograph_process_time_seconds)))",
                    "{{role}}",
                )],
            )
            .alerts(&["HeliographClockSkew"])
            .width(6),
        ],
    )
}

fn cost() -> super::Row {
    const EGRESS: &str = "sum(heliograph:egress_bytes:rate5m) * 3600 / 1e9 * $price_egress";
    const CPU: &str = "sum(heliograph:cpu_cores:rate5m) * $price_core";
    const MEMORY: &str = "sum(heliograph:memory_bytes:sum) / 1024 / 1024 / 1024 * $price_memory";
    row(
        "Bandwidth and cost",
        vec![
            number(
                "Cost of an hour",
                "What is used now, at the prices above: bytes sent to clients, CPU time and memory of the relay's processes. NATS, the database and idle machines are not in it.",
                unit::DOLLARS,
                Limits::None,
                vec![query(format!("{EGRESS} + {CPU} + {MEMORY}"), "")],
            )
            .width(4),
            stacked(
                "Cost of an hour, by what",
                "The same over time, by what is paid for.",
                unit::DOLLARS,
                Limits::None,
                vec![query(EGRESS, "egress"), query(CPU, "CPU"), query(MEMORY, "memory")],
            )
            .width(7),
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
            .width(7),
            stacked(
                "CPU, by role",
                "Cores in use.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (role) (heliograph:cpu_cores:rate5m)", "{{role}}")],
            )
            .width(6),
        ],
    )
}

fn named(pattern: &'static str, queries: Vec<Query>) -> impl Iterator<Item = Query> {
    queries.into_iter().map(move |query| query.renamed(pattern))
}
