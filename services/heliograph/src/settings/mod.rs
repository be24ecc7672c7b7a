//! From the checked configuration to what each service wants to know.

pub(crate) mod cluster;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use heliograph_config::{Config, SyncMode};
use heliograph_gateway as gateway;
use heliograph_gateway::{ConnectionLimits, Info};
use heliograph_matcher as matcher;
use heliograph_policy::{EventLimits, FilterLimits, Rate, RelayUrls, WriteRules};
use heliograph_recent::RecentOptions;
use heliograph_store::Budget;
use heliograph_store_embedded as embedded;

use crate::certificate;

/// How long a question waits for the commits it has to see.
const COMMIT_WAIT: Duration = Duration::from_secs(1);

/// Memory for events delivered lately: a REQ that waited for a commit names those of them that are gone.
const REPLAY_BYTES_MAX: usize = 4 << 20;

/// Open files for the store, logs, the admin listener and connections that aren't upgraded yet.
const OTHER_FILES: u64 = 512;

/// Memory of an event in the recent tier beside its text, for sizing.
const RECENT_EVENT_BYTES: u64 = 128;

/// The URLs that this relay answers to: those configured, or those that reach it on this machine.
pub(crate) fn relay_urls(config: &Config, listen: SocketAddr) -> anyhow::Result<RelayUrls> {
    if !config.relay.urls.is_empty() {
        return RelayUrls::parse(&config.relay.urls).context("relay.url");
    }
    let scheme = certificate::scheme(config);
    let mut urls = vec![format!("{scheme}://{listen}")];
    if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        let port = listen.port();
        urls.extend([
            format!("{scheme}://localhost:{port}"),
            format!("{scheme}://127.0.0.1:{port}"),
            format!("{scheme}://[::1]:{port}"),
        ]);
    }
    RelayUrls::parse(&urls).context("the address of gateway.listen")
}

