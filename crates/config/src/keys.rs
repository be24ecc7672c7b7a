//! The one table of keys: name, type, default, unit, what is allowed, whether it reloads, and why.
//!
//! Types, names of variables, `config print` and the reference page all derive from it, so a key
//! is added here and nowhere else. Rules between keys stand in `relations.rs`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use heliograph_protocol::{IpNetwork, Kind, PublicKey};

use crate::{
    canary::{optional_relay_url, optional_secret_key, probe_kind, read_urls},
    check::{
        GIB, KIB, MIB, directory, flag, integer, integer_or, kinds, log_level, millis, millis_or,
        networks, one_of, optional_public_key, optional_socket, optional_text, optional_url, paths,
        public_keys, relay_urls, seconds, seconds_or, socket, text,
    },
    cluster::{
        DatacenterReplicas, Secret, cluster_name, keyspace, nats_servers, nodes, optional_endpoint,
        optional_node, optional_path, optional_secret, replication,
    },
    table::settings,
    traces::{Header, headers, optional_collector, ratio},
    value::{Consistency, Durability, LogFormat, StreamStorage, SyncMode},
    words::{CONSISTENCIES, CONTACTS, DURABILITIES, FORMATS, STORAGES, SYNC_MODES, WEB},
};

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
        /// accident; `0.0.0.0:7777` or `[::]:7777` for the world, behind a proxy that speaks TLS or with
        /// `gateway.certificate`.
        listen: SocketAddr = "127.0.0.1:7777", "address", socket(), restart;
        /// A PEM file with the certificate that clients see, and those between it and an authority: clients
        /// connect with TLS then, and only so. What is new in the file is in use within half a minute.
        certificate: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the key of `gateway.certificate`.
        key: Option<PathBuf> = "", "path", optional_path(), restart;
        /// The URL paths that are relays; others answer 404 (R11-8).
        paths: Vec<String> = ["/"], "list of paths", paths(), restart;
        /// Connections at a time; further ones get 503. A lower limit of open files lowers it
        /// further at start. An idle connection costs about 8 KiB, so the default is 400 MiB.
        connections_max: u32 = 50_000, "connections", integer(1..=10_000_000), reload;
        /// Connections at a time from one address (one /64 network in IPv6); 0 is no limit.
        /// Homes, offices, mobile networks and Tor exits share addresses, hence not fewer.
        connections_per_ip_max: Option<u32> = 100, "connections", integer_or("no limit", 1..=10_000_000), reload;
        /// New connections a second from one address, in the long run; 0 is no limit.
        connections_per_ip_per_sec: Option<u32> = 5, "connections per second", integer_or("no limit", 1..=1_000_000), reload;
        /// New connections from one address at once, before the rate applies: as many as
        /// `gateway.connections_per_ip_max`, so that a shared address recovers from a restart.
        connections_per_ip_burst: u32 = 100, "connections", integer(1..=1_000_000), reload;
        /// Networks where nothing is counted against an address: load generators, offices of hundreds. Bans
        /// hold for them too.
        unlimited_networks: Vec<IpNetwork> = [], "list of networks", networks(), reload;
        /// Networks whose `X-Forwarded-For` is believed: the right-most address outside of them is
        /// the client's. Empty by default, since anyone can send that header.
        trusted_proxies: Vec<IpNetwork> = [], "list of networks", networks(), reload;
        /// Whether connections from `gateway.trusted_proxies` begin with a header of the PROXY protocol, version 2, which
        /// names the client; without one they are closed. All others connect as ever.
        proxy_protocol: bool = false, "yes or no", flag(), reload;
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
        /// Tags of one letter in one event, each an index row; 0 is no limit. Not for kinds of which one
        /// version lives, as lists are, and not for requests to delete.
        indexed_tags_max: Option<usize> = 200, "tags", integer_or("no limit", 1..=100_000), reload;
        /// Characters in an event's content; 0 leaves it to the limit in bytes.
        content_chars_max: Option<usize> = 0, "characters", integer_or("no limit", 1..=64 * MIB), reload;
        /// Open subscriptions of one connection; more are answered by CLOSED. Clients use 10 to 30.
        subscriptions_max: usize = 64, "subscriptions", integer(1..=10_000), reload;
        /// Filters in one REQ or COUNT. Each costs a scan of its own.
        filters_max: usize = 20, "filters", integer(1..=1_000), reload;
        /// Values in one filter, over all its lists. Of keys and ids 1,900 fit in a message of 128 KiB.
        filter_values_max: usize = 5_000, "values", integer(1..=1_000_000), reload;
        /// Names of tags in one filter. Clients ask for one or two.
        filter_tags_max: usize = 3, "tags", integer(1..=52), reload;
        /// Combinations of authors, kinds and tag values in one filter, which multiply; 0 is no limit. A
        /// feed of 1,900 authors and two dozen kinds has fewer.
        filter_combinations_max: Option<u64> = 50_000, "combinations", integer_or("no limit", 1..=1_000_000_000), reload;
        /// Stored events that one filter gets at most; a greater `limit` is taken as this one.
        limit_max: usize = 500, "events", integer(1..=100_000), reload;
        /// Stored events that a filter without `limit` gets, never more than `gateway.limit_max`.
        limit_default: usize = 500, "events", integer(1..=100_000), reload;
        /// Events a second from one connection, in the long run; 0 is no limit. A person writes
        /// one in ten seconds, a client that moves its lists writes tens at once.
        events_per_sec: Option<u32> = 10, "events per second", integer_or("no limit", 1..=1_000_000), reload;
        /// Events from one connection at once, before the rate applies.
        events_burst: u32 = 50, "events", integer(1..=1_000_000), reload;
        /// Events a second from one address, over all its connections; 0 is no limit.
        events_per_ip_per_sec: Option<u32> = 30, "events per second", integer_or("no limit", 1..=1_000_000), reload;
        /// Events from one address at once, before the rate applies.
        events_per_ip_burst: u32 = 150, "events", integer(1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE a second from one connection; 0 is no limit. Opening a client
        /// sends some tens, reading then a few a second. A REQ counts once more for every 500
        /// values in its filters.
        reqs_per_sec: Option<u32> = 20, "requests per second", integer_or("no limit", 1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE from one connection at once, before the rate applies.
        reqs_burst: u32 = 100, "requests", integer(1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE a second from one address, over all its connections; 0 is no limit.
        reqs_per_ip_per_sec: Option<u32> = 100, "requests per second", integer_or("no limit", 1..=1_000_000), reload;
        /// REQ, COUNT and CLOSE from one address at once, before the rate applies.
        reqs_per_ip_burst: u32 = 1_000, "requests", integer(1..=1_000_000), reload;
        /// Events of one connection that wait for their OK; at the limit its socket isn't read.
        /// Enough to keep a group commit full from a few connections.
        pending_events_max: usize = 256, "events", integer(1..=65_536), restart;
        /// Bytes that wait for one slow reader. Past it no stored events are read for it, past four
        /// times that the connection is closed (R01-28).
        outbox_bytes_max: usize = 1_048_576, "bytes", integer(64 * KIB..=GIB), restart;
        /// Bytes that wait for all clients together, an event once; past it the client with the most is
        /// closed, then the next. 0 is a quarter of the memory limit.
        outbox_total_bytes_max: Option<u64> = 0, "bytes", integer_or("a quarter of the memory limit", MIB..=1_024 * GIB), restart;
        /// A connection that sent nothing for so long is pinged: below the 60 s after which
        /// proxies drop it.
        ping_interval as "ping_interval_secs": Duration = 55, "seconds", seconds(1..=3_600), restart;
        /// A pinged connection that stays silent for so long is closed; 0 waits for ever.
        pong_timeout as "pong_timeout_secs": Option<Duration> = 30, "seconds", seconds_or("never", 1..=3_600), restart;
        /// Time for a connection to send its HTTP request, and for the TCP buffer to take a byte.
        handshake_timeout as "handshake_timeout_secs": Duration = 10, "seconds", seconds(1..=300), restart;
        /// Time from the first to the last byte of one message, against clients that trickle.
        message_timeout as "message_timeout_secs": Duration = 30, "seconds", seconds(1..=3_600), restart;
        /// How long an event may take to be stored; past it OK says `error:`, and the client is to send
        /// it again. Clients give up after 4.4 s; where a database is slow to answer, loads want more.
        receipt_timeout as "receipt_timeout_ms": Duration = 4_000, "milliseconds", millis(100..=30_000), restart;
        /// Messages that can't be read as client messages before the connection is closed (1008);
        /// 0 never closes. Each is answered by a NOTICE, so a few are left for people who try out.
        invalid_messages_max: Option<u32> = 100, "messages", integer_or("no limit", 1..=1_000_000), reload;
        /// Events with a wrong signature before the connection is closed (1008); 0 never closes.
        /// A check costs more than anything else here, and honest clients send none.
        invalid_signatures_max: Option<u32> = 10, "events", integer_or("no limit", 1..=1_000_000), reload;
        /// How long the address of such a connection is refused; 0 doesn't refuse it.
        invalid_signatures_ban as "invalid_signatures_ban_secs": Option<Duration> = 600, "seconds",
            seconds_or("no ban", 1..=86_400), reload;
        /// Whether messages are compressed for clients that offer it (RFC 7692): about 0.6 of the
        /// bytes, and an event is compressed once for all its readers.
        compression: bool = true, "yes or no", flag(), restart;
        /// Memory for compression windows of single connections, where a client lets messages refer to
        /// earlier ones: less on the wire, but each event is then compressed once for each of them. 256
        /// to 380 KiB a connection; those that it doesn't reach get what all share. 0 keeps none.
        compression_windows_bytes_max: Option<usize> = 0, "bytes", integer_or("none", 256 * KIB..=64 * GIB), restart;
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
        /// Events in the index, about 128 bytes each beside their text. Also never more than an
        /// eighth of the memory limit: most REQs ask for what is new.
        events_max: usize = 2_000_000, "events", integer(1_000..=100_000_000), restart;
        /// Bytes of event texts kept with them; 0 is derived from the memory limit.
        text_bytes_max: Option<u64> = 0, "bytes",
            integer_or("an eighth of the memory limit", MIB..=1_024 * GIB), restart;
    }

    /// The cluster that a role belongs to. This section and those down to `[matcher]` are read by
    /// `heliograph gateway`, `ingest` and `matcher`; the relay in one process ignores them.
    cluster: Cluster {
        /// What the NATS subjects, streams and buckets of this cluster begin with, so that several
        /// can share the same servers.
        name: String = "heliograph", "name", cluster_name(), restart;
        /// What this process is called, in leases and subjects. No two may have the same name.
        node: Option<String> = "", "name", optional_node(), restart;
        /// What `OK true` promises: "stored" that the database took the event, "quorum" that
        /// JetStream did, which is faster, and reads lag behind it.
        durability: Durability = "stored", "word", one_of(DURABILITIES), restart;
        /// Whether "quorum" is taken with fewer than three replicas, where an `OK true` may be lost
        /// with one server.
        durability_unsafe: bool = false, "yes or no", flag(), restart;
        /// Subjects that events are spread over; every role needs the same number. Workers share
        /// them, so more than there will ever be workers is enough.
        partitions: u16 = 16, "subjects", integer(1..=256), restart;
    }

    /// The bus of a cluster: NATS with JetStream, 2.12 or later.
    nats: Nats {
        /// Servers to connect to; the others are learnt from them. `tls://` insists on TLS.
        servers: Vec<String> = ["nats://127.0.0.1:4222"], "list of URLs", nats_servers(), restart;
        /// Who to log in as, with `nats.password`.
        username: Option<String> = "", "text", optional_text(256), restart;
        /// The password of `nats.username`.
        password: Option<Secret> = "", "secret", optional_secret(), restart;
        /// A token to log in with, instead of a name.
        token: Option<Secret> = "", "secret", optional_secret(), restart;
        /// A file with a user's JWT and seed (`.creds`), instead of a name.
        credentials: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A file with the seed of a user's key (nkey), instead of a name.
        nkey_seed: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the authorities that sign the servers' certificates; without one those
        /// of the system.
        ca: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the certificate that this process shows to the servers.
        certificate: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the key of `nats.certificate`.
        key: Option<PathBuf> = "", "path", optional_path(), restart;
        /// Copies of streams and buckets. Three survive the loss of one server; 1 is for
        /// development.
        replicas: usize = 3, "copies", integer(1..=5), restart;
        /// Bytes of events that wait to be stored; past it publishers get `error:`. Room for an
        /// hour without the database at 1,000 events a second.
        events_bytes_max: u64 = 4_294_967_296, "bytes", integer(16 * MIB..=16_384 * GIB), restart;
        /// How long events wait to be stored before they are dropped. Only "quorum" has promised
        /// them, hence a week.
        events_age_max as "events_age_max_secs": Duration = 604_800, "seconds",
            seconds(60..=31_536_000), restart;
        /// How long committed events can be read again: how long a gateway or matcher may be away
        /// before subscriptions end and the recent tier is read anew.
        committed_age as "committed_age_secs": Duration = 900, "seconds",
            seconds(5..=604_800), restart;
        /// Bytes of committed events that can be read again; the oldest go first.
        committed_bytes_max: u64 = 1_073_741_824, "bytes", integer(16 * MIB..=1_024 * GIB), restart;
        /// Where committed events lie: "memory" is faster and gone with most of the servers, which
        /// ends subscriptions and loses nothing that is stored.
        committed_storage: StreamStorage = "file", "word", one_of(STORAGES), restart;
        /// How long a gateway or matcher counts as alive without a sign of it: how long a failure
        /// goes unnoticed.
        lease as "lease_secs": Duration = 5, "seconds", seconds(1..=60), restart;
        /// How long a request to the servers may take.
        timeout as "timeout_ms": Duration = 2_000, "milliseconds", millis(100..=60_000), restart;
    }

    /// The archive of a cluster: ScyllaDB, or Apache Cassandra 5.
    scylla: Scylla {
        /// Nodes to ask first; the others are learnt from them.
        nodes: Vec<String> = ["127.0.0.1:9042"], "list of addresses", nodes(), restart;
        /// The keyspace with the tables of this relay.
        keyspace: String = "heliograph", "name", keyspace(), restart;
        /// Who to log in as, with `scylla.password`.
        username: Option<String> = "", "text", optional_text(256), restart;
        /// The password of `scylla.username`.
        password: Option<Secret> = "", "secret", optional_secret(), restart;
        /// A PEM file with the authorities that sign the nodes' certificates; connections are
        /// encrypted if it is given.
        ca: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the certificate that this process shows to the nodes.
        certificate: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the key of `scylla.certificate`.
        key: Option<PathBuf> = "", "path", optional_path(), restart;
        /// The data centre whose nodes are asked; without one all of them are.
        datacenter: Option<String> = "", "text", optional_text(128), restart;
        /// Copies of each row in every data centre, where `scylla.replication` says nothing else.
        /// Read when the keyspace is made.
        replication_factor: u32 = 3, "copies", integer(1..=16), restart;
        /// Copies of each row by data centre, as in `dc1:3`. Empty: `scylla.replication_factor` in
        /// each of them.
        replication: Vec<DatacenterReplicas> = [], "list of name:copies", replication(), restart;
        /// How many copies answer before a read or write counts. "one" is for development: with it
        /// nothing holds that is promised.
        consistency: Consistency = "local_quorum", "word", one_of(CONSISTENCIES), restart;
        /// How long one read may take.
        read_timeout as "read_timeout_ms": Duration = 2_000, "milliseconds",
            millis(10..=60_000), restart;
        /// How long one write may take.
        write_timeout as "write_timeout_ms": Duration = 3_000, "milliseconds",
            millis(10..=60_000), restart;
        /// After so long a read is sent to a second node too; 0 never. A little more than most
        /// reads take.
        speculative as "speculative_ms": Option<Duration> = 50, "milliseconds",
            millis_or("never", 1..=60_000), restart;
        /// Requests of one process to the nodes at a time; others wait.
        requests_max: usize = 2_048, "requests", integer(1..=1_000_000), restart;
    }

    /// What stores events in a cluster.
    ingest: Ingest {
        /// Batches that are stored at a time. The database likes many small writes at once.
        batches_in_flight: usize = 8, "batches", integer(1..=1_024), restart;
        /// Events that a batch of a gateway holds at most.
        batch_events_max: usize = 500, "events", integer(1..=10_000), restart;
        /// How often a batch is tried before it becomes a dead letter, to be looked at by a person.
        /// With the growing pauses between them 20 attempts cover some twelve minutes.
        deliveries_max: u32 = 20, "attempts", integer(1..=1_000), restart;
        /// How long a worker may be silent before another one gets its batch. A live worker says
        /// every third of it that it is at work. Less than the 4 s after which publishers give up.
        ack_wait as "ack_wait_secs": Duration = 2, "seconds", seconds(1..=3_600), restart;
    }

    /// What answers questions in a cluster, and the way of gateways to it.
    matcher: Matcher {
        /// Where gateways connect. On this machine only by default; in a cluster the address of
        /// the network that its parts share, never one that clients reach.
        listen: SocketAddr = "127.0.0.1:7779", "address", socket(), restart;
        /// Where gateways reach this matcher, if it isn't the address that it listens on. The name
        /// of the host is taken where that is all addresses.
        advertise: Option<String> = "", "address or URL", optional_endpoint(), restart;
        /// A PEM file with the authorities that sign the certificates of gateways and matchers.
        /// Given together with `matcher.certificate` and `matcher.key` the way between them is
        /// encrypted and both sides have to prove who they are; gateways read these keys too.
        ca: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the certificate that this process shows to the other side.
        certificate: Option<PathBuf> = "", "path", optional_path(), restart;
        /// A PEM file with the key of `matcher.certificate`.
        key: Option<PathBuf> = "", "path", optional_path(), restart;
        /// Bytes that wait for one gateway; past it the gateway is cut off and comes back from the
        /// last commit that it has.
        gateway_queue_bytes_max: usize = 67_108_864, "bytes", integer(MIB..=16 * GIB), restart;
        /// Bytes of committed events kept in memory for gateways that come back; older ones are
        /// read from the stream.
        replay_bytes_max: usize = 67_108_864, "bytes", integer(MIB..=64 * GIB), restart;
        /// Index rows that one filter may look at in both tiers; past it the REQ gets what was found
        /// and CLOSED.
        scan_rows_max: u64 = 500_000, "rows", integer(1_000..=1_000_000_000), reload;
        /// Reading time of one filter, the way to the database included; past it the REQ gets what
        /// was found and CLOSED. Most answers need a few milliseconds.
        scan_time_max as "scan_ms_max": Duration = 2_000, "milliseconds", millis(1..=600_000), reload;
        /// Index rows that one COUNT may look at.
        count_rows_max: u64 = 1_000_000, "rows", integer(1_000..=1_000_000_000), reload;
        /// Reading time of one COUNT; past it CLOSED.
        count_time_max as "count_ms_max": Duration = 5_000, "milliseconds",
            millis(1..=600_000), reload;
    }

    /// The probe of a relay, `heliograph canary`; nothing else reads this section.
    canary: Canary {
        /// The relay, or the gateway of a cluster, that probes are published through.
        publish: Option<String> = "", "URL", optional_relay_url(), restart;
        /// Where they are read, each by a connection of its own: every gateway, or every address
        /// that users have. `via` in metrics is the place in this list, from 0.
        read: Vec<String> = [], "list of URLs", read_urls(), restart;
        /// How often a probe is published.
        interval as "interval_ms": Duration = 1_000, "milliseconds", millis(100..=60_000), reload;
        /// A probe that hasn't come by then is missing; one without OK has failed.
        deadline as "deadline_ms": Duration = 5_000, "milliseconds", millis(100..=60_000), reload;
        /// After so long an acknowledged probe is read again by its id, everywhere. Longer than
        /// storing may lag behind where `cluster.durability` is "quorum".
        audit_after as "audit_after_secs": Duration = 60, "seconds", seconds(1..=86_400), reload;
        /// When probes expire (NIP-40), so that they don't pile up. Until shortly before that they
        /// are looked for where reading fails.
        expiration as "expiration_secs": Duration = 600, "seconds", seconds(60..=604_800), reload;
        /// The key that signs. One that stays can be allowed to write, and its events be found;
        /// no two canaries need the same.
        secret_key: Option<Secret> = "", "secret", optional_secret_key(), restart;
        /// The kind of probes. 1166 stands in no list of kinds, so no client shows it.
        kind: Kind = 1166, "kind", probe_kind(), restart;
        /// A PEM file with the authorities to trust behind `wss://`; without one those of the
        /// system.
        ca: Option<PathBuf> = "", "path", optional_path(), restart;
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

    /// Traces of a share of the events and questions, sent to an OpenTelemetry collector.
    traces: Traces {
        /// Where the collector takes OTLP over gRPC; `https://` for TLS. Without one nothing is
        /// traced.
        endpoint: Option<String> = "", "URL", optional_collector(), restart;
        /// A PEM file with the authorities that sign the collector's certificate; without one those
        /// of the system.
        ca: Option<PathBuf> = "", "path", optional_path(), restart;
        /// Headers that go with each request to the collector, such as a token.
        headers: Vec<Header> = "", "secret", headers(), restart;
        /// The share of events and questions that are followed from socket to socket; errors are
        /// in any case. Decided where they come in, so only that of gateways counts.
        sample_ratio: f64 = 0.01, "share", ratio(), reload;
        /// Traces that a process begins in a second at most, so that a flood of events is none of
        /// traces; errors have 10 of their own.
        per_second_max: u32 = 20, "traces per second", integer(0..=10_000), reload;
    }

    /// Stopping in order, on SIGINT or SIGTERM; a second signal forces it.
    shutdown: Shutdown {
        /// How long the relay accepts on after it says that it isn't ready, so that load balancers
        /// notice first; 0 without one.
        unready as "unready_secs": Duration = 0, "seconds", seconds(0..=600), restart;
        /// Over how long open connections are closed, so that clients don't all come back at once.
        drain as "drain_secs": Duration = 5, "seconds", seconds(0..=3_600), restart;
        /// Whether a process that stops is followed by another one at the same address, as under a service
        /// manager or in a roll-out: clients are told 1012 (service restart) then, else 1001 (going away).
        restarts: bool = false, "yes or no", flag(), reload;
        /// When the process ends at the latest, from the first signal on, whatever still runs.
        grace as "grace_secs": Duration = 20, "seconds", seconds(1..=7_200), restart;
    }
}
