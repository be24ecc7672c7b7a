//! Abuse: who runs into limits, how much is refused, and what it costs.

use super::{
    super::board::{
        Board, Limits, Row, bars, lines, median_and_end, number, query, rates, row, stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-abuse",
        title: "Heliograph / Abuse",
        description: "Limits that clients run into, what is refused and why, signatures, authentication, dear questions, and operators' rules. Who it is, the admin listener tells: keys, addresses and filters are no labels.",
        anchor: "heliograph_connections",
        inputs: &[],
        rows: vec![
            summary(),
            limits(),
            refusals(),
            signatures(),
            questions(),
            rules(),
        ],
    }
}

fn summary() -> Row {
    row(
        "Now",
        vec![
            number(
                "EVENTs refused",
                "Share of the EVENTs that were refused, for whatever reason.",
                unit::SHARE,
                Limits::Above(0.2, 0.5),
                vec![query(
                    r#"sum(rate(heliograph_events_result_total{result="refused"}[$i])) / sum(rate(heliograph_events_result_total[$i]))"#,
                    "",
                )],
            )
            .width(6),
            number(
                "Signatures that are bad",
                "Share of the signatures checked. Honest clients send none; each costs as much as a good one.",
                unit::SHARE,
                Limits::Above(0.01, 0.1),
                vec![query(
                    "sum(rate(heliograph_verify_bad_total[$i])) / (sum(rate(heliograph_verify_bad_total[$i])) + sum(rate(heliograph_verify_valid_total[$i])))",
                    "",
                )],
            )
            .alerts(&["HeliographVerifySaturated"])
            .width(6),
            number(
                "Rate-limited a second",
                "Messages and connections turned away for coming too fast.",
                unit::A_SECOND,
                Limits::Above(10.0, 1000.0),
                vec![query("sum(rate(heliograph_rate_limited_total[$i]))", "")],
            )
            .width(6),
            number(
                "Banned in the time shown",
                "Addresses banned for bad signatures, and refused by operators' rules.",
                unit::COUNT,
                Limits::Above(10.0, 1000.0),
                vec![query("sum(increase(heliograph_banned_total[$__range]))", "")],
            )
            .width(6),
        ],
    )
}

fn limits() -> Row {
    row(
        "Limits",
        vec![
            bars(
                "Limits most run into",
                "How often each limit turned something away in the time shown, the ten most frequent.",
                unit::COUNT,
                Limits::Above(100.0, 10_000.0),
                vec![query(
                    "topk(10, sum by (limit) (increase(heliograph_rate_limited_total[$__range])) or sum by (limit) (increase(heliograph_limit_rejections_total[$__range])))",
                    "{{limit}}",
                )],
            ),
            stacked(
                "Too fast, by limit",
                "Turned away a second: events, questions and connections faster than they may come, and events that found no room in the queue for signatures.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_rate_limited_total", "limit"),
            )
            .alerts(&["HeliographVerifySaturated"]),
            stacked(
                "Too many or too large, by limit",
                "Turned away a second: connections, subscriptions, filters and messages beyond what one may have.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_limit_rejections_total", "limit"),
            )
            .alerts(&["HeliographConnectBudgetBurn", "HeliographConnectionsNearLimit"]),
        ],
    )
}

fn refusals() -> Row {
    row(
        "Refusals",
        vec![
            stacked(
                "EVENTs refused, by prefix",
                "A second, by the prefix of NIP-01 that the client was told.",
                unit::A_SECOND,
                Limits::None,
                rates(r#"heliograph_events_result_total{result="refused"}"#, "reason"),
            )
            .width(6),
            stacked(
                "REQs and COUNTs closed, by prefix",
                "A second, by the prefix that the client was told.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_reqs_closed_total", "reason"),
            )
            .width(6),
            stacked(
                "Connections ended, by reason",
                "A second. `policy`, `protocol` and `too_big` are ended by the relay for what the client sent.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_connections_closed_total", "reason"),
            )
            .alerts(&["HeliographSlowConsumers"])
            .width(6),
            lines(
                "Duplicates and messages that can't be read",
                "Share of EVENTs that were known, and of messages that could not be read.",
                unit::SHARE,
                Limits::Above(0.5, 0.9),
                vec![
                    query(
                        r#"sum(rate(heliograph_events_result_total{reason="duplicate"}[$i])) / sum(rate(heliograph_events_result_total[$i]))"#,
                        "EVENTs known",
                    ),
                    query(
                        r#"sum(rate(heliograph_client_messages_total{verb="invalid"}[$i])) / sum(rate(heliograph_client_messages_total[$i]))"#,
                        "messages unreadable",
                    ),
                ],
            )
            .width(6),
        ],
    )
}

