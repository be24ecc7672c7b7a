//! Monitors, rules and boards: off by default, of one source with `deploy/`, and leading to what is
//! there (12).

use std::{collections::BTreeSet, fs, process::Command};

use heliograph_chart::{Manifest, NAMESPACE, root};
use heliograph_sandbox::prometheus;
use serde_json::{Value, json};

use crate::support::{all, ci, cluster, items, manifest, name, refused, single, str_of};

const OFF: [&str; 6] = [
    "ServiceMonitor",
    "PodMonitor",
    "PrometheusRule",
    "ScaledObject",
    "HorizontalPodAutoscaler",
    "HTTPRoute",
];

/// A rule of the chart by its name, and the groups as they are in `deploy/`.
fn rules(manifest: &Manifest) -> Vec<Value> {
    let rule = manifest
        .of_kind("PrometheusRule")
        .next()
        .expect("a PrometheusRule");
    let groups = items(&rule["spec"]["groups"]).iter();
    groups
        .flat_map(|group| items(&group["rules"]))
        .cloned()
        .collect()
}

fn shipped() -> Vec<Value> {
    let path = root().join("deploy/prometheus/heliograph-rules.yaml");
    let text = fs::read_to_string(path).expect("the rules are there");
    let file: Value = serde_yaml_ng::from_str(&text).expect("the rules are YAML");
    let groups = items(&file["groups"]).iter();
    groups
        .flat_map(|group| items(&group["rules"]))
        .cloned()
        .collect()
}

fn alert<'a>(rules: &'a [Value], name: &str) -> Option<&'a Value> {
    rules.iter().find(|rule| rule["alert"] == name)
}

/// Values that switch the rules on for the least cluster.
const ON: &str = "metrics.prometheusRule.enabled=true";

#[test]
fn chart_12_nothing_that_needs_another_operator_is_on_by_default() {
    for manifest in [single(&[]), cluster(&[])] {
        for kind in OFF {
            assert!(manifest.of_kind(kind).next().is_none(), "{kind}");
        }
        let boards = manifest
            .of_kind("ConfigMap")
            .filter(|map| name(map).contains("dashboard"));
        assert_eq!(boards.count(), 0);
    }
}

#[test]
fn chart_12_rules_and_boards_are_the_files_of_deploy() {
    let plain = cluster(&[ON, "metrics.dashboards.enabled=true"]);
    assert_eq!(rules(&plain), shipped());
    let mut boards = BTreeSet::new();
    for entry in fs::read_dir(root().join("deploy/grafana")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let map = plain.named("ConfigMap", &format!("relay-heliograph-dashboard-{stem}"));
        let data = map.expect(&stem)["data"].as_object().unwrap().clone();
        assert_eq!(data.len(), 1);
        let found = str_of(data.values().next().unwrap());
        assert!(found.trim_end() == text.trim_end(), "{stem} differs");
        assert_eq!(map.unwrap()["metadata"]["labels"]["grafana_dashboard"], "1");
        boards.insert(stem);
    }
    assert!(boards.len() >= 5, "{boards:?}");
}

#[test]
fn chart_12_an_alert_can_be_changed_by_name_and_the_others_stay() {
    let changed = rules(&ci("cluster-monitoring").manifest);
    let shipped = shipped();
    assert!(alert(&changed, "HeliographDiskFilling").is_none());
    let restarts = alert(&changed, "HeliographRestarts").unwrap();
    assert!(
        str_of(&restarts["expr"]).contains("> 5"),
        "{}",
        restarts["expr"]
    );
    assert_eq!(restarts["labels"]["severity"], "page");
    let connections = alert(&changed, "HeliographConnectionsNearLimit").unwrap();
    assert!(
        str_of(&connections["expr"]).contains("> 0.7"),
        "{}",
        connections["expr"]
    );
    assert_eq!(connections["for"], "10m");
    assert_eq!(connections["annotations"]["note"], "grow");
    for rule in &shipped {
        let Some(name) = rule["alert"].as_str() else {
            continue;
        };
        let Some(found) = alert(&changed, name) else {
            assert_eq!(name, "HeliographDiskFilling");
            continue;
        };
        assert_eq!(found["labels"]["team"], "relay", "{name}");
        assert_eq!(
            found["annotations"]["dashboard_host"],
            "https://grafana.example.com"
        );
        for annotation in ["summary", "description", "runbook_url"] {
            assert_eq!(
                found["annotations"][annotation], rule["annotations"][annotation],
                "{name}"
            );
        }
        if !["HeliographRestarts", "HeliographConnectionsNearLimit"].contains(&name) {
            assert_eq!(found["expr"], rule["expr"], "{name}");
            assert_eq!(found["for"], rule["for"], "{name}");
        }
    }
    let budget = |rules: &[Value]| {
        let is_it = |rule: &&Value| {
            rule["record"] == "slo:error_budget:ratio" && rule["labels"]["slo"] == "publish"
        };
        rules.iter().find(is_it).expect("a budget")["expr"].clone()
    };
    assert_eq!(budget(&changed), "vector(0.005)");
    assert_ne!(budget(&shipped), "vector(0.005)");
}

