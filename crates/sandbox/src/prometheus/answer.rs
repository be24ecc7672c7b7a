//! What Prometheus answers (HTTP API v1).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Error;

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels, the name among them as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// When in Unix seconds, and what; a single one unless a range was asked for.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The newest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }

    /// A label; empty if it hasn't got it, which is the same for Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Whether an alert has been true for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Not yet.
    Pending,
    /// It has.
    Firing,
}

/// An alert that is true now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The label `alertname`.
    pub name: String,
    /// Whether it fires.
    pub state: AlertState,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, with values filled in.
    pub annotations: BTreeMap<String, String>,
}

/// What a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// A series.
    Recording,
    /// An alert.
    Alerting,
}

/// A rule as the server runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The group that it is in.
    pub group: String,
    /// The alert or the series that it makes.
    pub name: String,
    /// Which of them.
    pub kind: RuleKind,
    /// Its expression.
    pub query: String,
    /// Why the last evaluation failed; empty if it didn't.
    pub error: String,
    /// Whether it has been evaluated without a failure.
    pub is_healthy: bool,
}

/// The member `data` of an answer; `what` is named in errors.
pub(super) fn data(body: &str, what: &str) -> Result<Value, Error> {
    let mut answer: Value = serde_json::from_str(body)
        .map_err(|error| Error::Options(format!("{what}: not an answer: {error}: {body}")))?;
    if answer["status"] == "success" {
        return Ok(answer["data"].take());
    }
    let why = answer["error"].as_str().unwrap_or(body);
    Err(Error::Options(format!("{what}: {why}")))
}

/// A vector, a matrix or a number.
pub(super) fn series(data: &Value, expression: &str) -> Result<Vec<Series>, Error> {
    let unknown = || Error::Options(format!("{expression}: neither series nor a number: {data}"));
    let result = &data["result"];
    if data["resultType"] == "scalar" {
        let point = point(result).ok_or_else(unknown)?;
        return Ok(vec![Series {
            labels: BTreeMap::new(),
            points: vec![point],
        }]);
    }
    let all = result.as_array().ok_or_else(unknown)?;
    let one = |series: &Value| {
        let points = match series["values"].as_array() {
            Some(values) => values.iter().map(point).collect::<Option<Vec<_>>>()?,
            None => vec![point(&series["value"])?],
        };
        let labels = strings(&series["metric"]);
        Some(Series { labels, points })
    };
    all.iter()
        .map(one)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(unknown)
}

pub(super) fn alerts(data: &Value) -> Result<Vec<Alert>, Error> {
    let alerts = data["alerts"].as_array();
    let alerts = alerts.ok_or_else(|| Error::Options(format!("no alerts in {data}")))?;
    let one = |alert: &Value| {
        let labels = strings(&alert["labels"]);
        Alert {
            name: labels.get("alertname").cloned().unwrap_or_default(),
            state: match alert["state"].as_str() {
                Some("firing") => AlertState::Firing,
                _ => AlertState::Pending,
            },
            labels,
            annotations: strings(&alert["annotations"]),
        }
    };
    Ok(alerts.iter().map(one).collect())
}

pub(super) fn rules(data: &Value) -> Result<Vec<Rule>, Error> {
    let groups = data["groups"].as_array();
    let groups = groups.ok_or_else(|| Error::Options(format!("no groups in {data}")))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rules = groups.iter().flat_map(|group| {
        let rules = group["rules"].as_array().into_iter().flatten();
        rules.map(|rule| Rule {
            group: text(&group["name"]),
            name: text(&rule["name"]),
            kind: match rule["type"].as_str() {
                Some("alerting") => RuleKind::Alerting,
                _ => RuleKind::Recording,
            },
            query: text(&rule["query"]),
            error: text(&rule["lastError"]),
            is_healthy: rule["health"] == "ok",
        })
    });
    Ok(rules.collect())
}

/// The label `trace_id` of each exemplar.
pub(super) fn traces(data: &Value) -> Vec<String> {
    let series = data.as_array().into_iter().flatten();
    let exemplars = series
        .filter_map(|one| one["exemplars"].as_array())
        .flatten();
    let traces = exemplars.filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str());
    traces.map(str::to_owned).collect()
}

/// `[1700000000.1,"2.5"]`; values may be `NaN`, `+Inf` and `-Inf`.
fn point(value: &Value) -> Option<(f64, f64)> {
    let number = value[1].as_str()?;
    Some((value[0].as_f64()?, number.parse().ok()?))
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Vec<Series>, Error> {
        series(&data(body, "x")?, "x")
    }

    #[test]
    fn vectors_matrices_and_numbers_are_series() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"a"},"value":[1700000000.5,"1"]}]}}"#;
        let found = parse(vector).unwrap();
        assert_eq!((found[0].label("job"), found[0].label("none")), ("a", ""));
        assert_eq!(found[0].points, [(1_700_000_000.5, 1.0)]);
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{},"values":[[1,"2"],[2,"+Inf"]]}]}}"#;
        let found = parse(matrix).unwrap();
        assert_eq!(found[0].points, [(1.0, 2.0), (2.0, f64::INFINITY)]);
        let number = r#"{"status":"success","data":{"resultType":"scalar","result":[3,"NaN"]}}"#;
        assert!(parse(number).unwrap()[0].last().unwrap().is_nan());
    }

    #[test]
    fn exemplars_name_traces() {
        let body = r#"{"status":"success","data":[{"seriesLabels":{},"exemplars":[
            {"labels":{"trace_id":"ab"},"value":"0.1","timestamp":1700000000.5},
            {"labels":{},"value":"0.2","timestamp":1700000001}]}]}"#;
        assert_eq!(traces(&data(body, "x").unwrap()), ["ab"]);
    }

    #[test]
    fn an_error_says_what_is_wrong_with_the_expression() {
        let body = r#"{"status":"error","errorType":"bad_data","error":"1:2: parse error"}"#;
        let error = parse(body).unwrap_err().to_string();
        assert_eq!(error, "x: 1:2: parse error");
        assert!(parse("<html>").is_err());
    }
}
