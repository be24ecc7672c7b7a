//! Canary: publishes probes through one gateway of a relay, reads them through every other, measures
//! how long they take, counts those that don't come, and looks whether what was acknowledged is
//! still there later.
//!
//! It is a client like any other (NIP-01, NIP-42) and knows nothing of the relay but its URLs, so
//! what it measures is what users get. One task decides everything (`engine.rs`); each connection is
//! a task that knows no more than its socket (`link.rs`); what became of the probes is in one book
//! without IO and clock (`book.rs`).

mod addresses;
mod audit;
mod auth;
mod backoff;
mod book;
mod document;
mod engine;
mod line;
mod link;
mod message;
mod metrics;
mod once;
mod options;
mod run;
mod signer;
mod socket;
mod target;
mod tls;

/// A client of a relay, for other tools: a connection, what comes over it, authentication.
pub mod client {
    pub use crate::{
        auth::{Auth, Next},
        message::{Message, asks_for_auth},
        signer::Signer,
        socket::{ConnectError, Socket, Stream, connect},
        target::Target,
        tls::client_config,
    };
}

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use heliograph_lifecycle::{Phase, Shutdown, Tasks};
use heliograph_protocol::PublicKey;
use tokio::sync::watch;

pub use self::{
    addresses::each_address,
    metrics::{Metrics, READERS_MAX},
    once::Report,
    options::{CanaryError, Options, Reader, Timing},
};
use self::{
    engine::{Engine, Mode},
    link::Wiring,
    signer::Signer,
    target::Target,
};

/// A canary that is ready to start.
#[derive(Debug)]
pub struct Canary {
    wiring: Wiring,
    metrics: Arc<Metrics>,
    tried: Arc<AtomicBool>,
}

impl Canary {
    /// Checks what it is told. `metrics` were registered for as many readers.
    ///
    /// # Errors
    ///
    /// [`CanaryError`]: there is nothing to publish to or to read from, or a URL, the key or the
    /// authorities are of no use.
    pub fn new(options: &Options, metrics: Metrics) -> Result<Self, CanaryError> {
        let publish = options.publish.as_deref().ok_or(CanaryError::NoPublish)?;
        if options.read.is_empty() {
            return Err(CanaryError::NoRead);
        }
        debug_assert_eq!(options.read.len(), metrics.missing.len(), "series of each");
        let publish = Target::parse("canary.publish", publish)?;
        let read = options.read.iter().enumerate();
        // Behind a name with several addresses each reader is at another, and none where probes are
        // published, as far as there are enough.
        let read: Vec<Target> = read
            .map(|(via, reader)| {
                let target = Target::parse("canary.read", &reader.url)?;
                Ok(target.at(reader.address).in_turn(via + 1))
            })
            .collect::<Result<_, CanaryError>>()?;
        let encrypted = publish.is_encrypted() || read.iter().any(Target::is_encrypted);
        let tls = (encrypted || options.ca.is_some())
            .then(|| tls::client_config(options.ca.as_deref()))
            .transpose()?;
        let signer = match &options.secret_key {
            Some(hex) => Signer::from_hex(hex)?,
            None => Signer::random()?,
        };
        Ok(Self {
            wiring: Wiring {
                publish,
                read,
                tls,
                signer,
                kind: options.kind,
            },
            metrics: Arc::new(metrics),
            tried: Arc::default(),
        })
    }

    /// Who signs the probes.
    #[must_use]
    pub fn pubkey(&self) -> PublicKey {
        self.wiring.signer.public()
    }

    /// Says whether every connection was tried once since [`run`](Self::run).
    pub fn has_tried_all(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let tried = Arc::clone(&self.tried);
        move || tried.load(Ordering::Acquire)
    }

    /// Publishes and reads until the process is draining.
    pub async fn run(
        &self,
        timing: watch::Receiver<Timing>,
        shutdown: &Shutdown,
        connections: &Tasks,
    ) {
        let mut phase = shutdown.watch();
        let engine = Engine::start(
            &self.wiring,
            timing,
            Arc::clone(&self.metrics),
            Arc::clone(&self.tried),
            Mode::Watch,
            connections,
        );
        let stop = async move {
            phase.reached(Phase::Draining).await;
        };
        engine.run(stop).await;
    }

    /// Compares the limits that each reader's relay advertises (NIP-11) with `expected`, and says what
    /// differs. What `expected` doesn't name isn't looked at.
    pub async fn compare(&self, expected: &serde_json::Value, connections: &Tasks) -> Vec<String> {
        document::compare(&self.wiring, expected, connections).await
    }

    /// Publishes this many probes, reads each everywhere, live and again by its id, and reports.
    /// Takes a few deadlines at most.
    pub async fn once(&self, probes: u32, timing: Timing, connections: &Tasks) -> Report {
        once::run(
            &self.wiring,
            probes,
            timing,
            Arc::clone(&self.metrics),
            connections,
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn readers_of_one_name_begin_at_other_addresses_than_the_publisher_and_than_each_other() {
        let url = "ws://gateways:7777".to_owned();
        let options = Options {
            publish: Some(url.clone()),
            read: vec![Reader::from(url.clone()), Reader::from(url)],
            secret_key: None,
            kind: heliograph_protocol::Kind::new(1166),
            ca: None,
        };
        let metrics = Metrics::register(&mut Registry::default(), options.read.len());
        let wiring = Canary::new(&options, metrics).unwrap().wiring;
        let turns: Vec<usize> = wiring.read.iter().map(|target| target.turn).collect();
        assert_eq!((wiring.publish.turn, turns), (0, vec![1, 2]));
    }
}
