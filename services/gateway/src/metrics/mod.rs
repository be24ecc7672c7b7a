//! What a gateway shows. Every series exists from the start; labels are closed sets ([`labels`]).

mod labels;

use heliograph_protocol::{Kind, Prefix};
use heliograph_telemetry::{Histogram, LATENCY, counter, counters, gauge, histogram, histograms};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

pub use labels::Durability;
pub(crate) use labels::{
    BannedBy, Closed, EventResult, Label, Limit, RateLimit, Reader, ReqResult, Verb,
};

use self::labels::prefix_position;
use crate::{
    kinds::{CLASSES, UNREADABLE, class_of},
    tally::DeliverySeconds,
    tops::Tops,
};

/// Ages of connections at their end, in seconds: from a glance to a day.
const AGES: [f64; 8] = [1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0, 86_400.0];

/// Bytes that wait for one client: from a few messages to what closes the connection.
const QUEUES: [f64; 8] = [
    256.0,
    4_096.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    16_777_216.0,
];

/// Metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) connections: Connections,
    pub(crate) traffic: Traffic,
    pub(crate) events: Events,
    pub(crate) questions: Questions,
    pub(crate) limits: Limits,
    /// What can't be a time series: who sends most.
    pub(crate) tops: Tops,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry, durability: Durability) -> Self {
        Self {
            connections: Connections::register(registry),
            traffic: Traffic::register(registry),
            events: Events::register(registry, durability),
            questions: Questions::register(registry),
            limits: Limits::register(registry),
            tops: Tops::default(),
        }
    }
}

/// One counter for each value of a label.
fn labelled<L: Label>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
) -> Vec<Counter> {
    let labels = L::ALL.iter().map(|(_, value)| [(label, *value)]);
    counters(registry, name, help, labels)
}

/// Sockets from their opening to their end.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) open: Gauge,
    pub(crate) max: Gauge,
    pub(crate) opened: Counter,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) age_seconds: Histogram,
    closed: Vec<Counter>,
}

impl Connections {
    fn register(registry: &mut Registry) -> Self {
        let proto = [[("proto", "h1")]];
        let opened = counters(registry, "connections_opened", "WebSockets opened", proto);
        let codes = Closed::ALL
            .iter()
            .map(|(reason, name)| [("code", reason.code()), ("reason", *name)]);
        Self {
            open: gauge(registry, "connections", "Open WebSockets"),
            max: gauge(
                registry,
                "connections_max",
                "WebSockets that may be open at once",
            ),
            opened: opened[0].clone(),
            handshake_seconds: histogram(
                registry,
                "handshake_seconds",
                "Time from the end of a request's head to the WebSocket, and that from accepting the connection to \
                 looking at it: what a client takes to send its request is left out",
                &LATENCY,
            ),
            age_seconds: histogram(
                registry,
                "connection_age_seconds",
                "Age of WebSockets when they ended",
                &AGES,
            ),
            closed: counters(
                registry,
                "connections_closed",
                "WebSockets that ended, by reason, with the close code that goes with it (1006: none was sent)",
                codes,
            ),
        }
    }

    pub(crate) fn closed(&self, reason: Closed) -> &Counter {
        &self.closed[reason.position()]
    }
}

/// What goes over the sockets.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) frames: Counter,
    pub(crate) writes: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) delivery_seconds: DeliverySeconds,
    pub(crate) windows: WindowMetrics,
    queue_bytes: Histogram,
    bytes: Vec<Counter>,
    payload: Vec<Counter>,
    messages: Vec<Counter>,
    slow: Vec<Counter>,
}

/// Compression windows, which only some connections have.
#[derive(Debug, Default, Clone)]
pub(crate) struct WindowMetrics {
    pub(crate) bytes: Gauge,
    pub(crate) refused: Counter,
}

/// Frames of one direction, added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Bytes of frames that aren't compressed, headers included.
    pub(crate) plain: u64,
    /// Bytes of frames that are.
    pub(crate) compressed: u64,
    /// Bytes of the messages in them, as they are without compression.
    pub(crate) payload: u64,
}

