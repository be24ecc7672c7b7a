//! What a file of text must and must not hold, line by line.

use super::{File, Finding, extension};

/// Lines a source or page may have; past that it is more than one thing.
const LINES_MAX: usize = 500;

/// Longer files that are still one thing, each with the reason. An entry that isn't needed any more
/// is a finding.
const LONG: [(&str, &str); 1] = [(
    "crates/protocol/src/json.rs",
    "one scanner over one cursor, and its tests",
)];

/// Marks of work left undone, as whole words. Written apart so that this file passes.
const MARKS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

/// Text that never belongs here: merge conflicts, secret keys, paths of somebody's machine.
const STRANGERS: [(&str, &str); 9] = [
    (concat!("<<<<", "<<< "), "merge conflict"),
    (concat!(">>>>", ">>> "), "merge conflict"),
    (concat!("nsec", "1"), "secret key"),
    (concat!("/ho", "me/"), "path of one machine"),
    (concat!("/ro", "ot/"), "path of one machine"),
    (concat!("/wo", "rk/"), "path of one machine"),
    (concat!("/Us", "ers/"), "path of one machine"),
    (concat!("../sha", "red"), "path outside the repository"),
    (
        concat!("design", " §"),
        "a page that isn't here: name one under docs/",
    ),
];

/// Where a path outside the repository may be named: it says where CI's test data lies.
const CI_SCRIPT: &str = ".ci/run";

/// Checks every file.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(check_file).collect();
    for (path, _) in LONG {
        let needed = |file: &File| file.path == path && file.text.lines().count() > LINES_MAX;
        if !files.iter().any(needed) {
            findings.push(format!(
                "{path}: is not over {LINES_MAX} lines, drop its exception"
            ));
        }
    }
    findings
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_written_by_hand(&file.path) {
        check_size(file, &mut findings);
    }
    if extension(&file.path) == "rs" && !file.text.starts_with("//!") {
        findings.push(format!("{}:1: a module begins with its doc", file.path));
    }
    if file.path.ends_with("Cargo.toml") && file.text.contains("[package]") {
        check_manifest(file, &mut findings);
    }
    // Test vectors hold any text at all.
    if !matches!(extension(&file.path), "json" | "jsonl") {
        check_lines(file, &mut findings);
    }
    findings
}

fn check_size(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    let listed = LONG.iter().any(|(path, _)| *path == file.path);
    if lines > LINES_MAX && !listed {
        findings.push(format!(
            "{}: {lines} lines, more than {LINES_MAX}",
            file.path
        ));
    }
}

fn check_manifest(file: &File, findings: &mut Vec<Finding>) {
    if !file.text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{}: doesn't take the workspace's lints", file.path));
    }
}

fn check_lines(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        let mut report = |what: &str| {
            findings.push(format!("{}:{}: {what}", file.path, index + 1));
        };
        if MARKS.iter().any(|mark| has_word(line, mark)) {
            report("work left undone");
        }
        for (text, what) in STRANGERS {
            if line.contains(text) && file.path != CI_SCRIPT {
                report(what);
            }
        }
    }
}

/// Sources and pages; generated pages and lock files may be of any length.
fn is_written_by_hand(path: &str) -> bool {
    let kinds = ["rs", "md", "js", "mjs", "ts", "py", "sh"];
    kinds.contains(&extension(path))
        && !path.starts_with("docs/reference/")
        && !path.contains("/generated/")
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: &str, findings: usize) {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found = check_file(&file);
        assert_eq!(found.len(), findings, "{found:?}");
    }

    #[test]
    fn work_left_undone_is_found_as_a_whole_word() {
        check_text("a.rs", &format!("//! Doc.\n// {}: later", MARKS[0]), 1);
        check_text("a.rs", &format!("//! Doc.\n// {}X", MARKS[0]), 0);
        check_text("a.sh", &format!("# ({})", MARKS[1]), 1);
    }

    #[test]
    fn what_never_belongs_here_is_found() {
        for (text, _) in STRANGERS {
            check_text("a.md", &format!("see {text}x"), 1);
        }
        check_text("vectors.jsonl", STRANGERS[2].0, 0);
    }

    #[test]
    fn only_the_ci_script_names_a_path_outside() {
        check_text(CI_SCRIPT, STRANGERS[7].0, 0);
    }

    #[test]
    fn a_file_may_have_five_hundred_lines() {
        check_text("a.md", &"line\n".repeat(500), 0);
        check_text("a.md", &"line\n".repeat(501), 1);
        check_text("docs/reference/config.md", &"line\n".repeat(501), 0);
        check_text("a/src/generated/b.md", &"line\n".repeat(501), 0);
    }

    #[test]
    fn a_module_begins_with_its_doc() {
        check_text("a.rs", "use std::fs;\n", 1);
    }

    #[test]
    fn a_package_takes_the_lints_of_the_workspace() {
        check_text("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n", 0);
        check_text("a/Cargo.toml", "[package]\n", 1);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_a_finding() {
        assert_eq!(check(&[]).len(), LONG.len());
    }
}
