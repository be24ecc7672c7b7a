//! Names: nothing is asked for that the program hasn't got, and nothing that it has is forgotten.

use std::collections::BTreeSet;

use super::{Finding, boards, says_something};
use crate::observe::input::{Input, MONITORING, RULES, evaluable, panels};

/// The heading in the page on monitoring under which metrics stand that no board shows.
const DEBUG: &str = "## Metrics for debugging";

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (place, expression) in input.board_expressions() {
        let unknown = input.catalogue.unknown(&expression);
        findings.extend(unknown.into_iter().map(|what| format!("{place}: {what}")));
        used.extend(input.catalogue.used(&expression));
    }
    for rule in &input.rules {
        let unknown = input.catalogue.unknown(rule.expression());
        let unknown = unknown.into_iter();
        findings.extend(unknown.map(|what| format!("{RULES}: {}: {what}", rule.name)));
        used.extend(input.catalogue.used(rule.expression()));
    }
    check_single(input, &mut findings);
    check_forgotten(input, &used, &mut findings);
    check_recorded(input, &mut findings);
    findings
}

fn check_single(input: &Input, findings: &mut Vec<Finding>) {
    for (path, board) in &input.boards {
        for panel in panels(board) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = evaluable(target["expr"].as_str().unwrap_or_default());
                let foreign = boards::foreign(board, &expression).into_iter();
                findings.extend(foreign.map(|name| {
                    format!(
                        "{path}: {}: {name} is not there in one process",
                        panel["title"]
                    )
                }));
            }
        }
    }
}

/// Metrics are shown or explained, and not both.
fn check_forgotten(input: &Input, used: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let debug = debug_metrics(&input.monitoring);
    for name in input.catalogue.names() {
        let explained = debug.iter().any(|(debug, _)| debug == name);
        match (used.contains(name), explained) {
            (false, false) => findings.push(format!(
                "{name}: on no board, in no rule, and not under `{DEBUG}` in {MONITORING}"
            )),
            (true, true) => findings.push(format!(
                "{MONITORING}: {name} is on a board or in a rule, so not for debugging alone"
            )),
            _ => {}
        }
    }
    for (name, purpose) in debug {
        if !input.catalogue.lists(&name) {
            findings.push(format!("{MONITORING}: no such metric: {name}"));
        }
        if !says_something(&purpose) {
            findings.push(format!("{MONITORING}: {name}: doesn't say what it is for"));
        }
    }
}

/// What is recorded is asked for.
fn check_recorded(input: &Input, findings: &mut Vec<Finding>) {
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let boards = input
        .board_expressions()
        .into_iter()
        .map(|(_, expression)| expression);
    let rules = input.rules.iter().map(|rule| rule.expression().to_owned());
    for expression in boards.chain(rules) {
        let named = crate::observe::promql::named(&expression);
        asked.extend(named.selectors.into_iter().map(|(name, _)| name));
    }
    for rule in input.rules.iter().filter(|rule| !rule.alert) {
        if !asked.contains(&rule.name) {
            findings.push(format!("{RULES}: {}: nobody asks for it", rule.name));
        }
    }
}

/// The rows of the table under the heading: metric and what it is for.
fn debug_metrics(page: &str) -> Vec<(String, String)> {
    let lines = page.lines().skip_while(|line| *line != DEBUG).skip(1);
    let section = lines.take_while(|line| !line.starts_with("## "));
    let rows = section.filter(|line| line.starts_with("| `heliograph_"));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`').to_owned();
        Some((name, cells.next().unwrap_or_default().to_owned()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::{catalogue::Catalogue, input};

    const PAGE: &str = "| `heliograph_shown` | gauge |  | A. |\n\
        | `heliograph_ruled_total` | counter |  | B. |\n\
        | `heliograph_deep` | gauge |  | C. |\n";
    const MONITORING_PAGE: &str = "## Metrics for debugging\n\n| metric | for |\n| --- | --- |\n| `heliograph_deep` | how deep it is |\n";

    fn input(board: &str, rule: &str, monitoring: &str) -> Input {
        let rules = input::rules(&json!({ "groups": [{ "rules": [
            { "record": "x:y", "expr": "vector(1)" },
            { "alert": "A", "expr": rule },
        ] }] }));
        let panel = json!({ "title": "P", "targets": [{ "expr": board }] });
        Input {
            boards: vec![("b.json".to_owned(), json!({ "panels": [panel] }))],
            rules,
            monitoring: monitoring.to_owned(),
            catalogue: Catalogue::read(PAGE, ["x:y".to_owned()].into()),
            ..Input::default()
        }
    }

    #[track_caller]
    fn check_input(board: &str, rule: &str, monitoring: &str, expected: &[&str]) {
        let found = check(&input(board, rule, monitoring));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.contains(expected), "{expected} in {found:?}");
        }
    }

    const BOARD: &str = "heliograph_shown + x:y";
    const RULE: &str = "rate(heliograph_ruled_total[5m]) > 0";

    #[test]
    fn all_is_shown_or_explained() {
        check_input(BOARD, RULE, MONITORING_PAGE, &[]);
    }

    #[test]
    fn what_the_program_has_not_got_is_found() {
        check_input(
            "heliograph_shown + x:y + heliograph_gone",
            "heliograph_ruled_total{a=\"b\"} > 0",
            MONITORING_PAGE,
            &[
                "b.json: P: no such metric: heliograph_gone",
                "A: heliograph_ruled_total has no label `a`",
            ],
        );
    }

    #[test]
    fn what_nobody_shows_or_explains_is_found() {
        check_input(BOARD, RULE, "", &["heliograph_deep: on no board"]);
        check_input(
            "x:y",
            RULE,
            MONITORING_PAGE,
            &["heliograph_shown: on no board"],
        );
    }

    #[test]
    fn what_is_explained_must_exist_have_a_purpose_and_not_be_shown() {
        let page = format!("{MONITORING_PAGE}| `heliograph_none` | nothing at all |\n");
        check_input(BOARD, RULE, &page, &["no such metric: heliograph_none"]);
        let page = MONITORING_PAGE.replace("how deep it is", "");
        check_input(BOARD, RULE, &page, &["doesn't say what it is for"]);
        let board = "heliograph_shown + x:y + heliograph_deep";
        check_input(
            board,
            RULE,
            MONITORING_PAGE,
            &["heliograph_deep is on a board"],
        );
    }

    #[test]
    fn what_is_recorded_for_nobody_is_found() {
        check_input(
            "heliograph_shown",
            RULE,
            MONITORING_PAGE,
            &["x:y: nobody asks for it"],
        );
    }
}
