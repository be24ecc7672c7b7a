//! Alerts: few, each with what whoever it wakes needs.

use serde_json::Value;

use super::{Finding, says_something};
use crate::observe::{
    input::{Input, RULES, Rule, panels},
    promql, runbook_url,
};

const ALERTS_MAX: usize = 30;
const PAGES_MAX: usize = 8;

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |rule: &str, what: String| findings.push(format!("{RULES}: {rule}: {what}"));
    for rule in &input.rules {
        for duration in promql::named(rule.expression()).durations {
            if !promql::is_plain_duration(&duration) {
                report(
                    &rule.name,
                    format!("`{duration}` is not one number and one unit"),
                );
            }
        }
    }
    for alert in input.alerts() {
        check_alert(alert, &mut |what| report(&alert.name, what));
        check_board(input, alert, &mut |what| report(&alert.name, what));
    }
    let alerts = input.alerts().count();
    let pages = input
        .alerts()
        .filter(|alert| alert.severity() == "page")
        .count();
    if alerts > ALERTS_MAX || pages > PAGES_MAX {
        findings.push(format!(
            "{RULES}: {alerts} alerts of which {pages} page; at most {ALERTS_MAX} and {PAGES_MAX} are wanted"
        ));
    }
    findings
}

fn check_alert(alert: &Rule, report: &mut dyn FnMut(String)) {
    if !alert.name.starts_with("Heliograph") {
        report("its name doesn't begin with Heliograph".to_owned());
    }
    if !matches!(alert.severity(), "page" | "ticket") {
        report(format!(
            "severity `{}` is neither page nor ticket",
            alert.severity()
        ));
    }
    if !says_something(alert.annotation("summary")) || alert.annotation("summary").contains("{{") {
        report("has no summary, or one that depends on its labels".to_owned());
    }
    if !alert.annotation("description").contains("$value") {
        report("its description doesn't tell the value".to_owned());
    }
    if alert.annotation("runbook_url") != runbook_url(&alert.name) {
        report(format!("runbook_url is not {}", runbook_url(&alert.name)));
    }
    if let Some(wait) = alert.value["for"].as_str()
        && !promql::is_plain_duration(wait)
    {
        report(format!("`for: {wait}` is not one number and one unit"));
    }
}

/// The board that the alert names has a panel that leads to its runbook.
fn check_board(input: &Input, alert: &Rule, report: &mut dyn FnMut(String)) {
    let link = alert.annotation("dashboard");
    let named = |board: &Value| {
        let uid = board["uid"].as_str();
        uid.is_some_and(|uid| link == format!("/d/{uid}"))
    };
    let Some((_, board)) = input.boards.iter().find(|(_, board)| named(board)) else {
        return report(format!("dashboard `{link}` is none of the boards"));
    };
    let url = runbook_url(&alert.name);
    let leads = |panel: &Value| {
        let links = panel["links"].as_array().into_iter().flatten();
        links.into_iter().any(|link| link["url"] == url.as_str())
    };
    if !panels(board).any(leads) {
        report(format!("no panel of {link} leads to its runbook"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::input;

    fn alert(number: usize) -> Value {
        json!({
            "alert": format!("HeliographTest{number}"),
            "expr": "rate(x[5m]) > 0",
            "for": "5m",
            "labels": { "severity": "ticket" },
            "annotations": {
                "summary": "Something is wrong",
                "description": "{{ $value }} are wrong",
                "runbook_url": runbook_url(&format!("HeliographTest{number}")),
                "dashboard": "/d/board",
            },
        })
    }

    fn input_of(alerts: &[Value]) -> Input {
        let links: Vec<Value> = (0..99)
            .map(|number| json!({ "url": runbook_url(&format!("HeliographTest{number}")) }))
            .collect();
        let board = json!({ "uid": "board", "panels": [{ "links": links }] });
        Input {
            rules: input::rules(&json!({ "groups": [{ "rules": alerts }] })),
            boards: vec![("board.json".to_owned(), board)],
            ..Input::default()
        }
    }

    #[track_caller]
    fn finds(what: &str, change: impl FnOnce(&mut Value)) {
        let mut alert = alert(1);
        change(&mut alert);
        let found = check(&input_of(&[alert]));
        assert!(
            found.iter().any(|finding| finding.contains(what)),
            "{what} in {found:?}"
        );
    }

    #[test]
    fn a_complete_alert_is_left_alone() {
        assert_eq!(check(&input_of(&[alert(1)])), Vec::<Finding>::new());
    }

    #[test]
    fn an_alert_says_how_urgent_it_is_and_what_it_means() {
        finds("neither page nor ticket", |alert| {
            alert["labels"] = json!({ "severity": "critical" });
        });
        finds("has no summary", |alert| {
            alert["annotations"]["summary"] = json!("");
        });
        finds("depends on its labels", |alert| {
            alert["annotations"]["summary"] = json!("{{ $labels.pod }} is wrong");
        });
        finds("doesn't tell the value", |alert| {
            alert["annotations"]["description"] = json!("It is wrong");
        });
        finds("doesn't begin with Heliograph", |alert| {
            alert["alert"] = json!("Test");
        });
    }

    #[test]
    fn an_alert_leads_to_its_runbook_and_to_a_board_that_does() {
        finds("runbook_url is not", |alert| {
            alert["annotations"]["runbook_url"] = json!("https://example.com");
        });
        finds("is none of the boards", |alert| {
            alert["annotations"]["dashboard"] = json!("/d/none");
        });
        let mut input = input_of(&[alert(1)]);
        input.boards[0].1["panels"] = json!([]);
        assert!(check(&input)[0].contains("leads to its runbook"));
    }

    #[test]
    fn lengths_of_time_can_be_scaled() {
        finds("`for: 1h30m`", |alert| alert["for"] = json!("1h30m"));
        finds("`1h30m` is not", |alert| {
            alert["expr"] = json!("rate(x[1h30m]) > 0");
        });
    }

    #[test]
    fn there_are_not_too_many() {
        let many = |count: usize, severity: &str| {
            let alerts: Vec<Value> = (0..count)
                .map(|number| {
                    let mut alert = alert(number);
                    alert["labels"]["severity"] = json!(severity);
                    alert
                })
                .collect();
            check(&input_of(&alerts)).len()
        };
        assert_eq!((many(30, "ticket"), many(31, "ticket")), (0, 1));
        assert_eq!((many(8, "page"), many(9, "page")), (0, 1));
    }
}
