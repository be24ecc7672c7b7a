//! What the exporter is told when it starts.

use std::{io, time::Duration};

/// How and where to export.
#[derive(Debug, Clone)]
pub struct Options {
    /// The collector: `http://host:4317`, or `https://` for TLS. It speaks OTLP over gRPC.
    pub endpoint: String,
    /// Who signs the collector's certificate.
    pub authorities: Authorities,
    /// Names and values that go with each request, such as a token.
    pub headers: Vec<(String, String)>,
    /// How long one attempt to export may take.
    pub timeout: Duration,
    /// Whose spans these are.
    pub resource: Resource,
    /// What is sampled.
    pub sampling: Sampling,
    /// Spans that wait to be exported, about 300 bytes each; past it they are dropped.
    pub queue_spans_max: usize,
    /// Spans in one request.
    pub batch_spans_max: usize,
    /// How long a span waits for others to go with.
    pub batch_delay: Duration,
    /// The pause before a request is tried again; it doubles.
    pub retry_delay: Duration,
    /// How long the last spans may take to leave when exporting stops.
    pub stop_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            authorities: Authorities::System,
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            resource: Resource::default(),
            sampling: Sampling::default(),
            queue_spans_max: 4_096,
            batch_spans_max: 512,
            batch_delay: Duration::from_secs(1),
            retry_delay: Duration::from_secs(1),
            stop_timeout: Duration::from_secs(3),
        }
    }
}

/// Who signs the collector's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// Those that the system trusts.
    System,
    /// Those of this PEM text.
    Pem(Vec<u8>),
}

/// The process, as attributes of all its spans (OpenTelemetry's semantic conventions).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service_name: String,
    /// `service.version`.
    pub service_version: String,
    /// `service.instance.id`: no other process has it.
    pub instance: String,
    /// `heliograph.role`.
    pub role: String,
    /// `heliograph.cluster`; empty in one process.
    pub cluster: String,
}

/// What is sampled. It may change while the process runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The share of events and questions that a trace begins with, from 0 to 1.
    pub ratio: f64,
    /// Traces that begin in a second by that share, so that a flood of events is none of traces.
    pub per_second_max: u32,
    /// Traces that begin in a second with an error.
    pub errors_per_second_max: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 0.01,
            per_second_max: 20,
            errors_per_second_max: 10,
        }
    }
}

/// Exporting can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the URL of a collector, or its certificates can't be used.
    #[error("collector {endpoint}: {reason}")]
    Endpoint {
        /// The URL.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// A header that can't be sent. Its value isn't shown.
    #[error("header {0:?} can't be sent")]
    Header(String),
    /// The process exports already.
    #[error("traces are exported already")]
    Twice,
    /// No thread to be had.
    #[error("can't start the thread that exports traces: {0}")]
    Thread(#[from] io::Error),
}
