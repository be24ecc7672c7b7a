//! The connection to the servers and what is known of its state.

use std::{future::ready, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use crate::{Metrics, NatsAuth, NatsError, NatsOptions};

/// Messages that one subscription buffers. What the bus pulls is bounded below that; receipts and
/// ephemeral events beyond it are dropped and counted as `slow_consumers`.
const SUBSCRIPTION_CAPACITY: usize = 8_192;

/// Commands waiting for the socket; past it callers wait.
const CLIENT_CAPACITY: usize = 4_096;

/// The longest pause between two attempts to reconnect.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// Pause between attempts at the start.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A connection without an answer for two of these is given up: what waits for a server that stands
/// still waits so long.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Time for the server's answer to a request that isn't a publish.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the servers can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Connected.
    Up,
    /// Not connected.
    Down {
        /// Since when.
        since: Instant,
    },
}

/// The state of the connection, set by the client's events. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    status: Arc<watch::Sender<Status>>,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    state: LinkState,
    /// Times that it went up: what was under way before the last one may have no answer.
    connects: u64,
}

impl Link {
    pub(crate) fn new() -> Self {
        let state = LinkState::Down {
            since: Instant::now(),
        };
        let status = Status { state, connects: 0 };
        Self {
            status: Arc::new(watch::Sender::new(status)),
        }
    }

    pub(crate) fn state(&self) -> LinkState {
        self.status.borrow().state
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state() == LinkState::Up
    }

    /// How often it went up.
    pub(crate) fn connects(&self) -> u64 {
        self.status.borrow().connects
    }

    /// Waits until it is up. Safe to cancel.
    pub(crate) async fn up(&self) {
        let mut status = self.status.subscribe();
        let up = status
            .wait_for(|status| status.state == LinkState::Up)
            .await;
        debug_assert!(up.is_ok(), "the sender lives in self");
    }

    /// Waits until it went up again since [`connects`](Self::connects) was `seen`. Safe to cancel.
    pub(crate) async fn reconnected(&self, seen: u64) {
        let mut status = self.status.subscribe();
        let again = status.wait_for(|status| status.connects > seen).await;
        debug_assert!(again.is_ok(), "the sender lives in self");
    }

    fn went_up(&self) {
        self.status.send_modify(|status| {
            status.state = LinkState::Up;
            status.connects += 1;
        });
    }

    fn went_down(&self) {
        self.status.send_if_modified(|status| {
            let was_up = status.state == LinkState::Up;
            if was_up {
                status.state = LinkState::Down {
                    since: Instant::now(),
                };
            }
            was_up
        });
    }

    fn on_event(&self, event: &Event, metrics: &Metrics) {
        match event {
            Event::Connected => {
                if self.connects() > 0 {
                    metrics.reconnects.inc();
                    tracing::info!("connected to NATS again");
                }
                self.went_up();
                metrics.connected.set(1);
            }
            Event::Disconnected | Event::Closed => {
                self.went_down();
                metrics.connected.set(0);
                tracing::warn!("NATS connection lost");
            }
            Event::SlowConsumer(_) => {
                metrics.slow_consumers.inc();
            }
            Event::ServerError(error) => tracing::warn!(%error, "NATS server reports an error"),
            Event::ClientError(error) => tracing::debug!(%error, "NATS client reports an error"),
            Event::LameDuckMode | Event::Draining => tracing::info!(%event, "NATS connection"),
        }
    }
}

/// Connects, and tries again until the deadline of the options.
pub(crate) async fn connect(
    options: &NatsOptions,
    link: &Link,
    metrics: &Arc<Metrics>,
) -> Result<Client, NatsError> {
    let deadline = Instant::now() + options.connect_deadline;
    let servers = options.servers.join(",");
    let failed = |reason: String| NatsError::Connect {
        servers: servers.clone(),
        reason,
    };
    loop {
        let attempt = connect_options(options, link, metrics).await?;
        let connecting = timeout_at(deadline, attempt.connect(options.servers.clone())).await;
        let error = match connecting {
            Ok(Ok(client)) => {
                // The event comes by a task of its own; what is next counts on it.
                link.up().await;
                return Ok(client);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer".to_owned(),
        };
        if Instant::now() + CONNECT_PAUSE >= deadline {
            return Err(failed(error));
        }
        tracing::info!(%error, "can't reach NATS yet");
        sleep(CONNECT_PAUSE).await;
    }
}

async fn connect_options(
    options: &NatsOptions,
    link: &Link,
    metrics: &Arc<Metrics>,
) -> Result<ConnectOptions, NatsError> {
    let (link, metrics) = (link.clone(), Arc::clone(metrics));
    let mut connect = ConnectOptions::new()
        .name(format!("heliograph {}", options.node))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(REQUEST_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            link.on_event(&event, &metrics);
            ready(())
        });
    if options.tls.required {
        connect = connect.require_tls(true);
    }
    if let Some(authorities) = &options.tls.authorities {
        connect = connect.add_root_certificates(authorities.clone());
    }
    if let Some((certificate, key)) = &options.tls.identity {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    log_in(connect, &options.auth).await
}

async fn log_in(connect: ConnectOptions, auth: &NatsAuth) -> Result<ConnectOptions, NatsError> {
    Ok(match auth {
        NatsAuth::Anonymous => connect,
        NatsAuth::User { user, password } => {
            connect.user_and_password(user.clone(), password.clone())
        }
        NatsAuth::Token(token) => connect.token(token.clone()),
        NatsAuth::Nkey(seed) => connect.nkey(seed.clone()),
        NatsAuth::CredentialsFile(path) => {
            connect
                .credentials_file(path)
                .await
                .map_err(|error| NatsError::File {
                    what: path.display().to_string(),
                    reason: error.to_string(),
                })?
        }
    })
}

/// At once at first, since most losses are a restart of one of several servers.
fn reconnect_delay(attempts: usize) -> Duration {
    let step = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    Duration::from_millis(50)
        .saturating_mul(step)
        .min(RECONNECT_DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::Side;

    #[tokio::test]
    async fn the_link_remembers_since_when_it_is_down() {
        let metrics = Metrics::register(&mut Registry::default(), Side::All);
        let link = Link::new();
        link.on_event(&Event::Connected, &metrics);
        assert_eq!(link.state(), LinkState::Up);
        link.on_event(&Event::Disconnected, &metrics);
        let first = link.state();
        link.on_event(&Event::Disconnected, &metrics);
        assert_eq!(link.state(), first, "down once");
        link.on_event(&Event::Connected, &metrics);
        link.reconnected(1).await;
        assert_eq!((metrics.reconnects.get(), link.connects()), (1, 2));
    }

    #[test]
    fn reconnecting_begins_at_once_and_slows_down() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(2), Duration::from_millis(50));
        assert_eq!(reconnect_delay(usize::MAX), RECONNECT_DELAY_MAX);
    }
}
