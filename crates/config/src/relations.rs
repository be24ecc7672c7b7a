//! Rules between keys.

use std::time::Duration;

use crate::{Config, ConfigError, check::grouped, read::Written};

mod cluster;

/// Bytes of a message around its event: `["EVENT",` and `]`, with room for white space.
const FRAME_BYTES: usize = 64;

/// A rule that a configuration breaks: the key to blame and what is wrong.
type Broken = (&'static str, String);

pub(crate) fn check(config: &Config, written: &Written, errors: &mut Vec<ConfigError>) {
    let broken = [
        large_events(config),
        events_fit_messages(config),
        listeners_differ(config),
        proxies_are_known(config),
        grace_covers_drain(config),
        count_covers_scan(config),
        probes_outlive_audit(config),
    ];
    let broken = broken.into_iter().flatten();
    for (key, problem) in broken.chain(cluster::check(config)) {
        errors.push(ConfigError::new(key, problem, written.source(key)));
    }
}

fn bytes(count: usize) -> String {
    grouped(count as u64)
}

fn large_events(Config { gateway, .. }: &Config) -> Option<Broken> {
    (gateway.large_event_bytes_max < gateway.event_bytes_max).then(|| {
        let least = bytes(gateway.event_bytes_max);
        let problem = format!(
            "{} is too little, allowed is gateway.event_bytes_max ({least}) or more",
            bytes(gateway.large_event_bytes_max)
        );
        ("gateway.large_event_bytes_max", problem)
    })
}

fn events_fit_messages(Config { gateway, .. }: &Config) -> Option<Broken> {
    let needed = gateway.large_event_bytes_max.max(gateway.event_bytes_max) + FRAME_BYTES;
    (needed > gateway.message_bytes_max).then(|| {
        let problem = format!(
            "{} is too little, allowed is {} or more, so that the largest event fits with {} \
             bytes around it",
            bytes(gateway.message_bytes_max),
            bytes(needed),
            FRAME_BYTES
        );
        ("gateway.message_bytes_max", problem)
    })
}

fn listeners_differ(Config { gateway, admin, .. }: &Config) -> Option<Broken> {
    let same = admin.listen == Some(gateway.listen) && gateway.listen.port() != 0;
    same.then(|| {
        let problem = "is the same as gateway.listen, allowed is another port or \"\"".to_owned();
        ("admin.listen", problem)
    })
}

fn proxies_are_known(Config { gateway, .. }: &Config) -> Option<Broken> {
    (gateway.proxy_protocol && gateway.trusted_proxies.is_empty()).then(|| {
        let problem =
            "true reads headers of gateway.trusted_proxies, which is empty: allowed is false, \
                       or true with the networks of the balancer"
                .to_owned();
        ("gateway.proxy_protocol", problem)
    })
}

fn grace_covers_drain(Config { shutdown, .. }: &Config) -> Option<Broken> {
    let needed = shutdown.unready + shutdown.drain + Duration::from_secs(1);
    (shutdown.grace < needed).then(|| {
        let problem = format!(
            "{} is too little, allowed is {} or more, a second more than unready_secs and \
             drain_secs take",
            shutdown.grace.as_secs(),
            needed.as_secs()
        );
        ("shutdown.grace_secs", problem)
    })
}

fn count_covers_scan(Config { store, .. }: &Config) -> Option<Broken> {
    (store.count_rows_max < store.scan_rows_max).then(|| {
        let problem = format!(
            "{} is too little, allowed is store.scan_rows_max ({}) or more",
            grouped(store.count_rows_max),
            grouped(store.scan_rows_max)
        );
        ("store.count_rows_max", problem)
    })
}

/// Half of its life is left for a probe to be looked for.
fn probes_outlive_audit(Config { canary, .. }: &Config) -> Option<Broken> {
    let needed = 2 * canary.audit_after;
    (canary.expiration < needed).then(|| {
        let problem = format!(
            "{} is too little, allowed is twice canary.audit_after_secs ({}) or more",
            canary.expiration.as_secs(),
            needed.as_secs()
        );
        ("canary.expiration_secs", problem)
    })
}
