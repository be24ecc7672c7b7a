//! What the bus shows. Every series exists from the start; labels are closed sets.

use std::sync::atomic::AtomicU64;

use heliograph_telemetry::{Histogram, LATENCY, counter, counters, gauge, gauges, histogram};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// A gauge of seconds.
pub(crate) type Seconds = Gauge<f64, AtomicU64>;

/// What was published again after an error, for `publish_retries_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Events,
    Commits,
    DeadLetters,
}

const PUBLISHED: [(Published, &str); 3] = [
    (Published::Events, "events"),
    (Published::Commits, "commits"),
    (Published::DeadLetters, "dead_letters"),
];

/// Why a publisher got no receipt, for `receipts_missing_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It stopped waiting.
    Abandoned,
    /// The deadline of the bus passed.
    TimedOut,
    /// The stream didn't acknowledge.
    Unavailable,
    /// The event became a dead letter.
    Refused,
}

const MISSING: [(Missing, &str); 4] = [
    (Missing::Abandoned, "abandoned"),
    (Missing::TimedOut, "timed_out"),
    (Missing::Unavailable, "unavailable"),
    (Missing::Refused, "refused"),
];

/// Why a message became a dead letter, for `dead_letter_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadReason {
    /// It can't be read.
    Unreadable,
    /// It was answered with errors too often.
    Refused,
    /// Its workers ended without an answer too often.
    Unanswered,
}

const DEAD: [(DeadReason, &str); 3] = [
    (DeadReason::Unreadable, "unreadable"),
    (DeadReason::Refused, "refused"),
    (DeadReason::Unanswered, "unanswered"),
];

/// What a stream of ours holds, as the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Events,
    Committed,
    DeadLetters,
}

const KEPT: [(Kept, &str); 3] = [
    (Kept::Events, "events"),
    (Kept::Committed, "committed"),
    (Kept::DeadLetters, "dead_letters"),
];

/// Roles of members, as their leases name them.
const ROLES: [&str; 3] = ["gateway", "ingest", "matcher"];

/// Whose figures are shown: a role has no series for what it doesn't do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Publishes events.
    Gateway,
    /// Takes events and announces commits.
    Ingest,
    /// Follows commits.
    Matcher,
    /// All of them.
    All,
}

/// Metrics of the bus.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) connected: Gauge,
    pub(crate) reconnects: Counter,
    pub(crate) slow_consumers: Counter,
    pub(crate) batch_events: Histogram,
    pub(crate) batch_bytes: Histogram,
    pub(crate) publish_ack_seconds: Histogram,
    pub(crate) commit_ack_seconds: Histogram,
    pub(crate) pending_receipts: Gauge,
    pub(crate) receipts_unclaimed: Counter,
    pub(crate) fetched_messages: Counter,
    pub(crate) redeliveries: Counter,
    pub(crate) working_messages: Gauge,
    pub(crate) ingest_retries: Counter,
    pub(crate) ingest_lag_messages: Gauge,
    pub(crate) ingest_unacked_messages: Gauge,
    pub(crate) ingest_oldest_unacked_seconds: Seconds,
    pub(crate) ingest_looked_timestamp_seconds: Seconds,
    pub(crate) dead_letter_waiting: Gauge,
    pub(crate) newest_requests: Counter,
    pub(crate) newest_seconds: Histogram,
    pub(crate) feed_lag_messages: Gauge,
    pub(crate) feed_restarts: Counter,
    pub(crate) feed_gaps: Counter,
    pub(crate) ephemeral_dropped: Counter,
    pub(crate) ephemeral_unreadable: Counter,
    pub(crate) lease_failures: Counter,
    members: Vec<Gauge>,
    retries: Vec<Counter>,
    missing: Vec<Counter>,
    dead: Vec<Counter>,
    streams: Vec<Stream>,
}

/// Figures of one stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) messages: Gauge,
    pub(crate) bytes: Gauge,
    pub(crate) max_bytes: Gauge,
    pub(crate) replicas_behind: Gauge,
}

