//! `CHANGELOG.md` keeps the form of Keep a Changelog, with what is not released on top.

use super::{File, Finding};

const PATH: &str = "CHANGELOG.md";
const UNRELEASED: &str = "## [Unreleased]";
const SECTIONS: [&str; 6] = [
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let Some(file) = files.iter().find(|file| file.path == PATH) else {
        return vec![format!("{PATH}: missing")];
    };
    let mut findings = Vec::new();
    let first = file.text.lines().find(|line| line.starts_with("## "));
    if first != Some(UNRELEASED) {
        findings.push(format!("{PATH}: the first version must be `{UNRELEASED}`"));
    }
    for (number, line) in file.text.lines().enumerate() {
        let section = line.strip_prefix("### ");
        if section.is_some_and(|section| !SECTIONS.contains(&section)) {
            findings.push(format!("{PATH}:{}: sections are {SECTIONS:?}", number + 1));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, findings: usize) {
        let file = File {
            path: PATH.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(check(&[file]).len(), findings);
    }

    #[test]
    fn unreleased_comes_first() {
        check_text(
            "# Changelog\n## [Unreleased]\n### Added\n- it\n## [0.1.0]\n",
            0,
        );
        check_text("# Changelog\n## [0.1.0]\n## [Unreleased]\n", 1);
        check_text("# Changelog\n", 1);
    }

    #[test]
    fn sections_have_the_known_names() {
        check_text("## [Unreleased]\n### New\n", 1);
    }

    #[test]
    fn a_missing_changelog_is_a_finding() {
        assert_eq!(check(&[]).len(), 1);
    }
}
