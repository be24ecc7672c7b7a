//! What a gateway shows. Every series exists from the start; labels are closed sets.

use heliograph_protocol::Prefix;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

type Labels = [(&'static str, &'static str); 1];

/// Latency buckets from 0.1 ms to 30 s.
pub(crate) const SECONDS: [f64; 14] = [
    0.000_1, 0.000_3, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 4.0, 10.0, 30.0,
];

/// Verbs of client messages, for `client_messages_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Event,
    Req,
    Count,
    Close,
    Auth,
    Invalid,
}

const VERBS: [(Verb, &str); 6] = [
    (Verb::Event, "EVENT"),
    (Verb::Req, "REQ"),
    (Verb::Count, "COUNT"),
    (Verb::Close, "CLOSE"),
    (Verb::Auth, "AUTH"),
    (Verb::Invalid, "invalid"),
];

/// Why a connection ended, for `connections_closed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Client,
    Protocol,
    TooBig,
    NotUtf8,
    Policy,
    Slow,
    Silent,
    Drain,
    Lost,
}

const CLOSED: [(Closed, &str); 9] = [
    (Closed::Client, "client"),
    (Closed::Protocol, "protocol"),
    (Closed::TooBig, "too_big"),
    (Closed::NotUtf8, "not_utf8"),
    (Closed::Policy, "policy"),
    (Closed::Slow, "slow"),
    (Closed::Silent, "silent"),
    (Closed::Drain, "drain"),
    (Closed::Lost, "lost"),
];

/// Why a connection was refused before the upgrade, for `connections_refused_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    PerIp,
    Rate,
    Banned,
    Blocked,
}

const REFUSED: [(Refused, &str); 5] = [
    (Refused::Full, "full"),
    (Refused::PerIp, "per_ip"),
    (Refused::Rate, "rate"),
    (Refused::Banned, "banned"),
    (Refused::Blocked, "blocked"),
];

/// Metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_opened: Counter,
    pub(crate) subscriptions: Gauge,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) writes: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) publish_ok_seconds: Histogram,
    pub(crate) first_event_seconds: Histogram,
    pub(crate) eose_seconds: Histogram,
    pub(crate) count_seconds: Histogram,
    pub(crate) events_accepted: Counter,
    pub(crate) duplicates_early: Counter,
    pub(crate) verifications_spared: Counter,
    pub(crate) answers_interrupted: Counter,
    pub(crate) auth_ok: Counter,
    pub(crate) auth_failed: Counter,
    pub(crate) bans: Counter,
    messages: Vec<Counter>,
    closed: Vec<Counter>,
    refused: Vec<Counter>,
    events_refused: Vec<Counter>,
    reqs_closed: Vec<Counter>,
}

impl Metrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("gateway");
        Self {
            connections: gauge(registry, "connections", "Open WebSocket connections"),
            connections_opened: counter(registry, "connections_opened", "WebSockets opened"),
            subscriptions: gauge(registry, "subscriptions", "Open subscriptions"),
            bytes_in: counter(registry, "received_bytes", "Bytes read from WebSockets"),
            bytes_out: counter(registry, "sent_bytes", "Bytes written to WebSockets"),
            frames_out: counter(registry, "sent_frames", "Frames written to WebSockets"),
            writes: counter(registry, "writes", "System calls that wrote frames"),
            deliveries: counter(
                registry,
                "deliveries",
                "Live events handed to subscriptions",
            ),
            publish_ok_seconds: seconds(
                registry,
                "publish_ok_seconds",
                "Time from reading an EVENT to its OK true",
            ),
            first_event_seconds: seconds(
                registry,
                "req_first_event_seconds",
                "Time from reading a REQ to its first stored event",
            ),
            eose_seconds: seconds(
                registry,
                "req_eose_seconds",
                "Time from reading a REQ to EOSE",
            ),
            count_seconds: seconds(
                registry,
                "count_seconds",
                "Time from reading a COUNT to its answer",
            ),
            events_accepted: counter(registry, "events_accepted", "EVENTs answered with OK true"),
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
            answers_interrupted: counter(
                registry,
                "answers_interrupted",
                "Stored answers asked for again because their matcher went away",
            ),
            auth_ok: counter(registry, "auth_accepted", "AUTHs accepted"),
            auth_failed: counter(registry, "auth_refused", "AUTHs refused"),
            bans: counter(registry, "bans", "Addresses banned for bad signatures"),
            messages: family(
                registry,
                "client_messages",
                "Messages from clients",
                "verb",
                VERBS.iter().map(|(_, name)| *name),
            ),
            closed: family(
                registry,
                "connections_closed",
                "WebSockets closed, by reason",
                "reason",
                CLOSED.iter().map(|(_, name)| *name),
            ),
            refused: family(
                registry,
                "connections_refused",
                "Connections refused before the upgrade, by limit",
                "limit",
                REFUSED.iter().map(|(_, name)| *name),
            ),
            events_refused: family(
                registry,
                "events_refused",
                "EVENTs answered with OK false, by prefix",
                "reason",
                Prefix::ALL.iter().map(|prefix| prefix.as_str()),
            ),
            reqs_closed: family(
                registry,
                "reqs_closed",
                "REQs and COUNTs answered with CLOSED, by prefix",
                "reason",
                Prefix::ALL.iter().map(|prefix| prefix.as_str()),
            ),
        }
    }

    pub(crate) fn message(&self, verb: Verb) -> &Counter {
        &self.messages[position(&VERBS, verb)]
    }

    pub(crate) fn closed(&self, reason: Closed) -> &Counter {
        &self.closed[position(&CLOSED, reason)]
    }

    pub(crate) fn refused(&self, limit: Refused) -> &Counter {
        &self.refused[position(&REFUSED, limit)]
    }

    pub(crate) fn event_refused(&self, prefix: Prefix) -> &Counter {
        &self.events_refused[prefix_position(prefix)]
    }

    pub(crate) fn req_closed(&self, prefix: Prefix) -> &Counter {
        &self.reqs_closed[prefix_position(prefix)]
    }
}

fn position<T: PartialEq + Copy>(table: &[(T, &str)], value: T) -> usize {
    table
        .iter()
        .position(|(other, _)| *other == value)
        .expect("every value is in its table")
}

fn prefix_position(prefix: Prefix) -> usize {
    Prefix::ALL
        .iter()
        .position(|other| *other == prefix)
        .expect("every prefix is in ALL")
}

fn counter(registry: &mut Registry, name: &'static str, help: &'static str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &'static str, help: &'static str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn seconds(registry: &mut Registry, name: &'static str, help: &'static str) -> Histogram {
    let histogram = Histogram::new(SECONDS);
    registry.register(name, help, histogram.clone());
    histogram
}

fn family(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: impl Iterator<Item = &'static str>,
) -> Vec<Counter> {
    let family = Family::<Labels, Counter>::default();
    registry.register(name, help, family.clone());
    values
        .map(|value| family.get_or_create(&[(label, value)]).clone())
        .collect()
}
