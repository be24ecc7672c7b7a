//! What the chart renders, given to the program itself: its arguments, variables and files.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use heliograph_chart::{Manifest, Workload};
use heliograph_testkit::process::{self, Relay};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{all, in_parallel, items, single, str_of};

/// A container's files in a directory, and its arguments and variables with that directory's paths.
struct Container {
    directory: TempDir,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Paths in the container, and where they are here.
    mounts: Vec<(String, PathBuf)>,
}

/// What a Secret holds that isn't part of the release.
fn stand_in(file: &str) -> &'static str {
    match file {
        "canary-secret-key" => "0000000000000000000000000000000000000000000000000000000000000003",
        "traces-headers" => "authorization=Bearer x",
        _ => "x",
    }
}

impl Container {
    fn of(manifest: &Manifest, workload: &Workload<'_>) -> Self {
        let mut container = Self {
            directory: tempfile::tempdir().expect("a directory"),
            arguments: Vec::new(),
            variables: Vec::new(),
            mounts: Vec::new(),
        };
        let program = workload.program();
        for mount in items(&program["volumeMounts"]) {
            let path = str_of(&mount["mountPath"]);
            let here = container
                .directory
                .path()
                .join(path.trim_start_matches('/'));
            fs::create_dir_all(&here).expect("a directory");
            let volumes = items(&workload.spec()["volumes"]);
            if let Some(volume) = volumes
                .iter()
                .find(|volume| volume["name"] == mount["name"])
            {
                fill(manifest, volume, &here);
            }
            container.mounts.push((path.to_owned(), here));
        }
        for one in items(&program["env"]) {
            let value = match str_of(&one["valueFrom"]["fieldRef"]["fieldPath"]) {
                "" => str_of(&one["value"]).to_owned(),
                "metadata.name" => "relay-pod-0".to_owned(),
                path => panic!("{}: not understood here: {path}", workload.name()),
            };
            let value = container.expand(&value);
            container
                .variables
                .push((str_of(&one["name"]).to_owned(), value));
        }
        let arguments = items(&program["args"]).iter();
        container.arguments = arguments.map(|one| container.expand(str_of(one))).collect();
        container
    }

    /// As Kubernetes does with variables in variables; and with paths as they are here.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.variables {
            text = text.replace(&format!("$({name})"), value);
        }
        for (path, here) in &self.mounts {
            let here = here.to_string_lossy();
            text = match text.split_once('=') {
                Some((flag, value)) if value.starts_with(path) => {
                    format!("{flag}={}", value.replacen(path, &here, 1))
                }
                _ if text.starts_with(path) => text.replacen(path, &here, 1),
                _ => text,
            };
        }
        text
    }

    /// The program with the container's variables and these arguments.
    fn run(&self, arguments: &[String]) -> Output {
        let output = self.command(arguments).output();
        output.expect("the program starts")
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command: Command = process::command();
        command.args(arguments).envs(self.variables.iter().cloned());
        command
    }

    /// `heliograph config …` with the container's files, variables and settings.
    fn config(&self, what: &str) -> Output {
        let settings = self
            .arguments
            .iter()
            .filter(|one| one.starts_with("--config=") || one.starts_with("--set="));
        let mut arguments = vec!["config".to_owned(), what.to_owned()];
        arguments.extend(settings.cloned());
        self.run(&arguments)
    }
}

/// Puts into a directory what a volume has.
fn fill(manifest: &Manifest, volume: &Value, here: &Path) {
    let map = str_of(&volume["configMap"]["name"]);
    if !map.is_empty() {
        let map = manifest
            .named("ConfigMap", map)
            .unwrap_or_else(|| panic!("no ConfigMap {map}"));
        for (file, text) in map["data"].as_object().into_iter().flatten() {
            fs::write(here.join(file), str_of(text)).expect("a file");
        }
    }
    for source in items(&volume["projected"]["sources"]) {
        for item in items(&source["secret"]["items"]) {
            let file = str_of(&item["path"]);
            fs::write(here.join(file), stand_in(file)).expect("a file");
        }
    }
}