fn signatures() -> Row {
    row(
        "Signatures and authentication",
        vec![
            lines(
                "Signatures, by verdict",
                "A second. `rejected` found the queue full, `overdue` waited too long.",
                unit::A_SECOND,
                Limits::None,
                ["valid", "bad", "rejected", "overdue"]
                    .map(|verdict| query(format!("sum(rate(heliograph_verify_{verdict}_total[$i]))"), verdict))
                    .into(),
            )
            .alerts(&["HeliographVerifySaturated"])
            .width(6),
            lines(
                "CPU for signatures",
                "Cores that check signatures, by gateway.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (rate(heliograph_verify_busy_seconds_total[$i]))", "{{pod}}")],
            )
            .alerts(&["HeliographVerifySaturated"])
            .width(6),
            stacked(
                "Bans, by source",
                "Refused or ended a second: `signatures` are addresses that sent bad ones, `control` what operators banned.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_banned_total", "source"),
            )
            .width(6),
            stacked(
                "AUTH, by result",
                "Authentications a second (NIP-42).",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_auth_total", "result"),
            )
            .width(6),
        ],
    )
}

fn questions() -> Row {
    row(
        "Dear questions and slow readers",
        vec![
            lines(
                "Questions that cost more than they may",
                "REQs a second cut off at their budget of rows or time, and all answers.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query(r#"sum(rate(heliograph_matcher_answers_total{tier="over_budget"}[$i]))"#, "over budget"),
                    query("sum(rate(heliograph_matcher_answers_total[$i]))", "all"),
                ],
            )
            .width(6),
            lines(
                "Rows scanned by an answer",
                "Far above what is returned: filters that no index answers well.",
                unit::COUNT,
                Limits::Above(50_000.0, 500_000.0),
                median_and_end("heliograph_req_rows_scanned"),
            )
            .width(6),
            lines(
                "Rows scanned for a row returned",
                "Past 20 readers ask what no index answers well.",
                unit::COUNT,
                Limits::Above(5.0, 20.0),
                vec![query(
                    "sum(rate(heliograph_req_rows_scanned_sum[$i])) / sum(rate(heliograph_req_rows_returned_sum[$i]))",
                    "scanned for each returned",
                )],
            )
            .width(6),
            lines(
                "Slow readers",
                "Connections closed, and subscriptions dropped, a second.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_slow_consumer_total", "action"),
            )
            .alerts(&["HeliographSlowConsumers"])
            .width(6),
        ],
    )
}

fn rules() -> Row {
    row(
        "Operators' rules (cluster)",
        vec![
            lines(
                "Control records in force",
                "Bans, admissions and other decisions, and those that this version can't follow.",
                unit::COUNT,
                Limits::None,
                vec![
                    query("max by (pod) (heliograph_control_records)", "in force {{pod}}"),
                    query("max by (pod) (heliograph_control_records_ignored)", "not understood {{pod}}"),
                ],
            ),
            lines(
                "Rules known to be the newest",
                "1 while the process follows the records; 0 goes on with what it had. Until they were read first, every EVENT is refused.",
                unit::COUNT,
                Limits::Below(1.0, 1.0),
                vec![
                    query("min by (pod) (heliograph_control_current)", "current {{pod}}"),
                    query("min by (pod) (heliograph_control_read)", "read {{pod}}"),
                ],
            )
            .alerts(&["HeliographNatsDisconnected"]),
            lines(
                "Changes and failures",
                "Changes of records seen a second, and times that they could not be read or followed.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_control_changes_total[$i]))", "changes"),
                    query("sum(rate(heliograph_control_failures_total[$i]))", "failures"),
                ],
            ),
        ],
    )
}
