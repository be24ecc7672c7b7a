//! Ingest workers and matchers: how far behind, how busy, how even.

use super::{
    super::board::{
        Board, Limits, Row, lines, median_and_end, number, quantiles, quantiles_by, query, rates,
        row, stacked,
    },
    unit,
};

pub(super) fn board() -> Board {
    Board {
        uid: "heliograph-ingest-matcher",
        title: "Heliograph / Ingest and matcher",
        description: "How far ingest and the matchers are behind, how they share the work, and what answers cost.",
        anchor: "heliograph_build_info",
        inputs: &[],
        rows: vec![
            ingest(),
            writing(),
            live(),
            serving(),
            answers(),
            memory(),
            bus(),
            super::processes(
                "(heliograph_ingest_batch_size_count or heliograph_matcher_subscriptions)",
            ),
        ],
    }
}

fn ingest() -> Row {
    row(
        "Ingest",
        vec![
            number(
                "Oldest event that isn't stored",
                "Age of the oldest message of the stream of events that isn't acknowledged. Publishers wait 4 s.",
                unit::SECONDS,
                Limits::Above(30.0, 300.0),
                vec![query("max(heliograph:ingest_oldest_unacked:seconds)", "")],
            )
            .alerts(&["HeliographIngestLagging", "HeliographIngestStopped"])
            .width(6),
            number(
                "Dead letters",
                "Batches that could not be stored and wait for a decision.",
                unit::COUNT,
                Limits::Zero,
                vec![query(format!("max(heliograph_dead_letter_waiting {})", super::LOOKED), "")],
            )
            .alerts(&["HeliographDeadLetters"])
            .width(6),
            number(
                "JetStream last answered a worker",
                "How long ago, by the worker that asked last. Past a minute nobody knows how far behind ingest is, and the numbers beside are empty.",
                unit::SECONDS,
                Limits::Above(60.0, 180.0),
                vec![query("min(heliograph:ingest_looked_age:seconds)", "")],
            )
            .alerts(&["HeliographNatsDisconnected"])
            .width(6),
            number(
                "Events stored a second",
                "Events merged into the database, all workers together.",
                unit::A_SECOND,
                Limits::None,
                vec![query("sum(rate(heliograph_ingest_events_total[$i]))", "")],
            )
            .alerts(&["HeliographIngestStopped"])
            .width(6),
            lines(
                "Behind, in seconds",
                "Age of the oldest message that isn't acknowledged, as each worker saw it last. 30 s is a ticket, 300 s a page.",
                unit::SECONDS,
                Limits::Above(30.0, 300.0),
                vec![query("max by (pod) (heliograph_ingest_oldest_unacked_seconds)", "{{pod}}")],
            )
            .alerts(&["HeliographIngestLagging", "HeliographIngestStopped"]),
            lines(
                "Behind, in messages",
                "Messages of the stream that no worker has fetched, those that are with workers, and those of each worker.",
                unit::COUNT,
                Limits::None,
                vec![
                    query("max(heliograph_ingest_lag_messages)", "not fetched"),
                    query("max(heliograph_ingest_unacked_messages)", "with workers"),
                    query("sum by (pod) (heliograph_ingest_working_messages)", "with {{pod}}"),
                ],
            )
            .alerts(&["HeliographIngestLagging"]),
        ],
    )
}

