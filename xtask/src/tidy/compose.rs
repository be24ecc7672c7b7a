//! `deploy/compose` and `deploy/docker` against the program, as far as it goes without a container
//! engine: images are pinned, names lead somewhere, the program accepts what each role is told.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{File, Finding, dockerfile};
use crate::shell;

const COMPOSE: &str = "deploy/compose/compose.yaml";
const NATS: &str = "deploy/compose/nats.conf";
const TOOLCHAIN: &str = "rust-toolchain.toml";

/// The image that the Dockerfile makes, without its tag.
const OWN_IMAGE: &str = "heliograph";

/// Where the program is in it.
const PROGRAM: &str = "/usr/local/bin/heliograph";

/// What the database's image listens on.
const CQL_PORT: &str = "9042";

/// Runs the program on some arguments and variables; what it printed if it refuses them.
type Accepts<'a> = &'a dyn Fn(&[String], &BTreeMap<String, String>) -> Result<(), String>;

/// Checks the files, with the program for what only it knows.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let relay = match shell::build_relay() {
        Ok(relay) => relay,
        Err(error) => return vec![format!("{COMPOSE}: {error:#}")],
    };
    check_with(files, &|arguments, variables| {
        let output = shell::relay(&relay)
            .args(arguments)
            .envs(variables)
            .output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        output.status.success().then_some(()).ok_or(said)
    })
}

fn check_with(files: &[File], accepts: Accepts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let result = text(files, COMPOSE)
        .and_then(parse)
        .and_then(|compose| services(&compose).cloned())
        .and_then(|services| {
            let nats = listeners(text(files, NATS)?);
            for (name, service) in &services {
                let mut report = |what: String| findings.push(format!("{COMPOSE}: {name}: {what}"));
                check_service(&services, service, &nats, accepts, &mut report);
            }
            Ok(())
        });
    if let Err(error) = result {
        findings.push(format!("{COMPOSE}: {error:#}"));
    }
    if let Err(error) = check_dockerfile(files, &mut findings) {
        findings.push(format!("{}: {error:#}", dockerfile::PATH));
    }
    findings
}

fn check_service(
    services: &Map<String, Value>,
    service: &Value,
    nats: &[String],
    accepts: Accepts<'_>,
    report: &mut dyn FnMut(String),
) {
    let image = service["image"].as_str().unwrap_or_default();
    if !is_pinned(image) {
        report(format!("image `{image}` is not pinned to a version"));
    }
    for needed in names(&service["depends_on"]) {
        if !services.contains_key(&needed) {
            report(format!("depends on `{needed}`, which is no service"));
        }
    }
    if service["healthcheck"].is_null() {
        report("has no healthcheck".to_owned());
    }
    if image.split(':').next() == Some(OWN_IMAGE) {
        check_health(&service["healthcheck"], accepts, report);
        let command = strings(&service["command"]);
        let variables = environment(service);
        check_role(&command, &variables, accepts, report);
        let ports = strings(&service["ports"]);
        check_ports(&ports, &command, &variables, report);
        check_hosts(services, nats, &variables, report);
    }
}

/// The image has no shell: its health is asked for by the program, by its path.
fn check_health(health: &Value, accepts: Accepts<'_>, report: &mut dyn FnMut(String)) {
    if health["disable"] == true {
        return;
    }
    let test = strings(&health["test"]);
    let [how, program, arguments @ ..] = &test[..] else {
        return report("its healthcheck runs nothing".to_owned());
    };
    if how != "CMD" || program != PROGRAM {
        report(format!(
            "its healthcheck is {test:?}, not the program {PROGRAM}"
        ));
    }
    let help: Vec<String> = arguments
        .iter()
        .cloned()
        .chain(["--help".to_owned()])
        .collect();
    if let Err(refused) = accepts(&help, &BTreeMap::new()) {
        report(format!("its healthcheck: {refused}"));
    }
}

