//! Accepts connections, answers plain HTTP, and turns upgraded requests into sessions.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use heliograph_bus::{Bus, ConnectionId};
use heliograph_lifecycle::{Phase, Shutdown, Tasks};
use heliograph_protocol::Timestamp;
use heliograph_telemetry::unix_micros;
use heliograph_verify::Verifier;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::server::TlsStream;

use crate::{
    Hub, Metrics, Options, Stream,
    addresses::{Addresses, Admitted, Refused, client_address},
    admission::{admit, admit_handshake, count_refused, refuse},
    budget::Budget,
    http::{self, Body},
    pipeline::Known,
    proxy,
    received::Received,
    session::{self, Opened},
    tls::{Tls, TlsSocket},
    websocket::{
        Handshake,
        deflate::{Agreement, Deflate},
    },
};

/// Bytes of one HTTP head at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time that an HTTP connection may last without becoming a WebSocket, whatever is asked on it.
const HTTP_TIME_MAX: Duration = Duration::from_mins(1);

/// Everything that sessions share.
pub struct Gateway<B> {
    pub(crate) bus: B,
    pub(crate) options: ArcSwap<Options>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) known: Known,
    pub(crate) hub: Arc<Hub>,
    /// What may wait for all clients together.
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
    pub(crate) deflate: Arc<Deflate>,
    /// Tells sessions that other addresses are banned.
    pub(crate) networks: watch::Sender<()>,
    pub(crate) addresses: Addresses,
    next_connection: AtomicU64,
    clock: OnceLock<Clock>,
}

/// Tells the time by which events are admitted, expire and are found.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

impl<B> std::fmt::Debug for Gateway<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl<B: Bus> Gateway<B> {
    /// Puts the parts together; [`run`] starts it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the list of what a gateway needs"
    )]
    #[must_use]
    pub fn new(
        bus: B,
        options: Options,
        verifier: Arc<Verifier>,
        known: Known,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
        tasks: Tasks,
    ) -> Arc<Self> {
        show_limits(&metrics, &options);
        let windows_bytes_max = options.compression_windows_bytes_max;
        let deflate = Deflate::new(windows_bytes_max, &metrics.traffic.windows);
        let budget = Budget::new(options.limits.outbox_total_bytes_max);
        Arc::new(Self {
            bus,
            options: ArcSwap::from_pointee(options),
            verifier,
            known,
            hub,
            budget,
            metrics,
            shutdown,
            tasks,
            deflate: Arc::new(deflate),
            networks: watch::Sender::new(()),
            addresses: Addresses::default(),
            next_connection: AtomicU64::new(1),
            clock: OnceLock::new(),
        })
    }

    /// Goes by another clock than the system's, as in a simulation. The first one stays.
    pub fn set_clock(&self, clock: Clock) {
        self.clock.get_or_init(|| clock);
    }

    /// The wall clock, in microseconds since 1970.
    pub(crate) fn unix_micros(&self) -> u64 {
        let clock = self.clock.get();
        clock.map_or_else(unix_micros, |clock| clock().as_secs() * 1_000_000)
    }

    /// Marks something as read now.
    pub(crate) fn received(&self) -> Received {
        Received {
            at: Instant::now(),
            unix_micros: self.unix_micros(),
        }
    }

    /// Replaces the options; open sessions follow with their next message.
    pub fn reload(&self, options: Options) {
        show_limits(&self.metrics, &options);
        self.options.store(Arc::new(options));
    }

    /// Whether there is no room for another connection.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let open = usize::try_from(self.metrics.connections.open.get()).unwrap_or(0);
        open >= self.options.load().limits.connections_max
    }

    /// How many events wait for a check of their signature.
    #[must_use]
    pub fn checks_waiting(&self) -> usize {
        self.verifier.queue_len()
    }

    /// Lets every session look whether its address is banned now, also those that are idle.
    pub fn networks_changed(&self) {
        self.networks.send_replace(());
    }
}

fn show_limits(metrics: &Metrics, options: &Options) {
    let max = i64::try_from(options.limits.connections_max).unwrap_or(i64::MAX);
    metrics.connections.max.set(max);
}

