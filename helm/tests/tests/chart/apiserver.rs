//! Every file of values installed into a real API server, and upgraded: it knows what no schema says,
//! such as what may not change.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use heliograph_chart::{RELEASE, directory};
use heliograph_sandbox::{kubernetes::ApiServer, wait};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Rendered, all, chart, in_parallel, items, minimal, name, str_of};

/// Time until the server serves a new kind; a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Priority classes that files of values name.
const PRIORITIES: [&str; 2] = ["high", "relay"];

/// A server with the kinds of others that the chart has objects of.
pub(crate) fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = ApiServer::start().expect("the API server starts");
        define_kinds(&server);
        namespace(&server, "monitoring");
        for priority in PRIORITIES {
            let class = json!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": priority},
                "value": 1000,
            });
            let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
            server.create(path, &class).expect("a priority class");
        }
        server
    })
}

fn define_kinds(server: &ApiServer) {
    const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut names = Vec::new();
    let entries = fs::read_dir(&chart().tools().definitions).expect("definitions are installed");
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = fs::read_to_string(&path).expect("a definition can be read");
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let definition = Value::deserialize(document).expect("a definition is YAML");
            if definition["kind"] == "CustomResourceDefinition" {
                let path = format!("{PATH}/{}", name(&definition));
                server
                    .apply(&path, &definition)
                    .expect("a definition is right");
                names.push(path);
            }
        }
    }
    assert!(names.len() >= 5, "{names:?}");
    for path in names {
        wait::within(PATIENCE, &format!("established {path}"), || {
            let definition = server.get(&path).expect("the server answers");
            let conditions = items(&definition["status"]["conditions"]).iter();
            let mut established = conditions.filter(|one| one["type"] == "Established");
            established.any(|one| one["status"] == "True").then_some(())
        });
    }
}

/// Makes a namespace whose pods have to be restricted.
fn namespace(server: &ApiServer, name: &str) {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
        }},
    });
    server
        .create("/api/v1/namespaces", &namespace)
        .expect("a new namespace");
}

/// Runs helm against the server; what it said, if it failed or warned.
fn helm(namespace: &str, arguments: &[&str], files: &[&Path]) -> Result<(), String> {
    static CACHE: LazyLock<tempfile::TempDir> =
        LazyLock::new(|| tempfile::tempdir().expect("a directory"));
    let mut helm: Command = chart().helm(arguments);
    // The migration is a hook, and without nodes no Job ever ends.
    helm.args([RELEASE])
        .arg(directory())
        .args(["--no-hooks", "--namespace", namespace]);
    helm.arg("--kubeconfig").arg(server().kubeconfig());
    helm.env("HELM_CACHE_HOME", CACHE.path())
        .env("KUBECACHEDIR", CACHE.path());
    for file in files {
        helm.arg("--values").arg(file);
    }
    let output = helm.output().expect("helm starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Warnings of the server, as about a pod that isn't restricted, are as bad.
    if output.status.success() && !said.contains("Warning:") && !said.contains("would violate") {
        Ok(())
    } else {
        Err(format!("{namespace}: helm {}: {said}", arguments.join(" ")))
    }
}

fn report(results: Vec<Result<(), String>>) {
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The path of an object's collection, by what the server says of its kind.
fn collection(object: &Value, namespace: &str) -> String {
    let version = str_of(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let root = format!("/{root}/{version}");
    let kinds = server().get(&root).expect("the server knows the version");
    let kinds = items(&kinds["resources"]).iter();
    let mut kinds = kinds.filter(|one| one["kind"] == object["kind"]);
    let kind = kinds
        .find(|one| !str_of(&one["name"]).contains('/'))
        .expect("the kind");
    let plural = str_of(&kind["name"]);
    format!("{root}/namespaces/{namespace}/{plural}")
}

#[test]
fn chart_12_apiserver_takes_every_file_installed_and_upgraded() {
    let server = server();
    report(in_parallel(all(), |rendered| {
        let namespace_name = format!("install-{}", rendered.name);
        namespace(server, &namespace_name);
        helm(&namespace_name, &["install"], &[&rendered.file])?;
        // Another configuration, and more of the same.
        let set = "config.relay.name=Other,podSecurityContext.fsGroup=65533,service.labels.a=b";
        let upgrade = ["upgrade", "--reuse-values", "--set", set];
        helm(&namespace_name, &upgrade, &[])?;
        stored(rendered, &namespace_name)
    }));
}

/// Everything that was rendered is there, and the upgrade has arrived.
fn stored(rendered: &Rendered, namespace: &str) -> Result<(), String> {
    for object in &rendered.manifest.objects {
        if !object["metadata"]["annotations"]["helm.sh/hook"].is_null() {
            continue;
        }
        let place = match str_of(&object["metadata"]["namespace"]) {
            "" | heliograph_chart::NAMESPACE => namespace,
            other => other,
        };
        let path = format!("{}/{}", collection(object, place), name(object));
        server()
            .get(&path)
            .map_err(|error| format!("{}: {error}", rendered.name))?;
    }
    let edge = rendered.manifest.workloads();
    let edge = edge
        .iter()
        .find(|one| ["standalone", "gateway"].contains(&one.role()));
    let edge = edge.expect("somebody serves").object;
    let path = format!("{}/{}", collection(edge, namespace), name(edge));
    let stored = server().get(&path).map_err(|error| error.to_string())?;
    let group = &stored["spec"]["template"]["spec"]["securityContext"]["fsGroup"];
    if *group == 65533 {
        Ok(())
    } else {
        Err(format!(
            "{}: the upgrade hasn't arrived: {group}",
            rendered.name
        ))
    }
}

#[test]
fn chart_04_apiserver_lets_a_cluster_change_into_any_other() {
    let server = server();
    let named = |rendered: &&Rendered| {
        // With another name its objects are others, not changed ones.
        rendered.name.starts_with("cluster-")
            && !rendered
                .manifest
                .of_role("Deployment", "gateway")
                .any(|one| name(one) == "relay-gateway")
    };
    let clusters: Vec<&Rendered> = all().iter().filter(named).collect();
    assert!(clusters.len() >= 6, "{} clusters", clusters.len());
    let minimal = minimal();
    report(in_parallel(&clusters, |rendered| {
        let namespace_name = format!("change-{}", rendered.name);
        namespace(server, &namespace_name);
        helm(&namespace_name, &["install"], &[&minimal])?;
        helm(
            &namespace_name,
            &["upgrade", "--reset-values"],
            &[&rendered.file],
        )?;
        helm(&namespace_name, &["upgrade", "--reset-values"], &[&minimal])
    }));
}

#[test]
fn chart_08_apiserver_admits_every_pod_as_restricted() {
    let server = server();
    namespace(server, "restricted");
    let mut results = Vec::new();
    let mut admitted = 0;
    for rendered in all() {
        for workload in rendered.manifest.workloads() {
            let mut pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "pod", "labels": workload.labels()},
                "spec": workload.spec(),
            });
            // What the controller of a StatefulSet does.
            let claims = items(&workload.object["spec"]["volumeClaimTemplates"]);
            for claim in claims {
                let name = &claim["metadata"]["name"];
                let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
                pod["spec"]["volumes"]
                    .as_array_mut()
                    .expect("volumes")
                    .push(volume);
            }
            let path = "/api/v1/namespaces/restricted/pods?dryRun=All&fieldValidation=Strict";
            let answer = server.create(path, &pod);
            admitted += usize::from(answer.is_ok());
            let of = format!("{}: {}", rendered.name, workload.name());
            results.push(answer.map(drop).map_err(|error| format!("{of}: {error}")));
        }
    }
    report(results);
    assert!(admitted > 40, "{admitted} pods");
    // The server does look.
    let open = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "open"},
        "spec": {"containers": [{"name": "open", "image": "a:1"}]},
    });
    let path = "/api/v1/namespaces/restricted/pods?dryRun=All";
    let error = server.create(path, &open).unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity"), "{error}");
}

