//! The ways in: Service, Ingress, `HTTPRoute`, and whose word about clients is believed (11).

use serde_json::{Value, json};

use crate::support::{all, ci, cluster, items, name, notes, single, str_of};

/// Values for an Ingress of a controller.
fn ingress(controller: &str) -> Value {
    let controller = format!("ingress.controller={controller}");
    let set = [
        "ingress.enabled=true",
        "ingress.hosts={relay.example.com}",
        &controller,
    ];
    let manifest = cluster(&set);
    let mut found = manifest.of_kind("Ingress");
    let ingress = found.next().expect("an Ingress").clone();
    assert!(found.next().is_none());
    ingress
}

#[test]
fn chart_11_every_controller_is_told_its_own_way_how_long_sockets_stay_open() {
    let expected = [
        (
            "nginx",
            "nginx.ingress.kubernetes.io/proxy-read-timeout",
            "3600",
        ),
        (
            "nginx",
            "nginx.ingress.kubernetes.io/proxy-send-timeout",
            "3600",
        ),
        (
            "nginx-inc",
            "nginx.org/websocket-services",
            "relay-heliograph",
        ),
        ("nginx-inc", "nginx.org/proxy-read-timeout", "3600s"),
        ("haproxy", "haproxy.org/timeout-tunnel", "3600s"),
        (
            "haproxy-ingress",
            "haproxy-ingress.github.io/timeout-tunnel",
            "3600s",
        ),
        ("contour", "projectcontour.io/websocket-routes", "/"),
        (
            "alb",
            "alb.ingress.kubernetes.io/load-balancer-attributes",
            "idle_timeout.timeout_seconds=3600",
        ),
    ];
    for (controller, annotation, value) in expected {
        let ingress = ingress(controller);
        assert_eq!(
            ingress["metadata"]["annotations"][annotation], value,
            "{controller}"
        );
    }
    for controller in ["", "traefik"] {
        let annotations = &ingress(controller)["metadata"]["annotations"];
        assert!(annotations.is_null(), "{controller:?}: {annotations}");
    }
}

#[test]
fn chart_11_annotations_of_ones_own_win() {
    let manifest = cluster(&[
        "ingress.enabled=true",
        "ingress.hosts={relay.example.com}",
        "ingress.controller=nginx",
        r"ingress.annotations.nginx\.ingress\.kubernetes\.io/proxy-read-timeout=7200s",
    ]);
    let ingress = manifest.of_kind("Ingress").next().unwrap();
    let annotations = &ingress["metadata"]["annotations"];
    let prefix = "nginx.ingress.kubernetes.io";
    assert_eq!(annotations[format!("{prefix}/proxy-read-timeout")], "7200s");
    assert_eq!(annotations[format!("{prefix}/proxy-send-timeout")], "3600");
}

