//! A real Prometheus scrapes what it is told to, evaluates rules, and is told something else.
#![expect(clippy::unwrap_used, reason = "helpers of tests outside of them")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use heliograph_sandbox::{
    prometheus::{Alert, AlertState, Prometheus, PrometheusOptions, RuleKind, Target, install},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(60);

const RULES: &str = r#"
groups:
  - name: example
    rules:
      - record: example:doubled
        expr: 2 * example
      - alert: ExampleHigh
        expr: example:doubled > 10
        labels: {severity: page}
        annotations: {summary: "it is {{ $value }}"}
"#;

/// Answers every request with one series.
fn page(value: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let mut line = String::new();
            while socket.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let body = format!(
                "# TYPE example gauge\nexample {value}\n# TYPE slow histogram\n\
                 slow_bucket{{le=\"+Inf\"}} 1 # {{trace_id=\"ab\"}} 0.5\nslow_count 1\n\
                 slow_sum 0.5\n# EOF\n"
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            socket.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn target(job: &str, value: u32) -> Target {
    Target {
        job: job.to_owned(),
        address: page(value),
        labels: vec![("pod".to_owned(), format!("{job}-0"))],
    }
}

/// The value of an expression, once it has one series.
fn value(prometheus: &Prometheus, expression: &str) -> f64 {
    wait::within(PATIENCE, expression, || {
        match &*prometheus.query(expression).unwrap() {
            [series] => series.last(),
            _ => None,
        }
    })
}

#[test]
fn it_scrapes_evaluates_and_follows_its_targets() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    std::fs::write(&rules, RULES).unwrap();
    let prometheus = Prometheus::start(&PrometheusOptions {
        targets: vec![target("low", 3)],
        rules: vec![rules],
        ..PrometheusOptions::default()
    })
    .unwrap();
    assert!(value(&prometheus, "example:doubled{pod=\"low-0\"}") < 6.5);
    assert_eq!(prometheus.alerts().unwrap(), []);
    let rules = prometheus.rules().unwrap();
    assert!(rules.iter().all(|rule| rule.is_healthy), "{rules:?}");
    assert_eq!(
        rules.iter().map(|rule| rule.kind).collect::<Vec<_>>(),
        [RuleKind::Recording, RuleKind::Alerting]
    );

    prometheus.set_targets(&[target("high", 7)]).unwrap();
    assert!(value(&prometheus, "example{job=\"high\"}") > 6.5);
    let alert: Alert = wait::within(PATIENCE, "alert", || prometheus.alerts().unwrap().pop());
    assert_eq!(
        (&*alert.name, alert.state),
        ("ExampleHigh", AlertState::Firing)
    );
    assert_eq!(alert.annotations["summary"], "it is 14");
    assert_eq!(alert.labels["pod"], "high-0");

    let now = value(&prometheus, "time()");
    let range = prometheus
        .query_range(
            "example{job=\"high\"}",
            (now - 60.0, now),
            Duration::from_secs(1),
        )
        .unwrap();
    assert!(!range[0].points.is_empty());
    let traces = prometheus.traces("slow_bucket", (now - 60.0, now + 1.0));
    assert_eq!(traces.unwrap().last().map(String::as_str), Some("ab"));
    let error = prometheus.query("sum(").unwrap_err().to_string();
    assert!(
        error.starts_with("sum(: ") && error.contains("parse error"),
        "{error}"
    );
}

#[test]
fn rules_that_are_wrong_keep_it_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yaml");
    std::fs::write(&rules, RULES.replace("2 * example", "2 * (")).unwrap();
    let options = PrometheusOptions {
        rules: vec![rules],
        ..PrometheusOptions::default()
    };
    let error = Prometheus::start(&options).unwrap_err().to_string();
    assert!(error.contains("could not parse expression"), "{error}");
}

#[test]
fn promtool_comes_with_it() {
    let programs = install().unwrap();
    let version = std::process::Command::new(programs.promtool)
        .arg("--version")
        .output();
    assert!(version.unwrap().status.success());
}