#[test]
fn chart_14_apiserver_takes_the_hooks() {
    let server = server();
    namespace(server, "hooks");
    let mut taken = 0;
    let mut results = Vec::new();
    for rendered in all() {
        for object in &rendered.manifest.objects {
            if object["metadata"]["annotations"]["helm.sh/hook"].is_null() {
                continue;
            }
            let mut object = object.clone();
            object["metadata"]["namespace"] = json!("hooks");
            // Objects of many files have one name; some of their fields can't be changed.
            let own = format!("{}-{}", rendered.name, name(&object));
            object["metadata"]["name"] = json!(own);
            let path = format!("{}/{own}", collection(&object, "hooks"));
            let answer = server.apply(&path, &object);
            taken += usize::from(answer.is_ok());
            results.push(answer.map(drop).map_err(|error| format!("{own}: {error}")));
        }
    }
    report(results);
    assert!(taken > 20, "{taken} hooks");
}

#[test]
fn chart_01_apiserver_refuses_another_volume_as_upgrading_says() {
    let page = fs::read_to_string(directory().join("UPGRADING.md")).expect("the page is there");
    let (_, row) = page.split_once("**The volume**").expect("its paragraph");
    let row = row.split("\n- ").next().unwrap_or_default();
    let row = row.split("\n\n").next().unwrap_or_default();
    namespace(server(), "volume");
    helm("volume", &["install"], &[]).expect("one process is installed");
    let upgrade = |set: &str| helm("volume", &["upgrade", "--reset-values", "--set", set], &[]);
    let fixed = [
        "size=30Gi",
        "storageClass=fast",
        "accessModes={ReadWriteMany}",
        "labels.a=b",
        "annotations.a=b",
        "existingClaim=events",
        "enabled=false,persistence.acceptDataLoss=true",
    ];
    for set in fixed {
        let key = set.split(['=', '.']).next().unwrap_or_default();
        assert!(row.contains(&format!("`{key}`")), "UPGRADING.md: {key}");
        let error = upgrade(&format!("persistence.{set}")).unwrap_err();
        assert!(
            error.contains("Forbidden: updates to statefulset spec"),
            "{set}: {error}"
        );
    }
    assert!(row.contains("updates to statefulset spec"), "{row}");
    // The only one that is no part of it.
    assert!(row.contains("`whenDeleted`"), "{row}");
    upgrade("persistence.whenDeleted=Delete").expect("it can be changed");
}

#[test]
fn chart_12_apiserver_refuses_what_is_misspelt() {
    let server = server();
    namespace(server, "misspelt");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "extraObjects:\n  - apiVersion: v1\n    kind: Service\n    metadata: { name: a }\n    \
                spec: { prots: [] }\n";
    fs::write(file.path(), text).expect("a file");
    let error = helm("misspelt", &["install"], &[file.path()]).unwrap_err();
    assert!(error.contains("prots"), "{error}");
}
