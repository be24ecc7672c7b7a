//! What operators decide, as far as it isn't drawn.

use std::time::Duration;

use heliograph_gateway::{ConnectionLimits, Info, Options};
use heliograph_policy::{EventLimits, FilterLimits, Rate, RelayUrls, Visibility};
use heliograph_store::Budget;

/// Budgets are never spent: that would depend on how fast this machine is.
pub(super) fn matcher_options(
    urls: &RelayUrls,
    replay_bytes_max: usize,
) -> heliograph_matcher::Options {
    let budget = Budget {
        rows: 100_000,
        time: Duration::from_secs(3_600),
    };
    heliograph_matcher::Options {
        visibility: Visibility {
            urls: urls.clone(),
            control: EventLimits::default().write.control,
        },
        filters: filter_limits(),
        req_budget: budget,
        count_budget: budget,
        commit_wait: Duration::from_secs(1),
        replay_bytes_max,
    }
}

pub(super) fn filter_limits() -> FilterLimits {
    FilterLimits {
        limit_max: 5_000,
        limit_default: 5_000,
        ..FilterLimits::default()
    }
}

pub(super) fn gateway_options(urls: &RelayUrls) -> Options {
    Options {
        info: Info::default(),
        urls: urls.clone(),
        paths: vec!["/".to_owned()],
        events: EventLimits::default(),
        filters: filter_limits(),
        count: true,
        eose_hints: false,
        compression: false,
        compression_windows_bytes_max: 0,
        auth_to_read: false,
        limits: ConnectionLimits {
            connections_max: 10_000,
            connections_per_ip_max: 10_000,
            connects_per_ip: Rate::UNLIMITED,
            message_bytes_max: 1 << 20,
            pending_events_max: 64,
            outbox_bytes_max: 1 << 20,
            outbox_total_bytes_max: 1 << 30,
            events: Rate::UNLIMITED,
            events_per_ip: Rate::UNLIMITED,
            reqs: Rate::UNLIMITED,
            reqs_per_ip: Rate::UNLIMITED,
            invalid_messages_max: 0,
            bad_signatures_max: 0,
            ban: Duration::ZERO,
            ping_interval: Duration::from_secs(20),
            pong_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            drain: Duration::ZERO,
            restarts: false,
            receipt_timeout: Duration::from_secs(4),
        },
        unlimited_networks: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
    }
}
