//! The manifests for k6-operator: every object fits the schema of Kubernetes or of the operator.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use heliograph_loadtest::{root, suite};
use heliograph_sandbox::{kubernetes, or_skip, prometheus};
use heliograph_testkit::tool::run;
use serde::Deserialize;
use serde_json::{Value, json};

/// The newest Kubernetes that there are schemas for.
const VERSION: &str = "1.37.0";

/// What is no object but rules for Prometheus.
const RULES: &str = "rules.yaml";

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(suite().join("kubernetes")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .filter(|path| !path.ends_with(RULES))
        .collect()
}

/// Every object of every file, with where it stands.
fn objects() -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let value = Value::deserialize(document);
            let value = value.unwrap_or_else(|error| panic!("{name}: {error}"));
            if !value.is_null() {
                objects.push((name.clone(), value));
            }
        }
    }
    objects
}

/// What the schemas have against each of these objects. `None` where they can't be had.
fn findings(objects: &[Value]) -> Option<Vec<Vec<String>>> {
    let python = or_skip(kubernetes::install_validator())?;
    let definitions = or_skip(kubernetes::install_definitions())?;
    let mut child = Command::new(python)
        .arg(root().join("helm/tests/validate.py"))
        .arg(VERSION)
        .arg(definitions)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().expect("it was piped");
    input
        .write_all(json!(objects).to_string().as_bytes())
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_object_fits_its_schema() {
    let (names, objects): (Vec<String>, Vec<Value>) = objects().into_iter().unzip();
    let Some(findings) = findings(&objects) else {
        return;
    };
    assert_eq!(findings.len(), objects.len());
    for ((name, object), findings) in names.iter().zip(&objects).zip(findings) {
        assert!(findings.is_empty(), "{name}: {findings:?}\n{object:#}");
    }
}

#[test]
fn prometheus_takes_the_rules() {
    let Some(programs) = or_skip(prometheus::install()) else {
        return;
    };
    let mut promtool = Command::new(programs.promtool);
    promtool.args(["check", "rules"]);
    promtool.arg(suite().join("kubernetes").join(RULES));
    run(&mut promtool, b"").success();
}

#[test]
fn the_schemas_refuse_what_is_misspelt() {
    let misspelt = json!({"apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
        "metadata": {"name": "a"}, "spec": {"parallelism": 1, "seperate": true}});
    let Some(found) = findings(&[misspelt]) else {
        return;
    };
    assert!(
        found[0].iter().any(|finding| finding.contains("seperate")),
        "{found:?}"
    );
}

#[test]
fn a_test_run_is_spread_and_tells_prometheus() {
    let runs: Vec<Value> = objects()
        .into_iter()
        .filter_map(|(_, object)| (object["kind"] == "TestRun").then_some(object))
        .collect();
    assert!(!runs.is_empty(), "no TestRun");
    for test_run in runs {
        let spec = &test_run["spec"];
        assert!(spec["parallelism"].as_u64() > Some(1), "{spec:#}");
        assert_eq!(spec["separate"], true, "{spec:#}");
        let runner = spec["runner"].to_string();
        assert!(runner.contains("K6_PROMETHEUS_RW_SERVER_URL"), "{spec:#}");
        assert!(runner.contains("net.ipv4.ip_local_port_range"), "{spec:#}");
        let arguments = spec["arguments"].as_str().unwrap_or_default();
        assert!(arguments.contains("experimental-prometheus-rw"), "{spec:#}");
    }
}
