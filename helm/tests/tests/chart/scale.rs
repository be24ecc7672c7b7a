//! Autoscaling in both forms (05), and how long pods may take to stop (06).

use serde_json::{Value, json};

use crate::support::{ROLES, all, ci, cluster, items, minimal, number, refused, str_of, workloads};

/// What stopping takes beside waiting and closing, in seconds.
const REST: u64 = 20;

/// Metrics that the program says it has.
fn metrics() -> String {
    let path = heliograph_chart::root().join("docs/reference/metrics.md");
    std::fs::read_to_string(path).expect("docs/reference/metrics.md is there")
}

#[test]
fn chart_05_gateways_scale_by_connections_and_ingest_by_the_age_of_its_lag() {
    let hpa = &ci("cluster-hpa").manifest;
    let keda = &ci("cluster-keda").manifest;
    let expected = [
        ("gateway", "heliograph_connections", "30000"),
        ("ingest", "heliograph_ingest_oldest_unacked_seconds", "2"),
        ("matcher", "heliograph_matcher_subscriptions", "500000"),
    ];
    for (role, metric, target) in expected {
        let scaler = hpa
            .of_role("HorizontalPodAutoscaler", role)
            .next()
            .expect(role);
        let metrics = items(&scaler["spec"]["metrics"]);
        let pods = metrics
            .iter()
            .find(|one| one["pods"]["metric"]["name"] == metric);
        let value = json!({"type": "AverageValue", "averageValue": target});
        assert_eq!(pods.expect(metric)["pods"]["target"], value, "{role}");
        let scaled = keda.of_role("ScaledObject", role).next().expect(role);
        let triggers = items(&scaled["spec"]["triggers"]);
        let asks =
            |one: &&Value| str_of(&one["metadata"]["query"]).contains(&format!("{metric}{{"));
        let trigger = triggers.iter().find(asks).expect(metric);
        assert_eq!(trigger["type"], "prometheus");
        assert_eq!(trigger["metadata"]["threshold"], target, "{role}");
        assert_eq!(
            trigger["metadata"]["serverAddress"],
            "http://prometheus.monitoring.svc:9090"
        );
        let name = str_of(&keda.workload(role).object["metadata"]["name"]);
        let query = str_of(&trigger["metadata"]["query"]);
        assert!(query.contains(&format!("pod=~\"{name}-.*\"")), "{query}");
        assert!(query.contains("namespace=\"nostr\""), "{query}");
        // Every worker tells the lag of all: adding them up would count it as often as there are pods.
        let kind = if role == "ingest" {
            ("max(", "Value")
        } else {
            ("sum(", "AverageValue")
        };
        assert!(query.starts_with(kind.0), "{query}");
        assert_eq!(trigger["metricType"], kind.1, "{role}");
    }
}

#[test]
fn chart_05_what_can_t_be_measured_is_not_taken_for_zero() {
    let mut triggers = 0;
    for rendered in all() {
        for scaled in rendered.manifest.of_kind("ScaledObject") {
            for trigger in items(&scaled["spec"]["triggers"]) {
                if trigger["type"] == "prometheus" {
                    // KEDA's own default is "true": no answer is 0, and pods go.
                    let ignores = &trigger["metadata"]["ignoreNullValues"];
                    assert_eq!(*ignores, "false", "{}: {trigger}", rendered.name);
                    triggers += 1;
                }
            }
        }
    }
    assert!(triggers >= 4, "{triggers} triggers");
}

#[test]
fn chart_05_what_scaling_asks_for_is_measured() {
    let known = metrics();
    let mut asked = 0;
    for name in ["cluster-keda", "cluster-everything"] {
        for scaled in ci(name).manifest.of_kind("ScaledObject") {
            for trigger in items(&scaled["spec"]["triggers"]) {
                let query = str_of(&trigger["metadata"]["query"]);
                for word in query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                    if word.starts_with("heliograph_") {
                        // Of a counter the page has the name without its ending.
                        let base = word.trim_end_matches("_total");
                        assert!(known.contains(&format!("`{base}")), "{word}");
                        asked += 1;
                    }
                }
            }
        }
    }
    assert!(asked >= 4, "{asked} metrics");
}

