//! Every container is as restricted as the pod security standard "restricted" wants it (08).

use serde_json::{Value, json};

use crate::support::{items, single, str_of, workloads};

/// Kinds of volumes that the standard allows.
const VOLUMES: [&str; 7] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
];

#[test]
fn chart_08_every_container_is_restricted() {
    let mut seen = 0;
    for (of, workload) in workloads() {
        for container in workload.containers() {
            let of = format!("{of}: {}", container["name"]);
            let own = &container["securityContext"];
            assert_eq!(own["runAsNonRoot"], true, "{of}");
            assert_eq!(own["readOnlyRootFilesystem"], true, "{of}");
            assert_eq!(own["allowPrivilegeEscalation"], false, "{of}");
            assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}), "{of}");
            assert_eq!(own["seccompProfile"]["type"], "RuntimeDefault", "{of}");
            assert!(
                own["runAsUser"].as_u64() > Some(0),
                "{of}: {}",
                own["runAsUser"]
            );
            assert!(own["privileged"].is_null(), "{of}");
            for port in items(&container["ports"]) {
                assert!(port["hostPort"].is_null(), "{of}");
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} containers");
}

#[test]
fn chart_08_every_pod_is_restricted_and_has_no_token() {
    for (of, workload) in workloads() {
        let spec = workload.spec();
        assert_eq!(spec["automountServiceAccountToken"], false, "{of}");
        assert_eq!(spec["enableServiceLinks"], false, "{of}");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{of}");
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{of}"
        );
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[host].is_null(), "{of}: {host}");
        }
        for volume in items(&spec["volumes"]) {
            let mut kinds = volume
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "name");
            let kind = kinds.next().unwrap();
            assert!(VOLUMES.contains(&kind.as_str()), "{of}: {kind}");
            for source in items(&volume["projected"]["sources"]) {
                assert!(source["serviceAccountToken"].is_null(), "{of}: a token");
            }
        }
    }
    for rendered in crate::support::all() {
        for account in rendered.manifest.of_kind("ServiceAccount") {
            assert_eq!(
                account["automountServiceAccountToken"], false,
                "{}",
                rendered.name
            );
        }
        for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
            assert!(
                rendered.manifest.of_kind(kind).next().is_none(),
                "{}: a {kind}",
                rendered.name
            );
        }
    }
}

#[test]
fn chart_08_the_program_can_only_write_where_its_volumes_are() {
    for (of, workload) in workloads() {
        let volumes = items(&workload.spec()["volumes"]);
        let claims = items(&workload.object["spec"]["volumeClaimTemplates"]);
        for mount in items(&workload.program()["volumeMounts"]) {
            let name = &mount["name"];
            let writable = mount["readOnly"] != true;
            let path = str_of(&mount["mountPath"]);
            let is_ours = ["/data", "/scratch"].contains(&path);
            assert_eq!(writable, is_ours, "{of}: {path}");
            let there = volumes.iter().any(|volume| volume["name"] == *name)
                || claims
                    .iter()
                    .any(|claim| claim["metadata"]["name"] == *name);
            assert!(there, "{of}: no volume {name}");
        }
    }
}

#[test]
fn chart_08_containers_of_ones_own_may_say_otherwise_and_only_they() {
    let own = "single.extraContainers[0]";
    let manifest = single(&[
        &format!("{own}.name=beside"),
        &format!("{own}.image=a:1"),
        &format!("{own}.securityContext.runAsUser=7"),
    ]);
    let process = manifest.workload("standalone");
    let users: Vec<&Value> = process
        .containers()
        .into_iter()
        .map(|container| &container["securityContext"]["runAsUser"])
        .collect();
    assert_eq!(users, [&json!(65532), &json!(7)]);
}
