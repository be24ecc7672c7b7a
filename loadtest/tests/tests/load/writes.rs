//! Remote write: what a run measures is in Prometheus, where distributed runs are judged.

use std::process::Command;

use heliograph_loadtest::{BREACH, Run, suite};
use heliograph_sandbox::{
    or_skip,
    prometheus::{Prometheus, PrometheusOptions},
    wait::within,
};
use heliograph_testkit::{PATIENCE, tool};

use crate::{
    bed::{RUN_PATIENCE, assert_code, beside_others, corpus, programs, single},
    compared::has_node,
    proxy::{
        Proxy,
        messages::What,
        rules::{Act, Rule},
    },
};

/// A server that takes samples. `None` after saying so where it can't be had.
fn prometheus() -> Option<Prometheus> {
    let options = PrometheusOptions {
        takes_writes: true,
        features: vec!["native-histograms".to_owned()],
        ..PrometheusOptions::default()
    };
    or_skip(Prometheus::start(&options))
}

/// The run with its samples sent there, with these variables of k6.
fn writing(mut run: Run, prometheus: &Prometheus, variables: &[(&str, &str)]) -> Run {
    let address = prometheus.address();
    run.arguments
        .push("--out=experimental-prometheus-rw".to_owned());
    let url = format!("http://{address}/api/v1/write");
    let own = [
        ("K6_PROMETHEUS_RW_SERVER_URL", &*url),
        ("K6_PROMETHEUS_RW_PUSH_INTERVAL", "1s"),
    ];
    let all = own.iter().chain(variables);
    run.variables
        .extend(all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    run
}

#[test]
fn prometheus_gets_the_series_of_each_scenario_with_its_tags() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = beside_others();
    let Some(prometheus) = prometheus() else {
        return;
    };
    let relay = single(&[]);
    let run = Run::new(&programs.stock, "main.js", &[relay.url()], corpus())
        .option("SCENARIOS", "fan_out,count")
        .option("SECONDS", "2")
        .option("COMMIT", "abc123");
    let run = writing(
        run,
        &prometheus,
        &[("K6_PROMETHEUS_RW_TREND_STATS", "p(99),count")],
    );
    assert_code(&run.finish(RUN_PATIENCE).unwrap(), 0);
    let wanted = [
        r#"k6_delivery_ms_p99{scenario="fan_out",commit="abc123",profile="smoke"} > 0"#,
        r#"k6_fan_out_done_total{scenario="fan_out"} > 0"#,
        r#"k6_delivery_missing_total{scenario="fan_out"} == 0"#,
        r#"k6_count_ms_count{scenario="count"} > 0"#,
        r#"k6_count_failed_rate{scenario="count"} == 0"#,
    ];
    for expression in wanted {
        within(PATIENCE, expression, || {
            let series = prometheus.query(expression).unwrap();
            (!series.is_empty()).then_some(())
        });
    }
}

#[test]
fn the_verdict_on_all_generators_comes_from_prometheus() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = beside_others();
    let Some(prometheus) = prometheus() else {
        return;
    };
    if !has_node() {
        return;
    }
    let judge = |test: &str, rules: Vec<Rule>| {
        let mut proxy = Proxy::bind();
        let relay = single(&[]);
        proxy.serve(relay.address(), rules, 3);
        let mut run = Run::new(&programs.stock, "main.js", &[proxy.url()], corpus())
            .option("SCENARIOS", "fan_out")
            .option("SECONDS", "2");
        let tag = format!("--tag=testid={test}");
        run.arguments = vec!["--no-thresholds".to_owned(), tag];
        let histograms = ("K6_PROMETHEUS_RW_TREND_AS_NATIVE_HISTOGRAM", "true");
        let run = writing(run, &prometheus, &[histograms]);
        // It has no verdict of its own.
        assert_code(&run.finish(RUN_PATIENCE).unwrap(), 0);
        let mut node = Command::new("node");
        node.arg(suite().join("verdict.mjs"));
        node.args(["--prometheus", &format!("http://{}", prometheus.address())]);
        node.args(["--testid", test, "--scenarios", "fan_out"]);
        // Other tests may make it late; what it says is looked at all the same.
        node.args(["--latency-factor", "4", "--lag-most", "100000"]);
        tool::run(&mut node, b"")
    };
    let kept = judge("kept", Vec::new());
    assert_eq!(kept.status.code(), Some(0), "{kept}");
    let dropped = Rule::on(What::Live, Act::Drop).one_in(50);
    let breached = judge("breached", vec![dropped]);
    assert_eq!(breached.status.code(), Some(BREACH), "{breached}");
    assert!(breached.stdout.contains("delivery_missing"), "{breached}");
}
