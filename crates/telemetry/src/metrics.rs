//! The metrics that services register: handles labelled once, at start, so that every series exists
//! from the beginning and no label comes from outside.

use std::fmt;

use heliograph_protocol::TraceContext;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{
        MetricType, TypedMetric, counter::Counter, exemplar::HistogramWithExemplars,
        family::Family, gauge::Gauge,
    },
    registry::Registry,
};

use crate::wall_clock;

/// Buckets of latencies, in seconds: the limits of the service level objectives are among them.
pub const LATENCY: [f64; 16] = [
    0.000_1, 0.000_3, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
    30.0,
];

type Exemplar = [(&'static str, String); 1];
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A distribution, with an example of a trace in each bucket that a sampled value fell into.
///
/// Each value takes the two locks of the library's histogram, sampled or not: its examples can be made
/// nowhere else. What is counted by thousands at once adds up first, as deliveries do.
#[derive(Debug, Clone)]
pub struct Histogram(HistogramWithExemplars<Exemplar>);

impl Histogram {
    /// Empty, with these upper bounds, ascending; a last one without bound is added.
    #[must_use]
    pub fn new(buckets: &[f64]) -> Self {
        Self(HistogramWithExemplars::new(buckets.iter().copied()))
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.0.observe(value, None, None);
    }

    /// Counts a value that was measured within `trace`, if that is sampled.
    pub fn observe_traced(&self, value: f64, trace: Option<TraceContext>) {
        match trace {
            None => self.observe(value),
            Some(trace) => {
                let exemplar = [("trace_id", trace.trace_id_hex())];
                self.0.observe(value, Some(exemplar), Some(wall_clock()));
            }
        }
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Registers a counter; `_total` is added to its name.
pub fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Registers a gauge.
pub fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Registers a histogram.
pub fn histogram(registry: &mut Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let histogram = Histogram::new(buckets);
    registry.register(name, help, histogram.clone());
    histogram
}

/// Registers one counter for each set of labels, in their order.
pub fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: impl IntoIterator<Item = Labels<N>>,
) -> Vec<Counter> {
    let family = Family::<Labels<N>, Counter>::default();
    registry.register(name, help, family.clone());
    let labels = labels.into_iter();
    labels
        .map(|labels| family.get_or_create_owned(&labels))
        .collect()
}

/// Registers one gauge for each set of labels, in their order.
pub fn gauges<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: impl IntoIterator<Item = Labels<N>>,
) -> Vec<Gauge> {
    let family = Family::<Labels<N>, Gauge>::default();
    registry.register(name, help, family.clone());
    let labels = labels.into_iter();
    labels
        .map(|labels| family.get_or_create_owned(&labels))
        .collect()
}

/// Registers one histogram for each set of labels, in their order.
pub fn histograms<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    buckets: &'static [f64],
    labels: impl IntoIterator<Item = Labels<N>>,
) -> Vec<Histogram> {
    let family =
        Family::<Labels<N>, Histogram, _>::new_with_constructor(move || Histogram::new(buckets));
    registry.register(name, help, family.clone());
    let labels = labels.into_iter();
    labels
        .map(|labels| family.get_or_create_owned(&labels))
        .collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_sampled_value_is_the_example_of_its_bucket() {
        let mut registry = crate::registry();
        let wait = histogram(&mut registry, "wait_seconds", "Wait", &[0.1, 1.0]);
        let trace_id = *b"0123456789abcdef";
        let trace = TraceContext {
            trace_id,
            span_id: [1; 8],
        };
        wait.observe(0.05);
        wait.observe_traced(0.5, None);
        wait.observe_traced(0.7, Some(trace));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let bucket = |le: &str| {
            let start = format!("heliograph_wait_seconds_bucket{{le=\"{le}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap().to_owned()
        };
        assert_eq!(bucket("0.1"), "1");
        let example = "3 # {trace_id=\"30313233343536373839616263646566\"} 0.7 ";
        assert!(bucket("1.0").starts_with(example), "{text}");
        assert_eq!(bucket("+Inf"), "3");
    }

    #[test]
    fn every_series_of_a_family_exists_from_the_start() {
        let mut registry = crate::registry();
        let labels = ["in", "out"].map(|dir| [("dir", dir)]);
        let bytes = counters(&mut registry, "bytes", "Bytes", labels);
        histograms(&mut registry, "ok_seconds", "OK", &LATENCY, labels);
        gauges(&mut registry, "open", "Open", labels)[1].set(7);
        bytes[0].inc_by(5);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"heliograph_bytes_total{dir="in"} 5"#,
            r#"heliograph_bytes_total{dir="out"} 0"#,
            r#"heliograph_open{dir="out"} 7"#,
            r#"heliograph_ok_seconds_bucket{le="0.5",dir="in"} 0"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
