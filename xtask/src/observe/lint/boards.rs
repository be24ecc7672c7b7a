//! Dashboards: every panel says what it shows, in which unit, and from when on it is bad.

use serde_json::Value;

use super::{Finding, says_something};
use crate::observe::{
    catalogue::TARGET,
    input::{Input, evaluable, panels},
    promql,
};

/// The board that must not ask for what a relay in one process hasn't got.
const SINGLE: &str = "heliograph-single-process";

/// How many other boards there may be.
const BOARDS_MAX: usize = 5;

/// What only a cluster has, or only who loads the recording rules.
const CLUSTER: [&str; 8] = [
    "heliograph_bus_",
    "heliograph_scylla_",
    "heliograph_link_",
    "heliograph_control_",
    "heliograph_canary_",
    "sli:",
    "slo:",
    "heliograph:",
];

/// The schema of Grafana 10.
const SCHEMA: u64 = 39;

const VARIABLES: [&str; 4] = ["cluster", "namespace", "role", "pod"];

pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, board) in &input.boards {
        let mut report = |what: String| findings.push(format!("{path}: {what}"));
        check_board(path, board, &mut report);
        let mut titles: Vec<&str> = Vec::new();
        for panel in panels(board) {
            let title = panel["title"].as_str().unwrap_or_default();
            if titles.contains(&title) {
                report(format!("two panels are called `{title}`"));
            }
            titles.push(title);
            check_panel(panel, &mut |what| report(format!("`{title}`: {what}")));
        }
    }
    let others = input
        .boards
        .iter()
        .filter(|(_, board)| board["uid"] != SINGLE);
    let others = others.count();
    if others > BOARDS_MAX || others == input.boards.len() {
        findings.push(format!(
            "deploy/grafana: {others} boards beside {SINGLE}, at most {BOARDS_MAX} and that one are wanted"
        ));
    }
    findings
}

fn check_board(path: &str, board: &Value, report: &mut dyn FnMut(String)) {
    let uid = board["uid"].as_str().unwrap_or_default();
    let name = uid.strip_prefix("heliograph-");
    if !name.is_some_and(|name| path.ends_with(&format!("/{name}.json"))) {
        report(format!("is called `{uid}` inside"));
    }
    for key in ["title", "description"] {
        if !says_something(board[key].as_str().unwrap_or_default()) {
            report(format!("has no {key}"));
        }
    }
    if board["schemaVersion"] != SCHEMA {
        report(format!("is not of schema {SCHEMA}"));
    }
    let variables = board["templating"]["list"].as_array();
    let variable = |name: &str| {
        let mut all = variables.into_iter().flatten();
        all.find(|variable| variable["name"] == name)
    };
    if variable("datasource").is_none_or(|variable| variable["type"] != "datasource") {
        report("has no variable `datasource`".to_owned());
    }
    for name in VARIABLES {
        match variable(name) {
            None => report(format!("has no variable `{name}`")),
            Some(variable) if variable["allValue"] != ".*" => {
                report(format!(
                    "`{name}`: a missing label must match as well (allValue `.*`)"
                ));
            }
            Some(_) => {}
        }
    }
    let links = board["links"].as_array().into_iter().flatten();
    if !links.clone().any(|link| link["type"] == "dashboards") {
        report("has no link to the other boards".to_owned());
    }
}

fn check_panel(panel: &Value, report: &mut dyn FnMut(String)) {
    if panel["title"]
        .as_str()
        .unwrap_or_default()
        .trim()
        .is_empty()
    {
        report("has no title".to_owned());
    }
    if !says_something(panel["description"].as_str().unwrap_or_default()) {
        report("has no description".to_owned());
    }
    let defaults = &panel["fieldConfig"]["defaults"];
    if defaults["unit"].as_str().unwrap_or_default().is_empty() {
        report("has no unit".to_owned());
    }
    check_thresholds(&defaults["thresholds"], report);
    let targets = panel["targets"].as_array();
    let mut any = false;
    for target in targets.into_iter().flatten() {
        any = true;
        let expression = target["expr"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            report("has an empty query".to_owned());
        }
        if target["datasource"]["uid"] != "${datasource}" {
            report("asks another data source than the one chosen".to_owned());
        }
        if expression.contains("_seconds_bucket") && target["exemplar"] != true {
            report("shows how long something takes, and no example traces".to_owned());
        }
        check_selectors(expression, report);
    }
    if !any {
        report("has no query".to_owned());
    }
}

