//! promtool's tests: every alert is shown to fire and to stay quiet.

use serde_json::Value;

use super::Finding;
use crate::observe::input::{Input, RULES, TESTS};

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = Vec::new();
    for alert in input.alerts() {
        let cases: Vec<&Value> = cases(input, &alert.name).collect();
        let fires = |case: &&&Value| !expected(case).is_empty();
        if !cases.iter().any(|case| fires(&case)) {
            findings.push(format!(
                "{RULES}: {}: no test shows that it fires",
                alert.name
            ));
        }
        // A test in which nothing fires at any time, not one before or after it fired.
        if !input
            .tests
            .iter()
            .any(|(_, file)| tests(file).any(|test| is_quiet(test, &alert.name)))
        {
            findings.push(format!(
                "{RULES}: {}: no test shows that it stays quiet",
                alert.name
            ));
        }
    }
    for (path, file) in &input.tests {
        let files = file["rule_files"].as_array().into_iter().flatten();
        if !files
            .into_iter()
            .any(|rules| rules == "../heliograph-rules.yaml")
        {
            findings.push(format!("{path}: doesn't test the rules"));
        }
        for test in tests(file) {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let name = case["alertname"].as_str().unwrap_or_default();
                if !input.alerts().any(|alert| alert.name == name) {
                    findings.push(format!("{path}: no such alert: {name}"));
                }
            }
        }
    }
    if input.tests.is_empty() {
        findings.push(format!("{TESTS}: no tests"));
    }
    findings
}

fn tests(file: &Value) -> impl Iterator<Item = &Value> {
    file["tests"].as_array().into_iter().flatten()
}

fn cases<'a>(input: &'a Input, alert: &'a str) -> impl Iterator<Item = &'a Value> {
    let tests = input.tests.iter().flat_map(|(_, file)| tests(file));
    tests.flat_map(move |test| of(test, alert))
}

fn of<'a>(test: &'a Value, alert: &'a str) -> impl Iterator<Item = &'a Value> {
    let cases = test["alert_rule_test"].as_array().into_iter().flatten();
    cases.filter(move |case| case["alertname"] == alert)
}

fn expected(case: &Value) -> &[Value] {
    case["exp_alerts"].as_array().map_or(&[], Vec::as_slice)
}

fn is_quiet(test: &Value, alert: &str) -> bool {
    let mut cases = of(test, alert).peekable();
    cases.peek().is_some() && cases.all(|case| expected(case).is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::input;

    #[track_caller]
    fn check_tests(tests: &[Value], expected: &[&str]) {
        let rules = json!({ "groups": [{ "rules": [{ "alert": "A", "expr": "x" }] }] });
        let file = json!({ "rule_files": ["../heliograph-rules.yaml"], "tests": tests });
        let found = check(&Input {
            rules: input::rules(&rules),
            tests: vec![("t.yaml".to_owned(), file)],
            ..Input::default()
        });
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.contains(expected), "{found:?}");
        }
    }

    fn fires() -> Value {
        json!({ "alertname": "A", "exp_alerts": [{ "exp_labels": {} }] })
    }

    fn quiet() -> Value {
        json!({ "alertname": "A", "exp_alerts": [] })
    }

    #[test]
    fn an_alert_fires_in_one_test_and_stays_quiet_in_another() {
        let (firing, silent) = (
            json!({ "alert_rule_test": [quiet(), fires()] }),
            json!({ "alert_rule_test": [quiet()] }),
        );
        check_tests(&[firing.clone(), silent.clone()], &[]);
        check_tests(&[firing], &["no test shows that it stays quiet"]);
        check_tests(&[silent], &["no test shows that it fires"]);
    }

    #[test]
    fn a_test_of_an_alert_that_is_no_more_is_found() {
        let stale = json!({ "alert_rule_test": [{ "alertname": "B" }] });
        let good = [
            json!({ "alert_rule_test": [fires()] }),
            json!({ "alert_rule_test": [quiet()] }),
        ];
        check_tests(
            &[good[0].clone(), good[1].clone(), stale],
            &["no such alert: B"],
        );
    }

    #[test]
    fn a_file_tests_the_rules_that_are_shipped() {
        let found = check(&Input {
            tests: vec![("t.yaml".to_owned(), json!({ "rule_files": ["other.yaml"] }))],
            ..Input::default()
        });
        assert_eq!(found, ["t.yaml: doesn't test the rules"]);
        assert_eq!(check(&Input::default()).len(), 1, "there must be some");
    }
}
