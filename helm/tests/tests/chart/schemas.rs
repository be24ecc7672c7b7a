//! Rendered objects against the schemas of Kubernetes and of those who define others, offline.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use heliograph_chart::{directory, root, values};
use serde_json::{Value, json};

use crate::support::{all, chart, name, str_of};

/// The oldest Kubernetes that the chart is for, and the newest that there are schemas for.
const VERSIONS: [&str; 2] = ["1.27.0", "1.37.0"];

/// What the schemas have against each of these objects.
fn findings(version: &str, objects: &[Value]) -> Vec<Vec<String>> {
    let tools = chart().tools();
    let mut python = Command::new(&tools.python);
    python
        .arg(root().join("helm/tests/validate.py"))
        .arg(version)
        .arg(&tools.definitions)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = python.spawn().expect("Python starts");
    let mut input = child.stdin.take().expect("it was piped");
    let text = serde_json::to_vec(objects).expect("objects are JSON");
    input.write_all(&text).expect("Python reads");
    drop(input);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "validate.py: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("validate.py prints JSON")
}

#[test]
fn chart_12_every_object_of_every_file_fits_its_schema() {
    for version in VERSIONS {
        let mut objects: Vec<Value> = Vec::new();
        let mut names = Vec::new();
        for rendered in all() {
            for object in &rendered.manifest.objects {
                // Many files have the same objects.
                if !objects.contains(object) {
                    names.push(format!(
                        "{}: {} {}",
                        rendered.name,
                        str_of(&object["kind"]),
                        name(object)
                    ));
                    objects.push(object.clone());
                }
            }
        }
        let found = findings(version, &objects);
        assert_eq!(found.len(), objects.len());
        let bad: Vec<String> = names
            .iter()
            .zip(found)
            .filter(|(_, findings)| !findings.is_empty())
            .map(|(name, findings)| format!("{name}: {}", findings.join("; ")))
            .collect();
        assert!(bad.is_empty(), "Kubernetes {version}:\n{}", bad.join("\n"));
    }
}

#[test]
fn chart_12_the_schemas_refuse_what_is_misspelt() {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"port": []}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "a", "securityContext": {"runAsNonRot": true}}]}}}}),
        json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
            "metadata": {"name": "a"},
            "spec": {"selector": {}, "endpoints": [{"intervall": "1s"}]}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": {"name": "a"}, "triggers": [{"type": "prometheus"}]}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "a"},
            "spec": {"rules": [{"timeouts": {"request": "for ever"}}]}}),
        json!({"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"ports": [{"port": 1}]}}),
    ];
    let found = findings(VERSIONS[1], &objects);
    let words = [
        "'port'",
        "runAsNonRot",
        "intervall",
        "metadata",
        "for ever",
        "no schema",
    ];
    for (findings, word) in found.iter().zip(words) {
        assert!(
            findings.iter().any(|finding| finding.contains(word)),
            "{word}: {findings:?}"
        );
    }
    assert!(found[6].is_empty(), "{:?}", found[6]);
}

#[test]
fn chart_03_the_schema_knows_every_key_of_the_configuration() {
    let schema = std::fs::read_to_string(directory().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let reference = root().join("docs/reference/config.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    // What the chart sets by itself isn't in `config`.
    let own = [
        "gateway.listen",
        "gateway.trusted_proxies",
        "gateway.proxy_protocol",
        // Behind an Ingress or a balancer.
        "gateway.certificate",
        "gateway.key",
        "store.dir",
        "nats.servers",
        "nats.username",
        "nats.password",
        "nats.token",
        "nats.credentials",
        "nats.nkey_seed",
        "nats.ca",
        "nats.certificate",
        "nats.key",
        "scylla.nodes",
        "scylla.username",
        "scylla.password",
        "scylla.ca",
        "scylla.certificate",
        "scylla.key",
        "matcher.listen",
        "matcher.advertise",
        "matcher.ca",
        "matcher.certificate",
        "matcher.key",
        "canary.publish",
        "canary.read",
        "canary.secret_key",
        "canary.ca",
        "admin.listen",
        "traces.headers",
        "traces.ca",
        "shutdown.unready_secs",
        "shutdown.drain_secs",
        "shutdown.restarts",
        "shutdown.grace_secs",
        "cluster.node",
    ];
    let mut known = 0;
    for line in reference.lines() {
        let Some(key) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        else {
            continue;
        };
        let (section, name) = key.split_once('.').unwrap();
        let there = values::schema_at(&schema, &["config", section, name]).is_object();
        assert_eq!(there, !own.contains(&key), "{key}");
        known += 1;
    }
    assert!(known > 100, "{known} keys");
    let config = values::schema_at(&schema, &["config"])["properties"].as_object();
    for section in config.unwrap().keys() {
        let keys = values::schema_at(&schema, &["config", section])["properties"].as_object();
        for name in keys.unwrap().keys() {
            let key = format!("| `{section}.{name}` |");
            assert!(reference.contains(&key), "no such key: {section}.{name}");
        }
    }
}