/// The first step begins at the bottom, the others rise.
fn check_thresholds(thresholds: &Value, report: &mut dyn FnMut(String)) {
    let steps = thresholds["steps"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let Some((first, others)) = steps.split_first() else {
        return report("has no thresholds".to_owned());
    };
    let values: Vec<Option<f64>> = others.iter().map(|step| step["value"].as_f64()).collect();
    let rising = values.windows(2).all(|pair| pair[0] < pair[1]);
    if !first["value"].is_null() || values.contains(&None) || !rising {
        report("has thresholds out of order".to_owned());
    }
}

/// Every selector follows the variables, except for what has none of these labels.
fn check_selectors(expression: &str, report: &mut dyn FnMut(String)) {
    for (name, labels) in promql::named(&evaluable(expression)).selectors {
        let wanted: &[&str] = if name.starts_with("heliograph_") {
            &VARIABLES
        } else if name == "slo:error_budget:ratio" {
            &[]
        } else {
            &VARIABLES[..2]
        };
        for label in wanted {
            debug_assert!(TARGET.contains(label), "variables are labels of targets");
            if !labels.iter().any(|own| own == label) {
                report(format!("{name} doesn't follow ${label}"));
            }
        }
    }
}

/// Whether a board asks for what its relay hasn't got.
pub(super) fn foreign(board: &Value, expression: &str) -> Vec<String> {
    if board["uid"] != SINGLE {
        return Vec::new();
    }
    let names = promql::named(expression).selectors.into_iter();
    names
        .map(|(name, _)| name)
        .filter(|name| CLUSTER.iter().any(|start| name.starts_with(start)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::boards;

    /// What is found in a real board after `change`.
    fn findings(change: impl FnOnce(&mut Value)) -> Vec<Finding> {
        let mut boards: Vec<(String, Value)> = boards::all()
            .iter()
            .map(|board| {
                let json = serde_json::from_str(&board.to_json()).unwrap();
                (board.path(), json)
            })
            .collect();
        change(&mut boards[0].1);
        check(&Input {
            boards,
            ..Input::default()
        })
    }

    #[track_caller]
    fn finds(what: &str, change: impl FnOnce(&mut Value)) {
        let found = findings(change);
        assert!(
            found.iter().any(|finding| finding.contains(what)),
            "{what} in {found:?}"
        );
    }

    #[track_caller]
    fn finds_in_panel(what: &str, change: impl FnOnce(&mut Value)) {
        finds(what, |board| change(&mut board["panels"][1]));
    }

    #[test]
    fn the_boards_are_in_order() {
        assert_eq!(findings(|_| ()), Vec::<Finding>::new());
    }

    #[test]
    fn a_panel_says_what_it_shows() {
        finds_in_panel("has no title", |panel| panel["title"] = json!(" "));
        finds_in_panel("has no description", |panel| {
            panel["description"] = json!("CPU");
        });
        finds_in_panel("two panels are called", |panel| {
            panel["title"] = json!("Alerts that page");
        });
    }

    #[test]
    fn a_panel_has_a_unit_and_thresholds() {
        finds_in_panel("has no unit", |panel| {
            panel["fieldConfig"]["defaults"]["unit"] = Value::Null;
        });
        let thresholds = |steps: Value| {
            move |panel: &mut Value| panel["fieldConfig"]["defaults"]["thresholds"]["steps"] = steps
        };
        finds_in_panel("has no thresholds", thresholds(json!([])));
        finds_in_panel(
            "thresholds out of order",
            thresholds(json!([{ "value": 1 }])),
        );
        let falling = json!([{ "value": null }, { "value": 2 }, { "value": 1 }]);
        finds_in_panel("thresholds out of order", thresholds(falling));
    }

    #[test]
    fn a_panel_asks_the_chosen_source_for_what_is_chosen() {
        finds_in_panel("has no query", |panel| panel["targets"] = json!([]));
        finds_in_panel("has an empty query", |panel| {
            panel["targets"][0]["expr"] = json!("");
        });
        finds_in_panel("no example traces", |panel| {
            panel["targets"][0]["expr"] = json!("heliograph_publish_ok_seconds_bucket");
        });
        finds_in_panel("another data source", |panel| {
            panel["targets"][0]["datasource"]["uid"] = json!("prometheus");
        });
        finds_in_panel("heliograph_connections doesn't follow $role", |panel| {
            let expression = r#"heliograph_connections{cluster=~"$cluster", namespace=~"$namespace", pod=~"$pod"}"#;
            panel["targets"][0]["expr"] = json!(expression);
        });
        finds_in_panel("sli:total:rate5m doesn't follow $cluster", |panel| {
            panel["targets"][0]["expr"] = json!("sli:total:rate5m");
        });
    }

    #[test]
    fn a_board_has_its_variables_and_links() {
        finds("no variable `pod`", |board| {
            let variables = board["templating"]["list"].as_array_mut().unwrap();
            variables.retain(|variable| variable["name"] != "pod");
        });
        finds("no variable `datasource`", |board| {
            board["templating"]["list"][0]["type"] = json!("query");
        });
        finds("a missing label must match", |board| {
            board["templating"]["list"][1]["allValue"] = json!(".+");
        });
        finds("no link to the other boards", |board| {
            board["links"] = json!([]);
        });
        finds("is not of schema", |board| {
            board["schemaVersion"] = json!(38);
        });
        finds("is called `other` inside", |board| {
            board["uid"] = json!("other");
        });
        finds("has no description", |board| {
            board["description"] = json!("");
        });
    }

    #[test]
    fn there_are_not_too_many_boards() {
        let mut input = Input::default();
        for number in 0..7 {
            let uid = if number == 6 {
                SINGLE.to_owned()
            } else {
                number.to_string()
            };
            input
                .boards
                .push((format!("{uid}.json"), json!({ "uid": uid })));
        }
        let counted = |input: &Input| check(input).iter().any(|f| f.contains("boards beside"));
        assert!(counted(&input));
        input.boards.remove(0);
        assert!(!counted(&input));
        input.boards.pop();
        assert!(counted(&input), "the board of one process is missing");
    }

    #[test]
    fn the_board_of_one_process_asks_for_nothing_of_a_cluster() {
        let board = json!({ "uid": SINGLE });
        let foreign = |expression| foreign(&board, expression).len();
        assert_eq!(foreign("heliograph_connections"), 0);
        assert_eq!(
            foreign("max(heliograph_bus_connected) + sli:total:rate5m"),
            2
        );
    }
}
