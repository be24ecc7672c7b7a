//! Rules between the keys of a cluster.

use std::path::PathBuf;

use super::Broken;
use crate::{Config, Durability};

/// Copies from which on the loss of one server loses nothing.
const QUORUM_REPLICAS_MIN: usize = 3;

pub(super) fn check(config: &Config) -> impl Iterator<Item = Broken> {
    [
        quorum_survives(config),
        one_login(config),
        name_and_password(
            "nats.password",
            "nats.username",
            config.nats.username.is_some(),
            config.nats.password.is_some(),
        ),
        name_and_password(
            "scylla.password",
            "scylla.username",
            config.scylla.username.is_some(),
            config.scylla.password.is_some(),
        ),
        certificate_and_key(
            "nats.key",
            "nats.certificate",
            &config.nats.certificate,
            &config.nats.key,
        ),
        certificate_and_key(
            "scylla.key",
            "scylla.certificate",
            &config.scylla.certificate,
            &config.scylla.key,
        ),
        certificate_and_key(
            "gateway.key",
            "gateway.certificate",
            &config.gateway.certificate,
            &config.gateway.key,
        ),
        certificate_and_key(
            "matcher.key",
            "matcher.certificate",
            &config.matcher.certificate,
            &config.matcher.key,
        ),
        both_sides_prove(config),
        scylla_certificate_needs_tls(config),
        listeners_differ(config),
        local_datacenter_has_copies(config),
    ]
    .into_iter()
    .flatten()
}

fn quorum_survives(Config { cluster, nats, .. }: &Config) -> Option<Broken> {
    let unsafe_quorum = cluster.durability == Durability::Quorum
        && nats.replicas < QUORUM_REPLICAS_MIN
        && !cluster.durability_unsafe;
    unsafe_quorum.then(|| {
        let problem = format!(
            "\"quorum\" needs nats.replicas of {QUORUM_REPLICAS_MIN} or more, not {}, unless \
             cluster.durability_unsafe is true",
            nats.replicas
        );
        ("cluster.durability", problem)
    })
}

fn one_login(Config { nats, .. }: &Config) -> Option<Broken> {
    let ways = [
        ("nats.username", nats.username.is_some()),
        ("nats.token", nats.token.is_some()),
        ("nats.credentials", nats.credentials.is_some()),
        ("nats.nkey_seed", nats.nkey_seed.is_some()),
    ];
    let mut given = ways.into_iter().filter(|(_, given)| *given);
    let ((first, _), (second, _)) = (given.next()?, given.next()?);
    Some((
        second,
        format!("is given beside {first}, allowed is one way to log in"),
    ))
}

fn name_and_password(
    password_key: &'static str,
    name_key: &'static str,
    name: bool,
    password: bool,
) -> Option<Broken> {
    (name != password).then(|| {
        let problem = if name {
            format!("is missing, since {name_key} is given")
        } else {
            format!("is given without {name_key}")
        };
        (password_key, problem)
    })
}

fn certificate_and_key(
    key_key: &'static str,
    certificate_key: &'static str,
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Option<Broken> {
    match (certificate, key) {
        (Some(_), None) => Some((
            key_key,
            format!("is missing, since {certificate_key} is given"),
        )),
        (None, Some(_)) => Some((key_key, format!("is given without {certificate_key}"))),
        _ => None,
    }
}

fn both_sides_prove(Config { matcher, .. }: &Config) -> Option<Broken> {
    (matcher.ca.is_some() != matcher.certificate.is_some()).then(|| {
        let problem = "is allowed together with matcher.certificate and matcher.key only";
        ("matcher.ca", problem.to_owned())
    })
}

fn scylla_certificate_needs_tls(Config { scylla, .. }: &Config) -> Option<Broken> {
    (scylla.certificate.is_some() && scylla.ca.is_none()).then(|| {
        let problem = "is missing, since scylla.certificate is given";
        ("scylla.ca", problem.to_owned())
    })
}

fn listeners_differ(Config { matcher, admin, .. }: &Config) -> Option<Broken> {
    let same = admin.listen == Some(matcher.listen) && matcher.listen.port() != 0;
    same.then(|| {
        let problem = "is the same as admin.listen, allowed is another port".to_owned();
        ("matcher.listen", problem)
    })
}

fn local_datacenter_has_copies(Config { scylla, .. }: &Config) -> Option<Broken> {
    let local = scylla.datacenter.as_ref()?;
    let named = |replicas: &crate::DatacenterReplicas| replicas.datacenter == *local;
    let missing = !scylla.replication.is_empty() && !scylla.replication.iter().any(named);
    missing.then(|| {
        let problem = format!("has no copies in {local}, which is scylla.datacenter");
        ("scylla.replication", problem)
    })
}
