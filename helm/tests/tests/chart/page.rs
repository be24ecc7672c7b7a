//! The page for operators, `docs/operate/kubernetes.md`: its values render, its commands are taken
//! (18).

use std::{fs, path::Path};

use heliograph_chart::root;
use heliograph_testkit::process;

use crate::support::{cluster, manifest, minimal, str_of};

pub(crate) const PAGE: &str = "docs/operate/kubernetes.md";

/// A page of the repository.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    let path: &Path = &root().join(path);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Blocks of a page: the section that each stands in, its language, its text.
pub(crate) fn blocks(page: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    page.split("\n## ").flat_map(|section| {
        let title = section.lines().next().unwrap_or_default();
        let pieces = section.split("```").skip(1).step_by(2);
        pieces.map(move |piece| {
            let (language, text) = piece.split_once('\n').expect("a block has lines");
            (title, language, text)
        })
    })
}

/// Commands of a page, those that go on joined, each with its section.
pub(crate) fn lines(page: &str) -> impl Iterator<Item = (&str, String)> {
    let shell = blocks(page).filter(|(_, language, _)| *language == "sh");
    shell.flat_map(|(title, _, text)| {
        let text = text.replace("\\\n", " ");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.into_iter().map(move |line| (title, line))
    })
}

/// The lines of the page that begin with a program, in words.
fn commands(program: &str) -> Vec<Vec<String>> {
    let page = read(PAGE);
    let words = lines(&page)
        .map(|(_, line)| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() });
    words
        .filter(|words| words.first().is_some_and(|word| word == program))
        .collect()
}

#[test]
fn chart_18_values_and_settings_of_the_page_render() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.yaml");
    let mut pieces = 0;
    let page = read(PAGE);
    for (.., text) in blocks(&page).filter(|(_, language, _)| *language == "yaml") {
        fs::write(&file, text).unwrap();
        manifest(&[&minimal(), &file], &[]);
        pieces += 1;
    }
    assert!(pieces >= 2, "{pieces} pieces");
    let mut set = 0;
    for words in commands("helm") {
        for pair in words.windows(2).filter(|pair| pair[0] == "--set") {
            cluster(&[&pair[1]]);
            set += 1;
        }
    }
    assert!(set >= 2, "{set} settings");
}

#[test]
fn chart_18_commands_of_the_page_name_what_there_is() {
    let manifest = cluster(&[]);
    let kinds = [
        ("service/", "Service"),
        ("job/", "Job"),
        ("deployment/", "Deployment"),
    ];
    let mut seen = 0;
    for words in commands("kubectl") {
        for word in &words {
            for (prefix, kind) in kinds {
                if let Some(name) = word.strip_prefix(prefix) {
                    assert!(manifest.named(kind, name).is_some(), "no {word}");
                    seen += 1;
                }
            }
        }
        // What runs in a pod has to be a command of the program.
        if let Some(at) = words.iter().position(|word| word == "--") {
            assert_eq!(words[at + 1], "/usr/local/bin/heliograph");
            let mut program = process::command();
            let output = program
                .args(&words[at + 2..])
                .arg("--help")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{words:?}: {said}");
        }
    }
    assert!(seen >= 3, "{seen} objects");
    for words in commands("helm") {
        let known = ["install", "upgrade", "test", "rollback"];
        assert!(known.contains(&words[1].as_str()), "{words:?}");
        assert_eq!(words[2], "relay", "{words:?}");
    }
    let account = str_of(&manifest.workload("ingest").spec()["serviceAccountName"]);
    assert_eq!(
        account, "relay-heliograph",
        "the release of the page is `relay`"
    );
}
