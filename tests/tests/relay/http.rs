//! What the relay's URL says over HTTP: the information document (NIP-11) and the landing page.

use std::net::SocketAddr;

use heliograph_testkit::{
    http::{Response, request},
    process::Relay,
};
use serde_json::Value;

const DOCUMENT: &str = "application/nostr+json";

/// The information document.
#[track_caller]
pub(crate) fn document(relay: &Relay) -> Value {
    document_at(relay.address())
}

/// The information document of whoever listens here.
#[track_caller]
pub(crate) fn document_at(address: SocketAddr) -> Value {
    let response = request(address, "GET", "/", &[&format!("Accept: {DOCUMENT}")]);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(response.text()).unwrap()
}

fn media_type(response: &Response) -> &str {
    let value = response.header("content-type").expect("a content type");
    value.split(';').next().unwrap_or_default().trim()
}

#[track_caller]
fn check_accept(relay: &Relay, accept: &str, media: &str) {
    let response = request(relay.address(), "GET", "/", &[&format!("Accept: {accept}")]);
    assert_eq!(
        (response.status, media_type(&response)),
        (200, media),
        "Accept: {accept}"
    );
}

#[test]
fn the_document_goes_to_those_who_list_it() {
    let relay = Relay::start();
    for accept in [
        "application/nostr+json",
        "Application/Nostr+JSON",
        "application/nostr+json; charset=utf-8",
        "application/nostr+json;q=0.5",
        "text/html, application/nostr+json",
        "application/json,application/nostr+json,*/*;q=0.1",
        " application/nostr+json ,*/*",
        "text/html;q=0.2, APPLICATION/NOSTR+JSON ; q=0.9",
    ] {
        check_accept(&relay, accept, DOCUMENT);
    }
}

#[test]
fn two_accept_fields_are_one_list() {
    let relay = Relay::start();
    let fields = ["Accept: text/html", "Accept: application/nostr+json"];
    let response = request(relay.address(), "GET", "/", &fields);
    assert_eq!(media_type(&response), DOCUMENT);
}

#[test]
fn the_page_goes_to_browsers() {
    let relay = Relay::start();
    for accept in [
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "*/*",
        "application/nostr+jsonx",
        "application/nostr+json;q=0",
    ] {
        check_accept(&relay, accept, "text/html");
    }
    let response = request(relay.address(), "GET", "/", &[]);
    assert_eq!((response.status, media_type(&response)), (200, "text/html"));
}

#[test]
fn the_page_says_the_name_the_description_and_where_to_connect() {
    let settings = ["relay.name=A <b> & c", "relay.description=Talk, mostly."];
    let relay = Relay::with(&settings);
    let page = request(relay.address(), "GET", "/", &["Accept: text/html"]);
    let text = page.text();
    assert!(text.contains("A &lt;b&gt; &amp; c"), "{text}");
    assert!(text.contains("Talk, mostly."), "{text}");
    assert!(text.contains("wss://relay.example.com"), "{text}");
}

#[track_caller]
fn check_cors(response: &Response) {
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    for name in [
        "access-control-allow-headers",
        "access-control-allow-methods",
    ] {
        assert!(
            response.header(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    let methods = response.header("access-control-allow-methods").unwrap();
    assert!(methods == "*" || methods.contains("GET"), "{methods}");
}

#[test]
fn the_document_may_be_read_from_any_page() {
    let relay = Relay::start();
    let fields = [
        "Accept: application/nostr+json",
        "Origin: https://client.example",
    ];
    check_cors(&request(relay.address(), "GET", "/", &fields));
}

#[test]
fn a_preflight_request_is_answered() {
    let relay = Relay::start();
    let fields = [
        "Origin: https://client.example",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: accept",
    ];
    let response = request(relay.address(), "OPTIONS", "/", &fields);
    assert!(matches!(response.status, 200 | 204), "{}", response.status);
    check_cors(&response);
}

#[test]
fn a_head_request_has_the_fields_and_no_body() {
    let relay = Relay::start();
    let response = request(
        relay.address(),
        "HEAD",
        "/",
        &["Accept: application/nostr+json"],
    );
    assert_eq!((response.status, media_type(&response)), (200, DOCUMENT));
    assert_eq!(response.body, b"");
}

#[test]
fn other_paths_are_not_found() {
    let relay = Relay::start();
    for path in [
        "/other",
        "/.well-known/nostr.json",
        "/metrics",
        "/%2e%2e/etc/passwd",
    ] {
        let response = request(relay.address(), "GET", path, &["Accept: text/html"]);
        assert_eq!(response.status, 404, "{path}");
    }
}

#[test]
fn other_methods_are_refused() {
    let relay = Relay::start();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = request(relay.address(), method, "/", &["Content-Length: 0"]);
        assert!(
            matches!(response.status, 400..=499),
            "{method}: {}",
            response.status
        );
    }
}

#[test]
fn every_member_has_the_form_of_nip_11() {
    let settings = [
        "relay.contact=mailto:admin@example.com",
        "relay.icon=https://example.com/icon.png",
        "relay.description=For tests",
        &format!(
            "relay.pubkey={}",
            heliograph_testkit::keys::Key::nth(0).hex()
        ),
    ];
    let document = document(&Relay::with(&settings));
    let members = document.as_object().expect("an object");
    let known = [
        "name",
        "description",
        "banner",
        "icon",
        "pubkey",
        "self",
        "contact",
        "supported_nips",
        "software",
        "version",
        "terms_of_service",
        "privacy_policy",
        "limitation",
    ];
    for (name, value) in members {
        assert!(known.contains(&&**name), "unexpected member {name}");
        assert!(!value.is_null(), "{name} is null instead of absent");
    }
    assert!(
        document["name"]
            .as_str()
            .is_some_and(|name| name.chars().count() < 30)
    );
    assert_eq!(document["description"], "For tests");
    assert_eq!(document["contact"], "mailto:admin@example.com");
    assert_eq!(document["icon"], "https://example.com/icon.png");
    assert_eq!(
        document["pubkey"],
        heliograph_testkit::keys::Key::nth(0).hex()
    );
    assert!(
        document["software"]
            .as_str()
            .is_some_and(|url| url.contains("://"))
    );
    assert!(
        document["version"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
    );
}

#[test]
fn what_is_not_configured_is_left_out() {
    let document = document(&Relay::start());
    for name in [
        "banner",
        "icon",
        "pubkey",
        "self",
        "terms_of_service",
        "fees",
        "retention",
    ] {
        assert_eq!(document.get(name), None, "{name}");
    }
}

#[test]
fn supported_nips_are_those_that_are_on() {
    let nips = |relay: &Relay| -> Vec<u64> {
        let document = document(relay);
        let list = document["supported_nips"]
            .as_array()
            .expect("a list")
            .clone();
        list.iter()
            .map(|nip| nip.as_u64().expect("integers only"))
            .collect()
    };
    let on = nips(&Relay::start());
    for nip in [1, 9, 11, 40, 42, 45, 59, 62, 67, 70] {
        assert!(on.contains(&nip), "{nip} in {on:?}");
    }
    for nip in [4, 50, 65, 77, 86] {
        assert!(!on.contains(&nip), "{nip} in {on:?}");
    }
    let off = nips(&Relay::with(&[
        "policy.count_enabled=false",
        "policy.eose_hints=false",
    ]));
    assert!(!off.contains(&45) && !off.contains(&67), "{off:?}");
}
