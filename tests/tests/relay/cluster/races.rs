//! Two gateways are told contradicting things at once: versions of one address, a target and its
//! deletion. Both end up with the same, and no subscriber is sent what has lost already.

use std::{collections::HashMap, slice::from_ref};

use heliograph_protocol::Event;
use heliograph_testkit::{client::Client, keys::Key};
use serde_json::{Value, json};

use super::bed::{Bed, own_key};
use crate::support::{Random, drain, ids, now, open_fence, seeded};

const ROUNDS: usize = 500;

/// Rounds that are on their way at once.
const PIECE: usize = 25;

/// Two events that race.
type Pair = [Event; 2];

/// Sends the events of each pair to two gateways at once, either of them first and one behind the
/// other or all first ones before all second ones. Whether each was accepted.
#[track_caller]
fn race(writers: &mut [Client; 2], pairs: &[Pair], random: &mut Random) -> Vec<[bool; 2]> {
    let sides: Vec<usize> = pairs.iter().map(|_| random.below(2)).collect();
    let apart = random.once_in(2);
    for ([first, second], side) in pairs.iter().zip(&sides) {
        writers[*side].send_event(first);
        if !apart {
            writers[1 - side].send_event(second);
        }
    }
    for ([_, second], side) in pairs.iter().zip(&sides).filter(|_| apart) {
        writers[1 - side].send_event(second);
    }
    let mut accepted = Vec::new();
    for ([first, second], side) in pairs.iter().zip(sides) {
        let mut ok = |side: usize, event: &Event| {
            let (accepted, text) = writers[side].ok(&event.id().to_hex());
            assert!(!text.starts_with("error: "), "{text}: {}", event.as_str());
            accepted
        };
        accepted.push([ok(side, first), ok(1 - side, second)]);
    }
    accepted
}

/// Readers on both gateways with an open subscription to everything by these authors.
#[track_caller]
fn readers(bed: &Bed, filter: &Value) -> [Client; 2] {
    let mut readers = bed.both();
    for reader in &mut readers {
        reader.req("s", from_ref(filter));
        open_fence(reader);
    }
    readers
}

/// What each reader was sent, as the place of each id.
#[track_caller]
fn places(readers: &mut [Client; 2], writer: &mut Client) -> Vec<HashMap<String, usize>> {
    let mut places = Vec::new();
    for reader in readers {
        let live = drain(reader, writer);
        let order = ids(live.iter().map(|(_, event)| event));
        let by_id: HashMap<String, usize> = order.iter().cloned().zip(0..).collect();
        assert_eq!(by_id.len(), order.len(), "an event came twice");
        places.push(by_id);
    }
    places
}

/// Two versions of one address and one second, the winner first.
fn versions(key: &Key, round: usize, at: u64) -> Pair {
    let d = round.to_string();
    let version = |text: &str| key.sign(at, 30_023, &[&["d", &d]], text);
    let mut pair = [version("one"), version("other")];
    pair.sort_by_key(|event| *event.id());
    pair
}

#[test]
fn both_gateways_converge_on_the_lowest_id_and_no_subscriber_sees_a_loser_after_it() {
    let Some(bed) = Bed::shared() else { return };
    let mut random = seeded();
    let (key, at) = (own_key(), now());
    let filter = json!({"authors": [key.hex()], "limit": 0});
    let mut readers = readers(&bed, &filter);
    let mut writers = bed.both();
    let pairs: Vec<Pair> = (0..ROUNDS).map(|round| versions(&key, round, at)).collect();
    let winners: Vec<Event> = pairs.iter().map(|[winner, _]| winner.clone()).collect();
    for (number, piece) in pairs.chunks(PIECE).enumerate() {
        for [winner, _] in race(&mut writers, piece, &mut random) {
            assert!(winner, "the lowest id was refused");
        }
        let first = number * PIECE;
        let d: Vec<String> = (first..first + piece.len())
            .map(|n| n.to_string())
            .collect();
        let asked = json!({"authors": [key.hex()], "kinds": [30_023], "#d": d});
        for client in &mut writers {
            let stored = client.query(from_ref(&asked));
            let mut want = ids(&winners[first..first + piece.len()]);
            want.sort();
            assert_eq!(stored.ids(), want, "piece {number}");
        }
    }
    for places in places(&mut readers, &mut writers[0]) {
        for [winner, loser] in &pairs {
            let [winner, loser] = [winner, loser].map(|event| places.get(&event.id().to_hex()));
            let winner = winner.expect("every subscriber gets the winner");
            assert!(
                loser.is_none_or(|loser| loser < winner),
                "a loser after the winner"
            );
        }
    }
    let mut want = ids(&winners);
    want.sort();
    for client in &mut writers {
        let stored = client.query(&[json!({"authors": [key.hex()], "limit": 2 * ROUNDS})]);
        assert_eq!(stored.ids(), want);
        let count = client.count("c", &[json!({"authors": [key.hex()]})]);
        assert_eq!(count, Ok(ROUNDS as u64));
    }
}

