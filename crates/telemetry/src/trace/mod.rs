//! Spans of sampled events and questions, exported over OTLP (ADR 9).
//!
//! A gateway decides whether what it reads is sampled; the [`TraceContext`] then travels with it through
//! every role. What isn't sampled has no context and costs nothing. Where exporting is off, nothing is
//! ever sampled, and spans of traces that others began are not noted.
//!
//! There is one exporter in a process, as there is one log: [`start`] sets it up, its [`Guard`] ends it.
//! What always holds: a span that ends never waits. It goes into a bounded queue; where that is full
//! the span is dropped and counted.

mod export;
mod options;
mod random;
mod sampler;
mod span;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, watch};
use tracing::field::{DisplayValue, display};

use self::{sampler::Sampler, span::Record};

pub use heliograph_protocol::TraceContext;
pub use options::{Authorities, Error, Options, Resource, Sampling};
pub use span::{Span, SpanKind, Value};

/// The one exporter of the process.
static TRACER: ArcSwapOption<Tracer> = ArcSwapOption::const_empty();

/// Spans that a collector took.
static EXPORTED: AtomicU64 = AtomicU64::new(0);

/// Spans that nobody will see.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Decides what is sampled, and takes what has ended.
#[derive(Debug)]
struct Tracer {
    sampler: Sampler,
    queue: mpsc::Sender<Record>,
}

impl Tracer {
    /// Hands a span that has ended to the exporter, or counts it as dropped.
    fn ended(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            count_dropped(1);
        }
    }
}

/// Starts to export the spans of this process. Samples nothing before.
///
/// # Errors
///
/// [`Error`]; nothing is exported then. A collector that can't be reached is no error: spans are
/// dropped and counted until it can.
pub fn start(options: Options) -> Result<Guard, Error> {
    let (queue, spans) = mpsc::channel(options.queue_spans_max.max(1));
    let tracer = Arc::new(Tracer {
        sampler: Sampler::new(options.sampling),
        queue,
    });
    let exporter = export::Exporter::new(options)?;
    let taken = TRACER.compare_and_swap(&None::<Arc<Tracer>>, Some(Arc::clone(&tracer)));
    if taken.is_some() {
        return Err(Error::Twice);
    }
    let (stop, stopped) = watch::channel(());
    let thread = thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || exporter.run(spans, &stopped));
    match thread {
        Ok(thread) => Ok(Guard {
            stop: Some(stop),
            thread: Some(thread),
        }),
        Err(error) => {
            TRACER.store(None);
            Err(Error::Thread(error))
        }
    }
}

/// Exports until it is dropped or stopped; then what waits is exported within
/// [`Options::stop_timeout`], and the rest dropped.
#[derive(Debug)]
pub struct Guard {
    stop: Option<watch::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Guard {
    /// Stops without holding up the runtime.
    pub async fn stop(self) {
        if tokio::task::spawn_blocking(move || drop(self))
            .await
            .is_err()
        {
            tracing::error!("stopping to export traces broke off");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TRACER.store(None);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that exports traces panicked");
        }
    }
}

/// Samples like this from now on. Without effect where exporting is off.
pub fn set_sampling(sampling: Sampling) {
    if let Some(tracer) = &*TRACER.load() {
        tracer.sampler.set(sampling);
    }
}

/// Begins a new trace for the share of events and questions that is sampled: the root, to begin a span
/// with. `None` otherwise.
#[must_use]
pub fn sample() -> Option<TraceContext> {
    let tracer = TRACER.load();
    tracer.as_ref()?.sampler.sample(Instant::now)
}

/// Begins a new trace for what must be seen, such as an error. `None` where exporting is off, or there
/// were too many lately ([`Sampling::errors_per_second_max`]).
#[must_use]
pub fn always() -> Option<TraceContext> {
    let tracer = TRACER.load();
    tracer.as_ref()?.sampler.always(Instant::now())
}

/// The field `trace_id` of a log line; nothing is written without a trace.
///
/// ```
/// # let (trace, error) = (None, "disk full");
/// use heliograph_telemetry::trace;
/// tracing::warn!(%error, trace_id = trace::log_id(trace), "failed to store");
/// ```
#[must_use]
pub fn log_id(trace: Option<TraceContext>) -> Option<DisplayValue<String>> {
    trace.map(|trace| display(trace.trace_id_hex()))
}

/// Spans that a collector took, since the process started.
pub(crate) fn exported() -> u64 {
    EXPORTED.load(Ordering::Relaxed)
}

/// Spans that nobody will see, since the process started.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn count_exported(spans: usize) {
    EXPORTED.fetch_add(spans as u64, Ordering::Relaxed);
}

fn count_dropped(spans: usize) {
    DROPPED.fetch_add(spans as u64, Ordering::Relaxed);
}
