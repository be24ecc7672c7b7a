//! `docs/operate/alerts.md`: every alert with what it means and where its runbook is.

use std::fmt::Write as _;

use super::{input::Rule, kebab};

pub(super) const PAGE: &str = "docs/operate/alerts.md";

/// Why an alert is of its severity, and the heading of its list.
const SEVERITIES: [(&str, &str, &str); 2] = [
    (
        "page",
        "Alerts that page",
        "Clients notice, or will within hours. Somebody has to act now.",
    ),
    (
        "ticket",
        "Alerts for tickets",
        "A cause or a risk. Somebody has to look within a working day.",
    ),
];

/// The page, from the rules.
pub(super) fn page(rules: &[Rule]) -> String {
    let mut out = String::from(
        "<!-- Generated from deploy/prometheus/heliograph-rules.yaml; don't edit. -->\n\
         # Alerts\n\n\
         Each alert has a runbook: what it means, whom it hurts, what to ask Prometheus, what to do. How they are loaded and\n\
         what they rely on is in [monitoring](monitoring.md).\n",
    );
    for (severity, heading, meaning) in SEVERITIES {
        write!(
            out,
            "\n## {heading}\n\n{meaning}\n\n| alert | says | after |\n| --- | --- | --- |\n"
        )
        .expect("writing to a string can't fail");
        for rule in rules
            .iter()
            .filter(|rule| rule.alert && rule.severity() == severity)
        {
            let wait = rule.value["for"].as_str().unwrap_or("at once");
            writeln!(
                out,
                "| [{}](runbooks/{}.md) | {} | {wait} |",
                rule.name,
                kebab(&rule.name),
                rule.annotation("summary")
            )
            .expect("writing to a string can't fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::input;

    #[test]
    fn every_alert_is_listed_under_its_severity() {
        let rule = |name: &str, severity: &str| {
            json!({
                "alert": name, "for": "2m", "labels": { "severity": severity },
                "annotations": { "summary": "It hurts" },
            })
        };
        let rules = json!({ "groups": [{ "rules": [rule("HeliographA", "ticket"), rule("HeliographB", "page")] }] });
        let page = page(&input::rules(&rules));
        let (pages, tickets) = page.split_once("## Alerts for tickets").unwrap();
        assert!(pages.contains("| [HeliographB](runbooks/heliograph-b.md) | It hurts | 2m |\n"));
        assert!(tickets.contains("| [HeliographA](runbooks/heliograph-a.md) | It hurts | 2m |\n"));
        assert!(!pages.contains("HeliographA]") && !tickets.contains("HeliographB]"));
    }
}
