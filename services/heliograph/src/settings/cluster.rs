//! The same for the roles of a cluster.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use heliograph_bus_nats as nats;
use heliograph_config::{Config, Consistency, Durability, StreamStorage};
use heliograph_control::ControlOptions;
use heliograph_gateway as gateway;
use heliograph_link::{ClientOptions, ClientTls, Identity, ServerOptions, ServerTls};
use heliograph_matcher as matcher;
use heliograph_policy::{LiveControl, RelayUrls, Visibility};
use heliograph_store::Budget;
use heliograph_store_scylla as scylla;

/// Random characters behind the name of the host.
const SUFFIX_CHARS: usize = 6;

/// What this process is called: as configured, or the host with a suffix of its own.
pub(crate) fn node(config: &Config) -> anyhow::Result<String> {
    if let Some(node) = &config.cluster.node {
        return Ok(node.clone());
    }
    let mut random = [0; SUFFIX_CHARS];
    getrandom::fill(&mut random).context("no random numbers")?;
    let suffix =
        random.map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[usize::from(byte % 32)]));
    let host: String = host()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(48)
        .collect();
    Ok(format!("{host}-{}", String::from_iter(suffix)))
}

/// The name of this machine.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The URLs of the relay: every process of a cluster has to know them, and none can guess.
pub(crate) fn relay_urls(config: &Config) -> anyhow::Result<RelayUrls> {
    if config.relay.urls.is_empty() {
        bail!("relay.url: a cluster has to be told its URLs, for NIP-42 and NIP-62");
    }
    RelayUrls::parse(&config.relay.urls).context("relay.url")
}

/// The options of the bus.
pub(crate) fn bus(config: &Config, node: &str) -> anyhow::Result<nats::NatsOptions> {
    let (cluster, nats, ingest) = (&config.cluster, &config.nats, &config.ingest);
    Ok(nats::NatsOptions {
        servers: nats.servers.clone(),
        auth: nats_auth(config)?,
        tls: nats::NatsTls {
            required: nats
                .servers
                .iter()
                .any(|server| server.starts_with("tls://")),
            authorities: nats.ca.clone(),
            identity: nats.certificate.clone().zip(nats.key.clone()),
        },
        cluster: cluster.name.clone(),
        node: node.to_owned(),
        replicas: nats.replicas,
        partitions: cluster.partitions,
        durability: match cluster.durability {
            Durability::Stored => nats::Durability::Stored,
            Durability::Quorum => nats::Durability::Quorum,
        },
        quorum_with_few_replicas: cluster.durability_unsafe,
        events_age_max: nats.events_age_max,
        committed_storage: match nats.committed_storage {
            StreamStorage::File => nats::StreamStorage::File,
            StreamStorage::Memory => nats::StreamStorage::Memory,
        },
        batch_events_max: ingest.batch_events_max,
        ack_timeout: nats.timeout,
        newest_deadline: nats.timeout,
        events_bytes_max: nats.events_bytes_max,
        committed_bytes_max: nats.committed_bytes_max,
        committed_age_max: nats.committed_age,
        // Half of what the store calls fresh, since clocks differ.
        fresh_max: announced_within(config) / 2,
        ack_wait: ingest.ack_wait,
        deliveries_max: ingest.deliveries_max,
        lease_ttl: nats.lease,
        ..nats::NatsOptions::default()
    })
}

fn nats_auth(config: &Config) -> anyhow::Result<nats::NatsAuth> {
    let nats = &config.nats;
    if let (Some(user), Some(password)) = (&nats.username, &nats.password) {
        return Ok(nats::NatsAuth::User {
            user: user.clone(),
            password: password.expose().to_owned(),
        });
    }
    if let Some(token) = &nats.token {
        return Ok(nats::NatsAuth::Token(token.expose().to_owned()));
    }
    if let Some(path) = &nats.credentials {
        return Ok(nats::NatsAuth::CredentialsFile(path.clone()));
    }
    let Some(path) = &nats.nkey_seed else {
        return Ok(nats::NatsAuth::Anonymous);
    };
    let seed = String::from_utf8(read("nats.nkey_seed", path)?).context("nats.nkey_seed")?;
    Ok(nats::NatsAuth::Nkey(seed.trim().to_owned()))
}

/// The options of control records.
pub(crate) fn control(config: &Config) -> ControlOptions {
    ControlOptions {
        cluster: config.cluster.name.clone(),
        replicas: config.nats.replicas,
        timeout: config.nats.timeout,
    }
}