fn writing() -> Row {
    row(
        "Ingest: writing",
        vec![
            stacked(
                "Events, by outcome",
                "Events merged a second, by what became of them.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_ingest_events_total", "outcome"),
            ),
            lines(
                "Writing, by operation",
                "`write`: from handing a batch to the store until it is durable. `fresh`: noting what was written lately.",
                unit::SECONDS,
                Limits::Above(0.5, 2.0),
                quantiles_by("heliograph_ingest_store_seconds", "op"),
            )
            .alerts(&["HeliographStoreSlow"]),
            lines(
                "Events in a write",
                "Batches grow under load. One event each is an idle relay, or batches that can't grow.",
                unit::COUNT,
                Limits::None,
                median_and_end("heliograph_ingest_batch_size"),
            ),
            lines(
                "Announcing commits",
                "Until NATS acknowledged a batch of commits, retries included.",
                unit::SECONDS,
                Limits::Above(0.1, 1.0),
                quantiles("heliograph_bus_commit_ack_seconds"),
            ),
            lines(
                "Retries",
                "Messages a second given back, delivered again, and writes that the store refused.",
                unit::A_SECOND,
                Limits::Zero,
                vec![
                    query("sum(rate(heliograph_ingest_retries_total[$i]))", "given back"),
                    query("sum(rate(heliograph_ingest_redeliveries_total[$i]))", "delivered again"),
                    query("sum(rate(heliograph_ingest_failed_batches_total[$i]))", "writes refused"),
                ],
            )
            .alerts(&["HeliographStoreTimeouts"]),
            lines(
                "Messages fetched, by worker",
                "How the workers share the stream.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_ingest_fetched_messages_total", "pod"),
            ),
            lines(
                "Dead letters made",
                "Messages a second that became dead letters, by reason.",
                unit::A_SECOND,
                Limits::Zero,
                rates("heliograph_dead_letter_total", "reason"),
            )
            .alerts(&["HeliographDeadLetters"]),
        ],
    )
}

fn live() -> Row {
    row(
        "Matcher: live events",
        vec![
            lines(
                "Subscriptions, by matcher",
                "A gateway is served by one matcher: with few gateways some matchers have none by design.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_matcher_subscriptions)", "{{pod}}")],
            )
            .alerts(&["HeliographMatcherImbalance", "HeliographMatcherDown"]),
            lines(
                "Imbalance",
                "Subscriptions of the fullest matcher over the average. 2 is twice its share.",
                unit::COUNT,
                Limits::Above(1.5, 2.0),
                vec![query("max(heliograph:matcher_imbalance:ratio)", "fullest over average")],
            )
            .alerts(&["HeliographMatcherImbalance"]),
            lines(
                "Filters, by matcher",
                "Filters in the index of live subscriptions.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_matcher_filters)", "{{pod}}")],
            ),
            lines(
                "EVENT to matcher",
                "From reading an EVENT at a gateway to matching it here: NATS, ingest and the way back.",
                unit::SECONDS,
                Limits::Above(0.25, 0.5),
                quantiles("heliograph_matcher_lag_seconds"),
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "Commits not fetched yet, by matcher",
                "Messages of the stream of commits before this matcher. A number that grows is a matcher that can't keep up.",
                unit::COUNT,
                Limits::Above(100.0, 1000.0),
                vec![query("max by (pod) (heliograph_bus_feed_lag_messages)", "{{pod}}")],
            )
            .alerts(&["HeliographDeliveryBudgetBurn"]),
            lines(
                "Commit applied: how far matchers are apart",
                "Commits between the matcher that is furthest and each other one.",
                unit::COUNT,
                Limits::Above(100.0, 1000.0),
                vec![query(
                    "scalar(max(heliograph_matcher_applied_commit > 0)) - max by (pod) (heliograph_matcher_applied_commit > 0)",
                    "{{pod}}",
                )],
            ),
            lines(
                "Matching one event",
                "Time to find the subscriptions that want an event and to hand it on.",
                unit::SECONDS,
                Limits::Above(0.001, 0.01),
                quantiles("heliograph_match_seconds"),
            ),
            lines(
                "Candidates for one event",
                "Subscriptions that the index had looked at for an event. Far more than match: filters that the index can't tell apart.",
                unit::COUNT,
                Limits::Above(10_000.0, 100_000.0),
                median_and_end("heliograph_match_candidates"),
            ),
            lines(
                "Events, matches and losers",
                "Events a second matched, subscriptions that got them, and events left out because a later commit replaced or deleted them.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_matcher_events_total[$i]))", "events"),
                    query("sum(rate(heliograph_matches_total[$i]))", "matches"),
                    query("sum(rate(heliograph_matcher_losers_total[$i]))", "losers"),
                ],
            ),
        ],
    )
}

