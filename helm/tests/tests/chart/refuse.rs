//! What can't be is refused with one sentence that says what to do (02); what is misspelt too (03).

use std::path::Path;

use heliograph_chart::{ci_files, directory, values};

use crate::support::{chart, in_parallel, minimal, text};

/// Values on top of none, and the sentence that refuses them.
const SINGLE: [(&[&str], &str); 14] = [
    (
        &["proxyProtocol=true"],
        "proxyProtocol is true, but trustedProxies is empty, so nobody's headers would be read: name the balancer's networks.",
    ),
    (
        &[
            "mode=cluster",
            "nats.servers={nats://nats:4222}",
            "scylla.nodes={scylla:9042}",
        ],
        "config.relay.url is empty, but a cluster has to know what clients connect to: set it, as in [wss://relay.example.com], or give ingress.hosts or httpRoute.hostnames.",
    ),
    (
        &["single.replicas=2"],
        "single.replicas is 2, but one process writes to its volume: leave it at 1, or set mode: cluster.",
    ),
    (
        &["nats.servers={nats://nats:4222}"],
        "nats.servers is set, but mode is single and one process needs no other: remove it, or set mode: cluster.",
    ),
    (
        &["scylla.nodes={scylla:9042}"],
        "scylla.nodes is set, but mode is single and one process needs no other: remove it, or set mode: cluster.",
    ),
    (
        &["gateway.autoscaling.enabled=true"],
        "gateway.autoscaling.enabled is true, but mode is single and one process can't become more: set mode: cluster.",
    ),
    (
        &["persistence.enabled=false"],
        "persistence.enabled is false, so every restart would lose every event: set persistence.acceptDataLoss: true if that is meant.",
    ),
    (
        &[
            "persistence.enabled=false",
            "persistence.acceptDataLoss=true",
            "persistence.existingClaim=a",
        ],
        "persistence.existingClaim is set, but persistence.enabled is false: choose one.",
    ),
    (
        &["single.drainSeconds=31"],
        "single.terminationGracePeriodSeconds is 60, but endpointDelay, drainSeconds and 20 s to flush make 61: raise it, or drain faster.",
    ),
    (
        &["single.pdb.enabled=true", "single.pdb.maxUnavailable=0"],
        "single.pdb lets none of 1 pods go, so that no node could ever be drained: allow at least one.",
    ),
    (
        &["config.auth.required_to_write=true"],
        "config.auth asks clients to authenticate, which they do for the relay's URL, but config.relay.url is empty: set it, as in [wss://relay.example.com].",
    ),
    (
        &["canary.enabled=true", "config.policy.pow_min_bits=10"],
        "canary.enabled is true, but config.policy.pow_min_bits is 10 and the canary does no proof of work: set it to 0, or set canary.enabled: false.",
    ),
    (
        &["canary.enabled=true", "config.policy.kinds_allowed={1}"],
        "canary.enabled is true, but the canary's kind 1166 isn't in config.policy.kinds_allowed: add it, or set canary.enabled: false.",
    ),
    (
        &["canary.enabled=true", "config.policy.kinds_blocked={1166}"],
        "canary.enabled is true, but the canary's kind 1166 is in config.policy.kinds_blocked: remove it, or set config.canary.kind, or set canary.enabled: false.",
    ),
];