/// The options of the gateway.
pub(crate) fn gateway(config: &Config, urls: RelayUrls) -> gateway::Options {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (relay, edge) = (&config.relay, &config.gateway);
    gateway::Options {
        info: Info {
            name: relay.name.clone(),
            description: text(&relay.description),
            banner: text(&relay.banner),
            icon: text(&relay.icon),
            pubkey: relay.pubkey.map(|key| key.to_hex()).unwrap_or_default(),
            contact: text(&relay.contact),
            terms_of_service: text(&relay.terms_of_service),
            privacy_policy: text(&relay.privacy_policy),
        },
        urls,
        paths: edge.paths.clone(),
        events: event_limits(config),
        filters: filter_limits(config),
        count: config.policy.count_enabled,
        eose_hints: config.policy.eose_hints,
        compression: edge.compression,
        compression_windows_bytes_max: edge.compression_windows_bytes_max.unwrap_or(0),
        auth_to_read: config.auth.required_to_read,
        limits: connection_limits(config),
        unlimited_networks: edge.unlimited_networks.clone(),
        trusted_proxies: edge.trusted_proxies.clone(),
        proxy_protocol: edge.proxy_protocol,
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let edge = &config.gateway;
    ConnectionLimits {
        connections_max: size(u64::from(edge.connections_max).min(sockets_max())),
        connections_per_ip_max: edge
            .connections_per_ip_max
            .map_or(usize::MAX, |max| size(u64::from(max))),
        connects_per_ip: rate(
            edge.connections_per_ip_per_sec,
            edge.connections_per_ip_burst,
        ),
        message_bytes_max: edge.message_bytes_max,
        pending_events_max: edge.pending_events_max,
        outbox_bytes_max: edge.outbox_bytes_max,
        outbox_total_bytes_max: size(edge.outbox_total_bytes_max.unwrap_or(memory() / 4)),
        events: rate(edge.events_per_sec, edge.events_burst),
        events_per_ip: rate(edge.events_per_ip_per_sec, edge.events_per_ip_burst),
        reqs: rate(edge.reqs_per_sec, edge.reqs_burst),
        reqs_per_ip: rate(edge.reqs_per_ip_per_sec, edge.reqs_per_ip_burst),
        invalid_messages_max: edge.invalid_messages_max.unwrap_or(0),
        bad_signatures_max: edge.invalid_signatures_max.unwrap_or(0),
        ban: edge.invalid_signatures_ban.unwrap_or_default(),
        ping_interval: edge.ping_interval,
        pong_timeout: edge.pong_timeout,
        handshake_timeout: edge.handshake_timeout,
        message_timeout: edge.message_timeout,
        drain: config.shutdown.drain,
        restarts: config.shutdown.restarts,
        receipt_timeout: edge.receipt_timeout,
    }
}

/// Sockets that the limit of open files leaves for clients.
fn sockets_max() -> u64 {
    heliograph_telemetry::open_files_limit().map_or(u64::MAX, |files| {
        files.saturating_sub(OTHER_FILES).max(files / 2)
    })
}

fn rate(per_sec: Option<u32>, burst: u32) -> Rate {
    Rate::new(per_sec.unwrap_or(0).into(), burst)
}

fn event_limits(config: &Config) -> EventLimits {
    let (policy, edge) = (&config.policy, &config.gateway);
    let secs = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    let large = edge
        .large_event_kinds
        .iter()
        .map(|kind| (*kind, edge.large_event_bytes_max));
    EventLimits {
        event_bytes_max: edge.event_bytes_max,
        event_bytes_max_by_kind: large.collect(),
        event_tags_max: edge.event_tags_max,
        indexed_tags_max: edge.indexed_tags_max,
        content_chars_max: edge.content_chars_max,
        created_at_upper_limit_secs: secs(policy.created_at_upper_limit),
        created_at_lower_limit_secs: secs(policy.created_at_lower_limit),
        ephemeral_age_max_secs: secs(policy.ephemeral_age_max),
        pow_bits_min: policy.pow_min_bits,
        pow_commitment_required: policy.pow_commitment_required,
        write: WriteRules {
            auth_required: config.auth.required_to_write,
            kinds_allowed: some(policy.kinds_allowed.clone())
                .map(|kinds| kinds.into_iter().collect()),
            kinds_blocked: policy.kinds_blocked.iter().copied().collect(),
            pubkeys_allowed: some(policy.pubkeys_allowed.clone())
                .map(|keys| keys.into_iter().collect()),
            pubkeys_blocked: policy.pubkeys_blocked.iter().copied().collect(),
            ..WriteRules::default()
        },
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn filter_limits(config: &Config) -> FilterLimits {
    let edge = &config.gateway;
    FilterLimits {
        filters_max: edge.filters_max,
        values_max: edge.filter_values_max,
        tags_max: edge.filter_tags_max,
        combinations_max: edge.filter_combinations_max,
        limit_max: edge.limit_max,
        limit_default: edge.limit_default,
        subscriptions_max: edge.subscriptions_max,
    }
}

/// The options of the matcher.
pub(crate) fn matcher(config: &Config, urls: RelayUrls) -> matcher::Options {
    let store = &config.store;
    matcher::Options {
        visibility: urls.into(),
        filters: filter_limits(config),
        req_budget: Budget {
            rows: store.scan_rows_max,
            time: store.scan_time_max,
        },
        count_budget: Budget {
            rows: store.count_rows_max,
            time: store.count_time_max,
        },
        commit_wait: COMMIT_WAIT,
        replay_bytes_max: REPLAY_BYTES_MAX,
    }
}

/// The options of the embedded store.
pub(crate) fn store(config: &Config, urls: RelayUrls) -> embedded::Options {
    let store = &config.store;
    embedded::Options {
        relay_urls: urls,
        sync: store.sync == SyncMode::Fsync,
        reader_threads: store.reader_threads.unwrap_or_else(|| cores().max(2)),
        flush_events: store.flush_events,
        flush_interval: store.flush_interval,
        ..embedded::Options::new(&store.dir)
    }
}

/// Bytes that this process may have; where nobody knows, a gigabyte.
fn memory() -> u64 {
    heliograph_telemetry::memory_limit_bytes().unwrap_or(1 << 30)
}

/// The options of the recent tier, within a quarter of the memory limit.
pub(crate) fn recent(config: &Config) -> RecentOptions {
    let memory = memory();
    let events = config
        .recent
        .events_max
        .min(size(memory / 8 / RECENT_EVENT_BYTES));
    let texts = config.recent.text_bytes_max.unwrap_or(memory / 8);
    RecentOptions {
        events_max: events,
        text_bytes_max: size(texts),
        ..RecentOptions::default()
    }
}

/// Threads that check signatures.
pub(crate) fn verify_threads(config: &Config) -> usize {
    config.verify.threads.unwrap_or_else(cores)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
