//! What makes pods restart, and what they take without (15).

use std::collections::BTreeMap;

use heliograph_chart::{Manifest, directory, root};

use crate::support::{cluster, items, single, str_of};

/// The checksums of the pods of each role: of the configuration, and of credentials in the values.
fn checksums(manifest: &Manifest) -> BTreeMap<&str, [&str; 2]> {
    let workloads = manifest.workloads();
    let serve = workloads
        .iter()
        .filter(|one| !items(&one.program()["ports"]).is_empty());
    serve
        .map(|one| {
            let annotations = &one.template["metadata"]["annotations"];
            let checksum = |name: &str| str_of(&annotations[format!("checksum/{name}")]);
            (one.role(), [checksum("config"), checksum("credentials")])
        })
        .collect()
}

/// The roles whose pods restart when values are added to others.
fn restarted(base: &[&str], added: &[&str]) -> Vec<String> {
    let before = cluster(base);
    let after = cluster(&[base, added].concat());
    let after = checksums(&after);
    let changed = checksums(&before)
        .into_iter()
        .filter(|(role, sums)| after[role] != *sums);
    changed.map(|(role, _)| role.to_owned()).collect()
}

const CANARY: &str = "canary.enabled=true";

#[test]
fn chart_15_a_changed_key_restarts_the_roles_that_read_it_and_no_others() {
    let cases: [(&str, &[&str]); 8] = [
        ("config.scylla.requests_max=7", &["ingest", "matcher"]),
        (
            "config.nats.timeout_ms=777",
            &["gateway", "ingest", "matcher"],
        ),
        (
            "config.cluster.partitions=7",
            &["gateway", "ingest", "matcher"],
        ),
        ("config.verify.threads=7", &["gateway"]),
        ("config.recent.events_max=7777", &["matcher"]),
        ("config.canary.kind=777", &["canary"]),
        (
            "config.log.level=debug",
            &["canary", "gateway", "ingest", "matcher"],
        ),
        ("canary.publish=ws://elsewhere:7777", &["canary"]),
    ];
    for (value, roles) in cases {
        assert_eq!(restarted(&[CANARY], &[value]), roles, "{value}");
    }
}

#[test]
fn chart_15_limits_and_lists_are_taken_without_a_restart() {
    let values = [
        "config.gateway.limit_max=77",
        "config.policy.kinds_blocked={1984}",
        "config.relay.name=Other",
        "config.matcher.scan_ms_max=777",
        "config.traces.sample_ratio=1",
        "trustedProxies={10.0.0.0/8}",
    ];
    for value in values {
        assert!(restarted(&[CANARY], &[value]).is_empty(), "{value}");
        let texts = |manifest: &Manifest| {
            let maps = manifest.of_kind("ConfigMap");
            maps.map(|map| map["data"].to_string())
                .collect::<Vec<String>>()
        };
        let changed = texts(&cluster(&[CANARY])) != texts(&cluster(&[CANARY, value]));
        assert!(changed, "{value} reaches no file");
        // Whoever doesn't want that gets new pods.
        let without = restarted(&[CANARY, "configReload=false"], &[value]);
        assert!(!without.is_empty(), "{value}");
    }
}

#[test]
fn chart_15_only_pods_that_take_changes_watch_for_them() {
    let watches = |manifest: &Manifest| {
        let workloads = manifest.workloads();
        let serve = workloads
            .iter()
            .filter(|one| !items(&one.program()["ports"]).is_empty());
        let mut found: Vec<bool> = serve
            .map(|one| {
                items(&one.program()["args"])
                    .iter()
                    .any(|arg| arg == "--watch")
            })
            .collect();
        found.dedup();
        found
    };
    assert_eq!(watches(&cluster(&[CANARY])), [true]);
    assert_eq!(watches(&cluster(&[CANARY, "configReload=false"])), [false]);
    assert_eq!(watches(&single(&[])), [true]);
    for workload in cluster(&[]).workloads() {
        // A file mounted by itself would stay as it was when the pod started.
        for mount in items(&workload.program()["volumeMounts"]) {
            assert!(mount["subPath"].is_null(), "{}: {mount}", workload.name());
        }
    }
}

#[test]
fn chart_15_what_is_not_configuration_restarts_nothing_by_its_checksum() {
    for value in [
        "gateway.replicas=7",
        "service.port=80",
        "metrics.podMonitor.enabled=true",
    ] {
        assert!(restarted(&[], &[value]).is_empty(), "{value}");
    }
}

#[test]
fn chart_15_a_changed_credential_restarts_the_roles_that_have_it() {
    let login = [
        "scylla.auth.username=relay",
        "scylla.auth.password.value=one",
    ];
    let found = restarted(&login, &["scylla.auth.password.value=two"]);
    assert_eq!(found, ["ingest", "matcher"]);
}

#[test]
fn chart_15_the_keys_that_reload_are_those_of_the_reference() {
    let path = directory().join("files/reload-keys.json");
    let text = std::fs::read_to_string(path).unwrap();
    let listed: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let mut listed: Vec<String> = listed
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")))
        .collect();
    let reference = std::fs::read_to_string(root().join("docs/reference/config.md")).unwrap();
    let mut reload: Vec<String> = reference
        .lines()
        .filter(|line| line.contains("| reload |"))
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split('`')
                .next()
                .map(str::to_owned)
        })
        .collect();
    listed.sort();
    reload.sort();
    assert_eq!(listed, reload);
}