impl Metrics {
    /// Registers what `side` does on `registry`, whose prefix is the program's.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list")]
    pub fn register(registry: &mut Registry, side: Side) -> Self {
        let mut elsewhere = Registry::default();
        // Takes what isn't shown.
        let nowhere = &mut elsewhere;
        macro_rules! of {
            ($side:ident) => {
                match side {
                    Side::$side | Side::All => &mut *registry,
                    _ => &mut *nowhere,
                }
            };
        }
        let r = of!(Gateway);
        let batch_events = histogram(
            r,
            "bus_batch_events",
            "Events in one message to ingest",
            &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0],
        );
        let batch_bytes = histogram(
            r,
            "bus_batch_bytes",
            "Bytes of one message to ingest",
            &[1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0],
        );
        let publish_ack_seconds = histogram(
            r,
            "bus_publish_ack_seconds",
            "Time until the stream acknowledged a batch of events, retries included",
            &LATENCY,
        );
        let pending_receipts = gauge(
            r,
            "bus_pending_receipts",
            "Publishers waiting for a receipt",
        );
        let receipts_unclaimed = counter(
            r,
            "bus_receipts_unclaimed",
            "Receipts that nobody waited for any more",
        );
        let missing = counters(
            r,
            "bus_receipts_missing",
            "Publishers that got no receipt, by reason",
            MISSING.map(|(_, label)| [("reason", label)]),
        );
        let r = of!(Ingest);
        let commit_ack_seconds = histogram(
            r,
            "bus_commit_ack_seconds",
            "Time until the stream acknowledged a batch of commits, retries included",
            &LATENCY,
        );
        let fetched_messages = counter(r, "ingest_fetched_messages", "Messages fetched by ingest");
        let redeliveries = counter(
            r,
            "ingest_redeliveries",
            "Messages fetched by ingest that had been delivered before",
        );
        let working_messages = gauge(
            r,
            "ingest_working_messages",
            "Messages fetched and not acknowledged yet",
        );
        let ingest_retries = counter(
            r,
            "ingest_retries",
            "Messages given back to be delivered again later",
        );
        let ingest_lag_messages = gauge(
            r,
            "ingest_lag_messages",
            "Messages that no ingest worker has fetched yet",
        );
        let ingest_unacked_messages = gauge(
            r,
            "ingest_unacked_messages",
            "Messages with ingest workers in the whole cluster",
        );
        let ingest_oldest_unacked_seconds = Seconds::default();
        r.register(
            "ingest_oldest_unacked_seconds",
            "Age of the oldest message that isn't acknowledged; 0 if there is none",
            ingest_oldest_unacked_seconds.clone(),
        );
        let ingest_looked_timestamp_seconds = Seconds::default();
        r.register(
            "ingest_looked_timestamp_seconds",
            "When JetStream last said all of what waits and what streams hold, in Unix time; 0 before. What is shown \
             of it is as old as that",
            ingest_looked_timestamp_seconds.clone(),
        );
        let dead_letter_waiting = gauge(
            r,
            "dead_letter_waiting",
            "Dead letters kept, as ingest saw them last",
        );
        let dead = counters(
            r,
            "dead_letter",
            "Messages that became dead letters, by reason",
            DEAD.map(|(_, label)| [("reason", label)]),
        );
        let streams = streams(r);
        let r = of!(Matcher);
        let newest_requests = counter(
            r,
            "bus_newest_requests",
            "Questions for the newest commit sent to the server",
        );
        let newest_seconds = histogram(
            r,
            "bus_newest_seconds",
            "Time for an answer about the newest commit",
            &LATENCY,
        );
        let feed_lag_messages = gauge(
            r,
            "bus_feed_lag_messages",
            "Commits that the matcher hasn't fetched yet",
        );
        let feed_restarts = counter(r, "bus_feed_restarts", "Times the feed was set up again");
        let feed_gaps = counter(
            r,
            "bus_feed_gaps",
            "Times the feed ended because commits were missing",
        );
        let ephemeral_dropped = counter(
            r,
            "bus_ephemeral_dropped",
            "Ephemeral events dropped because the matcher couldn't keep up",
        );
        let ephemeral_unreadable = counter(
            r,
            "bus_ephemeral_unreadable",
            "Ephemeral messages that could not be read",
        );
        let r = match side {
            Side::Matcher => &mut *nowhere,
            _ => &mut *registry,
        };
        let retries = counters(
            r,
            "bus_publish_retries",
            "Messages published again after an error, by what they carry",
            PUBLISHED.map(|(_, label)| [("what", label)]),
        );
        let r = registry;
        Self {
            connected: gauge(r, "bus_connected", "Whether NATS is connected"),
            reconnects: counter(r, "bus_reconnects", "Connections to NATS after the first"),
            slow_consumers: counter(
                r,
                "bus_slow_consumers",
                "Messages dropped because a subscription's buffer was full",
            ),
            lease_failures: counter(
                r,
                "bus_lease_failures",
                "Renewals of the own lease that failed",
            ),
            members: gauges(
                r,
                "bus_members",
                "Live members, as seen here, by their role",
                // Not `role`, which is the label of who is scraped.
                ROLES.map(|role| [("member", role)]),
            ),
            batch_events,
            batch_bytes,
            publish_ack_seconds,
            commit_ack_seconds,
            pending_receipts,
            receipts_unclaimed,
            fetched_messages,
            redeliveries,
            working_messages,
            ingest_retries,
            ingest_lag_messages,
            ingest_unacked_messages,
            ingest_oldest_unacked_seconds,
            ingest_looked_timestamp_seconds,
            dead_letter_waiting,
            newest_requests,
            newest_seconds,
            feed_lag_messages,
            feed_restarts,
            feed_gaps,
            ephemeral_dropped,
            ephemeral_unreadable,
            retries,
            missing,
            dead,
            streams,
        }
    }

    /// Notes how many members of each role are alive, by their roles.
    pub(crate) fn members<'a>(&self, roles: &(impl Iterator<Item = &'a str> + Clone)) {
        for (role, gauge) in ROLES.iter().zip(&self.members) {
            let count = roles.clone().filter(|other| other == role).count();
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn retries(&self, what: Published) -> &Counter {
        &self.retries[place(PUBLISHED.iter().position(|(other, _)| *other == what))]
    }

    pub(crate) fn missing(&self, reason: Missing) -> &Counter {
        &self.missing[place(MISSING.iter().position(|(other, _)| *other == reason))]
    }

    pub(crate) fn dead(&self, reason: DeadReason) -> &Counter {
        &self.dead[place(DEAD.iter().position(|(other, _)| *other == reason))]
    }

    pub(crate) fn stream(&self, kept: Kept) -> &Stream {
        &self.streams[place(KEPT.iter().position(|(other, _)| *other == kept))]
    }
}

fn streams(r: &mut Registry) -> Vec<Stream> {
    let labels = || KEPT.map(|(_, label)| [("stream", label)]);
    let messages = gauges(r, "bus_stream_messages", "Messages in a stream", labels());
    let bytes = gauges(r, "bus_stream_bytes", "Bytes in a stream", labels());
    let max_bytes = gauges(
        r,
        "bus_stream_max_bytes",
        "Bytes at which a stream is full",
        labels(),
    );
    let behind = gauges(
        r,
        "bus_stream_replicas_behind",
        "Replicas of a stream that are offline or not current",
        labels(),
    );
    let all = messages.into_iter().zip(bytes).zip(max_bytes).zip(behind);
    all.map(|(((messages, bytes), max_bytes), replicas_behind)| Stream {
        messages,
        bytes,
        max_bytes,
        replicas_behind,
    })
    .collect()
}

fn place(position: Option<usize>) -> usize {
    position.expect("every value is in its table")
}
