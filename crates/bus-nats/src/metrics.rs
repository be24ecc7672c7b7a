//! What the bus shows. Every series exists from the start; labels are closed sets.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::sync::atomic::AtomicU64;

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

/// Why a message became a dead letter, for `dead_letters_total`.
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
    pub(crate) retried_messages: Counter,
    pub(crate) ingest_lag_messages: Gauge,
    pub(crate) ingest_unacknowledged_messages: Gauge,
    pub(crate) ingest_oldest_seconds: Seconds,
    pub(crate) dead_letters_waiting: Gauge,
    pub(crate) newest_requests: Counter,
    pub(crate) newest_seconds: Histogram,
    pub(crate) feed_lag_messages: Gauge,
    pub(crate) feed_restarts: Counter,
    pub(crate) feed_gaps: Counter,
    pub(crate) ephemeral_dropped: Counter,
    pub(crate) ephemeral_unreadable: Counter,
    pub(crate) members: Gauge,
    pub(crate) lease_failures: Counter,
    retries: Vec<Counter>,
    missing: Vec<Counter>,
    dead: Vec<Counter>,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list")]
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("bus");
        Self {
            connected: gauge(r, "connected", "Whether NATS is connected"),
            reconnects: counter(r, "reconnects", "Connections to NATS after the first"),
            slow_consumers: counter(
                r,
                "slow_consumers",
                "Messages dropped because a subscription's buffer was full",
            ),
            batch_events: histogram(
                r,
                "batch_events",
                "Events in one message to ingest",
                &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0],
            ),
            batch_bytes: histogram(
                r,
                "batch_bytes",
                "Bytes of one message to ingest",
                &[1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0],
            ),
            publish_ack_seconds: histogram(
                r,
                "publish_ack_seconds",
                "Time until the stream acknowledged a batch of events, retries included",
                &SECONDS,
            ),
            commit_ack_seconds: histogram(
                r,
                "commit_ack_seconds",
                "Time until the stream acknowledged a batch of commits, retries included",
                &SECONDS,
            ),
            pending_receipts: gauge(r, "pending_receipts", "Publishers waiting for a receipt"),
            receipts_unclaimed: counter(
                r,
                "receipts_unclaimed",
                "Receipts that nobody waited for any more",
            ),
            fetched_messages: counter(r, "fetched_messages", "Messages fetched by ingest"),
            redeliveries: counter(
                r,
                "redeliveries",
                "Messages fetched by ingest that had been delivered before",
            ),
            working_messages: gauge(
                r,
                "working_messages",
                "Messages fetched and not acknowledged yet",
            ),
            retried_messages: counter(
                r,
                "retried_messages",
                "Messages given back to be delivered again later",
            ),
            ingest_lag_messages: gauge(
                r,
                "ingest_lag_messages",
                "Messages that no ingest worker has fetched yet",
            ),
            ingest_unacknowledged_messages: gauge(
                r,
                "ingest_unacknowledged_messages",
                "Messages with ingest workers in the whole cluster",
            ),
            ingest_oldest_seconds: seconds(
                r,
                "ingest_oldest_seconds",
                "Age of the oldest message that isn't acknowledged; 0 if there is none",
            ),
            dead_letters_waiting: gauge(
                r,
                "dead_letters_waiting",
                "Dead letters kept, as ingest saw them last",
            ),
            newest_requests: counter(
                r,
                "newest_requests",
                "Questions for the newest commit sent to the server",
            ),
            newest_seconds: histogram(
                r,
                "newest_seconds",
                "Time for an answer about the newest commit",
                &SECONDS,
            ),
            feed_lag_messages: gauge(
                r,
                "feed_lag_messages",
                "Commits that the matcher hasn't fetched yet",
            ),
            feed_restarts: counter(r, "feed_restarts", "Times the feed was set up again"),
            feed_gaps: counter(
                r,
                "feed_gaps",
                "Times the feed ended because commits were missing",
            ),
            ephemeral_dropped: counter(
                r,
                "ephemeral_dropped",
                "Ephemeral events dropped because the matcher couldn't keep up",
            ),
            ephemeral_unreadable: counter(
                r,
                "ephemeral_unreadable",
                "Ephemeral messages that could not be read",
            ),
            members: gauge(r, "members", "Live members of all roles, as seen here"),
            lease_failures: counter(r, "lease_failures", "Renewals of the own lease that failed"),
            retries: family(
                r,
                ("publish_retries", "what"),
                "Messages published again after an error, by what they carry",
                PUBLISHED.map(|(_, label)| label),
            ),
            missing: family(
                r,
                ("receipts_missing", "reason"),
                "Publishers that got no receipt, by reason",
                MISSING.map(|(_, label)| label),
            ),
            dead: family(
                r,
                ("dead_letters", "reason"),
                "Messages that became dead letters, by reason",
                DEAD.map(|(_, label)| label),
            ),
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
}

/// Latency buckets from 0.1 ms to 10 s.
const SECONDS: [f64; 14] = [
    0.000_1, 0.000_3, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0,
];

fn place(position: Option<usize>) -> usize {
    position.expect("every value is in its table")
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Seconds {
    let gauge = Seconds::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn histogram(registry: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let histogram = Histogram::new(buckets.iter().copied());
    registry.register(name, help, histogram.clone());
    histogram
}

fn family<const N: usize>(
    registry: &mut Registry,
    (name, label): (&str, &'static str),
    help: &str,
    values: [&'static str; N],
) -> Vec<Counter> {
    let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
    registry.register(name, help, family.clone());
    let series = values.map(|value| family.get_or_create(&[(label, value)]).clone());
    Vec::from(series)
}
