//! Tests of `compose`: the files as they are, and each rule broken once.

use super::*;

const DOCKERFILE: &str = dockerfile::PATH;

const PATHS: [&str; 7] = [
    COMPOSE,
    DOCKERFILE,
    dockerfile::IGNORE,
    NATS,
    TOOLCHAIN,
    "LICENSE-MIT",
    "LICENSE-APACHE",
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
        "canary", "gateway", "ingest", "matcher", "migrate", "config", "health",
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
    check_broken(DOCKERFILE, "FROM scratch", "FROM debian", "not pinned");
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
    check_broken(DOCKERFILE, "COPY LICENSE-MIT", "COPY NO", "is not there");
    check_broken(dockerfile::IGNORE, "!LICENSE-MIT\n", "", "is not there");
}

#[test]
fn nothing_runs_as_root() {
    check_broken(DOCKERFILE, "USER ", "# ", "is root");
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

#[test]
fn health_is_asked_for_by_the_program_itself() {
    let test = "[CMD, /usr/local/bin/heliograph, health, --ready]";
    check_broken(COMPOSE, test, "[CMD, healthcheck]", "not the program");
    check_broken(COMPOSE, test, "[CMD-SHELL, curl]", "not the program");
    let unknown = test.replace("health,", "sickness,");
    check_broken(COMPOSE, test, &unknown, "no role sickness");
}
