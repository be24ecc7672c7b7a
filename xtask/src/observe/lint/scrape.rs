//! What Prometheus scrapes in deploy/compose: every process of the relay, under its role.

use serde_json::Value;

use super::Finding;
use crate::observe::input::{Input, SCRAPE};

/// The image of the relay, without its tag.
const IMAGE: &str = "heliograph";

/// What a process of the relay listens on for operators.
const PORT: &str = "7778";

/// Roles that run until they are stopped.
const ROLES: [&str; 4] = ["gateway", "ingest", "matcher", "canary"];

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let targets = targets(&input.scrape);
    let mut findings = Vec::new();
    let mut report = |what: String| findings.push(format!("{SCRAPE}: {what}"));
    for (service, role) in services(&input.compose) {
        let target = format!("{service}:{PORT}");
        match targets.iter().find(|(address, _)| *address == target) {
            None => report(format!("{target} is not scraped")),
            Some((_, labels)) if labels["role"] != role => {
                report(format!("{target} has not the role {role}"));
            }
            Some((_, labels)) if labels["cluster"].as_str().is_none_or(str::is_empty) => {
                report(format!("{target} has no cluster"));
            }
            Some(_) => {}
        }
    }
    for (target, _) in &targets {
        let known = |(service, _): (&str, &str)| *target == format!("{service}:{PORT}");
        if !services(&input.compose).any(known) {
            report(format!("{target} is no process of deploy/compose"));
        }
    }
    findings
}

/// Addresses with the labels that they get.
fn targets(scrape: &Value) -> Vec<(String, Value)> {
    let jobs = scrape["scrape_configs"].as_array().into_iter().flatten();
    let lists = jobs.flat_map(|job| job["static_configs"].as_array().into_iter().flatten());
    lists
        .flat_map(|list| {
            let targets = list["targets"].as_array().into_iter().flatten();
            let targets = targets.filter_map(Value::as_str);
            targets.map(|target| (target.to_owned(), list["labels"].clone()))
        })
        .collect()
}

/// Services that are a role, with that.
fn services(compose: &Value) -> impl Iterator<Item = (&str, &str)> {
    let services = compose["services"].as_object().into_iter().flatten();
    services.filter_map(|(name, service)| {
        let image = service["image"].as_str()?.split(':').next()?;
        let role = service["command"][0].as_str()?;
        (image == IMAGE && ROLES.contains(&role)).then_some((name.as_str(), role))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_target(target: &str, labels: &Value, expected: &[&str]) {
        let compose = json!({ "services": {
            "gateway-1": { "image": "heliograph:1", "command": ["gateway", "--set=a=b"] },
            "migrate": { "image": "heliograph:1", "command": ["migrate"] },
            "nats-1": { "image": "nats:2", "command": ["gateway"] },
        } });
        let list = json!({ "targets": [target], "labels": labels });
        let found = check(&Input {
            compose,
            scrape: json!({ "scrape_configs": [{ "static_configs": [list] }] }),
            ..Input::default()
        });
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, expected) in found.iter().zip(expected) {
            assert!(finding.contains(expected), "{found:?}");
        }
    }

    #[test]
    fn every_process_is_scraped_under_its_role_and_nothing_else() {
        check_target(
            "gateway-1:7778",
            &json!({ "role": "gateway", "cluster": "c" }),
            &[],
        );
        check_target(
            "gateway-1:7778",
            &json!({ "role": "ingest", "cluster": "c" }),
            &["has not the role gateway"],
        );
        check_target(
            "gateway-1:7778",
            &json!({ "role": "gateway" }),
            &["has no cluster"],
        );
        check_target(
            "nats-1:7778",
            &json!({ "role": "gateway", "cluster": "c" }),
            &["gateway-1:7778 is not scraped", "nats-1:7778 is no process"],
        );
    }
}