#[test]
fn chart_11_ways_in_lead_to_the_service_and_a_port_that_it_has() {
    let mut seen = 0;
    for rendered in all() {
        let manifest = &rendered.manifest;
        let service = |name: &str| {
            let found = manifest.named("Service", name);
            found.unwrap_or_else(|| panic!("{}: no Service {name}", rendered.name))
        };
        for ingress in manifest.of_kind("Ingress") {
            for rule in items(&ingress["spec"]["rules"]) {
                for path in items(&rule["http"]["paths"]) {
                    let backend = &path["backend"]["service"];
                    let ports = items(&service(str_of(&backend["name"]))["spec"]["ports"]);
                    assert!(
                        ports
                            .iter()
                            .any(|port| port["name"] == backend["port"]["name"])
                    );
                    seen += 1;
                }
            }
        }
        for route in manifest.of_kind("HTTPRoute") {
            for backend in items(&route["spec"]["rules"][0]["backendRefs"]) {
                let ports = items(&service(str_of(&backend["name"]))["spec"]["ports"]);
                assert!(ports.iter().any(|port| port["port"] == backend["port"]));
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen} ways");
}

#[test]
fn chart_11_a_route_never_ends_a_socket_unless_the_gateway_refuses_to_be_told() {
    let route = |name: &str| ci(name).manifest.of_kind("HTTPRoute").next().unwrap();
    let rule = &route("cluster-gateway-api")["spec"]["rules"][0];
    assert_eq!(rule["timeouts"], json!({"request": "0s"}));
    let route = route("cluster-everything");
    assert!(
        route["spec"]["rules"][0]["timeouts"].is_null(),
        "{}",
        name(route)
    );
    assert_eq!(route["spec"]["hostnames"], json!(["relay.example.com"]));
}

#[test]
fn chart_11_the_service_says_that_it_speaks_websocket() {
    for manifest in [single(&[]), cluster(&[])] {
        let service = manifest
            .named("Service", "relay-heliograph")
            .expect("the Service");
        assert_eq!(
            service["spec"]["ports"][0]["appProtocol"],
            "kubernetes.io/ws"
        );
        assert_eq!(service["spec"]["type"], "ClusterIP");
        // Clients belong to no pod.
        assert!(service["spec"]["sessionAffinity"].is_null());
    }
    let manifest = single(&["service.appProtocol="]);
    let service = manifest.named("Service", "relay-heliograph").unwrap();
    assert!(service["spec"]["ports"][0]["appProtocol"].is_null());
}

#[test]
fn chart_11_a_load_balancer_keeps_clients_addresses_unless_it_is_told_otherwise() {
    let policy = |set: &[&str]| {
        let manifest = cluster(set);
        let service = manifest.named("Service", "relay-heliograph").unwrap();
        str_of(&service["spec"]["externalTrafficPolicy"]).to_owned()
    };
    let balancer = "service.type=LoadBalancer";
    let shared = "service.externalTrafficPolicy=Cluster";
    assert_eq!(policy(&[]), "");
    assert_eq!(policy(&[shared]), "", "a Service inside has none");
    assert_eq!(policy(&[balancer]), "Local");
    assert_eq!(policy(&["service.type=NodePort"]), "Cluster");
    assert_eq!(policy(&[balancer, shared]), "Cluster");
    // Who shares addresses shares limits, and is told.
    let warns =
        |set: &[&str]| notes(&[], set).contains("! service.externalTrafficPolicy is Cluster");
    assert!(!warns(&[]));
    assert!(!warns(&[balancer]));
    assert!(warns(&[balancer, shared]));
    assert!(warns(&["service.type=NodePort"]));
}

#[test]
fn chart_11_a_way_in_may_have_a_path_that_is_a_relay() {
    let way = [
        "ingress.enabled=true",
        "ingress.hosts={relay.example.com}",
        "ingress.path=/relay/",
    ];
    let paths = "config.gateway.paths={/,/relay}";
    let manifest = single(&[&way[..], &[paths]].concat());
    let map = manifest.of_role("ConfigMap", "standalone").next().unwrap();
    let config: toml::Table = str_of(&map["data"]["heliograph.toml"]).parse().unwrap();
    let urls = config["relay"]["url"].to_string();
    assert_eq!(urls, r#"["ws://relay.example.com/relay"]"#);
    // What is rewritten is the controller's affair.
    let rewritten = "ingress.pathType=ImplementationSpecific";
    cluster(&[&way[..], &[rewritten]].concat());
}

#[test]
fn chart_11_no_proxy_is_trusted_unless_it_is_named() {
    let of = |manifest: &heliograph_chart::Manifest, role: &str| {
        let map = manifest.of_role("ConfigMap", role).next().expect(role);
        let text = str_of(&map["data"]["heliograph.toml"]);
        let config: toml::Table = text.parse().expect("TOML");
        config["gateway"]["trusted_proxies"]
            .as_array()
            .expect("a list")
            .clone()
    };
    assert!(of(&single(&[]), "standalone").is_empty());
    assert!(of(&cluster(&[]), "gateway").is_empty());
    let named = cluster(&["trustedProxies={10.0.0.0/8,fd00::/8}"]);
    let named: Vec<toml::Value> = of(&named, "gateway");
    assert_eq!(named, ["10.0.0.0/8", "fd00::/8"].map(toml::Value::from));
}

#[test]
fn chart_11_the_proxy_protocol_is_spoken_only_if_it_is_wanted() {
    let spoken = |manifest: &heliograph_chart::Manifest, role: &str| {
        let map = manifest.of_role("ConfigMap", role).next().expect(role);
        let text = str_of(&map["data"]["heliograph.toml"]);
        let config: toml::Table = text.parse().expect("TOML");
        config["gateway"].get("proxy_protocol").cloned()
    };
    // Not even `false`: a program from before the key starts with this file too.
    assert_eq!(spoken(&single(&[]), "standalone"), None);
    assert_eq!(spoken(&cluster(&[]), "gateway"), None);
    let set = ["trustedProxies={192.0.2.0/24}", "proxyProtocol=true"];
    let yes = Some(toml::Value::Boolean(true));
    assert_eq!(spoken(&single(&set), "standalone"), yes);
    assert_eq!(spoken(&cluster(&set), "gateway"), yes);
}

#[test]
fn chart_11_the_relay_knows_the_url_that_the_way_in_has() {
    let urls = |name: &str| {
        let map = ci(name)
            .manifest
            .of_role("ConfigMap", "gateway")
            .next()
            .unwrap();
        let config: toml::Table = str_of(&map["data"]["heliograph.toml"]).parse().unwrap();
        config["relay"]["url"].to_string()
    };
    assert_eq!(
        urls("cluster-ingress"),
        r#"["wss://relay.example.com", "wss://nostr.example.com"]"#
    );
    assert_eq!(
        urls("cluster-gateway-api"),
        r#"["wss://relay.example.com"]"#
    );
}
