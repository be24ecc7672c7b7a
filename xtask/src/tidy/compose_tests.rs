//! Tests of `compose`: the files as they are, and each rule broken once.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    thread,
};

use super::*;

const PATHS: [&str; 5] = [
    COMPOSE,
    DOCKERFILE,
    NATS,
    TOOLCHAIN,
    "deploy/docker/healthcheck",
];

/// The files of the repository, with `from` in one of them replaced by `to`.
fn files(path: &str, from: &str, to: &str) -> Vec<File> {
    let read = |path: &str| std::fs::read_to_string(shell::root().join(path)).unwrap();
    let mut found = 0;
    let files = PATHS
        .into_iter()
        .map(|listed| {
            let mut text = read(listed);
            if listed == path {
                found = text.matches(from).count();
                text = text.replace(from, to);
            }
            File {
                path: listed.to_owned(),
                text,
            }
        })
        .collect();
    assert!(found > 0, "{path} doesn't hold {from}");
    files
}

/// Wants a finding that says `expected`, by a program that accepts roles and known keys.
#[track_caller]
fn check_broken(path: &str, from: &str, to: &str, expected: &str) {
    let findings = check_with(&files(path, from, to), &accepts);
    assert!(
        findings.iter().any(|finding| finding.contains(expected)),
        "{findings:#?}"
    );
}

/// Knows the roles by name, and the keys from their reference page.
fn accepts(arguments: &[String], variables: &BTreeMap<String, String>) -> Result<(), String> {
    let roles = [
        "canary", "gateway", "ingest", "matcher", "migrate", "config",
    ];
    if !roles.contains(&arguments[0].as_str()) {
        return Err(format!("no role {}", arguments[0]));
    }
    let path = shell::root().join("docs/reference/config.md");
    let reference = std::fs::read_to_string(path).unwrap();
    let keys: Vec<String> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let named = |variable: &str| {
        let of = |key: &String| format!("HELIOGRAPH_{}", key.to_uppercase().replace('.', "_"));
        keys.iter().any(|key| of(key) == variable)
    };
    let set = |argument: &str| {
        let key = argument
            .strip_prefix("--set=")
            .and_then(|set| set.split('=').next());
        key.is_none_or(|key| keys.iter().any(|known| known == key))
    };
    if let Some(unknown) = variables.keys().find(|variable| !named(variable)) {
        return Err(format!("unknown {unknown}"));
    }
    match arguments.iter().find(|argument| !set(argument)) {
        Some(unknown) => Err(format!("unknown {unknown}")),
        None => Ok(()),
    }
}

#[test]
fn the_files_as_they_are_have_no_findings() {
    let files = files(COMPOSE, "services:", "services:");
    assert_eq!(check_with(&files, &accepts), Vec::<Finding>::new());
}

#[test]
fn images_are_pinned() {
    check_broken(COMPOSE, "nats:2.15.2-alpine", "nats:latest", "not pinned");
    check_broken(
        COMPOSE,
        "scylladb/scylla:2025.4.2",
        "scylladb/scylla",
        "not pinned",
    );
    check_broken(
        DOCKERFILE,
        "debian:13.1-slim",
        "debian:stable-slim",
        "not pinned",
    );
}

#[test]
fn the_compiler_is_the_one_of_the_repository() {
    check_broken(
        DOCKERFILE,
        "FROM rust:",
        "FROM rust:1.0",
        "is not the compiler",
    );
}

#[test]
fn what_is_copied_exists() {
    check_broken(
        DOCKERFILE,
        "deploy/docker/healthcheck",
        "deploy/docker/no",
        "is not there",
    );
}

#[test]
fn nothing_runs_as_root() {
    check_broken(DOCKERFILE, "USER ", "# ", "runs as root");
}

#[test]
fn dependencies_are_services() {
    check_broken(
        COMPOSE,
        "  migrate: {",
        "  migration: {",
        "which is no service",
    );
}

#[test]
fn commands_are_roles() {
    check_broken(COMPOSE, "[ingest, ", "[digest, ", "no role digest");
}

#[test]
fn keys_are_those_of_the_program() {
    check_broken(
        COMPOSE,
        "HELIOGRAPH_RELAY_URL",
        "HELIOGRAPH_RELAY_URLS",
        "unknown",
    );
    check_broken(
        COMPOSE,
        "--set=cluster.node",
        "--set=cluster.name_of_node",
        "unknown",
    );
}

#[test]
fn published_ports_are_listened_on() {
    check_broken(COMPOSE, "7787:7777", "7787:7787", "publishes");
}

#[test]
fn servers_are_services_that_listen() {
    check_broken(
        COMPOSE,
        "scylla:9042",
        "cassandra:9042",
        "which is no service",
    );
    check_broken(COMPOSE, "scylla:9042", "scylla:9043", "nothing listens");
    check_broken(NATS, "0.0.0.0:4222", "0.0.0.0:4223", "nothing listens");
}

#[test]
fn what_is_not_yaml_is_a_finding() {
    check_broken(COMPOSE, "services:", "services: [", COMPOSE);
}

/// Runs the container's health check against a port that answers with `status`, if any.
#[track_caller]
fn check_health(status: Option<&str>, healthy: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = status.map(|status| {
        let answer = format!("HTTP/1.0 {status}\r\ncontent-length: 0\r\n\r\n");
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let length = socket.read(&mut request).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        })
    });
    drop(listener);
    let script = shell::root().join("deploy/docker/healthcheck");
    let output = Command::new(script)
        .env(
            "HELIOGRAPH_ADMIN_LISTEN",
            format!("0.0.0.0:{}", address.port()),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.success(), healthy, "{output:?}");
    if let Some(server) = server {
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /readyz HTTP/1.0\r\n")
        );
    }
}

#[test]
fn a_container_is_healthy_if_it_is_ready() {
    check_health(Some("200 OK"), true);
    check_health(Some("503 Service Unavailable"), false);
    check_health(None, false);
}
