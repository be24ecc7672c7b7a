//! The thread that sends spans to the collector, in batches.

use std::{mem, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, trace_service_client::TraceServiceClient},
    resource::v1::Resource,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{Authorities, Error, Options, count_dropped, count_exported, span::Record, wire};

/// Attempts to export a batch. With the pauses between them it is a few seconds, in which the queue
/// takes what ends.
const ATTEMPTS: u32 = 3;

/// How long a connection is silent before the system asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Sends what ends to the collector.
pub(super) struct Exporter {
    endpoint: Endpoint,
    headers: MetadataMap,
    options: Options,
}

/// The exporter on its thread.
struct Sender {
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
    resource: Resource,
    options: Options,
    /// Taken from the queue, and neither exported nor dropped yet.
    batch: Vec<Record>,
}

impl Exporter {
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            endpoint: endpoint(&options)?,
            headers: headers(&options.headers)?,
            options,
        })
    }

    /// Exports until the other end of `stop` is dropped, then what waits for as long as it may.
    pub(super) fn run(self, mut spans: mpsc::Receiver<Record>, stop: &watch::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.export(&mut spans, stop));
                // Looking up a name may hang; nobody waits for it.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "traces can't be exported: no runtime"),
        }
        spans.close();
        count_dropped(spans.len());
    }

    async fn export(self, spans: &mut mpsc::Receiver<Record>, stop: &watch::Receiver<()>) {
        let mut sender = Sender {
            // Connects when there is something to send.
            client: TraceServiceClient::new(self.endpoint.connect_lazy()),
            headers: self.headers,
            resource: wire::resource(&self.options.resource),
            options: self.options,
            batch: Vec::new(),
        };
        let stop_timeout = sender.options.stop_timeout;
        let late = async {
            stopped(stop).await;
            sleep(stop_timeout).await;
        };
        tokio::select! {
            biased; // what is done isn't late
            () = sender.serve(spans, stop) => {}
            () = late => {}
        }
        count_dropped(sender.batch.len());
    }
}

async fn stopped(stop: &watch::Receiver<()>) {
    // Nothing is ever sent: it ends with its sender.
    while stop.clone().changed().await.is_ok() {}
}

impl Sender {
    async fn serve(&mut self, spans: &mut mpsc::Receiver<Record>, stop: &watch::Receiver<()>) {
        while self.gather(spans, stop).await {
            self.export(stop).await;
        }
    }

    /// Waits for spans, and a little longer for more. `false` once there will be none.
    async fn gather(
        &mut self,
        spans: &mut mpsc::Receiver<Record>,
        stop: &watch::Receiver<()>,
    ) -> bool {
        let Self { batch, options, .. } = self;
        let most = options.batch_spans_max.max(1);
        tokio::select! {
            biased; // what is there goes out before it stops
            _taken = spans.recv_many(batch, most) => {}
            () = stopped(stop) => {
                spans.close();
                spans.recv_many(batch, most).await;
            }
        }
        let more = async {
            while (1..most).contains(&batch.len()) {
                if spans.recv_many(batch, most - batch.len()).await == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            biased; // a batch that is full need not wait
            _full = timeout(options.batch_delay, more) => {}
            () = stopped(stop) => {}
        }
        !batch.is_empty()
    }

    /// Exports the batch, trying again where that may help, or drops it.
    async fn export(&mut self, stop: &watch::Receiver<()>) {
        let request = wire::request(&self.resource, &self.batch);
        let mut delay = self.options.retry_delay;
        for attempt in 1..=ATTEMPTS {
            let mut request = Request::new(request.clone());
            *request.metadata_mut() = self.headers.clone();
            match self.client.export(request).await {
                Ok(answer) => return self.taken(answer.into_inner().partial_success),
                Err(status) if attempt < ATTEMPTS && may_help(status.code()) => {
                    tokio::select! {
                        biased; // stopping, it is tried at once
                        () = stopped(stop) => {}
                        () = sleep(delay) => {}
                    }
                    delay *= 2;
                }
                Err(status) => return self.lost(&status),
            }
        }
    }

    fn taken(&mut self, partial: Option<ExportTracePartialSuccess>) {
        let spans = mem::take(&mut self.batch).len();
        let partial = partial.unwrap_or_default();
        let refused = usize::try_from(partial.rejected_spans)
            .unwrap_or(0)
            .min(spans);
        count_exported(spans - refused);
        if refused > 0 {
            count_dropped(refused);
            let reason = partial.error_message;
            crate::warn_every!(60, refused, reason, "the collector refused spans");
        }
    }

    fn lost(&mut self, status: &Status) {
        let spans = mem::take(&mut self.batch).len();
        count_dropped(spans);
        crate::warn_every!(
            60,
            code = ?status.code(),
            error = status.message(),
            spans,
            "traces can't be exported"
        );
    }
}

/// Whether the same request may be taken later (OTLP, "Failures").
fn may_help(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn endpoint(options: &Options) -> Result<Endpoint, Error> {
    let wrong = |error: tonic::transport::Error| Error::Endpoint {
        endpoint: options.endpoint.clone(),
        reason: reasons(&error),
    };
    let process = &options.resource;
    let agent = format!("{}/{}", process.service_name, process.service_version);
    let endpoint = Endpoint::from_shared(options.endpoint.clone())
        .and_then(|endpoint| endpoint.user_agent(agent))
        .map_err(wrong)?
        .connect_timeout(options.timeout)
        .timeout(options.timeout)
        .tcp_keepalive(Some(KEEPALIVE));
    if !options.endpoint.starts_with("https:") {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new();
    let tls = match &options.authorities {
        Authorities::System => tls.with_native_roots(),
        Authorities::Pem(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
    };
    endpoint.tls_config(tls).map_err(wrong)
}

fn headers(headers: &[(String, String)]) -> Result<MetadataMap, Error> {
    let mut map = MetadataMap::with_capacity(headers.len());
    for (name, value) in headers {
        let refused = || Error::Header(name.clone());
        let key: AsciiMetadataKey = name.parse().map_err(|_name| refused())?;
        let mut value: AsciiMetadataValue = value.parse().map_err(|_value| refused())?;
        value.set_sensitive(true);
        map.append(key, value);
    }
    Ok(map)
}

/// An error with what caused it: the outermost alone says "transport error".
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
