//! What isn't measured: each with its value, and why it is believed.

/// A number that the formulas use and nobody here has measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumption {
    /// How the formulas call it.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit and what it is.
    pub what: &'static str,
    /// Why.
    pub source: &'static str,
}

const fn assume(
    name: &'static str,
    value: f64,
    what: &'static str,
    source: &'static str,
) -> Assumption {
    Assumption {
        name,
        value,
        what,
        source,
    }
}

/// Statements a second of a core of `ScyllaDB`, counted on each replica.
pub const DATABASE_CORE_OPS: Assumption = assume(
    "database_core_ops",
    12_500.0,
    "statements a second of a core of ScyllaDB, counted on each replica that takes part",
    "ScyllaDB's own guide: \"at least 12.5K operations per second per physical core for simple operations\" (docs.scylladb.com, Maximizing ScyllaDB Performance). Cassandra stands in for ScyllaDB in every measurement here, so nothing here confirms it",
);

/// Copies of each event.
pub const REPLICAS: Assumption = assume(
    "replicas",
    3.0,
    "copies of each event in the database and in the streams of NATS",
    "`scylla.replication_factor`, `nats.replicas`; LOCAL_QUORUM survives one node",
);

/// Share of a node's disk that data may take.
pub const DISK_FILL: Assumption = assume(
    "disk_fill",
    0.5,
    "share of a node's disk that data may take",
    "compaction writes a table anew beside the old one, and ScyllaDB Cloud's own limit is 50 % (scylladb.com, fair usage policy)",
);

/// Memory of a core of the database.
pub const DATABASE_CORE_GIB: Assumption = assume(
    "database_core_gib",
    8.0,
    "GiB of memory for each core of a node of the database",
    "what clouds offer with local NVMe; all that isn't needed otherwise is cache",
);

/// Seconds between two REQs of a connection.
pub const REQ_PAUSE: Assumption = assume(
    "req_pause",
    60.0,
    "seconds between two REQs of a connection, if `--reqs` isn't given",
    "a guess: ask `rate(heliograph_client_messages_total{verb=\"REQ\"}[1h])`",
);

/// Share of connections that read so slowly that their outbox is full.
pub const SLOW_SHARE: Assumption = assume(
    "slow_share",
    0.005,
    "share of connections whose outbox is full at the same time",
    "a guess; `heliograph_outbound_queue_bytes` says",
);

/// Bytes of a full outbox.
pub const OUTBOX_BYTES: Assumption = assume(
    "outbox_bytes",
    4.0 * 1_048_576.0,
    "bytes that wait for a slow reader at most",
    "four times `gateway.outbox_bytes_max`",
);

/// Share of a memory limit that is planned for.
pub const MEMORY_FILL: Assumption = assume(
    "memory_fill",
    0.75,
    "share of a memory limit that is planned for",
    "allocators keep what a burst has used",
);

/// By how much the busiest matcher has more than its share.
pub const UNEVEN: Assumption = assume(
    "uneven",
    1.6,
    "the busiest matcher's part of gateways, beside an equal share",
    "rendezvous hashing spreads few gateways unevenly: of 10 on 4 matchers the busiest has four in the median",
);

/// Bytes on the wire beside an event.
pub const ENVELOPE_BYTES: Assumption = assume(
    "envelope_bytes",
    60.0,
    "bytes beside the event in each message that carries it",
    "fields of proto/, headers of NATS, HTTP/2 and WebSocket; the simulated clusters count at most 40 on the link",
);

/// Seconds for which commits are kept.
pub const COMMITS_KEPT: Assumption = assume(
    "commits_kept",
    900.0,
    "seconds for which the stream of commits is kept",
    "`nats.committed_age_secs`",
);

/// Seconds of events that wait while the database is down.
pub const BACKLOG: Assumption = assume(
    "backlog",
    720.0,
    "seconds of events that wait while the database is down",
    "`ingest.deliveries_max`: they are tried again for some twelve minutes",
);

/// Hours of a month.
pub const MONTH_HOURS: Assumption =
    assume("month_hours", 730.0, "hours of a month", "365 × 24 ÷ 12");

/// Share of the busiest hour's load that there is in the mean.
pub const MEAN_SHARE: Assumption = assume(
    "mean_share",
    0.5,
    "load in the mean, as a share of the busiest hour's: for events kept and bytes paid for",
    "a guess; a relay of one continent has a night",
);

/// Reads from its disk that one process may need.
pub const SINGLE_READS: Assumption = assume(
    "single_reads",
    10_000.0,
    "reads a second from its disk that one process is planned to need at most",
    "a guess: with one process nothing was measured that didn't fit in memory. As many reads are taken as a cluster needs statements for the same answers; what they take of its cores isn't counted",
);

/// Memory of one process.
pub const SINGLE_GIB: Assumption = assume(
    "single_gib",
    64.0,
    "GiB of memory that one process is planned to have at most",
    "a guess: what was measured took `resident`",
);

/// All, for the document.
pub const ALL: [Assumption; 16] = [
    DATABASE_CORE_OPS,
    REPLICAS,
    DISK_FILL,
    DATABASE_CORE_GIB,
    REQ_PAUSE,
    SLOW_SHARE,
    OUTBOX_BYTES,
    MEMORY_FILL,
    UNEVEN,
    ENVELOPE_BYTES,
    COMMITS_KEPT,
    BACKLOG,
    MEAN_SHARE,
    SINGLE_READS,
    SINGLE_GIB,
    MONTH_HOURS,
];