/// A target and what deletes it, by id or by address.
fn target_and_deletion(key: &Key, round: usize) -> Pair {
    let (at, text) = (1_700_000_000 + round as u64, round.to_string());
    if round.is_multiple_of(2) {
        let target = key.note(at, &text);
        let deletion = key.sign(at + 1, 5, &[&["e", &target.id().to_hex()]], &text);
        return [target, deletion];
    }
    let target = key.sign(at, 30_023, &[&["d", &text]], &text);
    let address = format!("30023:{}:{text}", key.hex());
    // A second later, or in the same one: it deletes up to its own date.
    let deletion = key.sign(at + round as u64 % 4 / 2, 5, &[&["a", &address]], &text);
    [target, deletion]
}

/// Nobody may find these, whichever way they ask.
#[track_caller]
fn check_gone(client: &mut Client, key: &Key, targets: &[&Event]) {
    let by_id = json!({"ids": ids(targets.iter().copied())});
    let stored = client.query(from_ref(&by_id));
    assert_eq!(stored.ids(), [""; 0], "by id");
    assert_eq!(client.count("c", &[by_id]), Ok(0));
    let times = targets.iter().map(|event| event.created_at().as_secs());
    let (since, until) = (times.clone().min(), times.max());
    let by_author =
        json!({"authors": [key.hex()], "kinds": [1, 30_023], "since": since, "until": until});
    let stored = client.query(from_ref(&by_author));
    assert_eq!(stored.ids(), [""; 0], "by author");
    assert_eq!(client.count("c", &[by_author]), Ok(0));
}

#[test]
fn a_target_that_races_with_its_deletion_is_never_left_visible_on_any_gateway() {
    let Some(bed) = Bed::shared() else { return };
    let mut random = seeded();
    let key = own_key();
    let mut readers = readers(&bed, &json!({"authors": [key.hex()], "limit": 0}));
    let mut writers = bed.both();
    let pairs: Vec<Pair> = (0..ROUNDS).map(|n| target_and_deletion(&key, n)).collect();
    let mut refused = 0;
    for piece in pairs.chunks(PIECE) {
        for [target, deletion] in race(&mut writers, piece, &mut random) {
            assert!(deletion, "the deletion was refused");
            refused += usize::from(!target);
        }
        let targets: Vec<&Event> = piece.iter().map(|[target, _]| target).collect();
        for client in &mut writers {
            check_gone(client, &key, &targets);
        }
    }
    println!("{refused} of {ROUNDS} targets came after their deletion");
    for places in places(&mut readers, &mut writers[0]) {
        for [target, deletion] in &pairs {
            let [target, deletion] =
                [target, deletion].map(|event| places.get(&event.id().to_hex()));
            let deletion = deletion.expect("every subscriber gets the deletion");
            assert!(
                target.is_none_or(|target| target < deletion),
                "a target after its deletion"
            );
        }
    }
    let targets: Vec<&Event> = pairs.iter().map(|[target, _]| target).collect();
    for client in &mut bed.both() {
        for piece in targets.chunks(250) {
            check_gone(client, &key, piece);
        }
        let deletions = client.count("c", &[json!({"authors": [key.hex()], "kinds": [5]})]);
        assert_eq!(deletions, Ok(ROUNDS as u64));
    }
}
