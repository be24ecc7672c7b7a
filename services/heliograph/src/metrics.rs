//! Metrics of parts that keep their own figures: read when somebody looks.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use heliograph_recent::RecentStats;
use heliograph_store_embedded::{StoreStats, Times};
use heliograph_verify::Verifier;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

/// Where the figures of the store come from.
pub(crate) type StoreSource = Box<dyn Fn() -> StoreStats + Send + Sync>;

/// Where the figures of the recent tier come from.
pub(crate) type RecentSource = Box<dyn Fn() -> RecentStats + Send + Sync>;

/// Registers the figures of the embedded store.
pub(crate) fn register_store(registry: &mut Registry, store: StoreSource, times: &Times) {
    times.register(registry);
    registry.register_collector(Box::new(StoreFigures(store)));
}

/// Registers the figures of the recent tier.
pub(crate) fn register_recent(registry: &mut Registry, recent: RecentSource) {
    registry.register_collector(Box::new(RecentFigures(recent)));
}

/// Registers the figures of the verifier.
pub(crate) fn register_verifier(registry: &mut Registry, verifier: Arc<Verifier>) {
    registry.register_collector(Box::new(VerifyFigures(verifier)));
}

/// Writes single series.
struct Figures<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Figures<'_, '_> {
    fn total(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn seconds_total(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.write(
            name,
            help,
            &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)),
        )
    }

    fn write(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        let no_unit: Option<&Unit> = None;
        let encoder = self
            .0
            .encode_descriptor(name, help, no_unit, metric.metric_type())?;
        metric.encode(encoder)
    }
}

struct StoreFigures(StoreSource);

impl fmt::Debug for StoreFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreFigures").finish_non_exhaustive()
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = (self.0)();
        let mut out = Figures(&mut encoder);
        out.total(
            "store_log_groups",
            "Groups appended to the log, one fsync each",
            stats.groups,
        )?;
        out.total(
            "store_log_events",
            "Events appended to the log",
            stats.grouped_events,
        )?;
        let log = usize::try_from(stats.log_bytes).unwrap_or(usize::MAX);
        out.gauge("store_log_bytes", "Bytes of the newest log segment", log)?;
        out.gauge(
            "store_overlay_events",
            "Events in memory on their way to the database",
            stats.overlay_events,
        )?;
        out.total(
            "store_flushes",
            "Batches moved to the database",
            stats.flushes,
        )?;
        out.total(
            "store_flush_failures",
            "Moves that failed and are repeated",
            stats.flush_failures,
        )?;
        out.gauge(
            "store_map_bytes",
            "Bytes of the database's map",
            stats.map_bytes,
        )?;
        out.gauge(
            "store_map_used_bytes",
            "Bytes of the map in use",
            stats.map_used_bytes,
        )?;
        out.gauge(
            "store_reads_queued",
            "Reads that wait for a thread",
            stats.reads_queued,
        )?;
        out.total(
            "store_rows_scanned",
            "Rows and events looked at in the archive",
            stats.rows_scanned,
        )?;
        out.total(
            "store_log_cut_bytes",
            "Bytes of the log's end that a crash had torn and that were cut off at the start",
            stats.log_cut_bytes,
        )?;
        out.gauge(
            "store_vanishing",
            "Authors who asked to vanish and of whose hidden events some are still to be removed",
            stats.vanishing,
        )?;
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        out.gauge(
            "store_disk_free_bytes",
            "Bytes of the file system that the store may still take",
            bytes(stats.disk_free_bytes),
        )?;
        out.gauge(
            "store_disk_size_bytes",
            "Bytes of the file system of the store",
            bytes(stats.disk_size_bytes),
        )?;
        let broken = usize::from(stats.broken);
        out.gauge(
            "store_broken",
            "1 if no more writes are taken, else 0",
            broken,
        )
    }
}

struct RecentFigures(RecentSource);

impl fmt::Debug for RecentFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentFigures").finish_non_exhaustive()
    }
}

impl Collector for RecentFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = (self.0)();
        let mut out = Figures(&mut encoder);
        out.gauge("recent_events", "Events indexed in memory", stats.events)?;
        out.gauge(
            "recent_texts",
            "Indexed events whose text is in memory",
            stats.texts,
        )?;
        out.gauge(
            "recent_text_bytes",
            "Bytes of these texts",
            stats.text_bytes,
        )?;
        out.gauge(
            "recent_index_bytes",
            "Estimated bytes of the index",
            stats.index_bytes,
        )?;
        out.gauge(
            "recent_remembered",
            "Deletions and winners of addresses remembered beyond the index",
            stats.remembered,
        )?;
        out.total(
            "recent_evictions",
            "Events evicted from the index",
            stats.evictions,
        )?;
        let floor = stats.floor.map_or(usize::MAX, |floor| {
            usize::try_from(floor.as_secs()).unwrap_or(usize::MAX)
        });
        out.gauge(
            "recent_floor_seconds",
            "Unix time from which on every stored event is indexed",
            floor,
        )
    }
}

#[derive(Debug)]
struct VerifyFigures(Arc<Verifier>);

impl Collector for VerifyFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let mut out = Figures(&mut encoder);
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.total(
            "verify_valid",
            "Signatures found good",
            read(&counters.valid),
        )?;
        out.total(
            "verify_bad",
            "Signatures or keys found bad",
            read(&counters.bad),
        )?;
        out.total(
            "verify_known",
            "Events known, not checked again",
            read(&counters.known),
        )?;
        out.total(
            "verify_rejected",
            "Events turned away, queue full",
            read(&counters.rejected),
        )?;
        out.total(
            "verify_overdue",
            "Events turned away, waited too long",
            read(&counters.overdue),
        )?;
        out.total(
            "verify_key_hits",
            "Keys found parsed",
            read(&counters.key_hits),
        )?;
        out.total(
            "verify_key_misses",
            "Keys that had to be parsed",
            read(&counters.key_misses),
        )?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a century of nanoseconds fits well enough"
        )]
        let busy = read(&counters.busy_nanos) as f64 / 1e9;
        out.seconds_total(
            "verify_busy_seconds",
            "Time spent checking, all threads",
            busy,
        )?;
        out.gauge(
            "verify_queue",
            "Events that wait for a check",
            self.0.queue_len(),
        )
    }
}