impl Traffic {
    fn register(registry: &mut Registry) -> Self {
        let directions = [("in", "no"), ("in", "yes"), ("out", "no"), ("out", "yes")];
        let directions = directions.map(|(dir, yes)| [("dir", dir), ("compressed", yes)]);
        let delivery_seconds = DeliverySeconds::default();
        registry.register(
            "delivery_seconds",
            "Time from reading an EVENT, at whichever gateway, to writing it to a live subscription. Slow readers are \
             those whose socket was full just then: their own doing",
            delivery_seconds.clone(),
        );
        Self {
            frames: counter(
                registry,
                "client_frames_sent",
                "Frames written to WebSockets",
            ),
            writes: counter(registry, "client_writes", "System calls that wrote frames"),
            deliveries: counter(
                registry,
                "deliveries",
                "Live events handed to subscriptions",
            ),
            delivery_seconds,
            windows: WindowMetrics {
                bytes: gauge(
                    registry,
                    "compression_window_bytes",
                    "Memory of compression windows that connections have for themselves",
                ),
                refused: counter(
                    registry,
                    "compression_windows_refused",
                    "Events sent without a window of the connection's own since gateway.compression_windows_bytes_max was used up",
                ),
            },
            queue_bytes: histogram(
                registry,
                "outbound_queue_bytes",
                "Bytes that waited for one client when its socket was written to: every time that it was 64 KiB \
                 or more, one time in 64 else",
                &QUEUES,
            ),
            bytes: counters(
                registry,
                "client_bytes",
                "Bytes of frames, as they are on the wire below TLS",
                directions,
            ),
            payload: counters(
                registry,
                "client_payload_bytes",
                "Bytes of the messages in them without compression",
                ["in", "out"].map(|dir| [("dir", dir)]),
            ),
            messages: labelled::<Verb>(
                registry,
                "client_messages",
                "Messages from clients",
                "verb",
            ),
            slow: counters(
                registry,
                "slow_consumer",
                "Clients that didn't keep up: subscriptions ended (drop), connections closed (close)",
                ["drop", "close"].map(|action| [("action", action)]),
            ),
        }
    }

    pub(crate) fn message(&self, verb: Verb) -> &Counter {
        &self.messages[verb.position()]
    }

    /// Shows how many bytes wait for one client.
    pub(crate) fn queued(&self, bytes: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "what waits is far below what would lose a digit"
        )]
        self.queue_bytes.observe(bytes as f64);
    }

    pub(crate) fn received(&self, frames: Frames) {
        self.count(frames, 0);
    }

    pub(crate) fn sent(&self, frames: Frames) {
        self.count(frames, 1);
    }

    fn count(&self, frames: Frames, direction: usize) {
        for (counter, bytes) in [
            (&self.bytes[2 * direction], frames.plain),
            (&self.bytes[2 * direction + 1], frames.compressed),
            (&self.payload[direction], frames.payload),
        ] {
            // Threads that write at once share these.
            if bytes > 0 {
                counter.inc_by(bytes);
            }
        }
    }

    /// Subscriptions ended because more had to be held back than may be.
    pub(crate) fn slow_dropped(&self) -> &Counter {
        &self.slow[0]
    }

    /// Connections closed because their clients don't read.
    pub(crate) fn slow_closed(&self) -> &Counter {
        &self.slow[1]
    }
}

/// What becomes of EVENTs and AUTHs.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) verify_seconds: Histogram,
    pub(crate) ok_seconds: Histogram,
    pub(crate) duplicates_early: Counter,
    pub(crate) verifications_spared: Counter,
    received: Vec<Counter>,
    results: Vec<Counter>,
    auth: Vec<Counter>,
}

impl Events {
    fn register(registry: &mut Registry, durability: Durability) -> Self {
        let classes = CLASSES.into_iter().chain([UNREADABLE]);
        let durability = [[("durability", durability.as_str())]];
        let ok_seconds = histograms(
            registry,
            "publish_ok_seconds",
            "Time from reading an EVENT to its OK true, by what that promises",
            &LATENCY,
            durability,
        );
        Self {
            verify_seconds: histogram(
                registry,
                "verify_seconds",
                "Time from handing an event to the pool that checks signatures to the verdict",
                &LATENCY,
            ),
            ok_seconds: ok_seconds[0].clone(),
            duplicates_early: counter(
                registry,
                "duplicates_early",
                "EVENTs known before their signature was checked",
            ),
            verifications_spared: counter(
                registry,
                "verifications_spared",
                "EVENTs whose signature was checked here before",
            ),
            received: counters(
                registry,
                "events_received",
                "EVENTs from clients, by what sort of kind they have",
                classes.map(|class| [("kind_class", class)]),
            ),
            results: counters(
                registry,
                "events_result",
                "What became of EVENTs: accepted, refused by prefix, or unanswered since the connection was closed",
                EventResult::labels(),
            ),
            auth: counters(
                registry,
                "auth",
                "AUTHs, by their answer",
                ["accepted", "refused"].map(|result| [("result", result)]),
            ),
        }
    }