fn serving() -> Row {
    row(
        "Matcher: gateways",
        vec![
            lines(
                "Gateways, by matcher",
                "Sessions of gateways.",
                unit::COUNT,
                Limits::None,
                vec![query("sum by (pod) (heliograph_link_sessions)", "{{pod}}")],
            )
            .alerts(&["HeliographMatcherImbalance"]),
            lines(
                "Bytes that wait for gateways",
                "Past matcher.gateway_queue_bytes_max a session is cut off; the gateway comes back and goes on.",
                unit::BYTES,
                Limits::Above(16_777_216.0, 67_108_864.0),
                vec![query(
                    "max by (pod) (heliograph_link_queue_bytes)",
                    "{{pod}}",
                )],
            ),
            lines(
                "Sessions: opened, cut off, resumed",
                "A second. Cut off: the gateway read too slowly.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query(
                        "sum(rate(heliograph_link_sessions_opened_total[$i]))",
                        "opened",
                    ),
                    query(
                        "sum(rate(heliograph_link_sessions_cut_off_total[$i]))",
                        "cut off",
                    ),
                    query("sum(rate(heliograph_link_resumes_total[$i]))", "resumed"),
                    query(
                        "sum(rate(heliograph_matcher_subscriptions_resumed_total[$i]))",
                        "subscriptions resumed",
                    ),
                    query(
                        "sum(rate(heliograph_matcher_deliveries_replayed_total[$i]))",
                        "deliveries replayed",
                    ),
                ],
            ),
        ],
    )
}

fn answers() -> Row {
    row(
        "Matcher: answers",
        vec![
            stacked(
                "Answers, by tier",
                "Answers a second from memory alone, with the archive, and those that cost more than they may.",
                unit::A_SECOND,
                Limits::None,
                rates("heliograph_matcher_answers_total", "tier"),
            )
            .alerts(&["HeliographHistoryBudgetBurn"]),
            lines(
                "Rows scanned and returned",
                "What one answer looked at, and what it gave.",
                unit::COUNT,
                Limits::Above(50_000.0, 500_000.0),
                vec![
                    query("histogram_quantile(0.5, sum by (le) (rate(heliograph_req_rows_scanned_bucket[$i])))", "scanned p50"),
                    query("histogram_quantile(0.99, sum by (le) (rate(heliograph_req_rows_scanned_bucket[$i])))", "scanned p99"),
                    query("histogram_quantile(0.5, sum by (le) (rate(heliograph_req_rows_returned_bucket[$i])))", "returned p50"),
                    query("histogram_quantile(0.99, sum by (le) (rate(heliograph_req_rows_returned_bucket[$i])))", "returned p99"),
                ],
            ),
            lines(
                "Rows scanned for a row returned",
                "1 is an index that fits the question. Past 20 readers ask what no index answers well.",
                unit::COUNT,
                Limits::Above(5.0, 20.0),
                vec![query(
                    "sum(rate(heliograph_req_rows_scanned_sum[$i])) / sum(rate(heliograph_req_rows_returned_sum[$i]))",
                    "scanned for each returned",
                )],
            ),
            lines(
                "Answers that failed",
                "Answers a second that the store could not finish. They end with CLOSED error.",
                unit::A_SECOND,
                Limits::Zero,
                vec![query("sum(rate(heliograph_matcher_answers_failed_total[$i]))", "failed")],
            )
            .alerts(&["HeliographHistoryBudgetBurn", "HeliographStoreTimeouts"]),
            lines(
                "Asking for the newest commit",
                "Before an answer a matcher asks NATS how far the stream of commits is; every answer waits for so long.",
                unit::SECONDS,
                Limits::Above(0.05, 0.25),
                quantiles("heliograph_bus_newest_seconds"),
            ),
            lines(
                "Pages sent, and events hidden",
                "Pages of answers a second sent to gateways, and stored events left out for privacy.",
                unit::A_SECOND,
                Limits::None,
                vec![
                    query("sum(rate(heliograph_link_pages_total[$i]))", "pages"),
                    query("sum(rate(heliograph_matcher_events_hidden_total[$i]))", "events hidden"),
                ],
            ),
        ],
    )
}

