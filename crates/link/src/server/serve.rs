//! The listener of a matcher's end.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use futures_util::Stream;
use heliograph_bus::{CommitNumber, Requests};
use heliograph_lifecycle::{Phase, PhaseWatch, Tasks};
use heliograph_proto::v1::matcher_server::MatcherServer;
use tokio::{net::TcpListener, sync::watch, time::MissedTickBehavior};
use tonic::transport::{
    Certificate, Identity, Server, ServerTlsConfig,
    server::{Connected, Router, TcpIncoming},
};

use super::{Sessions, service::Service};
use crate::{LinkError, MESSAGE_BYTES_MAX, ServerOptions, ServerTls, transport::Conduit};

/// A peer that doesn't answer a ping is gone after these two together.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_WAIT: Duration = Duration::from_secs(2);

/// Calls of one connection at once at most: every REQ whose stored part is under way is one, however
/// slow its client.
const STREAMS_MAX: u32 = 1 << 18;

/// Bytes that a gateway may send ahead on one call, and on all of a connection together.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Serves gateways until [`Phase::Draining`], then ends their sessions: they go on elsewhere.
/// `sessions` is the one whose sink the matcher delivers to, `applied` the last batch that the
/// matcher has applied and delivered.
///
/// # Errors
///
/// The certificates can't be used, or the listener broke.
pub async fn serve(
    listener: TcpListener,
    requests: Arc<dyn Requests>,
    sessions: Sessions,
    applied: watch::Receiver<CommitNumber>,
    options: ServerOptions,
    tasks: Tasks,
    phase: PhaseWatch,
) -> Result<(), LinkError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    serve_incoming(incoming, requests, sessions, applied, options, tasks, phase).await
}

/// The same for connections of any kind.
///
/// # Errors
///
/// The certificates can't be used, or `incoming` broke.
pub async fn serve_incoming<C>(
    incoming: impl Stream<Item = io::Result<C>>,
    requests: Arc<dyn Requests>,
    sessions: Sessions,
    applied: watch::Receiver<CommitNumber>,
    options: ServerOptions,
    tasks: Tasks,
    mut phase: PhaseWatch,
) -> Result<(), LinkError>
where
    C: Conduit + Connected + 'static,
{
    let heartbeat = options.heartbeat;
    let router = router(
        options.tls.clone(),
        Service {
            requests,
            sessions: sessions.clone(),
            applied: applied.clone(),
            options,
            tasks,
        },
    )?;
    let stopping = sessions.clone();
    let served = router.serve_with_incoming_shutdown(incoming, async move {
        phase.reached(Phase::Draining).await;
        stopping.close();
    });
    // The order doesn't matter: one of them never ends.
    tokio::select! {
        biased;
        served = served => served.map_err(LinkError::Serve),
        never = tell_positions(sessions, applied, heartbeat) => match never {},
    }
}

fn router(tls: Option<ServerTls>, service: Service) -> Result<Router, LinkError> {
    let mut server = Server::builder();
    if let Some(tls) = tls {
        let identity = Identity::from_pem(tls.identity.certificates, tls.identity.key);
        let mut config = ServerTlsConfig::new().identity(identity);
        if let Some(authority) = tls.client_authority {
            config = config.client_ca_root(Certificate::from_pem(authority));
        }
        server = server.tls_config(config).map_err(LinkError::Tls)?;
    }
    let service = MatcherServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(server
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_WAIT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        // Clients close subscriptions at any time; a gateway is no attacker for passing that on.
        .http2_max_pending_accept_reset_streams(Some(STREAMS_MAX as usize))
        .http2_max_local_error_reset_streams(None)
        .add_service(service))
}

/// Says at every change, and every so often besides, up to where everything has been sent.
async fn tell_positions(
    sessions: Sessions,
    mut applied: watch::Receiver<CommitNumber>,
    heartbeat: Duration,
) -> Infallible {
    let mut beats = tokio::time::interval(heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut following = true;
    loop {
        // Changes first: a beat would say the same.
        tokio::select! {
            biased;
            changed = applied.changed(), if following => following = changed.is_ok(),
            _ = beats.tick() => {}
        }
        let number = *applied.borrow_and_update();
        sessions.position(number);
    }
}