/// The command is a role, and the program takes its settings.
fn check_role(
    command: &[String],
    variables: &BTreeMap<String, String>,
    accepts: Accepts<'_>,
    report: &mut dyn FnMut(String),
) {
    let Some((role, settings)) = command.split_first() else {
        return report("has no command".to_owned());
    };
    let help = [role.clone(), "--help".to_owned()];
    if let Err(refused) = accepts(&help, &BTreeMap::new()) {
        report(format!("`heliograph {role}`: {refused}"));
    }
    let check = ["config", "check"].map(str::to_owned).into_iter();
    let check: Vec<String> = check.chain(settings.iter().cloned()).collect();
    if let Err(refused) = accepts(&check, variables) {
        report(refused);
    }
}

/// What is published is what the role listens on for clients.
fn check_ports(
    ports: &[String],
    command: &[String],
    variables: &BTreeMap<String, String>,
    report: &mut dyn FnMut(String),
) {
    let role = command.first().map(String::as_str).unwrap_or_default();
    let variable = format!("HELIOGRAPH_{}_LISTEN", role.to_uppercase());
    let listen = variables.get(&variable).map(|address| port(address));
    for published in ports {
        if Some(port(published)) != listen {
            report(format!(
                "publishes {published}, but {variable} is {listen:?}"
            ));
        }
    }
}

/// Servers are named as their services are, and listen where they are expected.
fn check_hosts(
    services: &Map<String, Value>,
    nats: &[String],
    variables: &BTreeMap<String, String>,
    report: &mut dyn FnMut(String),
) {
    let cql = [CQL_PORT.to_owned()];
    let lists = [
        ("HELIOGRAPH_NATS_SERVERS", nats),
        ("HELIOGRAPH_SCYLLA_NODES", &cql),
    ];
    for (variable, ports) in lists {
        let list = variables.get(variable).map_or("", String::as_str);
        for server in list.split(',') {
            let address = server.rsplit('/').next().unwrap_or(server);
            let host = address.split(':').next().unwrap_or_default();
            if !services.contains_key(host) {
                report(format!("{variable} names `{host}`, which is no service"));
            }
            if !ports.iter().any(|listens| listens == port(address)) {
                report(format!("{variable}: nothing listens at {address}"));
            }
        }
    }
}

fn check_dockerfile(files: &[File], findings: &mut Vec<Finding>) -> Result<()> {
    let exists = |path: &str| files.iter().any(|file| file.path == path);
    findings.extend(dockerfile::check(
        text(files, dockerfile::PATH)?,
        text(files, TOOLCHAIN)?,
        text(files, dockerfile::IGNORE)?,
        &exists,
    )?);
    Ok(())
}

/// The file as data, with merge keys applied.
fn parse(text: &str) -> Result<Value> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
    yaml.apply_merge()?;
    Ok(serde_json::to_value(yaml)?)
}

fn services(compose: &Value) -> Result<&Map<String, Value>> {
    let services = compose["services"].as_object();
    services.context("has no services")
}

fn text<'a>(files: &'a [File], path: &str) -> Result<&'a str> {
    let file = files.iter().find(|file| file.path == path);
    let file = file.with_context(|| format!("{path} is missing"))?;
    Ok(&file.text)
}

/// Whether the tag names at least a major and a minor version, or there is a digest.
pub(super) fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map_or("", |(_, tag)| tag);
    let version = tag.split('-').next().unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut parts = version.split('.');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    image.contains("@sha256:") || number(parts.next()) && number(parts.next())
}

/// `depends_on` and others are written as a list of names or as a map by name.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map.keys().cloned().collect(),
        _ => strings(value),
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_owned()))
        .collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables
        .map(|(name, value)| {
            // What isn't quoted would be a number; compose makes it text as well.
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

/// The ports that a NATS configuration says to listen on.
fn listeners(configuration: &str) -> Vec<String> {
    configuration
        .lines()
        .filter_map(|line| line.trim().strip_prefix("listen:"))
        .map(|address| port(address.trim().trim_matches('"')).to_owned())
        .collect()
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
