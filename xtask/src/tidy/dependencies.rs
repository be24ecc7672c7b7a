//! Which crate of the workspace may depend on which: binaries → services → seams → protocol.
//!
//! A crate may name crates of lower layers only, so no two services know each other; a backend of a
//! seam is named by the binary alone; what is for tests only is never a normal dependency.

use serde_json::Value;

use super::Finding;

/// Every crate with its layer. A new one needs a line here, and a thought where it belongs.
const LAYERS: [(&str, u8); 34] = [
    ("heliograph-protocol", 0),
    ("heliograph-capacity", 1),
    ("heliograph-config", 1),
    ("heliograph-lifecycle", 1),
    ("heliograph-corpus", 1),
    ("heliograph-policy", 1),
    ("heliograph-subscriptions", 1),
    ("heliograph-telemetry", 1),
    ("heliograph-testkit", 1),
    ("heliograph-verify", 1),
    ("heliograph-sandbox", 1),
    ("heliograph-bus", 2),
    ("heliograph-store", 2),
    ("heliograph-control", 3),
    ("heliograph-proto", 3),
    ("heliograph-recent", 3),
    ("heliograph-store-embedded", 3),
    ("heliograph-store-scylla", 3),
    ("heliograph-bus-nats", 4),
    ("heliograph-link", 4),
    ("heliograph-canary", 4),
    ("heliograph-gateway", 4),
    ("heliograph-ingest", 4),
    ("heliograph-matcher", 4),
    ("heliograph", 5),
    ("heliograph-bench", 6),
    ("heliograph-chart", 6),
    ("heliograph-faults", 6),
    ("heliograph-simulation", 6),
    ("heliograph-tests", 6),
    ("heliograph-fuzz", 6),
    ("heliograph-loadtest", 6),
    ("heliograph-observe", 7),
    ("xtask", 7),
];

/// Backends of a seam: only the binary chooses one.
const BACKENDS: [&str; 4] = [
    "heliograph-bus-nats",
    "heliograph-link",
    "heliograph-store-embedded",
    "heliograph-store-scylla",
];

/// Who may choose a backend.
const BINARY: &str = "heliograph";

/// For tests only.
const TEST_ONLY: &str = "heliograph-testkit";

/// The layer from which on a crate is itself for tests or tools.
const TOOLS: u8 = 6;

/// What the protocol crate must not know: IO, async, serialisation frameworks.
const NOT_IN_PROTOCOL: [&str; 5] = ["tokio", "futures-util", "mio", "serde", "serde_json"];

/// Checks the output of `cargo metadata --no-deps`.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(layer) = layer_of(name) else {
            findings.push(format!(
                "{name}: has no layer in xtask/src/tidy/dependencies.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"] == "dev";
            if let Some(why) = refuse(name, layer, to, dev) {
                findings.push(format!("{name} → {to}: {why}"));
            }
        }
    }
    findings
}

/// Why `from` may not depend on `to`, if so.
fn refuse(from: &str, layer: u8, to: &str, dev: bool) -> Option<&'static str> {
    if from == "heliograph-protocol" && !dev && NOT_IN_PROTOCOL.contains(&to) {
        return Some("the protocol crate holds plain values: no IO, no async");
    }
    let to_layer = layer_of(to)?;
    if to == TEST_ONLY && !dev && layer < TOOLS {
        return Some("only tests may use the test kit");
    }
    if BACKENDS.contains(&to) && from != BINARY && layer < TOOLS && !dev {
        return Some("only the binary names a backend");
    }
    if to_layer >= layer && to != TEST_ONLY {
        return Some("dependencies point down: see docs/architecture.md");
    }
    None
}

fn layer_of(name: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(listed, _)| *listed == name)
        .map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_edge(from: &str, to: &str, kind: Option<&str>, allowed: bool) {
        let metadata = json!({"packages": [
            {"name": from, "dependencies": [{"name": to, "kind": kind}]},
        ]});
        assert_eq!(check(&metadata).is_empty(), allowed, "{from} → {to}");
    }

    #[test]
    fn dependencies_point_down() {
        check_edge("heliograph-gateway", "heliograph-bus", None, true);
        check_edge("heliograph-bus", "heliograph-gateway", None, false);
        check_edge("heliograph-store", "heliograph-bus", None, false);
    }

    #[test]
    fn no_service_knows_another_even_in_tests() {
        check_edge("heliograph-gateway", "heliograph-matcher", None, false);
        check_edge(
            "heliograph-gateway",
            "heliograph-matcher",
            Some("dev"),
            false,
        );
    }

    #[test]
    fn only_the_binary_names_a_backend() {
        check_edge("heliograph", "heliograph-store-embedded", None, true);
        check_edge(
            "heliograph-matcher",
            "heliograph-store-embedded",
            None,
            false,
        );
        check_edge("heliograph-tests", "heliograph-store-embedded", None, true);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        check_edge("heliograph-policy", "heliograph-testkit", Some("dev"), true);
        check_edge("heliograph-policy", "heliograph-testkit", None, false);
    }

    #[test]
    fn the_protocol_crate_knows_no_io() {
        check_edge("heliograph-protocol", "tokio", None, false);
        check_edge("heliograph-protocol", "serde_json", Some("dev"), true);
        check_edge("heliograph-protocol", "bytes", None, true);
    }

    #[test]
    fn a_crate_without_a_layer_is_a_finding() {
        let metadata = json!({"packages": [{"name": "heliograph-new", "dependencies": []}]});
        assert_eq!(check(&metadata).len(), 1);
    }
}
