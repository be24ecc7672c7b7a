//! Who may talk to whom: policies for each role, on top of one that denies all (10).

use heliograph_chart::{Manifest, NAMESPACE};
use serde_json::{Value, json};

use crate::support::{all, ci, cluster, items, minimal, notes, str_of};

/// A pod somewhere.
#[derive(Clone)]
struct Peer {
    /// For messages.
    name: String,
    namespace: String,
    labels: Value,
    /// The numbers of its named ports.
    ports: Value,
}

impl Peer {
    /// The pods of a role of the release.
    fn role(manifest: &Manifest, role: &str) -> Self {
        let workload = manifest.workload(role);
        let ports = items(&workload.program()["ports"]).iter();
        let ports = ports.map(|port| {
            (
                str_of(&port["name"]).to_owned(),
                port["containerPort"].clone(),
            )
        });
        Self {
            name: role.to_owned(),
            namespace: NAMESPACE.to_owned(),
            labels: workload.labels().clone(),
            ports: Value::Object(ports.collect()),
        }
    }

    /// Pods of others, in a namespace of their own.
    fn outside(namespace: &str) -> Self {
        Self {
            name: namespace.to_owned(),
            namespace: namespace.to_owned(),
            labels: json!({}),
            ports: json!({}),
        }
    }

    /// Whether a selector of labels chooses it; one without anything chooses all.
    fn is_chosen(labels: &Value, selector: &Value) -> bool {
        let equal = selector["matchLabels"].as_object().into_iter().flatten();
        assert!(
            selector["matchExpressions"].is_null(),
            "not understood here: {selector}"
        );
        equal
            .into_iter()
            .all(|(name, value)| labels[name] == *value)
    }

    /// Whether a peer of a policy, in the release's namespace, means this one.
    fn is_meant(&self, peer: &Value) -> bool {
        assert!(peer["ipBlock"].is_null(), "not understood here: {peer}");
        let namespace = json!({"kubernetes.io/metadata.name": self.namespace});
        let right_place = match &peer["namespaceSelector"] {
            Value::Null => self.namespace == NAMESPACE,
            selector => Self::is_chosen(&namespace, selector),
        };
        let pods = &peer["podSelector"];
        right_place && (pods.is_null() || Self::is_chosen(&self.labels, pods))
    }
}

/// Whether the policies of a release let `from` open a connection to `to`.
fn allowed(manifest: &Manifest, from: &Peer, to: &Peer, port: u64) -> bool {
    let one_way = |of: &Peer, other: &Peer, kind: &str, rules: &str, peers: &str| {
        // Policies of this namespace say nothing about pods of others.
        if of.namespace != NAMESPACE {
            return true;
        }
        let mut policies = manifest
            .of_kind("NetworkPolicy")
            .map(|policy| &policy["spec"])
            .filter(|spec| Peer::is_chosen(&of.labels, &spec["podSelector"]))
            .filter(|spec| items(&spec["policyTypes"]).iter().any(|one| one == kind))
            .peekable();
        if policies.peek().is_none() {
            return true;
        }
        policies.flat_map(|spec| items(&spec[rules])).any(|rule| {
            let peers = items(&rule[peers]);
            let port_fits = |wanted: &Value| {
                let wanted = &wanted["port"];
                *wanted == port || (wanted.is_string() && to.ports[str_of(wanted)] == port)
            };
            let ports = items(&rule["ports"]);
            (peers.is_empty() || peers.iter().any(|peer| other.is_meant(peer)))
                && (ports.is_empty() || ports.iter().any(port_fits))
        })
    };
    one_way(from, to, "Egress", "egress", "to") && one_way(to, from, "Ingress", "ingress", "from")
}

/// The ports that a connection may be made to at all, of `ports`.
#[track_caller]
fn check(manifest: &Manifest, from: &Peer, to: &Peer, ports: &[u64], open: &[u64]) {
    for port in ports {
        let found = allowed(manifest, from, to, *port);
        assert_eq!(
            found,
            open.contains(port),
            "{} → {}:{port}",
            from.name,
            to.name
        );
    }
}

/// Ports of the program, and others.
const OWN: [u64; 5] = [22, 443, 7777, 7778, 7779];
const OTHERS: [u64; 8] = [53, 80, 443, 4222, 6222, 9042, 19042, 7000];

#[test]
fn chart_10_only_whom_a_role_is_for_reaches_it() {
    let manifest = &ci("cluster-network").manifest;
    let role = |name: &str| Peer::role(manifest, name);
    let outside = ["ingress-nginx", "monitoring", "nats", "scylla", "elsewhere"].map(Peer::outside);
    let within = ["gateway", "ingest", "matcher", "canary", "migrate", "test"].map(role);
    for to in ["gateway", "ingest", "matcher", "canary", "migrate", "test"] {
        for from in outside.iter().chain(&within) {
            if from.name == to {
                continue;
            }
            let open: &[u64] = match (from.name.as_str(), to) {
                (_, "migrate" | "test") => &[],
                ("ingress-nginx" | "canary" | "test", "gateway") => &[7777],
                ("gateway", "matcher") => &[7779],
                ("monitoring", _) => &[7778],
                _ => &[],
            };
            check(manifest, from, &role(to), &OWN, open);
        }
    }
}

