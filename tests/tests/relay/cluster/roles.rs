//! Each role by itself: what it tells operators, what it needs, what it refuses to start with.

use std::slice::from_ref;

use heliograph_sandbox::{
    cluster::{ClusterOptions, Durability, Role},
    http,
};
use heliograph_testkit::{
    client::End,
    process::{Relay, command},
    tool::run,
};
use serde_json::json;

use super::bed::{Bed, own_key, try_start, until};
use crate::support::{metric, now};

#[test]
fn every_role_says_that_it_lives_is_ready_and_what_it_did() {
    let Some(bed) = Bed::shared() else { return };
    let key = own_key();
    for (number, mut client) in bed.both().into_iter().enumerate() {
        client.accept(&key.note(now(), &number.to_string()));
        let stored = client.query(&[json!({"authors": [key.hex()]})]);
        assert!(!stored.events.is_empty());
    }
    for (role, series) in [
        (
            Role::Gateway,
            "heliograph_events_result_total{result=\"accepted\",reason=\"stored\"}",
        ),
        (
            Role::Ingest,
            "heliograph_ingest_events_total{outcome=\"stored\"}",
        ),
        (Role::Matcher, "heliograph_matcher_events_total"),
    ] {
        for number in 0..2 {
            let admin = bed.admin(role, number);
            for path in ["/livez", "/readyz"] {
                let page = http::get(admin, path).unwrap();
                assert_eq!(page.status, 200, "{role:?} {number} {path}: {}", page.body);
            }
            let page = bed.metrics(role, number).unwrap();
            assert!(metric(&page, series) >= 0.0, "{role:?} {number}");
        }
        assert!(bed.sum(role, series) >= 2.0, "{role:?}: {series}");
    }
    // Both matchers follow the whole stream.
    for number in 0..2 {
        until("both commits at this matcher", || {
            let page = bed.metrics(Role::Matcher, number).unwrap();
            (metric(&page, "heliograph_matcher_events_total") >= 2.0).then_some(())
        });
    }
}

/// The settings of a cluster with another value for one key.
fn settings_but(bed: &Bed, key: &str, value: &str) -> Vec<String> {
    let change = |(found, given): &(String, String)| {
        let value = if found == key { value } else { given };
        format!("{found}={value}")
    };
    bed.settings().iter().map(change).collect()
}

#[test]
fn a_gateway_works_without_the_database() {
    let Some(bed) = Bed::shared() else { return };
    let relay = Relay::gateway(&settings_but(&bed, "scylla.nodes", "127.0.0.1:1"));
    let key = own_key();
    let (mut here, mut there) = (relay.client(), bed.at(0));
    there.req("s", &[json!({"authors": [key.hex()]})]);
    let event = key.note(now(), "through a gateway that knows no database");
    // It listens a moment before it has read the rules, and takes nothing until then.
    until("a gateway that takes events", || {
        here.publish(&event).0.then_some(())
    });
    assert_eq!(there.next_event("s"), event);
    let filter = json!({"ids": [event.id().to_hex()]});
    assert_eq!(here.query(&[filter]).events, from_ref(&event));
    assert_eq!(here.count("c", &[json!({"authors": [key.hex()]})]), Ok(1));
    let answer = there.publish(&event);
    assert!(
        answer.0 && answer.1.starts_with("duplicate: "),
        "{answer:?}"
    );
}

#[test]
fn migrations_are_done_and_a_database_without_them_is_noticed() {
    let Some(bed) = Bed::shared() else { return };
    bed.run(&["migrate", "--check"]);
    bed.run(&["migrate"]);
    bed.run(&["migrate", "--check"]);
    let settings = settings_but(&bed, "scylla.keyspace", "there_is_no_such_keyspace");
    let mut check = command();
    check.args(["migrate", "--check"]);
    check.args(settings.iter().flat_map(|setting| ["--set", setting]));
    assert_eq!(run(&mut check, b"").status.code(), Some(1));
}

#[test]
fn quorum_on_one_replica_is_refused_unless_the_operator_insists() {
    let quorum = |options: &mut ClusterOptions| {
        options.durability = Durability::Quorum;
        (options.gateways, options.matchers, options.ingest) = (1, 1, 1);
    };
    let refused = try_start(quorum, &["cluster.durability_unsafe=false"]);
    let Some(refused) = refused else { return };
    let error = refused
        .map(|_| ())
        .expect_err("a cluster that must not start");
    assert!(error.to_string().contains("durability"), "{error}");

    let bed = Bed::with(quorum, &[]).expect("there were servers before");
    let (key, mut client) = (own_key(), bed.client());
    let (accepted, text) = client.publish(&key.note(now(), "quick"));
    assert!(accepted, "{text}");
    // Reads may lag behind this promise.
    until("the event", || {
        let stored = client.query(&[json!({"authors": [key.hex()]})]);
        (stored.events.len() == 1).then_some(())
    });
}

#[test]
fn a_gateway_without_a_matcher_says_so_instead_of_pretending() {
    let Some(bed) = Bed::with(|options| options.matchers = 1, &[]) else {
        return;
    };
    let (key, mut client) = (own_key(), bed.client());
    bed.kill(Role::Matcher, 0);
    let closed = client.query(&[json!({"authors": [key.hex()]})]).end;
    let End::Closed(text) = closed else {
        panic!("{closed:?}")
    };
    assert!(text.starts_with("error: "), "{text}");
    assert!(
        client
            .count("c", &[json!({"authors": [key.hex()]})])
            .is_err()
    );
    // Storing needs no matcher.
    client.accept(&key.note(now(), "nobody answers"));
    bed.restart(Role::Matcher, 0).unwrap();
    until("answers", || {
        let stored = client.query(&[json!({"authors": [key.hex()]})]);
        (stored.events.len() == 1).then_some(())
    });
}
