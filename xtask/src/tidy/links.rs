//! Relative links in Markdown lead somewhere: to a file of the tree, and to a heading in it.

use super::{File, Finding, extension};

/// Checks every `[text](target)` outside code; `exists` tells of a path below the root.
pub(super) fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| extension(&file.path) == "md") {
        for (line, target) in targets(&file.text) {
            if let Some(why) = broken(file, target, files, &exists) {
                findings.push(format!("{}:{line}: {why}: {target}", file.path));
            }
        }
    }
    findings
}

fn broken(
    from: &File,
    target: &str,
    files: &[File],
    exists: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(p, a)| (p, Some(a)));
    let path = if path.is_empty() {
        from.path.clone()
    } else {
        resolve(&from.path, path)
    };
    if path.split('/').next() == Some("..") || !exists(&path) {
        return Some("link leads nowhere");
    }
    let anchor = anchor?;
    let to = files.iter().find(|file| file.path == path)?;
    (!headings(&to.text).any(|heading| heading == anchor)).then_some("no such heading")
}

/// The path that a link means, relative to the root; one that leaves the root begins with `..`.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return "..".to_owned();
                }
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Lines outside fenced code, with their number from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// Link targets with the number of their line.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // What stands between back-ticks is code: every second part. The target of a link whose
        // text is code is in the part after it.
        for part in line.split('`').step_by(2) {
            let links = part.split("](").skip(1);
            found.extend(links.filter_map(|link| Some((number, link.split_once(')')?.0))));
        }
    }
    found
}

/// Headings as anchors: lower case, punctuation dropped, blanks as hyphens.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_links(text: &str, findings: usize) {
        let page = File {
            path: "docs/page.md".to_owned(),
            text: text.to_owned(),
        };
        let other = File {
            path: "README.md".to_owned(),
            text: "# A: `b`\n".to_owned(),
        };
        let exists = |path: &str| ["README.md", "docs/page.md", "docs"].contains(&path);
        assert_eq!(check(&[page, other], exists).len(), findings, "{text}");
    }

    #[test]
    fn a_relative_link_leads_to_a_file() {
        check_links("[a](../README.md) [b](page.md) [`c`](./page.md)", 0);
        check_links("[a](README.md)", 1);
        check_links("[`a`](missing.md) [b](../README.md)", 1);
    }

    #[test]
    fn a_link_must_not_leave_the_tree() {
        check_links("[a](../../README.md)", 1);
    }

    #[test]
    fn an_anchor_names_a_heading() {
        check_links("[a](../README.md#a-b)", 0);
        check_links("[a](../README.md#c)", 1);
        check_links("# Here\n[a](#here) [b](#there)", 1);
    }

    #[test]
    fn links_elsewhere_and_in_code_are_left_alone() {
        check_links(
            "[a](https://example.com/x) `[b](missing.md)`\n```\n[c](missing.md)\n```",
            0,
        );
    }
}
