//! Reaching a matcher.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use heliograph_proto::v1::{
    self, gateway_message::Message, matcher_client::MatcherClient, matcher_message,
};
use prometheus_client::metrics::gauge::Gauge;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::active::Active;
use crate::{
    ClientOptions, ClientTls, LinkError, MESSAGE_BYTES_MAX,
    queue::{Outgoing, Queue},
    rendezvous::Target,
    transport::Transport,
};

/// A peer that doesn't answer a ping is gone after these two together.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_WAIT: Duration = Duration::from_secs(2);

/// Bytes of the live stream that the matcher may send ahead.
const LIVE_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes of each answer that the matcher may send ahead: what a slow client holds.
const PAGES_WINDOW_BYTES: u32 = 128 << 10;

/// All answers together aren't bounded again, or a few slow clients would hold up the others.
const ALL_PAGES_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// The first wait before another attempt, and the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LONGEST: Duration = Duration::from_secs(2);

/// Knows who we are and whom to believe.
#[derive(Debug)]
pub(crate) struct Connector {
    tls: Option<ClientTlsConfig>,
    transport: Transport,
    hello: v1::Hello,
    connect_wait: Duration,
    queue_bytes_max: usize,
    queue_bytes: Gauge,
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) active: Arc<Active>,
    pub(crate) live: Streaming<v1::MatcherMessage>,
    pub(crate) welcome: v1::Welcome,
}

/// A matcher can't be reached. Others, or the same one later, may be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error("refused: {0}")]
    Refused(#[from] Box<Status>),
    #[error("it doesn't greet")]
    NoWelcome,
    #[error("no answer in time")]
    TimedOut,
}

impl Connector {
    /// # Errors
    ///
    /// The certificates can't be used.
    pub(crate) fn new(
        options: &ClientOptions,
        transport: Transport,
        queue_bytes: Gauge,
    ) -> Result<Self, LinkError> {
        let connector = Self {
            tls: options.tls.as_ref().map(tls_config),
            transport,
            hello: v1::Hello {
                gateway: options.gateway.clone(),
                incarnation: options.incarnation.clone(),
            },
            connect_wait: options.connect_wait,
            queue_bytes_max: options.queue_bytes_max,
            queue_bytes,
        };
        // Certificates are read when an endpoint is made: better now than at each attempt.
        connector.endpoint("localhost:1").map_err(LinkError::Tls)?;
        Ok(connector)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        let endpoint = match &self.tls {
            Some(tls) => endpoint.tls_config(tls.clone())?,
            None => endpoint,
        };
        Ok(endpoint
            .tcp_nodelay(true)
            .connect_timeout(self.connect_wait)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WAIT)
            .keep_alive_while_idle(true)
            // Answers are dropped while they come in whenever a client closes a subscription.
            .http2_max_local_error_reset_streams(None))
    }

    /// Opens a session at `target`, in `connect_wait` at most.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Connected, ConnectError> {
        let connected = tokio::time::timeout(self.connect_wait, self.open(target));
        connected.await.unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn open(&self, target: &Target) -> Result<Connected, ConnectError> {
        let endpoint = self.endpoint(&target.address)?;
        let live = endpoint
            .clone()
            .initial_stream_window_size(LIVE_WINDOW_BYTES)
            .initial_connection_window_size(2 * LIVE_WINDOW_BYTES);
        let pages = endpoint
            .initial_stream_window_size(PAGES_WINDOW_BYTES)
            .initial_connection_window_size(ALL_PAGES_WINDOW_BYTES);
        let mut control = client(self.transport.connect(&live).await?);
        let pages = client(self.transport.connect(&pages).await?);
        let queue = Arc::new(Queue::new(self.queue_bytes_max, self.queue_bytes.clone()));
        let hello = v1::GatewayMessage {
            message: Some(Message::Hello(self.hello.clone())),
        };
        queue.push(hello, 0).expect("the first one has room");
        let outgoing = Outgoing(Arc::clone(&queue));
        let live = control.live(outgoing).await.map_err(Box::new)?;
        let mut live = live.into_inner();
        let first = live.message().await.map_err(Box::new)?;
        match first.and_then(|first| first.message) {
            Some(matcher_message::Message::Welcome(welcome)) => {
                let active = Active::new(welcome.session, pages, control, queue);
                Ok(Connected {
                    active: Arc::new(active),
                    live,
                    welcome,
                })
            }
            _ => Err(ConnectError::NoWelcome),
        }
    }
}

fn client(channel: Channel) -> MatcherClient<Channel> {
    MatcherClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

fn tls_config(tls: &ClientTls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority));
    if let Some(name) = &tls.name {
        config = config.domain_name(name);
    }
    if let Some(identity) = &tls.identity {
        config = config.identity(Identity::from_pem(&identity.certificates, &identity.key));
    }
    config
}

/// How long to wait before the next attempt: twice as long each time, with jitter, so that the
/// gateways of a matcher that died don't all come at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    /// Of the process: what is unlike others' need not be unlike from run to run.
    seed: DefaultHasher,
}

impl Backoff {
    /// For the process of this name and incarnation.
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let mut seed = DefaultHasher::new();
        (&options.gateway, &options.incarnation).hash(&mut seed);
        Self { attempts: 0, seed }
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The wait before the first attempt: none after a session that was worth its name.
    pub(crate) fn first(&mut self) -> Duration {
        if self.attempts == 0 {
            Duration::ZERO
        } else {
            self.next()
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let longest = BACKOFF_FIRST.saturating_mul(1 << self.attempts.min(10));
        self.attempts = self.attempts.saturating_add(1);
        let longest = longest.min(BACKOFF_LONGEST);
        // Between half of it and all of it.
        let mut hasher = self.seed.clone();
        self.attempts.hash(&mut hasher);
        let part = u32::try_from(hasher.finish() % 512).unwrap_or(0) + 512;
        longest * part / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_soon_at_first_and_never_too_seldom() {
        let mut backoff = Backoff::new(&ClientOptions::default());
        let first = backoff.next();
        assert!((50..=100).contains(&first.as_millis()), "{first:?}");
        let later: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        let long = |wait: &Duration| (1_000..=2_000).contains(&wait.as_millis());
        assert!(later[10..].iter().all(long), "{later:?}");
        assert!(long(&backoff.first()));
        backoff.reset();
        assert_eq!(backoff.first(), Duration::ZERO);
        assert!(backoff.next() <= BACKOFF_FIRST);
    }
}