/// Accepts connections until shutdown goes past accepting; with `tls`, only those that speak it.
pub async fn run<B: Bus>(gateway: Arc<Gateway<B>>, listener: TcpListener, tls: Option<Tls>) {
    let mut phase = gateway.shutdown.watch();
    loop {
        tokio::select! {
            biased; // stopping goes before new work
            _ = phase.reached(Phase::Draining) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(&gateway, stream, peer, tls.clone()),
                Err(error) => {
                    // Out of file descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

fn accept<B: Bus>(
    gateway: &Arc<Gateway<B>>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let gateway = Arc::clone(gateway);
    let tasks = gateway.tasks.clone();
    let accepted = Instant::now();
    tasks.spawn("http", serve(gateway, stream, peer.ip(), tls, accepted));
}

async fn serve<B: Bus>(
    gateway: Arc<Gateway<B>>,
    mut stream: TcpStream,
    peer: IpAddr,
    tls: Option<Tls>,
    accepted: Instant,
) {
    // What the connection waited for a thread, before anybody looked at it.
    let queued = accepted.elapsed();
    let options = gateway.options.load_full();
    let mut phase = gateway.shutdown.watch();
    let peer = tokio::select! {
        biased; // an answer to who is there goes before stopping
        peer = proxy::client(&mut stream, peer, &options) => peer,
        _ = phase.reached(Phase::Draining) => return,
    };
    let Some(peer) = peer else { return };
    let is_proxy = options.is_proxy(peer);
    let requesting = gateway.addresses.request(peer, &options.limits, accepted);
    if requesting.is_none() && !is_proxy && !options.is_unlimited(peer) {
        count_refused(&gateway.metrics, peer, Refused::PerIp);
        return;
    }
    let Some(tls) = tls else {
        return serve_http(&gateway, stream, peer, queued).await;
    };
    if !is_proxy && let Err(refused) = admit_handshake(&gateway, &options, peer) {
        count_refused(&gateway.metrics, peer, refused);
        return;
    }
    let handshake = tokio::time::timeout(options.limits.handshake_timeout, tls.accept(stream));
    let stream = tokio::select! {
        biased; // a client that is there goes before stopping
        stream = handshake => stream,
        _ = phase.reached(Phase::Draining) => return,
    };
    match stream {
        Ok(Ok(stream)) => serve_http(&gateway, stream, peer, queued).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Answers requests until one becomes a WebSocket, or the connection ends.
async fn serve_http<B: Bus, S>(gateway: &Arc<Gateway<B>>, stream: S, peer: IpAddr, queued: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake_timeout = gateway.options.load().limits.handshake_timeout;
    let service = {
        let gateway = Arc::clone(gateway);
        let first = AtomicBool::new(true);
        service_fn(move |request| {
            let is_first = first.swap(false, Ordering::Relaxed);
            let begun = begun(is_first.then_some(queued), Instant::now());
            let response = respond(&gateway, request, peer, begun);
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut phase = gateway.shutdown.watch();
    tokio::pin!(connection);
    tokio::select! {
        biased; // a response under way goes before stopping
        result = &mut connection => {
            if let Err(error) = result {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
        }
        _ = phase.reached(Phase::Draining) => {}
        () = tokio::time::sleep(HTTP_TIME_MAX) => {}
    }
}

/// Since when a request takes our time, `now` being the end of its head: what the client took for it is its own.
/// With the first one of a connection goes the time for which that was `queued`.
fn begun(queued: Option<Duration>, now: Instant) -> Instant {
    now.checked_sub(queued.unwrap_or_default()).unwrap_or(now)
}

/// Answers one HTTP request: an upgrade, the information document, the landing page, or an error.
fn respond<B: Bus>(
    gateway: &Arc<Gateway<B>>,
    mut request: Request<Incoming>,
    peer: IpAddr,
    begun: Instant,
) -> Response<Body> {
    let options = gateway.options.load();
    if !options
        .paths
        .iter()
        .any(|path| path == request.uri().path())
    {
        return http::error(StatusCode::NOT_FOUND, "not found");
    }
    match Handshake::read(request.method(), request.version(), request.headers()) {
        None => http::respond(&request, &options),
        Some(Err(error)) => {
            let mut response = http::error(error.status, error.reason);
            if error.status == StatusCode::UPGRADE_REQUIRED {
                let version = HeaderValue::from_static("13");
                response
                    .headers_mut()
                    .insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            response
        }
        Some(Ok(handshake)) => {
            let client =
                client_address(peer, request.headers(), |address| options.is_proxy(address));
            match admit(gateway, &options, client) {
                Ok(admitted) => {
                    let takeover = gateway.deflate.has_windows();
                    let offered = options
                        .compression
                        .then(|| Agreement::with(request.headers(), takeover));
                    let agreed = offered.flatten();
                    let upgrade = hyper::upgrade::on(&mut request);
                    let upgrading = Upgrading { upgrade, begun };
                    start_session(gateway, upgrading, client, admitted, agreed);
                    switching(&handshake, agreed)
                }
                Err(refused) => refuse(gateway, client, refused),
            }
        }
    }
}

fn switching(handshake: &Handshake, compression: Option<Agreement>) -> Response<Body> {
    let mut response = http::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&handshake.accept).expect("base64 is a header value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreement) = compression {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreement.header());
    }
    response
}

/// A connection that becomes a WebSocket as soon as the answer is written.
struct Upgrading {
    upgrade: OnUpgrade,
    /// Since when that takes our time.
    begun: Instant,
}

/// The session is a task of its own, so that nothing of the HTTP connection is held by it.
fn start_session<B: Bus>(
    gateway: &Arc<Gateway<B>>,
    upgrading: Upgrading,
    address: IpAddr,
    admitted: Admitted,
    compression: Option<Agreement>,
) {
    let (id, counted) = count_in(gateway);
    let gateway = Arc::clone(gateway);
    let tasks = gateway.tasks.clone();
    tasks.spawn("session", async move {
        let _counted = counted;
        let Upgrading { upgrade, begun } = upgrading;
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was not finished");
                return;
            }
        };
        let handshake_seconds = &gateway.metrics.connections.handshake_seconds;
        handshake_seconds.observe(begun.elapsed().as_secs_f64());
        let opened = |read_ahead| Opened {
            id,
            address,
            read_ahead,
            admitted,
            compression,
        };
        let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner();
                return session::run(gateway, stream, opened(parts.read_buf)).await;
            }
            Err(upgraded) => upgraded,
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else {
            tracing::error!("an upgraded connection is not the socket that was accepted");
            return;
        };
        let stream = TlsSocket::new(parts.io.into_inner());
        // Apart, so that connections without TLS don't hold room for it.
        Box::pin(session::run(gateway, stream, opened(parts.read_buf))).await;
    });
}

/// Serves a connection that speaks WebSocket from its first byte, until either side ends it: for who
/// needs neither HTTP nor a listener. Without a word if the limits don't let it in.
pub async fn attend<B: Bus, S: Stream>(gateway: Arc<Gateway<B>>, stream: S, address: IpAddr) {
    let options = gateway.options.load_full();
    let admitted = match admit(&gateway, &options, address) {
        Ok(admitted) => admitted,
        Err(refused) => {
            count_refused(&gateway.metrics, address, refused);
            return;
        }
    };
    let (id, _counted) = count_in(&gateway);
    let opened = Opened {
        id,
        address,
        read_ahead: Bytes::new(),
        admitted,
        compression: None,
    };
    session::run(gateway, stream, opened).await;
}

/// Numbers and counts a new connection.
fn count_in<B>(gateway: &Gateway<B>) -> (ConnectionId, Counted) {
    let id = ConnectionId(gateway.next_connection.fetch_add(1, Ordering::Relaxed));
    gateway.metrics.connections.open.inc();
    gateway.metrics.connections.opened.inc();
    let metrics = Arc::clone(&gateway.metrics);
    (id, Counted { metrics })
}

/// An open connection in the gauge, until it is dropped.
struct Counted {
    metrics: Arc<Metrics>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_of_a_connection_takes_what_that_waited_for_a_thread_and_later_ones_do_not()
    {
        let now = Instant::now();
        let queued = Duration::from_millis(300);
        assert_eq!(now - begun(Some(queued), now), queued);
        assert_eq!(begun(None, now), now);
    }
}