#[test]
fn chart_12_every_alert_with_one_threshold_can_get_another() {
    let thresholds = fs::read_to_string(root().join("helm/heliograph/files/thresholds.yaml"));
    let thresholds: Value = serde_yaml_ng::from_str(&thresholds.unwrap()).unwrap();
    let names: Vec<&String> = thresholds.as_object().unwrap().keys().collect();
    assert!(names.len() >= 10);
    let alerts: Vec<String> = names
        .iter()
        .map(|name| format!("{name}: {{ threshold: 7654 }}"))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.yaml");
    let text = format!(
        "metrics: {{ prometheusRule: {{ enabled: true, alerts: {{ {} }} }} }}\n",
        alerts.join(", ")
    );
    fs::write(&file, text).unwrap();
    let changed = rules(&manifest(&[&file], &[]));
    let shipped = shipped();
    for name in names {
        let expression = str_of(&alert(&changed, name).expect(name)["expr"]);
        assert!(expression.contains("7654"), "{name}: {expression}");
        let before = str_of(&alert(&shipped, name).unwrap()["expr"]);
        let find = str_of(&thresholds[name]["find"]);
        let digit = |c: char| c.is_ascii_digit();
        let mut rests = before.split(find).skip(1);
        // All of the number, not the beginning of a longer one.
        let cut = |rest: &str| rest.starts_with(digit) || rest.starts_with('.');
        let whole = !find.ends_with(digit) || rests.all(|rest| !cut(rest));
        assert!(whole, "{name}: `{find}` is part of a number");
        let places = before.matches(find).count();
        assert_eq!(
            expression.matches("7654").count(),
            places,
            "{name}: {expression}"
        );
    }
}

#[test]
fn chart_12_alerts_and_objectives_that_there_are_not_are_refused() {
    let alert = "metrics.prometheusRule.alerts.HeliographNone.enabled=false";
    refused(
        &[],
        &[ON, alert],
        "metrics.prometheusRule.alerts.HeliographNone: there is no such alert",
    );
    // A fraction on the command line would be a text.
    let file = tempfile::NamedTempFile::new().unwrap();
    let values = "metrics: { prometheusRule: { enabled: true, objectives: { speed: 0.1 } } }\n";
    fs::write(file.path(), values).unwrap();
    let sentence = "metrics.prometheusRule.objectives.speed: there is no such objective";
    refused(&[file.path()], &[], sentence);
}

#[test]
fn chart_12_prometheus_takes_the_rules_as_they_are_rendered() {
    let programs = prometheus::install().expect("promtool can be installed");
    for rendered in all() {
        let Some(rule) = rendered.manifest.of_kind("PrometheusRule").next() else {
            continue;
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), rule["spec"].to_string()).unwrap();
        let mut promtool = Command::new(&programs.promtool);
        let output = promtool
            .args(["check", "rules"])
            .arg(file.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", rendered.name);
    }
}

#[test]
fn chart_12_monitors_choose_services_and_pods_that_are_there() {
    let mut seen = 0;
    for rendered in all() {
        let manifest = &rendered.manifest;
        for monitor in manifest.of_kind("ServiceMonitor") {
            let of = format!("{}: ServiceMonitor {}", rendered.name, name(monitor));
            assert_eq!(
                monitor["spec"]["namespaceSelector"]["matchNames"],
                json!([NAMESPACE])
            );
            let wanted = monitor["spec"]["selector"]["matchLabels"]
                .as_object()
                .expect("labels");
            let fits = |service: &&Value| {
                let labels = &service["metadata"]["labels"];
                wanted.iter().all(|(name, value)| labels[name] == *value)
            };
            let services: Vec<&Value> = manifest.of_kind("Service").filter(fits).collect();
            // Two would have every pod counted twice.
            assert_eq!(services.len(), 1, "{of}");
            for endpoint in items(&monitor["spec"]["endpoints"]) {
                let ports = items(&services[0]["spec"]["ports"]);
                let port = ports.iter().find(|port| port["name"] == endpoint["port"]);
                assert_eq!(port.unwrap_or_else(|| panic!("{of}"))["port"], 7778, "{of}");
                assert_eq!(endpoint["path"], "/metrics");
            }
            seen += 1;
        }
        for monitor in manifest.of_kind("PodMonitor") {
            let selector = &monitor["spec"]["selector"];
            let equal = selector["matchLabels"].as_object().expect("labels");
            let chosen: BTreeSet<&str> = manifest
                .workloads()
                .iter()
                .filter(|one| {
                    equal
                        .iter()
                        .all(|(name, value)| one.labels()[name] == *value)
                })
                .filter(|one| {
                    items(&selector["matchExpressions"])
                        .iter()
                        .all(|expression| {
                            assert_eq!(expression["operator"], "In");
                            let value = &one.labels()[str_of(&expression["key"])];
                            items(&expression["values"]).contains(value)
                        })
                })
                .map(|one| one.role())
                .collect();
            let serve = manifest.workloads();
            let serve = serve
                .iter()
                .filter(|one| !items(&one.program()["ports"]).is_empty());
            let serve: BTreeSet<&str> = serve.map(|one| one.role()).collect();
            assert_eq!(chosen, serve, "{}", rendered.name);
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} monitors");
}

#[test]
fn chart_12_targets_have_the_labels_that_rules_and_boards_rely_on() {
    let monitors = ci("cluster-monitoring").manifest.of_kind("ServiceMonitor");
    let endpoints = monitors.map(|one| &one["spec"]["endpoints"][0]);
    let pods = ci("single-full").manifest.of_kind("PodMonitor");
    let endpoints = endpoints.chain(pods.map(|one| &one["spec"]["podMetricsEndpoints"][0]));
    let mut seen = 0;
    for endpoint in endpoints {
        let labels: Vec<&str> = items(&endpoint["relabelings"])
            .iter()
            .map(|rule| str_of(&rule["targetLabel"]))
            .collect();
        for label in ["role", "pod", "cluster"] {
            assert!(labels.contains(&label), "{label}: {endpoint}");
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
}
