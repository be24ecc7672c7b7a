//! Puts the dashboard's variables into `PromQL` that is written without them.

/// What a process exports: the labels of its target.
const TARGET: &str = r#"cluster=~"$cluster", namespace=~"$namespace", role=~"$role", pod=~"$pod""#;

/// What the rules record for a whole relay.
const RELAY: &str = r#"cluster=~"$cluster", namespace=~"$namespace""#;

/// What the rules record without any label of a target.
const EVERYWHERE: &str = "slo:error_budget:ratio";

/// Names that get the labels of a relay only, by how they begin.
const RECORDED: [&str; 4] = ["sli:", "slo:", "heliograph:", "ALERTS"];

/// The expression with the selection of the variables in every selector, and `[$i]` as the interval
/// that fits the resolution of the graph.
pub(in crate::observe) fn with_variables(expression: &str) -> String {
    let mut out = String::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = if let Some(text) = rest.strip_prefix('"') {
            text.find('"').map_or(rest.len(), |end| end + 2)
        } else {
            let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
            rest.find(part).unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(length);
        out.push_str(word);
        rest = after;
        if let Some(labels) = selection(word) {
            let own = after.strip_prefix('{');
            out.push('{');
            out.push_str(labels);
            match own {
                Some(own) => {
                    out.push_str(", ");
                    rest = own;
                }
                None => out.push('}'),
            }
        }
    }
    out.push_str(rest);
    out.replace("[$i]", "[$__rate_interval]")
}

fn selection(word: &str) -> Option<&'static str> {
    if word == EVERYWHERE {
        return None;
    }
    if RECORDED.iter().any(|start| word.starts_with(start)) {
        return Some(RELAY);
    }
    word.starts_with("heliograph_").then_some(TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        let expected = expected.replace('@', TARGET).replace('%', RELAY);
        assert_eq!(with_variables(expression), expected);
    }

    #[test]
    fn every_selector_gets_the_variables() {
        check("heliograph_a", "heliograph_a{@}");
        check(
            r#"sum by (pod) (rate(heliograph_a_total{x="1"}[$i])) / heliograph_b"#,
            r#"sum by (pod) (rate(heliograph_a_total{@, x="1"}[$__rate_interval])) / heliograph_b{@}"#,
        );
    }

    #[test]
    fn what_rules_recorded_has_the_labels_of_a_relay() {
        check(
            r#"sli:error:ratio_rate1h{slo="a"} / on (slo) group_left () slo:error_budget:ratio"#,
            r#"sli:error:ratio_rate1h{%, slo="a"} / on (slo) group_left () slo:error_budget:ratio"#,
        );
        check(
            r#"ALERTS{alertname=~"Heliograph.+"}"#,
            r#"ALERTS{%, alertname=~"Heliograph.+"}"#,
        );
    }

    #[test]
    fn text_is_left_alone() {
        check(
            r#"label_replace(vector(1), "a", "heliograph_b", "", "")"#,
            r#"label_replace(vector(1), "a", "heliograph_b", "", "")"#,
        );
    }
}
