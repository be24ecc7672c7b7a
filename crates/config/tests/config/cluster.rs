//! The keys of a cluster: what they allow, rules between them, and secrets that stay secret.

use std::{io::Write as _, path::Path};

use heliograph_config::{Consistency, Durability, KEYS, Loaded, StreamStorage, load};

use crate::try_load;

const SECRET: &str = "correct horse battery";

#[track_caller]
fn flags(flags: &[(&str, &str)]) -> Loaded {
    try_load("", &[], flags).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn check_wrong(flags: &[(&str, &str)], part: &str) {
    let errors = try_load("", &[], flags)
        .expect_err("this is wrong")
        .to_string();
    assert!(
        errors.lines().count() == 1 && errors.contains(part),
        "{part} in {errors}"
    );
}

#[test]
fn the_defaults_are_those_of_a_cluster_on_one_machine() {
    let config = load(None, std::iter::empty(), &[]).unwrap().config;
    assert_eq!(config.cluster.name, "heliograph");
    assert_eq!((config.cluster.node, config.cluster.partitions), (None, 16));
    assert_eq!(config.cluster.durability, Durability::Stored);
    assert_eq!(config.nats.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(config.nats.committed_storage, StreamStorage::File);
    assert_eq!(
        (config.nats.replicas, config.scylla.replication_factor),
        (3, 3)
    );
    assert_eq!(config.scylla.consistency, Consistency::LocalQuorum);
    assert_eq!(config.matcher.listen.port(), 7779);
}

#[test]
fn lists_of_servers_nodes_and_data_centres_are_read() {
    let config = flags(&[
        ("nats.servers", "nats://a.example,tls://[::1]:4222"),
        ("scylla.nodes", "a.example:9042,[::1]:9042"),
        ("scylla.replication", "eu-west:3,us:1"),
        ("scylla.datacenter", "us"),
    ])
    .config;
    assert_eq!(config.nats.servers.len(), 2);
    assert_eq!(config.scylla.nodes, ["a.example:9042", "[::1]:9042"]);
    let first = flags(&[("scylla.nodes", "[::1]:9042,[::2]:9042")]).config;
    assert_eq!(first.scylla.nodes, ["[::1]:9042", "[::2]:9042"]);
    let copies = &config.scylla.replication;
    assert_eq!(
        (copies[0].datacenter.as_str(), copies[0].replicas),
        ("eu-west", 3)
    );
}

#[test]
fn what_is_malformed_is_named() {
    for (key, value, part) in [
        ("cluster.name", "", "is empty"),
        ("cluster.name", "Relay", "other characters"),
        ("cluster.name", "a.b", "other characters"),
        ("cluster.node", "host.example", "other characters"),
        ("cluster.partitions", "0", "out of range"),
        ("nats.servers", "", "is empty"),
        ("nats.servers", "http://a", "another scheme"),
        ("nats.servers", "nats://a:0", "no valid port"),
        ("nats.servers", "nats://", "no valid host"),
        ("nats.replicas", "6", "out of range"),
        ("scylla.nodes", "a.example", "has no port"),
        ("scylla.nodes", "a:1,[::1]", "has no port"),
        ("scylla.nodes", "[::1]:", "no valid port"),
        ("scylla.keyspace", "1st", "other characters"),
        ("scylla.replication", "dc1", "is not a data centre"),
        ("scylla.replication", "dc1:0", "is not a data centre"),
        ("scylla.replication", "d'c:1", "is not a data centre"),
        ("scylla.consistency", "all", "allowed is"),
        ("matcher.advertise", "host", "has no port"),
        ("matcher.advertise", "ftp://host:1", "no valid port"),
    ] {
        check_wrong(&[(key, value)], part);
    }
}

#[test]
fn an_advertised_address_has_a_port_or_a_scheme() {
    for text in [
        "host:1",
        "10.0.0.1:7779",
        "[::1]:7779",
        "http://host:1",
        "https://host",
    ] {
        let config = flags(&[("matcher.advertise", text)]).config;
        assert_eq!(config.matcher.advertise.as_deref(), Some(text));
    }
}

#[test]
fn quorum_needs_three_copies_or_a_word() {
    let quorum = ("cluster.durability", "quorum");
    flags(&[quorum]);
    check_wrong(
        &[quorum, ("nats.replicas", "1")],
        "needs nats.replicas of 3 or more, not 1",
    );
    flags(&[
        quorum,
        ("nats.replicas", "1"),
        ("cluster.durability_unsafe", "true"),
    ]);
    flags(&[("nats.replicas", "1")]);
}

#[test]
fn what_belongs_together_is_given_together() {
    check_wrong(&[("nats.username", "me")], "nats.password: is missing");
    check_wrong(
        &[("scylla.password", "x")],
        "is given without scylla.username",
    );
    check_wrong(
        &[("nats.token", "x"), ("nats.nkey_seed", "/a")],
        "beside nats.token",
    );
    check_wrong(&[("nats.certificate", "/a")], "nats.key: is missing");
    check_wrong(
        &[("scylla.key", "/a")],
        "is given without scylla.certificate",
    );
    check_wrong(
        &[("matcher.ca", "/a")],
        "matcher.ca: is allowed together with",
    );
    let mutual = [
        ("matcher.ca", "/a"),
        ("matcher.certificate", "/b"),
        ("matcher.key", "/c"),
    ];
    flags(&mutual);
    check_wrong(&mutual[1..], "matcher.ca");
    let scylla = [("scylla.certificate", "/a"), ("scylla.key", "/b")];
    check_wrong(&scylla, "scylla.ca: is missing");
    check_wrong(
        &[("scylla.datacenter", "eu"), ("scylla.replication", "us:3")],
        "has no copies in eu",
    );
    check_wrong(
        &[("matcher.listen", "127.0.0.1:7778")],
        "the same as admin.listen",
    );
}

#[track_caller]
fn secret_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("room for it");
    file
}

fn name_of(file: &tempfile::NamedTempFile) -> String {
    file.path().display().to_string()
}

#[test]
fn a_secret_stands_in_a_variable_or_in_a_file_that_a_variable_names() {
    let written = secret_file(&format!("{SECRET}\n"));
    for (name, value) in [
        ("HELIOGRAPH_NATS_PASSWORD", SECRET.to_owned()),
        ("HELIOGRAPH_NATS_PASSWORD_FILE", name_of(&written)),
    ] {
        let environment = [("HELIOGRAPH_NATS_USERNAME", "me"), (name, value.as_str())];
        let loaded = try_load("", &environment, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let password = loaded.config.nats.password.expect("a password");
        assert_eq!(password.expose(), SECRET, "{name}");
    }
}

#[test]
fn a_secret_is_set_once_and_its_file_is_there() {
    let written = secret_file(SECRET);
    let twice = [
        ("HELIOGRAPH_NATS_TOKEN", "x"),
        ("HELIOGRAPH_NATS_TOKEN_FILE", &name_of(&written)),
    ];
    let errors = try_load("", &twice, &[]).unwrap_err().to_string();
    assert!(
        errors.contains("is set by HELIOGRAPH_NATS_TOKEN too"),
        "{errors}"
    );
    let missing = [("HELIOGRAPH_NATS_TOKEN_FILE", "/nonexistent/token")];
    let errors = try_load("", &missing, &[]).unwrap_err().to_string();
    assert!(
        errors.contains("/nonexistent/token can't be read"),
        "{errors}"
    );
    // What is no secret has no such variable.
    let other = [("HELIOGRAPH_NATS_USERNAME_FILE", "/a")];
    let errors = try_load("", &other, &[]).unwrap_err().to_string();
    assert!(errors.contains("unknown variable"), "{errors}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let secrets: Vec<_> = KEYS.iter().filter(|key| key.is_secret()).collect();
    let names: Vec<_> = secrets.iter().map(|key| key.name).collect();
    let known = [
        "nats.password",
        "nats.token",
        "scylla.password",
        "canary.secret_key",
        "traces.headers",
    ];
    assert_eq!(names, known);
    let digits = "5ec2e7".repeat(11)[..64].to_owned();
    let header = format!("token={SECRET}");
    for key in secrets {
        let secret = match key.name {
            "canary.secret_key" => digits.as_str(),
            "traces.headers" => header.as_str(),
            _ => SECRET,
        };
        let environment = [
            ("HELIOGRAPH_NATS_USERNAME", "me"),
            ("HELIOGRAPH_SCYLLA_USERNAME", "me"),
            (&key.env(), secret),
        ];
        let all = [
            ("HELIOGRAPH_NATS_PASSWORD", "other"),
            ("HELIOGRAPH_SCYLLA_PASSWORD", "other"),
        ];
        let token = key.name == "nats.token";
        let missing = all.iter().filter(|(name, _)| *name != key.env());
        let environment: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| !(token && *name == "HELIOGRAPH_NATS_USERNAME"))
            .chain(
                missing
                    .copied()
                    .filter(|(name, _)| !(token && name.contains("NATS"))),
            )
            .collect();
        let loaded = try_load("", &environment, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        for shown in [loaded.to_annotated_toml(), format!("{loaded:?}")] {
            let hidden = !shown.contains(secret) && !shown.contains(SECRET);
            assert!(hidden, "{}: {shown}", key.name);
        }
        let (_, name) = key.name.split_once('.').unwrap();
        let line = format!("# {name} is set and not shown\n");
        assert!(loaded.to_annotated_toml().contains(&line), "{}", key.name);
    }
}

#[test]
fn errors_do_not_repeat_a_secret() {
    let errors = try_load("[nats]\ntoken = 123456789", &[], &[])
        .unwrap_err()
        .to_string();
    assert!(!errors.contains("123456789"), "{errors}");
    for (key, value) in [
        ("nats.servers", "nats://me:123456789@a.example:4222"),
        ("nats.token", "123456789\n"),
    ] {
        let errors = try_load("", &[], &[(key, value)]).unwrap_err().to_string();
        assert!(!errors.contains("123456789"), "{errors}");
    }
}

#[test]
fn without_secrets_what_is_printed_loads_again() {
    let loaded = flags(&[
        ("scylla.replication", "eu:3"),
        ("nats.credentials", "/run/secrets/user.creds"),
        ("cluster.node", "gateway-1"),
    ]);
    let again = try_load(&loaded.to_annotated_toml(), &[], &[]).unwrap();
    assert_eq!(again.config, loaded.config);
    assert_eq!(
        again.config.nats.credentials.as_deref(),
        Some(Path::new("/run/secrets/user.creds"))
    );
}
