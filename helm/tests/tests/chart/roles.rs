//! One workload for each role, each with its own settings (04); one process without any (01).

use std::collections::BTreeMap;

use heliograph_chart::{Manifest, NAMESPACE, Workload};
use serde_json::{Value, json};

use crate::support::{ROLES, all, cluster, items, name, single, str_of, variable, workloads};

/// Ways to set something on a role alone: the value, and where it has to be in the pod's
/// specification.
const KNOBS: [(&str, &str, &str); 9] = [
    ("nodeSelector.disk=ssd", "/nodeSelector/disk", "ssd"),
    ("priorityClassName=high", "/priorityClassName", "high"),
    ("tolerations[0].key=relay", "/tolerations/0/key", "relay"),
    ("affinity.nodeAffinity.x=y", "/affinity/nodeAffinity/x", "y"),
    (
        "sysctls[0].name=net.ipv4.tcp_syncookies",
        "/securityContext/sysctls/0/name",
        "net.ipv4.tcp_syncookies",
    ),
    ("extraVolumes[0].name=more", "/volumes", "more"),
    (
        "extraVolumeMounts[0].name=more",
        "/containers/0/volumeMounts",
        "more",
    ),
    (
        "extraContainers[0].name=beside",
        "/containers/1/name",
        "beside",
    ),
    (
        "initContainers[0].name=before",
        "/initContainers/0/name",
        "before",
    ),
];

fn kinds(manifest: &Manifest) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    for object in &manifest.objects {
        *kinds.entry(str_of(&object["kind"])).or_default() += 1;
    }
    kinds
}

#[test]
fn chart_01_zero_values_render_one_process() {
    let manifest = single(&[]);
    let expected = [
        ("ConfigMap", 1),
        ("Pod", 1),
        ("Service", 1),
        ("ServiceAccount", 1),
        ("StatefulSet", 1),
    ];
    let mut found = kinds(&manifest);
    // `helm test`, which isn't part of the release, brings its own configuration.
    let test = manifest
        .of_kind("Pod")
        .all(|pod| !pod["metadata"]["annotations"]["helm.sh/hook"].is_null());
    assert!(test, "a pod that is no test");
    let of_test = manifest
        .of_kind("ConfigMap")
        .filter(|map| !map["metadata"]["annotations"]["helm.sh/hook"].is_null());
    *found.get_mut("ConfigMap").unwrap() -= of_test.count();
    assert_eq!(found, BTreeMap::from(expected));
    let process = manifest.workload("standalone");
    assert_eq!(process.object["spec"]["replicas"], 1);
    let claims = items(&process.object["spec"]["volumeClaimTemplates"]);
    assert_eq!(claims.len(), 1);
    assert_eq!(
        claims[0]["spec"]["resources"]["requests"]["storage"],
        "20Gi"
    );
    let mounted = items(&process.program()["volumeMounts"]);
    assert!(
        mounted
            .iter()
            .any(|mount| mount["name"] == "data" && mount["mountPath"] == "/data")
    );
    assert_eq!(process.program()["args"][0], "standalone");
}

#[test]
fn chart_01_one_process_depends_on_nothing_outside() {
    for manifest in [single(&[]), single(&["canary.enabled=true"])] {
        for map in manifest.of_kind("ConfigMap") {
            let text = str_of(&map["data"]["heliograph.toml"]);
            assert!(
                !text.contains("[nats]") && !text.contains("[scylla]"),
                "{text}"
            );
        }
        for workload in manifest.workloads() {
            let program = workload.program();
            for other in ["HELIOGRAPH_NATS", "HELIOGRAPH_SCYLLA"] {
                let found = items(&program["env"]);
                assert!(
                    !found
                        .iter()
                        .any(|one| str_of(&one["name"]).starts_with(other))
                );
            }
        }
    }
}

