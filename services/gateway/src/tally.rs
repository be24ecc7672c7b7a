//! How long live events took, counted without a lock in the way of the sockets.
//!
//! Thousands of deliveries leave in one write, on several threads at once: a shared counter touched for
//! each would cost as much as the delivery. So a write keeps a [`Tally`] of its own, and adds it up once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use heliograph_protocol::TraceContext;
use heliograph_telemetry::{Histogram, LATENCY};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

use crate::metrics::{Label, Reader};

/// One bucket for each limit of [`LATENCY`], and one above.
const BUCKETS: usize = LATENCY.len() + 1;

/// The times of the live events of one write.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    buckets: [u32; BUCKETS],
    micros: u64,
    count: u32,
}

impl Tally {
    /// Counts an event that took so long, in microseconds.
    pub(crate) fn note(&mut self, micros: u64) {
        let seconds = Duration::from_micros(micros).as_secs_f64();
        let bucket = LATENCY.partition_point(|limit| *limit < seconds);
        self.buckets[bucket] += 1;
        self.micros = self.micros.saturating_add(micros);
        self.count += 1;
    }
}

/// How long live events took from one socket to another. Apart are those that waited for a slow reader
/// (`reader="slow"`), and those of sampled traces (`traced="yes"`), since only they come with examples and may take
/// their time to be counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeliverySeconds {
    /// By the place of the reader's label.
    readers: [OneReader; Reader::ALL.len()],
}

/// Those of one value of `reader`.
#[derive(Debug, Clone)]
struct OneReader {
    sums: Arc<Sums>,
    traced: Histogram,
}

#[derive(Debug, Default)]
struct Sums {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Default for OneReader {
    fn default() -> Self {
        Self {
            sums: Arc::default(),
            traced: Histogram::new(&LATENCY),
        }
    }
}

impl DeliverySeconds {
    /// Adds what one write has counted.
    pub(crate) fn add(&self, tally: &Tally, reader: Reader) {
        if tally.count == 0 {
            return;
        }
        let sums = &self.readers[reader.position()].sums;
        for (sum, count) in sums.buckets.iter().zip(tally.buckets) {
            if count > 0 {
                sum.fetch_add(count.into(), Relaxed);
            }
        }
        sums.micros.fetch_add(tally.micros, Relaxed);
    }

    /// Counts an event of a sampled trace.
    pub(crate) fn add_traced(&self, micros: u64, trace: TraceContext, reader: Reader) {
        let seconds = Duration::from_micros(micros).as_secs_f64();
        let traced = &self.readers[reader.position()].traced;
        traced.observe_traced(seconds, Some(trace));
    }
}

impl TypedMetric for DeliverySeconds {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DeliverySeconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for ((_, name), of) in Reader::ALL.iter().zip(&self.readers) {
            let labels = |traced| [("reader", *name), ("traced", traced)];
            let limits = LATENCY.into_iter().chain([f64::INFINITY]);
            let counts = of.sums.buckets.iter().map(|count| count.load(Relaxed));
            let buckets: Vec<(f64, u64)> = limits.zip(counts).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = Duration::from_micros(of.sums.micros.load(Relaxed)).as_secs_f64();
            let no = labels("no");
            let mut untraced = encoder.encode_family(&no)?;
            untraced.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
            let yes = labels("yes");
            of.traced.encode(encoder.encode_family(&yes)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn tallies_add_up_to_histograms_beside_those_of_traces_for_each_sort_of_reader() {
        let delivery = DeliverySeconds::default();
        let mut registry = Registry::default();
        registry.register("d", "d", delivery.clone());
        let mut tally = Tally::default();
        for micros in [50, 100, 101, 500_000, 500_001, 40_000_000] {
            tally.note(micros);
        }
        delivery.add(&tally, Reader::Ok);
        delivery.add(&Tally::default(), Reader::Ok);
        let mut late = Tally::default();
        late.note(9_000_000);
        delivery.add(&late, Reader::Slow);
        let trace = TraceContext {
            trace_id: [0xab; 16],
            span_id: [1; 8],
        };
        delivery.add_traced(700, trace, Reader::Ok);
        delivery.add_traced(800, trace, Reader::Slow);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE d histogram",
            r#"d_count{reader="ok",traced="no"} 6"#,
            r#"d_sum{reader="ok",traced="no"} 41.000252"#,
            r#"d_bucket{le="0.0001",reader="ok",traced="no"} 2"#,
            r#"d_bucket{le="0.0003",reader="ok",traced="no"} 3"#,
            r#"d_bucket{le="0.5",reader="ok",traced="no"} 4"#,
            r#"d_bucket{le="30.0",reader="ok",traced="no"} 5"#,
            r#"d_bucket{le="+Inf",reader="ok",traced="no"} 6"#,
            r#"d_count{reader="ok",traced="yes"} 1"#,
            r#"d_count{reader="slow",traced="no"} 1"#,
            r#"d_sum{reader="slow",traced="no"} 9.0"#,
            r#"d_count{reader="slow",traced="yes"} 1"#,
            r#"d_bucket{le="0.001",reader="ok",traced="yes"} 1 # {trace_id="abababababababababababababababab"} 0.0007"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
