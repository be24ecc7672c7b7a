//! What all tests of the chart share: every file of values in `ci/` and every example rendered once,
//! and short ways to render others.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use heliograph_chart::{
    Chart, Manifest, NAMESPACE, RELEASE, Workload, ci_files, directory, name_of, root,
};
use serde_json::Value;

/// A file of values in `ci/`, or an example, and what it gives.
pub(crate) struct Rendered {
    /// What it is called: `cluster-hpa`, `relay-single`.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) manifest: Manifest,
}

/// Roles of a cluster that serve.
pub(crate) const ROLES: [&str; 3] = ["gateway", "ingest", "matcher"];

/// Values for the chart that people begin with.
const EXAMPLES: [&str; 2] = ["relay-cluster-values.yaml", "relay-single-values.yaml"];

/// Threads that render at a time.
const THREADS: usize = 2;

/// The chart, with helm installed if need be.
pub(crate) fn chart() -> &'static Chart {
    static CHART: OnceLock<Chart> = OnceLock::new();
    CHART.get_or_init(|| Chart::new().expect("helm can be installed"))
}

/// Every file of values in `ci/` and every example, rendered.
pub(crate) fn all() -> &'static [Rendered] {
    static ALL: OnceLock<Vec<Rendered>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut files = ci_files().expect("ci/ can be read");
        assert!(files.len() >= 8, "only {} files in ci/", files.len());
        files.extend(EXAMPLES.map(|example| root().join("helm/examples").join(example)));
        in_parallel(&files, |file| Rendered {
            name: name_of(file),
            file: file.clone(),
            text: text(&[file], &[]),
            manifest: manifest(&[file], &[]),
        })
    })
}

/// The file of a name in `ci/`, rendered.
#[track_caller]
pub(crate) fn ci(name: &str) -> &'static Rendered {
    let found = all().iter().find(|rendered| rendered.name == name);
    found.unwrap_or_else(|| panic!("no ci/{name}-values.yaml"))
}

/// Does something with each item, two at a time, and keeps the order.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(share)
            .map(|chunk| scope.spawn(|| chunk.iter().map(&work).collect::<Vec<R>>()))
            .collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic above"));
        results.flatten().collect()
    })
}

/// Every workload of every file, with how to name it.
pub(crate) fn workloads() -> impl Iterator<Item = (String, Workload<'static>)> {
    all().iter().flat_map(|rendered| {
        let named = |one: Workload<'static>| (format!("{}: {}", rendered.name, one.name()), one);
        rendered.manifest.workloads().into_iter().map(named)
    })
}

/// The text that files of values and single ones give.
#[track_caller]
pub(crate) fn text(files: &[&Path], set: &[&str]) -> String {
    let rendered = chart().render(files, set).expect("helm starts");
    rendered.unwrap_or_else(|error| panic!("{files:?} {set:?}: {error}"))
}

#[track_caller]
pub(crate) fn manifest(files: &[&Path], set: &[&str]) -> Manifest {
    Manifest::parse(&text(files, set)).expect("rendered text is YAML")
}

/// The whole relay in one process, with these values.
#[track_caller]
pub(crate) fn single(set: &[&str]) -> Manifest {
    manifest(&[], set)
}

/// The least cluster, with these values.
#[track_caller]
pub(crate) fn cluster(set: &[&str]) -> Manifest {
    manifest(&[&minimal()], set)
}

/// The values of the least cluster.
pub(crate) fn minimal() -> PathBuf {
    directory().join("ci/cluster-minimal-values.yaml")
}

/// Wants helm to refuse these values with this sentence.
#[track_caller]
pub(crate) fn refused(files: &[&Path], set: &[&str], sentence: &str) {
    match chart().render(files, set).expect("helm starts") {
        Ok(_text) => panic!("{set:?} renders, instead of: {sentence}"),
        Err(error) => assert!(
            error.contains(sentence),
            "{set:?}: no `{sentence}` in:\n{error}"
        ),
    }
}

/// What an install with these values tells people at its end.
#[track_caller]
pub(crate) fn notes(files: &[&Path], set: &[&str]) -> String {
    let mut helm = chart().helm(&["install", RELEASE, "--namespace", NAMESPACE]);
    helm.arg("--dry-run=client").arg(directory());
    for file in files {
        helm.arg("--values").arg(file);
    }
    for set in set {
        helm.args(["--set", set]);
    }
    let output = helm.output().expect("helm starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{files:?} {set:?}: {error}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, notes) = text.split_once("\nNOTES:\n").expect("notes");
    // Lines end where the page does, not the sentence.
    notes.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text in a value, or "".
pub(crate) fn str_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list; none if it is no list.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    str_of(&object["metadata"]["name"])
}

/// An environment variable of a container, as it is written.
pub(crate) fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    items(&container["env"])
        .iter()
        .find(|one| one["name"] == name)
}

/// A whole number that a container gets as a variable.
#[track_caller]
pub(crate) fn number(container: &Value, variable_name: &str) -> u64 {
    let found = variable(container, variable_name);
    let value = found.map(|one| str_of(&one["value"])).unwrap_or_default();
    value
        .parse()
        .unwrap_or_else(|_error| panic!("{variable_name} isn't a number: {value:?}"))
}
