//! NATS and the database are others' (13); tables are made before roles start (14); the test that
//! comes with the release (17).

use std::fs;

use heliograph_chart::{Manifest, root};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{all, cluster, items, minimal, name, notes, single, str_of};

/// The oldest NATS that syncs as it should, major and minor.
const NATS_MIN: (u32, u32) = (2, 15);

fn example(name: &str) -> String {
    let path = root().join("helm/examples").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn chart_13_the_chart_brings_no_nats_and_no_database() {
    let chart = fs::read_to_string(heliograph_chart::directory().join("Chart.yaml")).unwrap();
    let chart: Value = serde_yaml_ng::from_str(&chart).unwrap();
    assert!(chart["dependencies"].is_null());
    for rendered in all() {
        for workload in rendered.manifest.workloads() {
            for container in workload.containers() {
                let image = str_of(&container["image"]);
                assert!(
                    !image.contains("/nats") && !image.contains("/scylla"),
                    "{image}"
                );
            }
        }
    }
}

#[test]
fn chart_13_addresses_reach_the_roles_that_use_them() {
    let manifest = cluster(&[
        "nats.servers={tls://a:4222,tls://b:4222}",
        "scylla.nodes={c:9042}",
    ]);
    let config = |role: &str| -> toml::Table {
        let map = manifest.of_role("ConfigMap", role).next().expect(role);
        str_of(&map["data"]["heliograph.toml"])
            .parse()
            .expect("TOML")
    };
    for role in ["gateway", "ingest", "matcher"] {
        let servers = config(role)["nats"]["servers"].to_string();
        assert_eq!(servers, r#"["tls://a:4222", "tls://b:4222"]"#, "{role}");
    }
    for role in ["ingest", "matcher", "migrate"] {
        assert_eq!(
            config(role)["scylla"]["nodes"].to_string(),
            r#"["c:9042"]"#,
            "{role}"
        );
    }
    assert!(
        !config("gateway").contains_key("scylla"),
        "gateways ask no database"
    );
}

#[test]
fn chart_13_the_example_for_nats_keeps_what_it_acknowledges() {
    let values: Value = serde_yaml_ng::from_str(&example("nats-values.yaml")).unwrap();
    let config = &values["config"];
    assert_eq!(config["cluster"]["enabled"], true);
    assert_eq!(config["cluster"]["replicas"], 3);
    let stream = &config["jetstream"];
    assert_eq!(stream["enabled"], true);
    assert_eq!(stream["merge"]["sync_interval"], "always");
    assert_eq!(stream["fileStore"]["enabled"], true);
    let tag = str_of(&values["container"]["image"]["tag"]);
    let mut parts = tag.split(['.', '-']).map(|part| part.parse::<u32>());
    let version = (
        parts.next().unwrap().unwrap(),
        parts.next().unwrap().unwrap(),
    );
    assert!(version >= NATS_MIN, "{tag}");
    let text = values["podTemplate"].to_string();
    assert!(text.contains("topology.kubernetes.io/zone"), "{text}");
    assert!(
        text.contains("DoNotSchedule"),
        "three zones, one server in each: {text}"
    );
}

#[test]
fn chart_13_the_example_for_scylla_is_a_cluster_over_three_racks() {
    let text = example("scylla-cluster.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let documents: Vec<Value> = documents
        .map(|one| Value::deserialize(one).unwrap())
        .collect();
    let cluster = documents
        .iter()
        .find(|one| one["kind"] == "ScyllaCluster")
        .expect("a ScyllaCluster");
    assert!(str_of(&cluster["apiVersion"]).starts_with("scylla.scylladb.com/"));
    let racks = items(&cluster["spec"]["datacenter"]["racks"]);
    assert_eq!(racks.len(), 3, "as many racks as copies");
    for rack in racks {
        assert!(rack["members"].as_u64() >= Some(1), "{rack}");
    }
}

#[test]
fn chart_14_tables_are_made_before_every_install_and_upgrade() {
    for rendered in all() {
        let manifest = &rendered.manifest;
        let jobs: Vec<&Value> = manifest.of_kind("Job").collect();
        let is_cluster = manifest.of_role("Deployment", "gateway").next().is_some();
        let wanted = is_cluster && rendered.name != "cluster-bare";
        assert_eq!(jobs.len(), usize::from(wanted), "{}", rendered.name);
        let Some(job) = jobs.first() else { continue };
        let hook = &job["metadata"]["annotations"];
        assert_eq!(hook["helm.sh/hook"], "pre-install,pre-upgrade");
        assert!(str_of(&hook["helm.sh/hook-delete-policy"]).contains("before-hook-creation"));
        let weight = |object: &Value| -> i64 {
            str_of(&object["metadata"]["annotations"]["helm.sh/hook-weight"])
                .parse()
                .expect("a weight")
        };
        // The release's own objects don't exist yet when it runs.
        let pod = manifest.workload("migrate");
        let needed = std::iter::once(("ServiceAccount", str_of(&pod.spec()["serviceAccountName"])))
            .chain(items(&pod.spec()["volumes"]).iter().flat_map(|volume| {
                let map = std::iter::once(("ConfigMap", str_of(&volume["configMap"]["name"])));
                let secrets = items(&volume["projected"]["sources"]).iter();
                map.chain(secrets.map(|one| ("Secret", str_of(&one["secret"]["name"]))))
            }));
        let mut found = 0;
        for (kind, needs) in needed.filter(|(_, name)| !name.is_empty()) {
            let Some(object) = manifest.named(kind, needs) else {
                continue;
            };
            let of = format!("{}: {kind} {needs}", rendered.name);
            assert_eq!(
                object["metadata"]["annotations"]["helm.sh/hook"], hook["helm.sh/hook"],
                "{of}"
            );
            assert!(weight(object) < weight(job), "{of}");
            found += 1;
        }
        assert!(found >= 2, "{}: {found}", rendered.name);
        assert_eq!(pod.spec()["restartPolicy"], "Never");
    }
}

#[test]
fn chart_14_a_dry_run_checks_the_tables_and_changes_nothing() {
    let args = |set: &[&str]| cluster(set).workload("migrate").program()["args"].to_string();
    assert!(
        args(&[]).starts_with(r#"["migrate","--config"#),
        "{}",
        args(&[])
    );
    let check = args(&["migrate.check=true"]);
    assert!(check.starts_with(r#"["migrate","--check","#), "{check}");
}

#[test]
fn chart_14_what_the_job_refuses_ends_it_before_helm_stops_waiting() {
    let job = |set: &[&str]| cluster(set).workload("migrate").object["spec"].clone();
    // A second look at the same tables finds the same.
    assert_eq!(job(&["migrate.check=true"])["backoffLimit"], 0);
    let tries = job(&[])["backoffLimit"].as_u64().expect("a number");
    // Kubernetes waits 10 s before the second try, then twice as long each time.
    let waits: u64 = (0..tries).map(|again| 10 << again).sum();
    assert!(waits <= 100, "{tries} tries take {waits} s of waiting");
    for rendered in all() {
        for job in rendered.manifest.of_kind("Job") {
            let limit = job["spec"]["activeDeadlineSeconds"].as_u64();
            let limit = limit.expect("a deadline");
            assert!(waits < limit && limit < 300, "{}: {limit}", rendered.name);
        }
    }
}

#[test]
fn chart_17_the_test_publishes_through_one_gateway_and_reads_through_every_one() {
    let manifest = cluster(&[]);
    let test = manifest.workload("test");
    let hook = &test.object["metadata"]["annotations"];
    assert_eq!(hook["helm.sh/hook"], "test");
    let args: Vec<&str> = items(&test.program()["args"]).iter().map(str_of).collect();
    assert_eq!(args[..2], ["canary", "--once"]);
    let section = canary_section(&manifest, "test");
    let host = |url: &str| {
        url.trim_start_matches("ws://")
            .split(['.', ':'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let publish = manifest
        .named("Service", &host(str_of(&section["publish"])))
        .expect("a Service");
    let read = manifest
        .named("Service", &host(str_of(&section["read"][0])))
        .expect("a Service");
    assert_ne!(name(publish), name(read));
    // Its name has the addresses of all gateways.
    assert_eq!(read["spec"]["clusterIP"], "None");
    for service in [publish, read] {
        assert!(
            manifest
                .workload("gateway")
                .is_selected(&service["spec"]["selector"])
        );
    }
    assert!(
        args.contains(&"--each-address") && args.contains(&"--check-limits"),
        "{args:?}"
    );
    // Pods take changed limits within two minutes.
    let patience = args
        .iter()
        .find_map(|one| one.strip_prefix("--limits-within="));
    assert!(patience.unwrap().parse::<u64>().unwrap() >= 120, "{args:?}");
}

/// `[canary]` in the file of a role, as JSON.
fn canary_section(manifest: &Manifest, role: &str) -> Value {
    let map = manifest.of_role("ConfigMap", role).next().expect(role);
    let text = str_of(&map["data"]["heliograph.toml"]);
    let config: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(&config["canary"]).expect("TOML is JSON")
}

#[test]
fn chart_17_the_test_has_a_file_of_its_own_with_the_limits_and_the_canary_s_settings() {
    for manifest in [
        cluster(&["config.canary.kind=777", "config.gateway.limit_max=77"]),
        single(&["config.canary.kind=777", "config.gateway.limit_max=77"]),
    ] {
        let volumes = items(&manifest.workload("test").spec()["volumes"]);
        assert_eq!(volumes[0]["configMap"]["name"], "relay-heliograph-test");
        let map = manifest
            .named("ConfigMap", "relay-heliograph-test")
            .expect("its file");
        // It comes and goes with the test, before its pod.
        let hook = &map["metadata"]["annotations"];
        assert_eq!(hook["helm.sh/hook"], "test");
        assert_eq!(hook["helm.sh/hook-weight"], "-10");
        assert_eq!(canary_section(&manifest, "test")["kind"], 777);
        let text = str_of(&map["data"]["heliograph.toml"]);
        assert!(text.contains("limit_max = 77"), "{text}");
    }
}

#[test]
fn chart_17_there_is_no_test_where_the_relay_would_refuse_its_events() {
    let key = "0000000000000000000000000000000000000000000000000000000000000001";
    let keys = format!("config.policy.pubkeys_allowed={{{key}}}");
    for (set, why) in [
        (&["config.policy.pow_min_bits=8"][..], "pow_min_bits is 8"),
        (&[&keys], "pubkeys_allowed is set"),
        (&["config.policy.kinds_allowed={1}"], "kind 1166 isn't in"),
        (&["config.policy.kinds_blocked={1166}"], "kind 1166 is in"),
    ] {
        let manifest = cluster(set);
        assert_eq!(manifest.of_role("Pod", "test").count(), 0, "{set:?}");
        let said = notes(&[&minimal()], set);
        assert!(said.contains("no test") && said.contains(why), "{said}");
        assert!(!said.contains("helm test relay"), "{said}");
    }
    let with_key = [keys.as_str(), "canary.secretKey.existingSecret=canary"];
    assert_eq!(cluster(&with_key).of_role("Pod", "test").count(), 1);
}

#[test]
fn chart_17_the_canary_reads_through_other_gateways_than_it_publishes_through() {
    let manifest = cluster(&["canary.enabled=true"]);
    let section = canary_section(&manifest, "canary");
    let read = items(&section["read"]);
    // Two readers of one name are at two of its addresses.
    assert_eq!(read.len(), 2, "{section}");
    for url in read {
        assert!(str_of(url).contains("-gateway-headless."), "{section}");
    }
    assert!(
        !str_of(&section["publish"]).contains("headless"),
        "{section}"
    );
    let section = canary_section(&single(&["canary.enabled=true"]), "canary");
    assert_eq!(
        section["read"],
        serde_json::json!([section["publish"], section["publish"]])
    );
}