#[test]
fn chart_05_the_example_of_a_metrics_api_answers_what_pods_are_scaled_by() {
    let path = heliograph_chart::root().join("helm/examples/prometheus-adapter-values.yaml");
    let text = std::fs::read_to_string(path).expect("the example is there");
    let adapter: Value = serde_yaml_ng::from_str(&text).expect("it is YAML");
    let rules = items(&adapter["rules"]["custom"]);
    let known = metrics();
    let mut answered = Vec::new();
    for rule in rules {
        let query = str_of(&rule["seriesQuery"]);
        let series = query.split('{').next().unwrap_or_default();
        let base = series.trim_end_matches("_total");
        assert!(
            known.contains(&format!("`{base}")),
            "{series} isn't measured"
        );
        answered.push(rule["name"]["as"].as_str().unwrap_or(series));
    }
    let mut asked = 0;
    for rendered in all() {
        for scaler in rendered.manifest.of_kind("HorizontalPodAutoscaler") {
            for metric in items(&scaler["spec"]["metrics"]) {
                if metric["type"] == "Pods" {
                    let name = str_of(&metric["pods"]["metric"]["name"]);
                    assert!(
                        answered.contains(&name),
                        "{}: nobody answers {name}",
                        rendered.name
                    );
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 4, "{asked} metrics");
}

#[test]
fn chart_05_gateways_go_slowly_and_come_at_once() {
    let hpa = ci("cluster-hpa")
        .manifest
        .of_role("HorizontalPodAutoscaler", "gateway");
    let keda = ci("cluster-keda")
        .manifest
        .of_role("ScaledObject", "gateway");
    let behaviours = hpa.map(|one| &one["spec"]["behavior"]).chain(
        keda.map(|one| &one["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]),
    );
    let mut seen = 0;
    for behaviour in behaviours {
        let down = &behaviour["scaleDown"];
        assert!(
            down["stabilizationWindowSeconds"].as_u64() >= Some(900),
            "{down}"
        );
        let expected = json!([{"type": "Percent", "value": 10, "periodSeconds": 300}]);
        assert_eq!(down["policies"], expected);
        let up = &behaviour["scaleUp"];
        assert_eq!(up["stabilizationWindowSeconds"], 0);
        assert_eq!(
            up["policies"],
            json!([{"type": "Percent", "value": 100, "periodSeconds": 30}])
        );
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn chart_05_what_is_scaled_has_no_number_of_pods_of_its_own() {
    let mut scaled = 0;
    for rendered in all() {
        let manifest = &rendered.manifest;
        let hpas = manifest
            .of_kind("HorizontalPodAutoscaler")
            .map(|one| (one, "minReplicas", "maxReplicas"));
        let kedas = manifest
            .of_kind("ScaledObject")
            .map(|one| (one, "minReplicaCount", "maxReplicaCount"));
        for (scaler, min, max) in hpas.chain(kedas) {
            let target = &scaler["spec"]["scaleTargetRef"];
            let workload = manifest.named(str_of(&target["kind"]), str_of(&target["name"]));
            let workload = workload.unwrap_or_else(|| panic!("{}: {target}", rendered.name));
            assert_eq!(target["apiVersion"], workload["apiVersion"]);
            assert!(
                workload["spec"]["replicas"].is_null(),
                "{}: {target}",
                rendered.name
            );
            assert!(scaler["spec"][min].as_u64() < scaler["spec"][max].as_u64());
            scaled += 1;
        }
    }
    assert!(scaled >= 8, "{scaled} scalers");
    for role in ROLES {
        let manifest = cluster(&[]);
        assert!(
            manifest.workload(role).object["spec"]["replicas"].is_u64(),
            "{role}"
        );
        assert!(manifest.of_kind("HorizontalPodAutoscaler").next().is_none());
    }
}

#[test]
fn chart_06_the_grace_period_has_room_for_the_whole_way_down() {
    let mut seen = 0;
    for (of, workload) in workloads() {
        let program = workload.program();
        if ["Job", "Pod"].contains(&str_of(&workload.object["kind"])) {
            continue;
        }
        let grace = workload.spec()["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("a number");
        let delay = number(program, "HELIOGRAPH_SHUTDOWN_UNREADY_SECS");
        let drain = number(program, "HELIOGRAPH_SHUTDOWN_DRAIN_SECS");
        let own = number(program, "HELIOGRAPH_SHUTDOWN_GRACE_SECS");
        assert!(
            grace >= delay + drain + REST,
            "{of}: {grace} s for {delay} + {drain} + {REST}"
        );
        assert!(own > delay + drain, "{of}: it ends itself after {own} s");
        assert!(
            own < grace,
            "{of}: Kubernetes ends it at {grace} s, it itself at {own} s"
        );
        seen += 1;
    }
    assert!(seen > 30, "{seen} workloads");
}

#[test]
fn chart_06_any_times_that_fit_render_and_all_others_are_refused() {
    for (delay, drain) in [(0, 0), (0, 600), (10, 120), (60, 1), (37, 91)] {
        let times = |grace: u64| {
            [
                format!("gateway.endpointDelay={delay}"),
                format!("gateway.drainSeconds={drain}"),
                format!("gateway.terminationGracePeriodSeconds={grace}"),
            ]
        };
        let least = delay + drain + REST;
        let fits = times(least);
        let manifest = cluster(&fits.each_ref().map(String::as_str));
        let grace = &manifest.workload("gateway").spec()["terminationGracePeriodSeconds"];
        assert_eq!(*grace, least);
        let short = times(least - 1);
        let short = short.each_ref().map(String::as_str);
        let sentence = format!(
            "gateway.terminationGracePeriodSeconds is {}, but endpointDelay, drainSeconds and 20 s \
             to flush make {least}: raise it, or drain faster.",
            least - 1
        );
        refused(&[&minimal()], &short, &sentence);
    }
}

#[test]
fn chart_06_only_who_is_behind_a_balancer_waits_for_it() {
    let manifest = cluster(&["canary.enabled=true", "matcher.endpointDelay=0"]);
    for role in ["ingest", "matcher", "canary"] {
        let program = manifest.workload(role).program();
        let delay = number(program, "HELIOGRAPH_SHUTDOWN_UNREADY_SECS");
        assert_eq!(delay, 0, "{role}");
    }
}

#[test]
fn chart_06_gateways_wait_for_balancers_before_they_close() {
    let manifest = cluster(&[]);
    let program = manifest.workload("gateway").program();
    assert_eq!(number(program, "HELIOGRAPH_SHUTDOWN_UNREADY_SECS"), 10);
    assert_eq!(number(program, "HELIOGRAPH_SHUTDOWN_DRAIN_SECS"), 120);
    assert_eq!(
        manifest.workload("gateway").spec()["terminationGracePeriodSeconds"],
        150
    );
}