/// Every container that runs the program, in any file; what `check` has against one.
fn each(check: impl Fn(&Workload<'_>, &Container) -> Option<String> + Sync) -> Vec<String> {
    // Built before there are threads.
    drop(process::command());
    let found = in_parallel(all(), |rendered| {
        let mut found = Vec::new();
        for workload in rendered.manifest.workloads() {
            let container = Container::of(&rendered.manifest, &workload);
            if let Some(said) = check(&workload, &container) {
                found.push(format!("{}: {}: {said}", rendered.name, workload.name()));
            }
        }
        found
    });
    found.into_iter().flatten().collect()
}

fn said(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(text)
}

#[test]
fn chart_04_the_program_takes_the_arguments_of_every_container() {
    let wrong = each(|_, container| {
        // Help is printed if all before it is understood.
        let arguments = [container.arguments.as_slice(), &["--help".to_owned()]].concat();
        said(&container.run(&arguments))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_15_the_program_takes_every_file_and_variable() {
    let wrong = each(|_, container| said(&container.config("check")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_10_ports_are_those_that_the_program_listens_on() {
    let keys = [("ws", "gateway"), ("admin", "admin"), ("link", "matcher")];
    let wrong = each(|workload, container| {
        let printed = container.config("print");
        let config: toml::Table = String::from_utf8_lossy(&printed.stdout)
            .parse()
            .expect("TOML");
        for port in items(&workload.program()["ports"]) {
            let (_, section) = keys
                .iter()
                .find(|(name, _)| port["name"] == *name)
                .expect("known");
            let listen = config[*section]["listen"].as_str().unwrap_or_default();
            let number = listen.rsplit(':').next().unwrap_or_default();
            if port["containerPort"].as_u64() != number.parse().ok() {
                return Some(format!("{section} listens on {listen}, the port is {port}"));
            }
        }
        None
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_15_no_variable_sets_what_the_file_does() {
    let wrong = each(|_, container| {
        let config = container
            .arguments
            .iter()
            .find_map(|one| one.strip_prefix("--config="))?;
        let text = fs::read_to_string(config).expect("the file is mounted");
        let config: toml::Table = text.parse().expect("TOML");
        let twice = container.variables.iter().find(|(name, _)| {
            let key = name.trim_start_matches("HELIOGRAPH_").to_lowercase();
            key.split_once('_').is_some_and(|(section, key)| {
                config
                    .get(section)
                    .is_some_and(|keys| keys.get(key).is_some())
            })
        });
        twice.map(|(name, _)| name.clone())
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The container of `helm test` of one process, to be run against a relay.
fn helm_test(manifest: &Manifest, relay: &Relay) -> Container {
    let mut container = Container::of(manifest, &manifest.workload("test"));
    let url = relay.url();
    for key in ["canary.publish", "canary.read"] {
        container.arguments.push(format!("--set={key}={url}"));
    }
    container
}

#[test]
fn chart_17_the_test_passes_on_a_relay_with_these_values_and_fails_on_another() {
    let manifest = single(&["config.gateway.limit_max=77"]);
    let map = manifest
        .of_role("ConfigMap", "standalone")
        .next()
        .expect("a ConfigMap");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("heliograph.toml");
    fs::write(&file, str_of(&map["data"]["heliograph.toml"])).expect("a file");
    let relay = Relay::configured(&file);
    let test = helm_test(&manifest, &relay);
    let output = test.run(&test.arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // What it advertises isn't what this release is configured to.
    let other = single(&["config.gateway.limit_max=78"]);
    let mut test = helm_test(&other, &relay);
    test.arguments
        .retain(|one| !one.starts_with("--limits-within="));
    let output = test.run(&test.arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("77") && said.contains("78"), "{said}");
}

#[test]
fn chart_17_the_test_waits_until_pods_have_taken_changed_limits() {
    let file_of = |manifest: &Manifest, role: &str| {
        let map = manifest.of_role("ConfigMap", role).next().expect(role);
        str_of(&map["data"]["heliograph.toml"]).to_owned()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("heliograph.toml");
    fs::write(&file, file_of(&single(&[]), "standalone")).expect("a file");
    let relay = Relay::watching(&file);
    // After `helm upgrade`, before the file in the pod is the new one.
    let upgraded = single(&["config.gateway.limit_max=77"]);
    let test = helm_test(&upgraded, &relay);
    let mut command = test.command(&test.arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let waits = said.find_map(|line| line.ok().filter(|line| line.contains("limits again")));
    let waits = waits.expect("it looks again");
    assert!(waits.contains("77 is configured"), "{waits}");
    let draft = directory.path().join("draft");
    fs::write(&draft, file_of(&upgraded, "standalone")).expect("a file");
    fs::rename(draft, file).expect("a file");
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert!(child.wait().expect("it ends").success(), "{rest:?}");
}
