//! `thresholds.json`: what every scenario has to keep to.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// One threshold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold {
    /// Of which scenario.
    pub scenario: String,
    /// Of which metric.
    pub metric: String,
    /// Such as `p(99)<250`.
    pub expression: String,
}

/// All thresholds of a file, in its order of names.
///
/// # Errors
///
/// The file isn't there, or has another form.
pub fn thresholds(file: &Path) -> Result<Vec<Threshold>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    parse(&text).with_context(|| format!("{}: not thresholds", file.display()))
}

fn parse(text: &str) -> serde_json::Result<Vec<Threshold>> {
    type Scenarios = BTreeMap<String, BTreeMap<String, Vec<String>>>;
    let mut all = Vec::new();
    for (scenario, metrics) in serde_json::from_str::<Scenarios>(text)? {
        for (metric, expressions) in metrics {
            let one = |expression| Threshold {
                scenario: scenario.clone(),
                metric: metric.clone(),
                expression,
            };
            all.extend(expressions.into_iter().map(one));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expression_is_a_threshold() {
        let text =
            r#"{"publish": {"ok_ms": ["p(50)<1", "p(99)<2"]}, "auth": {"done": ["count>0"]}}"#;
        let found = parse(text).unwrap();
        let found: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|one| (&*one.scenario, &*one.metric, &*one.expression))
            .collect();
        let expected = [
            ("auth", "done", "count>0"),
            ("publish", "ok_ms", "p(50)<1"),
            ("publish", "ok_ms", "p(99)<2"),
        ];
        assert_eq!(found, expected);
    }
}
