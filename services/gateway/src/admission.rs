//! Whether a connection is let in, and what is said if it isn't.

use std::{net::IpAddr, time::Instant};

use heliograph_bus::Bus;
use heliograph_lifecycle::Phase;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};

use crate::{
    Metrics, Options,
    addresses::{AddressKey, Admitted, Refused},
    http::{self, Body},
    metrics::{BannedBy, Limit, RateLimit},
    server::Gateway,
};

/// Holds a new WebSocket against the caps, before anything is spent on it. Those of its address come
/// first, so that one that connects without end isn't told, or counted as, a lack of room.
pub(crate) fn admit<B: Bus>(
    gateway: &Gateway<B>,
    options: &Options,
    client: IpAddr,
) -> Result<Admitted, Refused> {
    if options.is_banned(client) {
        return Err(Refused::Blocked);
    }
    if gateway.shutdown.phase() >= Phase::Draining {
        return Err(Refused::Draining);
    }
    let is_unlimited = options.is_unlimited(client);
    let admitted =
        gateway
            .addresses
            .admit(client, &options.limits, is_unlimited, Instant::now())?;
    if gateway.is_full() {
        return Err(Refused::Full);
    }
    Ok(admitted)
}

/// Holds a new TLS connection against what is known of its peer, before its handshake.
pub(crate) fn admit_handshake<B: Bus>(
    gateway: &Gateway<B>,
    options: &Options,
    peer: IpAddr,
) -> Result<(), Refused> {
    if options.is_banned(peer) {
        return Err(Refused::Blocked);
    }
    let is_unlimited = options.is_unlimited(peer);
    gateway
        .addresses
        .handshake(peer, &options.limits, is_unlimited, Instant::now())?;
    if gateway.is_full() {
        return Err(Refused::Full);
    }
    Ok(())
}

/// Says why a connection isn't let in, and counts it.
pub(crate) fn refuse<B>(gateway: &Gateway<B>, client: IpAddr, refused: Refused) -> Response<Body> {
    count_refused(&gateway.metrics, client, refused);
    let (status, reason) = match refused {
        Refused::Full | Refused::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many connections")
        }
        Refused::PerIp => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many connections from you",
        ),
        Refused::Rate => (StatusCode::TOO_MANY_REQUESTS, "connecting too fast"),
        Refused::Banned => (StatusCode::FORBIDDEN, "banned for a while: bad signatures"),
        Refused::Blocked => (StatusCode::FORBIDDEN, "blocked by the operator"),
    };
    let mut response = http::error(status, reason);
    if !matches!(refused, Refused::Banned | Refused::Blocked) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    }
    response
}

/// Counts a connection that isn't let in, by what it was held against.
pub(crate) fn count_refused(metrics: &Metrics, client: IpAddr, refused: Refused) {
    let limits = &metrics.limits;
    let counter = match refused {
        Refused::Full => limits.bound(Limit::Connections),
        Refused::Draining => limits.bound(Limit::Draining),
        Refused::PerIp => limits.bound(Limit::ConnectionsPerIp),
        Refused::Rate => limits.rate(RateLimit::ConnectionsPerIp),
        Refused::Banned => limits.banned(BannedBy::Signatures),
        Refused::Blocked => limits.banned(BannedBy::Control),
    };
    counter.inc();
    metrics
        .tops
        .rejected(AddressKey::new(client), Instant::now());
}