/// The options of the archive.
pub(crate) fn archive(
    config: &Config,
    urls: RelayUrls,
    metrics: scylla::Metrics,
) -> scylla::ScyllaOptions {
    let section = &config.scylla;
    let client = section.certificate.clone().zip(section.key.clone());
    let client = client.map(|(certificate_file, key_file)| scylla::ClientCertificate {
        certificate_file,
        key_file,
    });
    let login = section.username.clone().zip(section.password.as_ref());
    let half = (section.requests_max / 2).max(1);
    scylla::ScyllaOptions {
        login: login.map(|(user, password)| scylla::Login {
            user,
            password: password.expose().to_owned(),
        }),
        tls: section.ca.clone().map(|ca| scylla::TlsOptions {
            ca_file: Some(ca),
            client,
        }),
        datacenter: section.datacenter.clone(),
        consistency: match section.consistency {
            Consistency::LocalQuorum => scylla::Consistency::LocalQuorum,
            Consistency::Quorum => scylla::Consistency::Quorum,
            Consistency::One => scylla::Consistency::One,
        },
        relay_urls: urls,
        write_timeout: section.write_timeout,
        read_timeout: section.read_timeout,
        speculative_delay: section.speculative.unwrap_or(Duration::MAX),
        write_concurrency: half,
        read_concurrency: half,
        metrics,
        ..scylla::ScyllaOptions::new(section.nodes.clone(), &section.keyspace)
    }
}

/// How long a worker announces an event once more that another one has stored: only as long as every
/// matcher, also one that has just started, knows from the stream of commits whether it was announced
/// before. Half of that, since clocks differ.
fn announced_within(config: &Config) -> Duration {
    scylla::FRESH_WINDOW.min(config.nats.committed_age) / 2
}

/// The same for a worker, to which fresh is what may have to be announced.
pub(crate) fn writers_archive(
    config: &Config,
    urls: RelayUrls,
    metrics: scylla::Metrics,
) -> scylla::ScyllaOptions {
    scylla::ScyllaOptions {
        fresh_window: announced_within(config),
        ..archive(config, urls, metrics)
    }
}

/// How often rows are kept, for the keyspace that `migrate` makes.
pub(crate) fn replication(config: &Config) -> anyhow::Result<scylla::Replication> {
    let section = &config.scylla;
    let copies = |copies: u32| u8::try_from(copies).context("too many copies");
    if section.replication.is_empty() {
        let factor = copies(section.replication_factor)?;
        return Ok(scylla::Replication::EachDatacenter(factor));
    }
    let by_name = section.replication.iter();
    let by_name = by_name.map(|of| Ok((of.datacenter.clone(), copies(of.replicas)?)));
    Ok(scylla::Replication::Datacenters(
        by_name.collect::<anyhow::Result<_>>()?,
    ))
}

/// The options of a gateway: those of the relay in one process, and what operators decide.
pub(crate) fn gateway(config: &Config, urls: RelayUrls, control: &LiveControl) -> gateway::Options {
    let mut options = super::gateway(config, urls);
    options.events.write.control = control.clone();
    options
}

/// The options of a matcher.
pub(crate) fn matcher(config: &Config, urls: RelayUrls, control: &LiveControl) -> matcher::Options {
    let section = &config.matcher;
    matcher::Options {
        visibility: Visibility {
            urls: urls.clone(),
            control: control.clone(),
        },
        req_budget: Budget {
            rows: section.scan_rows_max,
            time: section.scan_time_max,
        },
        count_budget: Budget {
            rows: section.count_rows_max,
            time: section.count_time_max,
        },
        replay_bytes_max: section.replay_bytes_max,
        ..super::matcher(config, urls)
    }
}

/// Where gateways reach a matcher.
pub(crate) fn advertised(config: &Config, listening: std::net::SocketAddr) -> String {
    let section = &config.matcher;
    if let Some(address) = &section.advertise {
        return address.clone();
    }
    if section.listen.ip().is_unspecified() {
        return format!("{}:{}", host(), listening.port());
    }
    listening.to_string()
}

/// The options of a gateway's end of the link.
pub(crate) fn link_client(
    config: &Config,
    node: &str,
    incarnation: &str,
) -> anyhow::Result<ClientOptions> {
    let tls = link_files(config)?.map(|(authority, identity)| ClientTls {
        authority,
        identity: Some(identity),
        name: None,
    });
    Ok(ClientOptions {
        gateway: node.to_owned(),
        incarnation: incarnation.to_owned(),
        tls,
        ..ClientOptions::default()
    })
}

/// The options of a matcher's end of the link.
pub(crate) fn link_server(config: &Config, node: &str) -> anyhow::Result<ServerOptions> {
    let tls = link_files(config)?.map(|(authority, identity)| ServerTls {
        identity,
        client_authority: Some(authority),
    });
    Ok(ServerOptions {
        name: node.to_owned(),
        tls,
        queue_bytes_max: config.matcher.gateway_queue_bytes_max,
        ..ServerOptions::default()
    })
}

/// The authority and the certificate of the link, if it is encrypted.
fn link_files(config: &Config) -> anyhow::Result<Option<(Vec<u8>, Identity)>> {
    let section = &config.matcher;
    let (Some(ca), Some(certificate), Some(key)) =
        (&section.ca, &section.certificate, &section.key)
    else {
        return Ok(None);
    };
    let identity = Identity {
        certificates: read("matcher.certificate", certificate)?,
        key: read("matcher.key", key)?,
    };
    Ok(Some((read("matcher.ca", ca)?, identity)))
}

/// Reads the file that a key names.
///
/// # Errors
///
/// It can't be read or is empty.
pub(crate) fn read(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{key}: can't read {}", path.display()))?;
    ensure!(!bytes.is_empty(), "{key}: {} is empty", path.display());
    Ok(bytes)
}