fn memory() -> Row {
    row(
        "Matcher: recent tier",
        vec![
            lines(
                "How far back memory reaches",
                "Age of the oldest event from which on all are in memory. Above it no answer needs the database.",
                unit::SECONDS,
                Limits::None,
                vec![query("max by (pod) (time() - (heliograph_recent_floor_seconds < 1e12))", "{{pod}}")],
            )
            .width(6),
            lines(
                "How far back answers reach",
                "Age of the oldest event that an answer needed. The recent tier should reach further than p95.",
                unit::SECONDS,
                Limits::None,
                vec![
                    query("histogram_quantile(0.5, sum by (le) (rate(heliograph_oldest_needed_age_seconds_bucket[$i])))", "p50"),
                    query("histogram_quantile(0.95, sum by (le) (rate(heliograph_oldest_needed_age_seconds_bucket[$i])))", "p95"),
                ],
            )
            .width(6),
            lines(
                "Events in memory",
                "Events indexed, those whose text is in memory, and what is remembered beyond.",
                unit::COUNT,
                Limits::None,
                vec![
                    query("sum by (pod) (heliograph_recent_events)", "indexed {{pod}}"),
                    query("sum by (pod) (heliograph_recent_texts)", "with text {{pod}}"),
                ],
            )
            .width(6),
            lines(
                "Bytes in memory",
                "Bytes of the index and of the texts.",
                unit::BYTES,
                Limits::None,
                vec![
                    query("sum by (pod) (heliograph_recent_index_bytes)", "index {{pod}}"),
                    query("sum by (pod) (heliograph_recent_text_bytes)", "texts {{pod}}"),
                ],
            )
            .width(6),
        ],
    )
}

fn bus() -> Row {
    row(
        "NATS, as these roles see it",
        vec![
            lines(
                "Connected to NATS",
                "1 while the process is connected.",
                unit::COUNT,
                Limits::Below(1.0, 1.0),
                vec![query("min by (role, pod) (heliograph_bus_connected)", "{{role}} {{pod}}")],
            )
            .alerts(&["HeliographNatsDisconnected"])
            .width(6),
            lines(
                "Members, by role",
                "Processes with a live lease, as most see it.",
                unit::COUNT,
                Limits::None,
                vec![query("max by (member) (heliograph_bus_members)", "{{member}}")],
            )
            .alerts(&["HeliographGatewayDown", "HeliographMatcherDown", "HeliographIngestDown"])
            .width(6),
            lines(
                "Connection trouble",
                "A second: connections made again, leases not renewed, messages dropped because a buffer was full.",
                unit::A_SECOND,
                Limits::Zero,
                vec![
                    query("sum(rate(heliograph_bus_reconnects_total[$i]))", "connected again"),
                    query("sum(rate(heliograph_bus_lease_failures_total[$i]))", "lease not renewed"),
                    query("sum(rate(heliograph_bus_slow_consumers_total[$i]))", "dropped"),
                ],
            )
            .alerts(&["HeliographNatsDisconnected"])
            .width(6),
            lines(
                "Feed of commits, and ephemeral events",
                "A second: feeds set up again, feeds with a gap, ephemeral events dropped because the matcher couldn't keep up.",
                unit::A_SECOND,
                Limits::Zero,
                vec![
                    query("sum(rate(heliograph_bus_feed_restarts_total[$i]))", "set up again"),
                    query("sum(rate(heliograph_bus_feed_gaps_total[$i]))", "gaps"),
                    query("sum(rate(heliograph_bus_ephemeral_dropped_total[$i]))", "ephemeral dropped"),
                ],
            )
            .width(6),
        ],
    )
}
