//! Runbooks: one for each alert, and in each what somebody needs who was asleep a minute ago.

use super::{Finding, says_something};
use crate::observe::{
    input::{Input, RUNBOOKS},
    kebab,
};

/// The sections of a runbook, in order.
const SECTIONS: [&str; 5] = ["Meaning", "Impact", "Queries", "Mitigation", "Escalation"];

/// Queries that a runbook has at least.
const QUERIES_MIN: usize = 3;

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = Vec::new();
    for alert in input.alerts() {
        let path = format!("{RUNBOOKS}/{}.md", kebab(&alert.name));
        let Some((_, text)) = input.runbooks.iter().find(|(own, _)| *own == path) else {
            findings.push(format!("{path}: is missing"));
            continue;
        };
        check_page(&alert.name, text, &mut |what| {
            findings.push(format!("{path}: {what}"));
        });
        for query in queries(text) {
            let unknown = input.catalogue.unknown(&query).into_iter();
            findings.extend(unknown.map(|what| format!("{path}: {what}")));
        }
        for key in inline(text).filter(|code| is_key(code, &input.keys)) {
            if !input.keys.iter().any(|known| known == key) {
                findings.push(format!("{path}: no such key: {key}"));
            }
        }
    }
    for (path, _) in &input.runbooks {
        let of = |name: &str| *path == format!("{RUNBOOKS}/{}.md", kebab(name));
        if !input.alerts().any(|alert| of(&alert.name)) {
            findings.push(format!("{path}: there is no such alert"));
        }
    }
    findings
}

fn check_page(alert: &str, text: &str, report: &mut dyn FnMut(String)) {
    if text.lines().next() != Some(&format!("# {alert}")) {
        report(format!("doesn't begin with `# {alert}`"));
    }
    let headings: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    if headings != SECTIONS {
        report(format!("its sections are {headings:?}, not {SECTIONS:?}"));
    }
    for section in SECTIONS {
        if !says_something(part(text, section)) {
            report(format!("says nothing under {section}"));
        }
    }
    if queries(text).len() < QUERIES_MIN {
        report(format!("has fewer than {QUERIES_MIN} queries"));
    }
}

fn part<'a>(text: &'a str, section: &str) -> &'a str {
    let heading = format!("\n## {section}\n");
    let body = text.split_once(&heading).map_or("", |(_, body)| body);
    body.split_once("\n## ").map_or(body, |(body, _)| body)
}

/// Whether a piece of code reads like a key: a section of the configuration, a dot, a name.
fn is_key(code: &str, keys: &[String]) -> bool {
    let section = |key: &str| key.split_once('.').map(|(section, _)| section.to_owned());
    let name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
    let known = || keys.iter().any(|key| section(key) == section(code));
    code.contains('.') && code.chars().all(name) && known()
}

/// What stands between back-ticks in the text, without blocks of code.
pub(in crate::observe) fn inline(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The queries of a runbook: blocks of `promql` under their heading.
pub(in crate::observe) fn queries(text: &str) -> Vec<String> {
    blocks(part(text, "Queries"), "promql")
}

/// The blocks of code in a language.
pub(in crate::observe) fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let blocks = text.split(start.as_str()).skip(1);
    blocks
        .filter_map(|block| Some(block.split_once("```")?.0.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::{catalogue::Catalogue, input};

    const PAGE: &str = "# HeliographTest\n\n## Meaning\n\nSomething is wrong.\n\n## Impact\n\nNobody can write.\n\n\
        ## Queries\n\n```promql\nup\n```\n\n```promql\nup == 0\n```\n\n```promql\nsum(up)\n```\n\n\
        ## Mitigation\n\nStart it again.\n\n## Escalation\n\nAsk whoever knows.\n";

    #[track_caller]
    fn finds(change: impl FnOnce(&str) -> String, expected: &[&str]) {
        let rules =
            json!({ "groups": [{ "rules": [{ "alert": "HeliographTest", "expr": "x" }] }] });
        let path = format!("{RUNBOOKS}/heliograph-test.md");
        let found = check(&Input {
            rules: input::rules(&rules),
            runbooks: vec![(path, change(PAGE))],
            catalogue: Catalogue::default(),
            ..Input::default()
        });
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.contains(expected), "{found:?}");
        }
    }

    #[test]
    fn a_complete_runbook_is_left_alone() {
        finds(str::to_owned, &[]);
    }

    #[test]
    fn a_runbook_is_about_its_alert() {
        finds(
            |page| page.replace("# HeliographTest", "# Test"),
            &["doesn't begin with"],
        );
    }

    #[test]
    fn a_runbook_has_all_sections_and_says_something_in_each() {
        for section in SECTIONS {
            let heading = format!("## {section}\n");
            let mut expected = vec!["its sections are", "says nothing under"];
            expected.extend((section == "Queries").then_some("fewer than"));
            finds(|page| page.replace(&heading, ""), &expected);
        }
        finds(
            |page| page.replace("Nobody can write.", ""),
            &["says nothing under Impact"],
        );
    }

    #[test]
    fn a_runbook_has_three_queries_for_what_there_is() {
        finds(
            |page| page.replace("```promql\nup\n```", ""),
            &["fewer than 3 queries"],
        );
        finds(
            |page| page.replace("sum(up)", "sum(down)"),
            &["no such metric: down"],
        );
    }

    #[test]
    fn a_runbook_names_keys_that_there_are() {
        let keys = ["store.dir".to_owned()];
        for (code, key) in [
            ("store.dir", true),
            ("store.directory", true),
            ("cluster.toml", false),
            ("store", false),
            ("store.dir = 1", false),
        ] {
            assert_eq!(is_key(code, &keys), key, "{code}");
        }
        let rules =
            json!({ "groups": [{ "rules": [{ "alert": "HeliographTest", "expr": "x" }] }] });
        let text = PAGE.replace("Start it", "Set `store.dir` or `store.place`, start it");
        let found = check(&Input {
            rules: input::rules(&rules),
            runbooks: vec![(format!("{RUNBOOKS}/heliograph-test.md"), text)],
            keys: keys.into(),
            ..Input::default()
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("no such key: store.place"));
    }

    #[test]
    fn code_in_a_line_is_not_code_in_a_block() {
        let text = "a `b` and `c d`\n```sh\ne `f`\n```\n`g`\n";
        assert_eq!(inline(text).collect::<Vec<_>>(), ["b", "c d", "g"]);
    }

    #[test]
    fn alerts_and_runbooks_belong_together() {
        let rules =
            json!({ "groups": [{ "rules": [{ "alert": "HeliographTest", "expr": "x" }] }] });
        let found = check(&Input {
            rules: input::rules(&rules),
            runbooks: vec![(format!("{RUNBOOKS}/heliograph-other.md"), PAGE.to_owned())],
            ..Input::default()
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("heliograph-test.md: is missing"));
        assert!(found[1].ends_with("heliograph-other.md: there is no such alert"));
    }
}
