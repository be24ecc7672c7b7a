//! What operators decide with `heliograph control`: in force on every gateway and matcher within 2 s.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    slice::from_ref,
    time::Duration,
};

use heliograph_testkit::{
    client::{Client, End},
    keys::Key,
    reply::Reply,
    websocket::Handshake,
};
use serde_json::json;

use super::bed::{Bed, own_key, within};
use crate::{http::document_at, support::now};

/// From the end of the command.
const IN_FORCE: Duration = Duration::from_secs(2);

/// Waits until all clients agree.
#[track_caller]
fn everywhere(what: &str, clients: &mut [Client], mut look: impl FnMut(&mut Client) -> bool) {
    within(IN_FORCE, what, || {
        clients.iter_mut().all(&mut look).then_some(())
    });
}

fn is_blocked((accepted, text): &(bool, String)) -> bool {
    !accepted && text.starts_with("blocked: ")
}

#[test]
fn a_banned_key_is_hidden_and_refused_everywhere_until_the_ban_is_lifted() {
    let Some(bed) = Bed::shared() else { return };
    let (banned, other) = (own_key(), own_key());
    let mut clients = bed.both();
    clients[0].accept(&banned.note(now(), "before"));
    clients[0].accept(&other.note(now(), "stays"));
    let filter = json!({"authors": [banned.hex(), other.hex()]});
    let seen = |client: &mut Client| client.query(from_ref(&filter)).contents();

    let ban = [
        "control",
        "ban",
        "pubkey",
        &banned.hex(),
        "--reason",
        "spam",
    ];
    bed.run(&ban);
    everywhere("hidden events", &mut clients, |client| {
        seen(client) == ["stays"]
    });
    let mut number = 0;
    everywhere("refused events", &mut clients, |client| {
        number += 1;
        is_blocked(&client.publish(&banned.note(now(), &format!("try {number}"))))
    });
    for client in &mut clients {
        assert_eq!(client.count("c", from_ref(&filter)), Ok(1));
    }
    assert!(bed.run(&["control", "list"]).contains(&banned.hex()));

    bed.run(&["control", "unban", "pubkey", &banned.hex()]);
    everywhere("events that are shown again", &mut clients, |client| {
        seen(client).contains(&"before".to_owned())
    });
    let after = banned.note(now(), "after");
    everywhere("an event that is taken again", &mut clients, |client| {
        client.publish(&after).0
    });
}

#[test]
fn a_banned_event_is_hidden_and_refused_everywhere() {
    let Some(bed) = Bed::shared() else { return };
    let key = own_key();
    let mut clients = bed.both();
    let (stored, never) = (key.note(now(), "stored"), key.note(now(), "never stored"));
    clients[1].accept(&stored);
    for event in [&stored, &never] {
        bed.run(&["control", "ban", "event", &event.id().to_hex()]);
    }
    let filter = json!({"authors": [key.hex()]});
    everywhere("a hidden event", &mut clients, |client| {
        client.query(from_ref(&filter)).events.is_empty()
    });
    everywhere("a refused event", &mut clients, |client| {
        is_blocked(&client.publish(&never))
    });
}

#[test]
fn a_blocked_kind_and_the_relay_s_name_are_known_to_every_gateway() {
    let Some(bed) = Bed::shared() else { return };
    let key = own_key();
    let mut clients = bed.both();
    bed.run(&["control", "kind", "block", "9876"]);
    let event = key.sign(now(), 9_876, &[], "");
    let mut number = 0;
    everywhere("a refused kind", &mut clients, |client| {
        number += 1;
        is_blocked(&client.publish(&key.sign(now(), 9_876, &[], &number.to_string())))
    });
    bed.run(&["control", "kind", "clear", "9876"]);
    everywhere("a kind that is taken again", &mut clients, |client| {
        client.publish(&event).0
    });

    let name = |gateway| document_at(bed.gateway(gateway))["name"].clone();
    let before = name(0);
    bed.run(&["control", "name", "Another name"]);
    within(IN_FORCE, "the new name", || {
        (0..2)
            .all(|gateway| name(gateway) == "Another name")
            .then_some(())
    });
    bed.run(&["control", "name"]);
    within(IN_FORCE, "the configured name", || {
        (0..2).all(|gateway| name(gateway) == before).then_some(())
    });
}

#[test]
fn a_list_of_keys_closes_every_gateway_to_others_and_admission_opens_it() {
    let Some(bed) = Bed::fresh(&[]) else { return };
    let (listed, guest, stranger) = (own_key(), own_key(), own_key());
    let mut clients = bed.both();
    clients[0].accept(&stranger.note(now(), "before the list"));
    bed.run(&["control", "allow", &listed.hex()]);
    let mut number = 0;
    let mut note = |key: &Key| {
        number += 1;
        key.note(now(), &format!("note {number}"))
    };
    everywhere("a closed relay", &mut clients, |client| {
        !client.publish(&note(&stranger)).0
    });
    bed.run(&["control", "admit", &guest.hex(), "--until", "1d"]);
    everywhere("an admitted key", &mut clients, |client| {
        client.publish(&note(&guest)).0
    });
    for client in &mut clients {
        client.accept(&note(&listed));
        assert!(!client.publish(&note(&stranger)).0);
        // Reading is open as before.
        let stored = client.query(&[json!({"authors": [stranger.hex()]})]);
        assert!(stored.contents().contains(&"before the list".to_owned()));
        assert!(matches!(stored.end, End::Eose(_)));
    }
    bed.run(&["control", "dismiss", &guest.hex()]);
    everywhere("a dismissed key", &mut clients, |client| {
        !client.publish(&note(&guest)).0
    });
    bed.run(&["control", "disallow", &listed.hex()]);
    everywhere("an open relay", &mut clients, |client| {
        client.publish(&note(&stranger)).0
    });
}

/// The status that a request to upgrade is answered with, and nothing after it.
fn status(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let request = Handshake::default().request(address);
    stream
        .write_all(request.as_bytes())
        .expect("the gateway reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    String::from_utf8_lossy(&status[9..]).into_owned()
}

#[test]
fn a_banned_address_is_cut_off_and_turned_away_by_every_gateway() {
    let Some(bed) = Bed::fresh(&[]) else { return };
    let mut clients = bed.both();
    for client in &mut clients {
        client.req("s", &[json!({"limit": 0})]);
    }
    bed.run(&["control", "ip", "ban", "127.0.0.0/8", "--reason", "us"]);
    for mut client in clients {
        // It says nothing itself.
        let end = client.poll(IN_FORCE);
        assert!(matches!(end, Some(Reply::Close(1008, _))), "{end:?}");
    }
    for gateway in 0..2 {
        assert_eq!(status(bed.gateway(gateway)), "403");
    }
    bed.run(&["control", "ip", "unban", "127.0.0.0/8"]);
    within(IN_FORCE, "an open door", || {
        (0..2)
            .all(|gateway| status(bed.gateway(gateway)) == "101")
            .then_some(())
    });
}
