//! The same values give the same text, and a change of it shows (16); images and what the chart says
//! of itself (18).

use std::fs;

use heliograph_chart::{directory, golden};
use serde_json::Value;

use crate::support::{all, chart, cluster, in_parallel, items, single, str_of, text, workloads};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn chart_yaml() -> Value {
    let text = fs::read_to_string(directory().join("Chart.yaml"));
    serde_yaml_ng::from_str(&text.expect("it is there")).expect("it is YAML")
}

#[test]
fn chart_16_two_renderings_are_the_same() {
    let again = in_parallel(all(), |rendered| text(&[&rendered.file], &[]));
    for (rendered, again) in all().iter().zip(again) {
        assert!(
            rendered.text == again,
            "{} renders differently",
            rendered.name
        );
    }
}

#[test]
fn chart_16_golden_files_are_what_the_chart_renders() {
    let goldens = golden::all(chart()).unwrap();
    assert_eq!(goldens.len(), heliograph_chart::ci_files().unwrap().len());
    let found: Vec<String> = goldens
        .iter()
        .filter_map(golden::Golden::difference)
        .collect();
    assert!(
        found.is_empty(),
        "run `cargo xtask chart`:\n{}",
        found.join("\n")
    );
    assert!(golden::orphans(&goldens).unwrap().is_empty());
}

#[test]
fn chart_18_an_image_is_named_by_digest_or_tag_never_by_latest() {
    let mut programs = 0;
    for (of, workload) in workloads() {
        for container in workload.containers() {
            let image = str_of(&container["image"]);
            let name = image.rsplit('/').next().unwrap();
            let pinned = image.contains("@sha256:")
                || name
                    .split_once(':')
                    .is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest");
            assert!(pinned, "{of}: {image}");
            programs += usize::from(container["name"] == "heliograph");
        }
    }
    assert!(programs > 40, "{programs} programs");
    let version = chart_yaml();
    let version = str_of(&version["appVersion"]);
    let image = single(&[]);
    let image = str_of(&image.workload("standalone").program()["image"]).to_owned();
    assert_eq!(
        image,
        format!("ghcr.io/heliograph-relay/heliograph:{version}")
    );
}

#[test]
fn chart_18_digest_registry_and_pull_secrets_reach_every_pod() {
    let manifest = cluster(&[
        &format!("image.digest={DIGEST}"),
        "global.imageRegistry=registry.example.com",
        "global.imagePullSecrets={a}",
        "image.pullSecrets={b}",
        "image.pullPolicy=Always",
        "canary.enabled=true",
    ]);
    let workloads = manifest.workloads();
    assert_eq!(workloads.len(), 6, "four roles, the migration and the test");
    for workload in workloads {
        let program = workload.program();
        let expected = format!("registry.example.com/heliograph-relay/heliograph@{DIGEST}");
        assert_eq!(program["image"], expected, "{}", workload.name());
        assert_eq!(program["imagePullPolicy"], "Always");
        let secrets: Vec<&str> = items(&workload.spec()["imagePullSecrets"])
            .iter()
            .map(|secret| str_of(&secret["name"]))
            .collect();
        assert_eq!(secrets, ["a", "b"], "{}", workload.name());
    }
}

#[test]
fn chart_18_a_role_can_run_another_image_for_an_upgrade_step_by_step() {
    let manifest = cluster(&[&format!("image.digest={DIGEST}"), "gateway.image.tag=1.2.3"]);
    let image = |role: &str| str_of(&manifest.workload(role).program()["image"]).to_owned();
    assert!(image("gateway").ends_with(":1.2.3"), "{}", image("gateway"));
    assert!(image("ingest").ends_with(DIGEST), "{}", image("ingest"));
}

#[test]
fn chart_18_the_chart_says_what_it_is_and_what_changes() {
    let chart = chart_yaml();
    assert_eq!(chart["apiVersion"], "v2");
    let annotations = &chart["annotations"];
    for name in [
        "artifacthub.io/images",
        "artifacthub.io/license",
        "artifacthub.io/links",
    ] {
        assert!(annotations[name].is_string(), "{name}");
    }
    let image = single(&[]);
    let image = str_of(&image.workload("standalone").program()["image"]).to_owned();
    assert!(
        str_of(&annotations["artifacthub.io/images"]).contains(&image),
        "{image}"
    );
    let manifest = fs::read_to_string(heliograph_chart::root().join("Cargo.toml")).unwrap();
    let version = format!("version = \"{}\"", str_of(&chart["appVersion"]));
    assert!(manifest.contains(&version), "appVersion is the program's");
    let upgrading = fs::read_to_string(directory().join("UPGRADING.md")).unwrap();
    // Each minor version has a section, also if there is nothing to do.
    let (minor, _patch) = str_of(&chart["version"]).rsplit_once('.').unwrap();
    assert!(
        upgrading.contains(&format!("## To {minor}\n")),
        "UPGRADING.md has no section for {minor}"
    );
}

#[test]
fn chart_18_a_package_has_all_that_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let mut package = chart().helm(&["package", "--destination"]);
    let output = package
        .arg(directory.path())
        .arg(heliograph_chart::directory())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let package = fs::read_dir(directory.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // The same objects, dashboards and rules included, which are links into deploy/ in the tree.
    let mut helm = chart().helm(&[
        "template",
        "relay",
        "--namespace",
        "nostr",
        "--kube-version",
        "1.36.0",
    ]);
    let everything = crate::support::ci("cluster-everything");
    let output = helm
        .arg(&package)
        .arg("--values")
        .arg(&everything.file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stdout == everything.text.as_bytes(),
        "the package renders otherwise"
    );
}
