//! What was written is read: over the same connection and, once it got its OK, through any gateway
//! (ADR 8).

use std::thread;

use heliograph_testkit::client::Client;
use serde_json::json;

use super::bed::{Bed, own_key};
use crate::support::now;

/// Writes and reads, one after the other.
const ROUNDS: usize = 2_000;

/// Pairs of connections that share the rounds where nothing has to be on one connection.
const PAIRS: usize = 4;

#[test]
fn a_stored_answer_has_what_its_connection_published_just_before() {
    let Some(bed) = Bed::shared() else { return };
    let (key, mut client) = (own_key(), bed.client());
    for round in 0..ROUNDS {
        let event = key.note(now(), &round.to_string());
        client.accept(&event);
        let stored = client.query(&[json!({"ids": [event.id().to_hex()]})]);
        assert_eq!(stored.events, [event], "round {round}");
    }
}

/// Publishes through one connection and reads through the other at once.
fn check_pair(mut writer: Client, mut reader: Client, rounds: usize) {
    let key = own_key();
    for round in 0..rounds {
        // Old ones too, so that neither tier has an easy life.
        let event = key.note(now() - (round as u64 % 7) * 1_000_000, &round.to_string());
        writer.accept(&event);
        let filter = if round % 2 == 0 {
            json!({"ids": [event.id().to_hex()]})
        } else {
            let at = event.created_at().as_secs();
            json!({"authors": [key.hex()], "since": at, "until": at})
        };
        let stored = reader.query(&[filter]);
        let ids = stored.ids();
        assert!(
            ids.contains(&event.id().to_hex()),
            "round {round}: {ids:?} {:?}",
            stored.end
        );
    }
}

#[test]
fn a_stored_answer_of_another_gateway_has_what_got_its_ok_just_before() {
    let Some(bed) = Bed::shared() else { return };
    thread::scope(|scope| {
        for pair in 0..PAIRS {
            let (writer, reader) = (bed.at(pair % 2), bed.at((pair + 1) % 2));
            scope.spawn(move || check_pair(writer, reader, ROUNDS / PAIRS));
        }
    });
}

#[test]
fn a_count_of_another_gateway_has_what_got_its_ok_just_before() {
    let Some(bed) = Bed::shared() else { return };
    let (key, [mut writer, mut reader]) = (own_key(), bed.both());
    for count in 1..=200 {
        writer.accept(&key.note(now(), &count.to_string()));
        let filter = json!({"authors": [key.hex()]});
        assert_eq!(reader.count("c", &[filter]), Ok(count));
    }
}
