//! Credentials come from values or from Secrets that are there, and are nowhere but in Secrets (09).

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::support::{all, ci, cluster, items, name, str_of};

/// What every credential in `ci/cluster-secrets-inline-values.yaml` has in it.
const CANARIES: [&str; 2] = ["secret-", "5ec2e7"];

/// All texts of that file that are credentials.
fn canaries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) if CANARIES.iter().any(|canary| text.contains(canary)) => {
                found.push(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(&ci("cluster-secrets-inline").file).expect("the file is there");
    let mut found = Vec::new();
    collect(&serde_yaml_ng::from_str(&text).expect("YAML"), &mut found);
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// How each of them ends, and the roles that may have it.
const INLINE: [(&str, &[&str]); 11] = [
    ("secret-nats-password", &[]),
    ("secret-nats-credentials", &["gateway"]),
    ("secret-nats-nkey-seed", &["ingest"]),
    ("secret-nats-token", &["matcher"]),
    ("secret-nats-key", &["gateway", "ingest", "matcher"]),
    ("secret-scylla-password", &["ingest", "matcher", "migrate"]),
    ("secret-scylla-key", &["ingest", "matcher", "migrate"]),
    ("secret-matcher-key", &["gateway", "matcher"]),
    (
        "secret-traces-headers",
        &["gateway", "ingest", "matcher", "canary"],
    ),
    ("public-canary-ca", &["canary", "test"]),
    (
        "5ec2e70000000000000000000000000000000000000000000000000000000001",
        &["canary", "test"],
    ),
];

/// The texts of a Secret, by key.
fn texts(secret: &Value) -> BTreeMap<String, String> {
    let data = secret["data"].as_object().into_iter().flatten();
    let data = data.map(|(key, value)| (key.clone(), decode(str_of(value))));
    let plain = secret["stringData"].as_object().into_iter().flatten();
    let plain = plain.map(|(key, value)| (key.clone(), str_of(value).to_owned()));
    data.chain(plain).collect()
}

/// Base64 as Kubernetes writes it (RFC 4648 §4).
fn decode(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET
            .iter()
            .position(|sign| *sign == byte)
            .expect("base64");
        bits = (bits << 6) | u32::try_from(value).expect("6 bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).expect("8 bits"));
        }
    }
    String::from_utf8(bytes).expect("a text")
}

#[test]
fn chart_09_no_credential_is_anywhere_but_in_a_secret() {
    let canaries = canaries();
    let inline = ci("cluster-secrets-inline");
    for object in &inline.manifest.objects {
        let text = serde_json::to_string(object).unwrap();
        if object["kind"] == "Secret" {
            continue;
        }
        for canary in &canaries {
            assert!(
                !text.contains(canary),
                "{} {}: {canary}",
                object["kind"],
                name(object)
            );
        }
    }
    for secret in inline.manifest.of_kind("Secret") {
        let mut outside = secret.clone();
        outside["data"] = Value::Null;
        outside["stringData"] = Value::Null;
        let outside = outside.to_string();
        assert!(
            !canaries.iter().any(|canary| outside.contains(canary)),
            "{outside}"
        );
    }
}

#[test]
fn chart_09_each_role_gets_what_it_needs_and_no_more() {
    let inline = &ci("cluster-secrets-inline").manifest;
    for (value, roles) in INLINE {
        let mut found: Vec<&str> = inline
            .of_kind("Secret")
            .filter(|secret| texts(secret).values().any(|text| text.contains(value)))
            .map(|secret| str_of(&secret["metadata"]["labels"]["app.kubernetes.io/component"]))
            .collect();
        found.sort_unstable();
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        assert_eq!(found, roles, "{value}");
    }
}

#[test]
fn chart_09_a_pod_mounts_only_secrets_that_are_there_and_keys_that_they_have() {
    let mut mounted = 0;
    for rendered in all() {
        for workload in rendered.manifest.workloads() {
            for volume in items(&workload.spec()["volumes"]) {
                for source in items(&volume["projected"]["sources"]) {
                    let secret = &source["secret"];
                    let of = format!("{}: {}: {}", rendered.name, workload.name(), secret["name"]);
                    let chart = rendered.manifest.named("Secret", str_of(&secret["name"]));
                    let is_own = str_of(&secret["name"]).starts_with("relay-heliograph");
                    assert_eq!(chart.is_some(), is_own, "{of}");
                    let Some(chart) = chart else { continue };
                    let role = &chart["metadata"]["labels"]["app.kubernetes.io/component"];
                    assert_eq!(role, workload.role(), "{of}: another role's");
                    let keys = texts(chart);
                    for item in items(&secret["items"]) {
                        assert!(
                            keys.contains_key(str_of(&item["key"])),
                            "{of}: {}",
                            item["key"]
                        );
                        mounted += 1;
                    }
                }
            }
        }
    }
    assert!(mounted > 15, "{mounted} credentials");
}

#[test]
fn chart_09_every_credential_can_be_in_a_secret_that_is_there() {
    let own = &ci("cluster-secrets").manifest;
    assert!(
        own.of_kind("Secret").next().is_none(),
        "the chart makes a Secret of its own"
    );
    let expected = [
        (
            "gateway",
            vec![
                "collector/headers",
                "collector-ca/ca.crt",
                "matcher-tls/ca.crt",
                "matcher-tls/tls.crt",
                "matcher-tls/tls.key",
                "nats-gateway/nats.creds",
                "nats-tls/ca.crt",
                "nats-tls/tls.crt",
                "nats-tls/tls.key",
            ],
        ),
        (
            "ingest",
            vec![
                "collector/headers",
                "collector-ca/ca.crt",
                "nats-ingest/nkey.seed",
                "nats-tls/ca.crt",
                "nats-tls/tls.crt",
                "nats-tls/tls.key",
                "scylla-login/secret",
                "scylla-tls/ca.crt",
                "scylla-tls/tls.crt",
                "scylla-tls/tls.key",
            ],
        ),
        (
            "migrate",
            vec![
                "scylla-login/secret",
                "scylla-tls/ca.crt",
                "scylla-tls/tls.crt",
                "scylla-tls/tls.key",
            ],
        ),
        (
            "canary",
            vec![
                "canary/secret-key",
                "collector/headers",
                "collector-ca/ca.crt",
                "public-ca/ca.crt",
            ],
        ),
    ];
    for (role, mut wanted) in expected {
        let workload = own.workload(role);
        let volumes = items(&workload.spec()["volumes"]).iter();
        let sources = volumes.flat_map(|volume| items(&volume["projected"]["sources"]));
        let mut found: Vec<String> = sources
            .flat_map(|source| {
                let secret = &source["secret"];
                let name = str_of(&secret["name"]);
                items(&secret["items"])
                    .iter()
                    .map(move |item| format!("{name}/{}", str_of(&item["key"])))
            })
            .collect();
        found.sort();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{role}");
    }
}

#[test]
fn chart_09_a_login_of_a_role_replaces_that_of_all() {
    let manifest = cluster(&[
        "nats.auth.username=relay",
        "nats.auth.password.existingSecret=login",
        "gateway.natsAuth.nkeySeed.existingSecret=own",
    ]);
    let env = |role: &str| {
        let workload = manifest.workload(role);
        let names = items(&workload.program()["env"])
            .iter()
            .map(|one| str_of(&one["name"]).to_owned());
        names
            .filter(|name| name.starts_with("HELIOGRAPH_NATS"))
            .collect::<Vec<String>>()
    };
    assert_eq!(env("gateway"), ["HELIOGRAPH_NATS_NKEY_SEED"]);
    assert_eq!(
        env("ingest"),
        ["HELIOGRAPH_NATS_USERNAME", "HELIOGRAPH_NATS_PASSWORD_FILE"]
    );
}