#[test]
fn chart_01_the_volume_can_be_a_claim_that_is_there_or_given_up_knowingly() {
    let manifest = single(&["persistence.existingClaim=events"]);
    let process = manifest.workload("standalone");
    assert!(process.object["spec"]["volumeClaimTemplates"].is_null());
    let volume = items(&process.spec()["volumes"])
        .iter()
        .find(|volume| volume["name"] == "data");
    assert_eq!(
        volume.unwrap()["persistentVolumeClaim"]["claimName"],
        "events"
    );
    let manifest = single(&[
        "persistence.enabled=false",
        "persistence.acceptDataLoss=true",
    ]);
    let process = manifest.workload("standalone");
    let volume = items(&process.spec()["volumes"])
        .iter()
        .find(|volume| volume["name"] == "data");
    assert!(volume.unwrap()["emptyDir"].is_object());
}

#[test]
fn chart_04_each_role_runs_as_what_it_needs() {
    let manifest = cluster(&["canary.enabled=true"]);
    let expected = [
        ("gateway", "Deployment", 3),
        ("ingest", "Deployment", 2),
        ("matcher", "StatefulSet", 2),
        ("canary", "Deployment", 1),
    ];
    for (role, kind, replicas) in expected {
        let workload = manifest.workload(role);
        assert_eq!(workload.object["kind"], kind, "{role}");
        assert_eq!(workload.object["spec"]["replicas"], replicas, "{role}");
        assert_eq!(workload.program()["args"][0], role);
    }
    assert_eq!(manifest.workload("migrate").object["kind"], "Job");
    assert!(manifest.of_kind("PersistentVolumeClaim").next().is_none());
    let strategy = &manifest.workload("gateway").object["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*strategy, json!({"maxSurge": "25%", "maxUnavailable": 0}));
    let matcher = manifest.workload("matcher");
    let service = str_of(&matcher.object["spec"]["serviceName"]);
    let service = manifest
        .named("Service", service)
        .expect("the matchers' names have a Service");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert!(matcher.is_selected(&service["spec"]["selector"]));
}

#[test]
fn chart_04_what_is_set_on_a_role_is_set_on_it_alone() {
    for role in ["gateway", "ingest", "matcher", "canary", "migrate"] {
        let mut set: Vec<String> = KNOBS
            .iter()
            .map(|(value, ..)| format!("{role}.{value}"))
            .collect();
        set.extend(
            [
                "podAnnotations.note=x",
                "podLabels.tier=x",
                "annotations.note=x",
                "extraEnv[0].name=MORE",
                "extraArgs[0]=--set=log.level=debug",
                "extraVolumes[0].emptyDir.medium=Memory",
                "extraVolumeMounts[0].mountPath=/more",
                "extraContainers[0].image=a:1",
                "initContainers[0].image=a:1",
                "resources.requests.memory=77Mi",
                "image.tag=other",
            ]
            .map(|value| format!("{role}.{value}")),
        );
        let mut set: Vec<&str> = set.iter().map(String::as_str).collect();
        set.push("canary.enabled=true");
        let manifest = cluster(&set);
        for workload in manifest.workloads() {
            let here = workload.role() == role;
            check_knobs(&workload, here);
        }
    }
}

#[track_caller]
fn check_knobs(workload: &Workload<'_>, here: bool) {
    let of = workload.name();
    for (value, pointer, expected) in KNOBS {
        let found = workload.spec().pointer(pointer).unwrap_or(&Value::Null);
        let found = found == expected || items(found).iter().any(|item| item["name"] == expected);
        assert_eq!(found, here, "{of}: {value}");
    }
    let program = workload.program();
    let template = &workload.template["metadata"];
    let has = [
        ("podAnnotations", template["annotations"]["note"] == "x"),
        ("podLabels", template["labels"]["tier"] == "x"),
        ("extraEnv", variable(program, "MORE").is_some()),
        (
            "extraArgs",
            items(&program["args"])
                .iter()
                .any(|one| one == "--set=log.level=debug"),
        ),
        (
            "resources",
            program["resources"]["requests"]["memory"] == "77Mi",
        ),
        ("image", str_of(&program["image"]).ends_with(":other")),
    ];
    for (knob, found) in has {
        assert_eq!(found, here, "{of}: {knob}");
    }
    if workload.object["kind"] != "Pod" {
        assert_eq!(
            workload.object["metadata"]["annotations"]["note"] == "x",
            here,
            "{of}"
        );
    }
}

#[test]
fn chart_04_every_container_has_resources_and_the_program_its_three_probes() {
    for (of, workload) in workloads() {
        for container in workload.containers() {
            let memory = &container["resources"]["limits"]["memory"];
            assert!(
                memory.is_string(),
                "{of}: {} has no memory limit",
                container["name"]
            );
        }
        let program = workload.program();
        assert!(
            program["resources"]["requests"]["cpu"].is_string(),
            "{of}: no request for CPU"
        );
        assert!(
            program["resources"]["requests"]["memory"].is_string(),
            "{of}"
        );
        if ["Job", "Pod"].contains(&str_of(&workload.object["kind"])) {
            continue;
        }
        let probes = [
            ("startup", "/startupz"),
            ("liveness", "/livez"),
            ("readiness", "/readyz"),
        ];
        for (probe, path) in probes {
            let get = &program[format!("{probe}Probe")]["httpGet"];
            assert_eq!(get["path"], path, "{of}");
            let ports = items(&program["ports"]);
            let port = ports.iter().find(|port| port["name"] == get["port"]);
            assert_eq!(port.expect("a named port")["containerPort"], 7778, "{of}");
        }
    }
}

#[test]
fn chart_04_selectors_choose_the_pods_of_their_role_and_never_change() {
    let mut selectors: BTreeMap<&str, &Value> = BTreeMap::new();
    for (of, workload) in workloads() {
        let selector = &workload.object["spec"]["selector"]["matchLabels"];
        if selector.is_null() {
            continue;
        }
        assert!(workload.is_selected(selector), "{of}");
        // What changes with an upgrade must not be in it: Kubernetes refuses another one.
        let first = selectors.entry(workload.role()).or_insert(selector);
        assert_eq!(selector, *first, "{of}");
        for name in selector.as_object().unwrap().keys() {
            let stays =
                ["name", "instance", "component"].map(|end| format!("app.kubernetes.io/{end}"));
            assert!(stays.contains(name), "{of}: {name}");
        }
    }
    assert_eq!(selectors.len(), 5, "{selectors:?}");
    for rendered in all() {
        for workload in rendered.manifest.workloads() {
            let own = &workload.object["spec"]["selector"]["matchLabels"];
            let others = rendered.manifest.workloads();
            let chosen = others.iter().filter(|other| other.is_selected(own)).count();
            assert!(
                own.is_null() || chosen == 1,
                "{}: {}",
                rendered.name,
                workload.name()
            );
        }
    }
}

#[test]
fn chart_04_services_lead_to_pods_and_ports_that_are_there() {
    for rendered in all() {
        let workloads = rendered.manifest.workloads();
        let mut services = 0;
        for service in rendered.manifest.of_kind("Service") {
            let of = format!("{}: Service {}", rendered.name, name(service));
            let selector = &service["spec"]["selector"];
            let chosen: Vec<&Workload<'_>> = workloads
                .iter()
                .filter(|one| one.is_selected(selector))
                .collect();
            assert_eq!(chosen.len(), 1, "{of}");
            for port in items(&service["spec"]["ports"]) {
                let ports = items(&chosen[0].program()["ports"]);
                let target = &port["targetPort"];
                let there = ports
                    .iter()
                    .any(|one| one["name"] == *target || one["containerPort"] == *target);
                assert!(there, "{of}: {target}");
            }
            services += 1;
        }
        assert!(services > 0, "{}", rendered.name);
    }
}

/// Fewest pods of a role that is scaled, by default.
const LEAST: u64 = 2;

/// The pods, of so many, that a number or a percentage means; Kubernetes rounds up.
fn share(value: &Value, pods: u64) -> Option<u64> {
    let percent = value.as_str().map(|text| text.trim_end_matches('%'));
    let percent = percent.map(|text| text.parse::<u64>().expect("a percentage"));
    percent
        .map(|percent| (pods * percent).div_ceil(100))
        .or(value.as_u64())
}

#[test]
fn chart_04_a_share_of_the_pods_that_lets_one_go_renders() {
    for (role, stay) in [("gateway", "66%"), ("matcher", "50%"), ("ingest", "1")] {
        let max = format!("{role}.pdb.maxUnavailable=null");
        let min = format!("{role}.pdb.minAvailable={stay}");
        let manifest = cluster(&[&max, &min]);
        let budget = manifest.of_role("PodDisruptionBudget", role).next();
        assert!(!budget.expect(role)["spec"]["minAvailable"].is_null());
    }
}

#[test]
fn chart_04_budgets_choose_their_role_and_leave_pods_evictable() {
    let manifest = cluster(&["canary.enabled=true"]);
    for role in ROLES {
        let budget = manifest
            .of_role("PodDisruptionBudget", role)
            .next()
            .expect(role);
        assert_eq!(budget["spec"]["maxUnavailable"], 1, "{role}");
        assert!(
            manifest
                .workload(role)
                .is_selected(&budget["spec"]["selector"]["matchLabels"])
        );
    }
    assert!(
        manifest
            .of_role("PodDisruptionBudget", "canary")
            .next()
            .is_none()
    );
    for rendered in all() {
        for budget in rendered.manifest.of_kind("PodDisruptionBudget") {
            let of = format!("{}: {}", rendered.name, name(budget));
            let spec = &budget["spec"];
            assert_ne!(spec["maxUnavailable"], 0, "{of}");
            assert!(
                spec["maxUnavailable"].is_null() != spec["minAvailable"].is_null(),
                "{of}"
            );
            let chosen = rendered.manifest.workloads();
            let chosen = chosen
                .iter()
                .find(|one| one.is_selected(&spec["selector"]["matchLabels"]));
            let pods = chosen.unwrap_or_else(|| panic!("{of}")).object["spec"]["replicas"].as_u64();
            let pods = pods.unwrap_or(LEAST);
            let stay = share(&spec["minAvailable"], pods);
            let may_go = share(&spec["maxUnavailable"], pods);
            let may_go = may_go.or(stay.map(|stay| pods.saturating_sub(stay)));
            assert!(may_go > Some(0), "{of}: none of {pods} pods may go");
        }
    }
}

#[test]
fn chart_04_pods_are_spread_over_zones_and_nodes() {
    let manifest = cluster(&[]);
    for role in ROLES {
        let workload = manifest.workload(role);
        let rules = items(&workload.spec()["topologySpreadConstraints"]);
        for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
            let rule = rules
                .iter()
                .find(|rule| rule["topologyKey"] == key)
                .expect(key);
            assert_eq!(rule["whenUnsatisfiable"], "ScheduleAnyway", "{role}");
            assert!(
                workload.is_selected(&rule["labelSelector"]["matchLabels"]),
                "{role}"
            );
        }
    }
    let manifest = cluster(&[
        "gateway.topologySpread.host=DoNotSchedule",
        "gateway.topologySpread.zone=",
    ]);
    let gateway = manifest.workload("gateway");
    let rules = items(&gateway.spec()["topologySpreadConstraints"]);
    let found: Vec<(&str, &str)> = rules
        .iter()
        .map(|rule| {
            (
                str_of(&rule["topologyKey"]),
                str_of(&rule["whenUnsatisfiable"]),
            )
        })
        .collect();
    assert_eq!(found, [("kubernetes.io/hostname", "DoNotSchedule")]);
}

#[test]
fn chart_04_every_object_belongs_to_the_release() {
    for rendered in all() {
        let mut names = Vec::new();
        for object in &rendered.manifest.objects {
            let of = format!("{}: {} {}", rendered.name, object["kind"], name(object));
            let is_extra =
                rendered.name == "cluster-everything" && name(object).ends_with("-extra");
            if !is_extra {
                let labels = &object["metadata"]["labels"];
                assert_eq!(labels["app.kubernetes.io/instance"], "relay", "{of}");
                assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{of}");
                let namespace = str_of(&object["metadata"]["namespace"]);
                let elsewhere = name(object).contains("-dashboard-");
                assert!(namespace == NAMESPACE || elsewhere, "{of}: {namespace}");
            }
            assert!(name(object).len() <= 63, "{of}");
            names.push((str_of(&object["kind"]), name(object)));
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            count,
            "{}: two objects of one name",
            rendered.name
        );
    }
}
