//! `/metrics`, `/livez`, `/readyz` and pages in JSON, on a thread and runtime of their own.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Health, Pages, Query};

/// Connections at a time; more wait in the system's queue. Scrapers and probes need a handful.
const CONNECTIONS_MAX: usize = 64;

/// A connection is closed after so long, whatever it does, so that idle ones can't use them up.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// Time to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The listener can't start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken or not ours.
    #[error("can't listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread or runtime to be had.
    #[error("can't start the admin thread: {0}")]
    Thread(#[from] io::Error),
}

/// Serves operators until it is dropped.
#[derive(Debug)]
pub struct AdminServer {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    registry: Registry,
    health: Health,
    pages: Pages,
}

impl AdminServer {
    /// Listens on `addr` (port 0: the system chooses) and serves from then on.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; nothing runs then.
    pub fn start(addr: SocketAddr, registry: Registry, health: Health) -> Result<Self, AdminError> {
        Self::start_with(addr, registry, health, Pages::default())
    }

    /// The same with pages beside those that every process has.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; nothing runs then.
    pub fn start_with(
        addr: SocketAddr,
        registry: Registry,
        health: Health,
        pages: Pages,
    ) -> Result<Self, AdminError> {
        let listen = |source| AdminError::Listen { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let state = Arc::new(State {
            registry,
            health,
            pages,
        });
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    // Stopping first: it must not wait for a busy accept loop.
                    tokio::select! {
                        biased;
                        _stopped = stopped => {}
                        () = serve(listener, &state) => {}
                    }
                });
            })?;
        Ok(Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("admin thread panicked");
        }
    }
}

async fn serve(listener: std::net::TcpListener, state: &Arc<State>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "failed to start the admin listener");
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _peer)) => {
                connections.spawn(connection(stream, Arc::clone(state)));
            }
            Err(error) => {
                crate::warn_every!(60, %error, "failed to accept on the admin listener");
                // Out of files, most likely: wait for some to be closed instead of spinning.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(&request, &state)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_AGE_MAX, connection).await {
        tracing::debug!(%error, "admin connection failed");
    }
}

fn respond(request: &Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(&state.registry),
        "/livez" => health(state.health.live()),
        // This listener starts last: the configuration was read, the store opened, the sockets bound.
        "/startupz" => health(Ok(())),
        "/readyz" => health(state.health.ready()),
        path => page(path, request.uri().query(), &state.pages),
    }
}

fn page(path: &str, query: Option<&str>, pages: &Pages) -> Response<Full<Bytes>> {
    match pages.answer(path, Query::new(query.unwrap_or_default())) {
        Some(Ok(json)) => answer(StatusCode::OK, JSON, json),
        Some(Err(why)) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        None => {
            let others: String = pages.paths().map(|path| format!(", {path}")).collect();
            let text = format!("not found; try /metrics, /startupz, /livez, /readyz{others}\n");
            plain(StatusCode::NOT_FOUND, &text)
        }
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::with_capacity(64 * 1_024);
    match encode(&mut text, registry) {
        Ok(()) => answer(StatusCode::OK, OPENMETRICS, text),
        Err(error) => {
            crate::warn_every!(60, %error, "failed to encode metrics");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics can't be encoded\n",
            )
        }
    }
}

fn health(state: Result<(), String>) -> Response<Full<Bytes>> {
    match state {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(problems) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{problems}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    answer(status, PLAIN, text.to_owned())
}

fn answer(status: StatusCode, content_type: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