    pub(crate) fn received(&self, kind: Kind) -> &Counter {
        &self.received[class_of(kind)]
    }

    pub(crate) fn unreadable(&self) -> &Counter {
        &self.received[CLASSES.len()]
    }

    pub(crate) fn result(&self, result: EventResult) -> &Counter {
        &self.results[result.position()]
    }

    pub(crate) fn auth(&self, accepted: bool) -> &Counter {
        &self.auth[usize::from(!accepted)]
    }
}

/// REQs and COUNTs, and what they leave open.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) subscriptions: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) first_event_seconds: Histogram,
    pub(crate) count_seconds: Histogram,
    pub(crate) interrupted: Counter,
    eose_seconds: Vec<Histogram>,
    results: Vec<Counter>,
    closed: Vec<Counter>,
}

impl Questions {
    fn register(registry: &mut Registry) -> Self {
        let closed = "REQs and COUNTs answered with CLOSED, and subscriptions closed later, by prefix; \
                      draining: because the gateway stops; overrun: too much had to be held back until EOSE";
        Self {
            subscriptions: gauge(registry, "subscriptions", "Open subscriptions"),
            in_flight: gauge(
                registry,
                "query_inflight",
                "Stored answers and counts under way at the matcher",
            ),
            first_event_seconds: histogram(
                registry,
                "req_first_event_seconds",
                "Time from reading a REQ to its first stored event, without the wait for others of the same client",
                &LATENCY,
            ),
            count_seconds: histogram(
                registry,
                "count_seconds",
                "Time from reading a COUNT to its answer, without the wait for others of the same client",
                &LATENCY,
            ),
            interrupted: counter(
                registry,
                "answers_interrupted",
                "Stored answers asked for again because their matcher went away",
            ),
            eose_seconds: histograms(
                registry,
                "req_eose_seconds",
                "Time from reading a REQ to EOSE, by whether memory was enough; without the wait for others of the same \
                 client and for its socket",
                &LATENCY,
                ["recent", "archive"].map(|plan| [("plan", plan)]),
            ),
            results: labelled::<ReqResult>(
                registry,
                "req",
                "REQs, by what ended their stored part",
                "result",
            ),
            closed: counters(
                registry,
                "reqs_closed",
                closed,
                Prefix::ALL
                    .map(|prefix| [("reason", prefix.as_str())])
                    .into_iter()
                    .chain(["draining", "overrun"].map(|reason| [("reason", reason)])),
            ),
        }
    }

    pub(crate) fn eose_seconds(&self, archive: bool) -> &Histogram {
        &self.eose_seconds[usize::from(archive)]
    }

    pub(crate) fn result(&self, result: ReqResult) -> &Counter {
        &self.results[result.position()]
    }

    pub(crate) fn closed(&self, prefix: Prefix) -> &Counter {
        &self.closed[prefix_position(prefix)]
    }

    /// Subscriptions that were told `error:` because the gateway stops: no failure, so a rolling
    /// restart burns no error budget.
    pub(crate) fn drained(&self) -> &Counter {
        &self.closed[Prefix::ALL.len()]
    }

    /// Answers that ended with `error:` since more live events came before EOSE than are held back: no
    /// failure of ours, since it is the reader that EOSE waits for.
    pub(crate) fn overrun(&self) -> &Counter {
        &self.closed[Prefix::ALL.len() + 1]
    }
}

/// What was held against somebody.
#[derive(Debug)]
pub(crate) struct Limits {
    rates: Vec<Counter>,
    bounds: Vec<Counter>,
    bans: Vec<Counter>,
}

impl Limits {
    fn register(registry: &mut Registry) -> Self {
        Self {
            rates: labelled::<RateLimit>(
                registry,
                "rate_limited",
                "Messages and connections refused for their rate, by limit",
                "limit",
            ),
            bounds: labelled::<Limit>(
                registry,
                "limit_rejections",
                "Messages and connections refused for their size or number, by limit",
                "limit",
            ),
            bans: labelled::<BannedBy>(
                registry,
                "banned",
                "Connections refused or closed because their address is banned, by who banned it",
                "source",
            ),
        }
    }

    pub(crate) fn rate(&self, limit: RateLimit) -> &Counter {
        &self.rates[limit.position()]
    }

    pub(crate) fn bound(&self, limit: Limit) -> &Counter {
        &self.bounds[limit.position()]
    }

    pub(crate) fn banned(&self, by: BannedBy) -> &Counter {
        &self.bans[by.position()]
    }
}
