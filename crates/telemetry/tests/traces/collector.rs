//! A collector in this process: it reads the protobuf of OTLP, and answers as a test wants.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{ResourceSpans, Span},
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

/// Until a state has to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a collector does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Refuse(Status),
    /// Takes all but this many spans.
    Partly(i64),
    /// Nothing.
    Hang,
}

/// A collector, until the runtime of its test ends. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>,
    /// For the requests that come; those after them are taken.
    answers: Mutex<VecDeque<Answer>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    /// With the certificate of `tls/`.
    pub(crate) async fn start_tls() -> Self {
        let identity = Identity::from_pem(
            include_bytes!("tls/collector.pem"),
            include_bytes!("tls/collector.key.pem"),
        );
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(Server::builder().tls_config(tls).unwrap()).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test's runtime ends the server"
    )]
    async fn serve(mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let service = TraceServiceServer::from_arc(Arc::clone(&shared));
        let serving = server
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next requests so, in this order.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().extend(answers);
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.lock().len()
    }

    /// What came with the last request.
    pub(crate) fn metadata(&self) -> MetadataMap {
        let requests = self.shared.requests.lock();
        requests.last().expect("a request").0.clone()
    }

    pub(crate) fn resource_spans(&self) -> Vec<ResourceSpans> {
        let requests = self.shared.requests.lock();
        let spans = requests
            .iter()
            .flat_map(|(_, request)| &request.resource_spans);
        spans.cloned().collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let spans = self.resource_spans().into_iter();
        let spans = spans.flat_map(|of_process| of_process.scope_spans);
        spans.flat_map(|of_scope| of_scope.spans).collect()
    }

    /// Waits until it has so many spans.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Span> {
        until("spans", || self.spans().len() >= count).await;
        self.spans()
    }
}

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.requests.lock().push((metadata, request));
        let answer = self.answers.lock().pop_front();
        let partial_success = match answer {
            None => None,
            Some(Answer::Refuse(status)) => return Err(status),
            Some(Answer::Partly(rejected_spans)) => Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too old".to_owned(),
            }),
            Some(Answer::Hang) => std::future::pending().await,
        };
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success,
        }))
    }
}

/// Waits for a state.
#[track_caller]
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let start = Instant::now();
    async move {
        while !reached() {
            assert!(start.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
