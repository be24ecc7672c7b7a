//! The one table of keys: name, type, default, unit, what is allowed, whether it reloads, and why.
//!
//! Types, names of variables, `config print` and the reference page all derive from it, so a key
//! is added here and nowhere else. Rules between keys stand in `relations.rs`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use heliograph_protocol::{Kind, PublicKey};

use crate::{
    check::{
        directory, flag, integer, integer_or, kinds, log_level, millis, networks, one_of,
        optional_public_key, optional_socket, optional_text, optional_url, paths, public_keys,
        relay_urls, seconds, seconds_or, socket, text,
    },
    network::IpNetwork,
    table::settings,
    value::{LogFormat, SyncMode},
};

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;
const WEB: &[&str] = &["https://", "http://"];
const CONTACTS: &[&str] = &["mailto:", "https://", "http://", "nostr:"];
const FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];
const SYNC_MODES: &[(&str, SyncMode)] = &[("fsync", SyncMode::Fsync), ("none", SyncMode::None)];

settings! {
    /// Who this relay is, as its information document says (NIP-11).
    relay: Relay {
        /// What the relay is called. Clients show it in lists, hence fewer than 30 characters
        /// (NIP-11).
        name: String = "Heliograph", "text", text(1..=29), reload;
        /// What the relay is for, in a sentence or two, without line breaks.
        description: Option<String> = "A Nostr relay running Heliograph.", "text", optional_text(1_000), reload;
        /// The URLs that this relay answers to: clients name one of them to authenticate (NIP-42)
        /// and in a request to vanish (NIP-62). Empty: derived from `gateway.listen`, which is
        /// right for a relay on the same machine only.
        urls as "url": Vec<String> = [], "list of URLs", relay_urls(), restart;
        /// The administrator's public key, for clients that want to write to a person.
        pubkey: Option<PublicKey> = "", "hex", optional_public_key(), reload;
        /// Another way to reach the administrator: a `mailto:`, `https:` or `nostr:` URL.
        contact: Option<String> = "", "URL", optional_url(CONTACTS), reload;
        /// A small square picture of the relay.
        icon: Option<String> = "", "URL", optional_url(WEB), reload;
        /// A wide picture of the relay.
        banner: Option<String> = "", "URL", optional_url(WEB), reload;
        /// The page with the terms of service.
        terms_of_service: Option<String> = "", "URL", optional_url(WEB), reload;
        /// The page with the privacy policy.
        privacy_policy: Option<String> = "", "URL", optional_url(WEB), reload;
    }

    /// The edge: sockets, limits and rates. What the information document advertises is read from
    /// here too.
    gateway: Gateway {
        /// Where clients connect. On this machine only by default, so that nothing is published by
        /// accident; `0.0.0.0:7777` or `[::]:7777` for the world, behind a proxy that speaks TLS.
        listen: SocketAddr = "127.0.0.1:7777", "address", socket(), restart;
        /// The URL paths that are relays; others answer 404 (R11-8).
        paths: Vec<String> = ["/"], "list of paths", paths(), restart;
        /// Connections at a time; further ones get 503. A lower limit of open files lowers it
        /// further at start. An idle connection costs about 8 KiB, so the default is 400 MiB.
        connections_max: u32 = 50_000, "connections", integer(1..=10_000_000), reload;
        /// Connections at a time from one address (one /64 network in IPv6); 0 is no limit.
        /// Homes, offices, mobile networks and Tor exits share addresses, hence not fewer.
        connections_per_ip_max: Option<u32> = 100, "connections",
            integer_or("no limit", 1..=10_000_000), reload;
        /// New connections a second from one address, in the long run; 0 is no limit.
        connections_per_ip_per_sec: Option<u32> = 5, "connections per second",
            integer_or("no limit", 1..=1_000_000), reload;
        /// New connections from one address at once, before the rate applies: as many as
        /// `gateway.connections_per_ip_max`, so that a shared address recovers from a restart.
        connections_per_ip_burst: u32 = 100, "connections", integer(1..=1_000_000), reload;
        /// Networks whose `X-Forwarded-For` is believed: the right-most address outside of them is
        /// the client's. Empty by default, since anyone can send that header.
        trusted_proxies: Vec<IpNetwork> = [], "list of networks", networks(), reload;
        /// Bytes in one client message, after inflating; longer ones close the connection (1009).
        /// Holds an event of 64 KiB twice, or a filter of 1,900 ids.
        message_bytes_max: usize = 131_072, "bytes", integer(4 * KIB..=64 * MIB), reload;
        /// Bytes in one event in its wire form. 64 KiB is what most relays take.
        event_bytes_max: usize = 65_536, "bytes", integer(KIB..=64 * MIB), reload;
        /// Bytes in one event of a kind in `gateway.large_event_kinds`: what fits into a message.
        large_event_bytes_max: usize = 131_008, "bytes", integer(KIB..=64 * MIB), reload;
        /// Kinds that are long by nature: profiles, follow lists and other lists, articles.
        large_event_kinds: Vec<Kind> =
            [0, 3, 10000, 10001, 10002, 10003, 30000, 30002, 30003, 30004, 30023, 30024, 30818],
            "list of kinds", kinds(), reload;
        /// Tags in one event. Follow lists reach about 2,000; each tag can be an index row.
        event_tags_max: usize = 2_000, "tags", integer(1..=100_000), reload;
        /// Characters in an event's content; 0 leaves it to the limit in bytes.
        content_chars_max: Option<usize> = 0, "characters",
            integer_or("no limit", 1..=64 * MIB), reload;
        /// Open subscriptions of one connection; more are answered by CLOSED. Clients use 10 to 30.
        subscriptions_max: usize = 64, "subscriptions", integer(1..=10_000), reload;
        /// Filters in one REQ or COUNT. Each costs a scan of its own.
        filters_max: usize = 20, "filters", integer(1..=1_000), reload;
        /// Values in one filter, over all its lists: a follow list of 5,000 authors fits in one.
        filter_values_max: usize = 5_000, "values", integer(1..=1_000_000), reload;
        /// Stored events that one filter gets at most; a greater `limit` is taken as this one.
        limit_max: usize = 500, "events", integer(1..=100_000), reload;
        /// Stored events that a filter without `limit` gets, never more than `gateway.limit_max`.
        limit_default: usize = 500, "events", integer(1..=100_000), reload;
        /// Events a second from one connection, in the long run; 0 is no limit. A person writes
        /// one in ten seconds, a client that moves its lists writes tens at once.
        events_per_sec: Option<u32> = 10, "events per second",
            integer_or("no limit", 1..=1_000_000), reload;
        /// Events from one connection at once, before the rate applies.
        events_burst: u32 = 50, "events", integer(1..=1_000_000), reload;
        /// Events a second from one address, over all its connections; 0 is no limit.
        events_per_ip_per_sec: Option<u32> = 30, "events per second",
            integer_or("no limit", 1..=1_000_000), reload;
        /// Events from one address at once, before the rate applies.
        events_per_ip_burst: u32 = 150, "events", integer(1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE a second from one connection; 0 is no limit. Opening a client
        /// sends some tens, reading then a few a second. A REQ counts once more for every 500
        /// values in its filters.
        reqs_per_sec: Option<u32> = 20, "requests per second",
            integer_or("no limit", 1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE from one connection at once, before the rate applies.
        reqs_burst: u32 = 100, "requests", integer(1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE a second from one address, over all its connections; 0 is no limit.
        reqs_per_ip_per_sec: Option<u32> = 100, "requests per second",
            integer_or("no limit", 1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE from one address at once, before the rate applies.
        reqs_per_ip_burst: u32 = 1_000, "requests", integer(1..=1_000_000), reload;
        /// Events of one connection that wait for their OK; at the limit its socket isn't read.
        /// Enough to keep a group commit full from a few connections.
        pending_events_max: usize = 256, "events", integer(1..=65_536), restart;
        /// Bytes that wait for one slow reader. Past it no stored events are read for it, past four
        /// times that the connection is closed (R01-28).
        outbox_bytes_max: usize = 1_048_576, "bytes", integer(64 * KIB..=GIB), restart;
        /// A connection that sent nothing for so long is pinged: below the 60 s after which
        /// proxies drop it.
        ping_interval as "ping_interval_secs": Duration = 55, "seconds", seconds(1..=3_600), restart;
        /// A pinged connection that stays silent for so long is closed; 0 waits for ever.
        pong_timeout as "pong_timeout_secs": Option<Duration> = 30, "seconds",
            seconds_or("never", 1..=3_600), restart;
        /// Time for a connection to send its HTTP request, and for the TCP buffer to take a byte.
        handshake_timeout as "handshake_timeout_secs": Duration = 10, "seconds",
            seconds(1..=300), restart;
        /// Time from the first to the last byte of one message, against clients that trickle.
        message_timeout as "message_timeout_secs": Duration = 30, "seconds",
            seconds(1..=3_600), restart;
        /// Messages that can't be read as client messages before the connection is closed (1008);
        /// 0 never closes. Each is answered by a NOTICE, so a few are left for people who try out.
        invalid_messages_max: Option<u32> = 100, "messages",
            integer_or("no limit", 1..=1_000_000), reload;
        /// Events with a wrong signature before the connection is closed (1008); 0 never closes.
        /// A check costs more than anything else here, and honest clients send none.
        invalid_signatures_max: Option<u32> = 10, "events",
            integer_or("no limit", 1..=1_000_000), reload;
        /// How long the address of such a connection is refused; 0 doesn't refuse it.
        invalid_signatures_ban as "invalid_signatures_ban_secs": Option<Duration> = 600, "seconds",
            seconds_or("no ban", 1..=86_400), reload;
        /// Whether messages are compressed for clients that offer it (RFC 7692): about 0.6 of the
        /// bytes, and an event is compressed once for all its readers.
        compression: bool = true, "yes or no", flag(), restart;
    }

    /// Who must authenticate (NIP-42). Authentication is always offered.
    auth: Auth {
        /// Whether only authenticated connections may publish.
        required_to_write: bool = false, "yes or no", flag(), reload;
        /// Whether only authenticated connections may open REQ and COUNT.
        required_to_read: bool = false, "yes or no", flag(), reload;
    }

    /// Which events and requests are let in.
    policy: Policy {
        /// How far ahead of the clock `created_at` may lie; 0 is no limit. Clocks of phones are off
        /// by minutes; an event from the future would stay on top of every list.
        created_at_upper_limit as "created_at_upper_limit_secs": Option<Duration> = 900, "seconds",
            seconds_or("no limit", 1..=9_007_199_254_740_991), reload;
        /// How far behind the clock `created_at` may lie; 0 is no limit, since most of what people
        /// move between relays is years old. Below 172,800 gift wraps are exempt (R01-35).
        created_at_lower_limit as "created_at_lower_limit_secs": Option<Duration> = 0, "seconds",
            seconds_or("no limit", 1..=9_007_199_254_740_991), reload;
        /// How old an ephemeral event may be (R01-47); 0 is no limit.
        ephemeral_age_max as "ephemeral_age_max_secs": Option<Duration> = 60, "seconds",
            seconds_or("no limit", 1..=9_007_199_254_740_991), reload;
        /// Leading zero bits that an event's id must have (NIP-13); 0 asks for none, since most
        /// clients can't. 20 bits take a phone some seconds.
        pow_min_bits: u32 = 0, "bits", integer(0..=256), reload;
        /// Whether an event must also commit to that difficulty in its `nonce` tag (R13-2).
        pow_commitment_required: bool = false, "yes or no", flag(), reload;
        /// If not empty, only these kinds are taken.
        kinds_allowed: Vec<Kind> = [], "list of kinds", kinds(), reload;
        /// Kinds that are refused.
        kinds_blocked: Vec<Kind> = [], "list of kinds", kinds(), reload;
        /// If not empty, only these keys may write: events that they signed, and events of others,
        /// such as gift wraps, on connections that authenticated as one of them.
        pubkeys_allowed: Vec<PublicKey> = [], "list of hex", public_keys(), reload;
        /// Keys that may not write, neither as an event's author nor as the key that authenticated.
        pubkeys_blocked: Vec<PublicKey> = [], "list of hex", public_keys(), reload;
        /// Whether COUNT is answered (NIP-45).
        count_enabled: bool = true, "yes or no", flag(), reload;
        /// Whether EOSE says if there is more (NIP-67). Clients that don't know it ignore it.
        eose_hints: bool = true, "yes or no", flag(), reload;
    }

    /// Signature checks: 36 µs of one core for each event that wasn't seen before.
    verify: Verify {
        /// Threads that check signatures; 0 is one per core. They run at the cost of everything
        /// else only while events wait.
        threads: Option<usize> = 0, "threads", integer_or("one per core", 1..=1_024), restart;
        /// Events that wait for a check; past it new ones are refused with `rate-limited:`. About
        /// 150 ms of one core's work.
        queue_max: usize = 4_096, "events", integer(1..=1_000_000), restart;
    }

    /// The embedded store: a write-ahead log over LMDB.
    store: Store {
        /// The directory of the store. It is made if it doesn't exist; one process writes to it.
        dir: PathBuf = "./data", "path", directory(), restart;
        /// What `OK true` promises: "fsync" survives a power cut; "none" only the end of the
        /// process, and is several times faster on slow disks.
        sync: SyncMode = "fsync", "word", one_of(SYNC_MODES), restart;
        /// Threads that read; 0 is one per core, at least two, so that a heavy scan never holds up
        /// a look-up by id.
        reader_threads: Option<usize> = 0, "threads", integer_or("one per core", 1..=1_024), restart;
        /// Events that gather in the log before they move to LMDB in one sorted batch. Larger
        /// batches cost less an event and make a restart after a crash longer.
        flush_events: usize = 10_000, "events", integer(1..=1_000_000), restart;
        /// They move after so long even if they are few.
        flush_interval as "flush_interval_ms": Duration = 1_000, "milliseconds",
            millis(10..=60_000), restart;
        /// Events that wait to be written; past it publishers wait for their OK.
        write_queue_max: usize = 16_384, "events", integer(1..=1_000_000), restart;
        /// Index rows that one filter may look at; past it the REQ gets what was found and CLOSED.
        /// About what fits into the time of `store.scan_ms_max`.
        scan_rows_max: u64 = 500_000, "rows", integer(1_000..=1_000_000_000), reload;
        /// Reading time of one filter; past it the REQ gets what was found and CLOSED.
        scan_time_max as "scan_ms_max": Duration = 250, "milliseconds", millis(1..=600_000), reload;
        /// Index rows that one COUNT may look at: a count sends nothing, so it may look further.
        count_rows_max: u64 = 1_000_000, "rows", integer(1_000..=1_000_000_000), reload;
        /// Reading time of one COUNT; past it CLOSED.
        count_time_max as "count_ms_max": Duration = 1_000, "milliseconds",
            millis(1..=600_000), reload;
    }

    /// The newest events, indexed in memory in front of the store.
    recent: Recent {
        /// Events in the index, about 60 bytes each beside their text. Also never more than a
        /// quarter of the memory limit: most REQs ask for what is new.
        events_max: usize = 2_000_000, "events", integer(1_000..=100_000_000), restart;
        /// Bytes of event texts kept with them; 0 is derived from the memory limit.
        text_bytes_max: Option<u64> = 0, "bytes",
            integer_or("an eighth of the memory limit", MIB..=1_024 * GIB), restart;
    }

    /// The listener for operators: `/metrics`, `/livez`, `/readyz`.
    admin: Admin {
        /// Where it listens. Numbers about the relay aren't for everyone, hence this machine only.
        listen: Option<SocketAddr> = "127.0.0.1:7778", "address", optional_socket(), restart;
    }

    /// Logs, on the standard error stream.
    log: Log {
        /// How lines are written: "auto" is text on a terminal and JSON otherwise.
        format: LogFormat = "auto", "word", one_of(FORMATS), restart;
        /// The least level that is logged, also by target.
        level: String = "info", "level", log_level(), restart;
    }

    /// Stopping in order, on SIGINT or SIGTERM; a second signal forces it.
    shutdown: Shutdown {
        /// How long the relay accepts on after it says that it isn't ready, so that load balancers
        /// notice first; 0 without one.
        unready as "unready_secs": Duration = 0, "seconds", seconds(0..=600), restart;
        /// Over how long open connections are closed, so that clients don't all come back at once.
        drain as "drain_secs": Duration = 5, "seconds", seconds(0..=3_600), restart;
        /// When the process ends at the latest, from the first signal on, whatever still runs.
        grace as "grace_secs": Duration = 20, "seconds", seconds(1..=7_200), restart;
    }
}