/// The same for the least cluster.
const CLUSTER: [(&[&str], &str); 38] = [
    (
        &["nats.servers=null"],
        "nats.servers is empty, but mode: cluster needs NATS with JetStream: name its servers, as in nats://nats.nats.svc:4222.",
    ),
    (
        &["scylla.nodes=null"],
        "scylla.nodes is empty, but mode: cluster needs ScyllaDB: name its nodes, as in scylla-client.scylla.svc:9042.",
    ),
    (
        &["matcher.tls.existingSecret=a", "matcher.tls.caKey="],
        "matcher.tls has a certificate, but no authorities to trust: give ca or caKey too.",
    ),
    (
        &[
            "image.tag=a",
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
        "image.tag and image.digest are both set, and only one can say what runs: keep the digest.",
    ),
    (
        &[
            "ingest.image.tag=a",
            "ingest.image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
        "ingest.image.tag and ingest.image.digest are both set, and only one can say what runs: keep the digest.",
    ),
    (
        &["ingress.enabled=true"],
        "ingress.enabled is true, but ingress.hosts is empty: name at least one, as in [relay.example.com].",
    ),
    (
        &[
            "httpRoute.enabled=true",
            "httpRoute.hostnames={relay.example.com}",
        ],
        "httpRoute.enabled is true, but httpRoute.parentRefs is empty: name at least one.",
    ),
    (
        &[
            "httpRoute.enabled=true",
            "httpRoute.parentRefs[0].name=public",
        ],
        "httpRoute.enabled is true, but httpRoute.hostnames is empty: name at least one.",
    ),
    (
        &[
            "ingress.enabled=true",
            "ingress.hosts={relay.example.com}",
            "ingress.timeoutSeconds=55",
        ],
        "ingress.timeoutSeconds is 55, but clients are pinged every 55 s (config.gateway.ping_interval_secs): make it longer, such as 3600.",
    ),
    (
        &["service.nodePort=30777"],
        "service.nodePort is 30777, but service.type is ClusterIP: set the type to NodePort or LoadBalancer.",
    ),
    (
        &[
            "metrics.serviceMonitor.enabled=true",
            "metrics.podMonitor.enabled=true",
        ],
        "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled are both true, and everything would be counted twice: choose one.",
    ),
    (
        &["migrate.check=true", "migrate.enabled=false"],
        "migrate.check is true, but migrate.enabled is false, so nothing would be checked: set migrate.enabled: true.",
    ),
    (
        &["config.cluster.durability=quorum", "config.nats.replicas=1"],
        "config.cluster.durability is \"quorum\", but config.nats.replicas is 1: it needs 3 or more.",
    ),
    (
        &[
            "canary.enabled=true",
            "config.policy.pubkeys_allowed={0000000000000000000000000000000000000000000000000000000000000001}",
        ],
        "canary.enabled is true, but config.policy.pubkeys_allowed is set, and the canary has another key at each start: set canary.secretKey, and allow its public key, or set canary.enabled: false.",
    ),
    (
        &["gateway.drainSeconds=121"],
        "gateway.terminationGracePeriodSeconds is 150, but endpointDelay, drainSeconds and 20 s to flush make 151: raise it, or drain faster.",
    ),
    (
        &["ingest.terminationGracePeriodSeconds=29"],
        "ingest.terminationGracePeriodSeconds is 29, but drainSeconds and 20 s to flush make 30: raise it, or drain faster.",
    ),
    (
        &["matcher.pdb.minAvailable=1"],
        "matcher.pdb: give either maxUnavailable or minAvailable, and set the other to null.",
    ),
    (
        &[
            "matcher.pdb.maxUnavailable=null",
            "matcher.pdb.minAvailable=2",
        ],
        "matcher.pdb lets none of 2 pods go, so that no node could ever be drained: allow at least one.",
    ),
    (
        &["gateway.pdb.maxUnavailable=0%"],
        "gateway.pdb lets none of 3 pods go, so that no node could ever be drained: allow at least one.",
    ),
    (
        // Kubernetes rounds up: 67 % of 3 are all 3.
        &[
            "gateway.pdb.maxUnavailable=null",
            "gateway.pdb.minAvailable=67%",
        ],
        "gateway.pdb lets none of 3 pods go, so that no node could ever be drained: allow at least one.",
    ),
    (
        &[
            "ingest.pdb.maxUnavailable=null",
            "ingest.pdb.minAvailable=51%",
            "ingest.autoscaling.enabled=true",
            "autoscaling.customMetricsApi=true",
        ],
        "ingest.pdb lets none of 2 pods go, so that no node could ever be drained: allow at least one.",
    ),
    (
        &[
            "ingress.enabled=true",
            "ingress.hosts={relay.example.com}",
            "ingress.path=/relay",
        ],
        "ingress.path is \"/relay\", but the relay answers 404 there: add \"/relay\" to config.gateway.paths (/).",
    ),
    (
        &[
            "httpRoute.enabled=true",
            "httpRoute.hostnames={relay.example.com}",
            "httpRoute.parentRefs[0].name=public",
            "config.gateway.paths={/relay}",
        ],
        "httpRoute.path is \"/\", but the relay answers 404 there: add \"/\" to config.gateway.paths (/relay).",
    ),
    (
        &[
            "canary.terminationGracePeriodSeconds=20",
            "canary.enabled=true",
        ],
        "canary.terminationGracePeriodSeconds is 20, but drainSeconds and 20 s to flush make 21: raise it, or drain faster.",
    ),
    (
        &[
            "ingest.autoscaling.enabled=true",
            "autoscaling.customMetricsApi=true",
            "ingest.autoscaling.minReplicas=17",
        ],
        "ingest.autoscaling.minReplicas (17) is more than maxReplicas (16): swap them.",
    ),
    (
        &[
            "ingest.autoscaling.enabled=true",
            "ingest.autoscaling.targetLagSeconds=0",
            "ingest.autoscaling.targetCPUPercent=0",
        ],
        "ingest.autoscaling.enabled is true, but every target is 0: set at least one.",
    ),
    (
        &[
            "ingest.autoscaling.enabled=true",
            "autoscaling.customMetricsApi=true",
            "ingest.resources.requests.cpu=null",
        ],
        "ingest.autoscaling.targetCPUPercent is a share of ingest.resources.requests.cpu, which isn't set: set it, or the target to 0.",
    ),
    (
        &["gateway.autoscaling.enabled=true"],
        "gateway.autoscaling asks for heliograph_connections, but no custom metrics API is said to answer: set autoscaling.customMetricsApi: true if there is one, use type: keda, or set that target to 0.",
    ),
    (
        &[
            "gateway.autoscaling.enabled=true",
            "gateway.autoscaling.type=keda",
        ],
        "gateway.autoscaling.type is keda, but autoscaling.prometheusAddress is empty: say where Prometheus is.",
    ),
    (
        &[
            "gateway.autoscaling.enabled=true",
            "autoscaling.customMetricsApi=true",
            "config.gateway.connections_max=30000",
        ],
        "gateway.autoscaling.targetConnections is 30000, but a gateway takes 30000 (config.gateway.connections_max), so that none would ever be added: lower it.",
    ),
    (
        &["nats.auth.username=relay"],
        "nats.auth.username is set, but nats.auth.password isn't: set its existingSecret or value.",
    ),
    (
        &["scylla.auth.password.existingSecret=a"],
        "scylla.auth.password is set, but scylla.auth.username isn't: set it.",
    ),
    (
        &[
            "nats.auth.token.existingSecret=a",
            "nats.auth.nkeySeed.existingSecret=a",
        ],
        "nats.auth has token and nkeySeed, and a role logs in by one: keep one of them.",
    ),
    (
        &[
            "nats.auth.token.existingSecret=a",
            "nats.auth.token.value=b",
        ],
        "nats.auth.token.value and nats.auth.token.existingSecret are both set: keep the Secret.",
    ),
    (
        &["scylla.tls.existingSecret=a", "scylla.tls.ca=b"],
        "scylla.tls.existingSecret and PEM texts beside it are both set: keep the Secret.",
    ),
    (
        &["nats.tls.certificate=a"],
        "nats.tls has a certificate without its key, or a key without its certificate: give both.",
    ),
    (
        &["matcher.tls.ca=a"],
        "matcher.tls has authorities, but no certificate: gateways and matchers prove to each other who they are, so give all three.",
    ),
    (
        &["traces.headers.existingSecret=a"],
        "traces.headers is set, but config.traces.endpoint is empty: say where the collector is.",
    ),
];

/// Values of the wrong shape, and what the schema names: for either mode.
const SHAPES: [(&str, &str); 14] = [
    ("mode=both", "mode"),
    ("replicas=3", "replicas"),
    ("gateway.replica=3", "replica"),
    ("gateway.replicas=three", "replicas"),
    ("gateway.pdb.maxUnavailabel=1", "maxUnavailabel"),
    ("gateway.autoscaling.targetConnection=1", "targetConnection"),
    ("gateway.autoscaling.type=vpa", "type"),
    ("config.gateway.limt_max=1", "limt_max"),
    ("config.gatway.limit_max=1", "gatway"),
    ("nats.auth.password.exsitingSecret=a", "exsitingSecret"),
    ("image.digest=sha256:1", "digest"),
    ("networkPolicy.enable=true", "enable"),
    // Nobody waits for a balancer but who is behind one.
    ("ingest.endpointDelay=10", "endpointDelay"),
    ("canary.endpointDelay=10", "endpointDelay"),
];

#[test]
fn chart_02_every_impossible_mix_is_refused_with_its_sentence() {
    let minimal = minimal();
    let single = SINGLE.map(|(set, sentence)| (None, set, sentence));
    let cluster = CLUSTER.map(|(set, sentence)| (Some(minimal.as_path()), set, sentence));
    let cases: Vec<_> = single.into_iter().chain(cluster).collect();
    let wrong = in_parallel(&cases, |(file, set, sentence)| {
        let files: Vec<&Path> = file.iter().copied().collect();
        match chart().render(&files, set).expect("helm starts") {
            Ok(_text) => Some(format!("{set:?} renders, instead of: {sentence}")),
            // One sentence: nothing of other cases beside it.
            Err(error) if error.contains(sentence) => None,
            Err(error) => Some(format!("{set:?}: no `{sentence}` in:\n{error}")),
        }
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_02_the_templates_have_no_refusal_without_a_case() {
    let templates = directory().join("templates/_validate.tpl");
    let templates = std::fs::read_to_string(templates).unwrap();
    let mut sentences = 0;
    for line in templates.lines().filter(|line| line.contains("fail ")) {
        let (_, rest) = line.split_once("fail ").unwrap();
        // The longest piece of the sentence that nothing is put into; a quoted sign is no end.
        let text = rest.trim_start_matches("(printf ").trim_start_matches('"');
        let text = text.replace("\\\"", "\u{1}");
        let text = text.split('"').next().unwrap();
        let pieces = text
            .split("%d")
            .flat_map(|part| part.split("%s"))
            .flat_map(|part| part.split("%q"));
        let piece = pieces
            .max_by_key(|piece| piece.len())
            .unwrap()
            .replace('\u{1}', "\"");
        let cases = SINGLE.iter().map(|(_, sentence)| *sentence);
        let cases = cases.chain(CLUSTER.iter().map(|(_, sentence)| *sentence));
        let by_schema = [
            "is neither \"single\" nor \"cluster\".",
            "is no network: write it as in 10.0.0.0/8 or fd00::/8.",
        ];
        let tested = cases
            .into_iter()
            .chain(by_schema)
            .any(|sentence| sentence.contains(piece.trim()));
        assert!(tested, "no case for: {piece}");
        sentences += 1;
    }
    assert!(sentences >= 30, "{sentences} sentences");
}

#[test]
fn chart_02_the_way_from_one_process_to_a_cluster_is_documented() {
    let page = std::fs::read_to_string(directory().join("UPGRADING.md")).unwrap();
    assert!(
        page.contains("docs/operate/moving.md"),
        "UPGRADING.md names the page"
    );
    assert!(
        page.contains("## From one process to a cluster"),
        "UPGRADING.md has a section"
    );
}

#[test]
fn chart_03_what_is_misspelt_or_of_the_wrong_shape_fails_the_linter() {
    let wrong = in_parallel(&SHAPES, |(value, named)| {
        let mut lint = chart().helm(&["lint", "--strict"]);
        let output = lint
            .arg(directory())
            .args(["--set", value])
            .output()
            .expect("helm starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        let refused = !output.status.success() && said.contains("values.schema.json")
            || said.contains("don't meet the specifications of the schema");
        (!refused || !said.contains(named)).then(|| format!("{value}:\n{said}"))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_03_a_proxy_that_is_no_network_is_refused() {
    for proxy in ["10.0.0.0", "10.0.0.0/33", "relay.example.com", "fd00::/129"] {
        let set = format!("trustedProxies={{{proxy}}}");
        let error = chart().render(&[], &[&set]).unwrap().unwrap_err();
        assert!(
            error.contains("trustedProxies") && error.contains(proxy),
            "{error}"
        );
    }
    for proxy in ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"] {
        text(&[], &[&format!("trustedProxies={{{proxy}}}")]);
    }
}

#[test]
fn chart_03_every_file_of_values_passes_the_strict_linter() {
    let files = ci_files().unwrap();
    let wrong = in_parallel(&files, |file| {
        let mut lint = chart().helm(&["lint", "--strict"]);
        let output = lint.arg(directory()).arg("--values").arg(file).output();
        let output = output.expect("helm starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (!output.status.success()).then(|| format!("{}:\n{said}", file.display()))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chart_03_schema_table_and_values_have_the_same_keys() {
    let read = |name: &str| std::fs::read_to_string(directory().join(name)).unwrap();
    let values = read("values.yaml");
    let found = values::differences(&values, &read("values.schema.json")).unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let table = values::table(&values::keys(&values).unwrap());
    assert!(
        read("README.md").contains(&table),
        "run `cargo xtask chart`"
    );
}