#[test]
fn chart_10_a_role_reaches_only_what_it_needs() {
    let manifest = &ci("cluster-network").manifest;
    for role in ["gateway", "ingest", "matcher", "canary", "migrate", "test"] {
        let from = Peer::role(manifest, role);
        for place in ["nats", "scylla", "kube-system", "elsewhere"] {
            let open: &[u64] = match (place, role) {
                ("nats", "gateway" | "ingest" | "matcher") => &[4222],
                ("scylla", "ingest" | "matcher" | "migrate") => &[9042, 19042],
                ("kube-system", _) => &[53],
                _ => &[],
            };
            check(manifest, &from, &Peer::outside(place), &OTHERS, open);
        }
    }
}

/// Ports that are nobody's default, and those that are.
const UNUSUAL: [u64; 10] = [53, 443, 4222, 4317, 5353, 9042, 9043, 14222, 19042, 29042];

#[test]
fn chart_10_policies_follow_the_addresses_that_are_configured() {
    let manifest = cluster(&[
        "networkPolicy.enabled=true",
        "networkPolicy.dnsPorts={5353}",
        "networkPolicy.scylla.ports={29042}",
        "nats.servers={nats://a:14222,tls://[fd00::1]}",
        "scylla.nodes={a:9043,[fd00::1]:9043}",
        "config.traces.endpoint=https://collector.example.com",
    ]);
    for (role, open) in [
        ("gateway", &[443, 4222, 5353, 14222][..]),
        ("ingest", &[443, 4222, 5353, 9043, 14222, 29042]),
        ("matcher", &[443, 4222, 5353, 9043, 14222, 29042]),
        ("migrate", &[5353, 9043, 29042]),
        ("test", &[5353]),
    ] {
        let from = Peer::role(&manifest, role);
        check(&manifest, &from, &Peer::outside("anywhere"), &UNUSUAL, open);
    }
    // What a Service has in front isn't what its pods have.
    let manifest = cluster(&[
        "networkPolicy.enabled=true",
        "networkPolicy.traces.ports={4317}",
        "networkPolicy.nats.ports={14222}",
        "config.traces.endpoint=https://collector:443/",
    ]);
    let from = Peer::role(&manifest, "gateway");
    let open = [53, 443, 4222, 4317, 14222];
    check(
        &manifest,
        &from,
        &Peer::outside("anywhere"),
        &UNUSUAL,
        &open,
    );
}

#[test]
fn chart_10_without_policies_the_notes_say_who_reads_the_admin_port() {
    let minimal = minimal();
    for files in [&[][..], &[minimal.as_path()]] {
        let said = notes(files, &[]);
        assert!(
            said.contains("! The admin port (7778) answers anybody"),
            "{said}"
        );
        let said = notes(files, &["networkPolicy.enabled=true"]);
        assert!(!said.contains("admin port"), "{said}");
    }
}

#[test]
fn chart_10_one_process_reaches_nothing_and_is_reached_by_clients() {
    let manifest = &ci("single-full").manifest;
    let process = Peer::role(manifest, "standalone");
    check(
        manifest,
        &Peer::outside("anywhere"),
        &process,
        &OWN,
        &[7777],
    );
    check(
        manifest,
        &Peer::outside("monitoring"),
        &process,
        &OWN,
        &[7777, 7778],
    );
    check(
        manifest,
        &Peer::role(manifest, "canary"),
        &process,
        &OWN,
        &[7777],
    );
    // The collector of traces and the name server are anywhere.
    check(
        manifest,
        &process,
        &Peer::outside("anywhere"),
        &OTHERS,
        &[53],
    );
    assert!(allowed(
        manifest,
        &process,
        &Peer::outside("anywhere"),
        4317
    ));
}

#[test]
fn chart_10_the_canary_may_be_let_out() {
    let everything = &ci("cluster-everything").manifest;
    let canary = Peer::role(everything, "canary");
    assert!(allowed(
        everything,
        &canary,
        &Peer::outside("anywhere"),
        443
    ));
    let gateway = Peer::role(everything, "gateway");
    assert!(!allowed(
        everything,
        &gateway,
        &Peer::outside("anywhere"),
        443
    ));
}

#[test]
fn chart_10_every_pod_has_a_policy_of_its_own_beside_the_one_that_denies() {
    let mut with = 0;
    for rendered in all() {
        let policies: Vec<&Value> = rendered.manifest.of_kind("NetworkPolicy").collect();
        if policies.is_empty() {
            continue;
        }
        with += 1;
        for workload in rendered.manifest.workloads() {
            let chosen =
                |one: &&&Value| Peer::is_chosen(workload.labels(), &one["spec"]["podSelector"]);
            let own = policies.iter().filter(chosen).count();
            assert_eq!(own, 2, "{}: {}", rendered.name, workload.name());
        }
        for policy in policies {
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        }
    }
    assert!(with >= 3, "{with} files with policies");
    let none = cluster(&[]);
    assert!(
        none.of_kind("NetworkPolicy").next().is_none(),
        "off by default"
    );
}

#[test]
fn chart_10_the_check_of_policies_tells_right_from_wrong() {
    let manifest = &ci("cluster-minimal").manifest;
    let gateway = Peer::role(manifest, "gateway");
    assert!(
        allowed(manifest, &Peer::outside("anywhere"), &gateway, 22),
        "no policy denies nothing"
    );
}
