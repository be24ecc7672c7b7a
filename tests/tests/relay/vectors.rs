//! The protocol's vector files over a real socket (`tests/vectors/README.md`).

use heliograph_protocol::Event;
use heliograph_testkit::{
    RELAY_URL, client::Client, frame::Frame, keys::Key, process::Relay, reply::Reply, vectors,
};
use serde_json::{Value, json};

use crate::support::{Connect, array, event, now, seeded, settle, strings};

/// What the wire says to a row of `events.jsonl`.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Close(u16),
    Notice,
    Ok { id: String, accepted: bool },
}

/// The 64 hex digits that the relay can read as the event's id, if there are any (R01-32).
fn sent_id(row: &Value) -> Option<String> {
    if let Some(id) = row["id"].as_str() {
        return Some(id.to_owned());
    }
    let (_, rest) = row["raw"].as_str()?.split_once(r#"{"id":""#)?;
    let (id, _) = rest.split_once('"')?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn expected(row: &Value) -> Answer {
    let reason = row["reason"].as_str().unwrap_or_default();
    match sent_id(row) {
        _ if reason.starts_with("not valid UTF-8") => Answer::Close(1007),
        _ if reason.starts_with("not JSON") => Answer::Notice,
        None => Answer::Notice,
        Some(id) => Answer::Ok {
            id,
            accepted: row["expect"] == "valid",
        },
    }
}

fn message(row: &Value) -> Vec<u8> {
    let event = match (row["raw"].as_str(), row["raw_hex"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(hex)) => (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect(),
        (None, None) => panic!("a row without text: {row}"),
    };
    [b"[\"EVENT\",", &*event, b"]"].concat()
}

fn answer(client: &mut Client) -> Answer {
    match client.next_reply() {
        Reply::Close(code, _) => Answer::Close(code),
        Reply::Notice(_) => Answer::Notice,
        Reply::Ok { id, accepted, .. } => Answer::Ok { id, accepted },
        other => client
            .socket
            .fail(&format!("neither OK nor NOTICE: {other:?}")),
    }
}

#[test]
fn every_event_gets_the_answer_of_its_row() {
    let relay = Relay::start();
    check_answers(&|| relay.client());
}

/// Sends every row of `events.jsonl` to an empty relay.
#[track_caller]
pub(crate) fn check_answers(connect: Connect<'_>) {
    let mut rows: Vec<Value> = vectors::lines("events.jsonl");
    // Refused ones first: some carry the id of a valid one, and a duplicate may be answered
    // before the signature is checked (R01-16).
    rows.sort_by_key(|row| row["expect"] == "valid");
    let mut client = connect();
    let mut wrong = Vec::new();
    for row in &rows {
        client.socket.send(&Frame::text(message(row)));
        let (want, got) = (expected(row), answer(&mut client));
        if want != got {
            wrong.push(format!(
                "{} ({}): {want:?}, got {got:?}",
                row["name"], row["reason"]
            ));
        }
        if matches!(got, Answer::Close(_)) {
            client = connect();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_valid_event_comes_back_with_what_was_hashed() {
    let relay = Relay::start();
    check_texts(&|| relay.client());
}

/// Sends every valid row of `events.jsonl` and reads it back over another connection.
#[track_caller]
pub(crate) fn check_texts(connect: Connect<'_>) {
    let (mut client, mut reader) = (connect(), connect());
    let rows = vectors::lines("events.jsonl");
    let taken = |row: &&Value| row["expect"] == "valid";
    for row in rows.iter().filter(taken) {
        client.socket.send(&Frame::text(message(row)));
        assert!(
            matches!(answer(&mut client), Answer::Ok { accepted: true, .. }),
            "{row}"
        );
        let hashed: Value = serde_json::from_str(row["canonical"].as_str().unwrap()).unwrap();
        settle(&mut client);
        let stored = reader.query(&[json!({"ids": [row["id"]]})]);
        let is_ephemeral = hashed[3]
            .as_u64()
            .is_some_and(|kind| (20_000..30_000).contains(&kind));
        if is_ephemeral {
            assert_eq!(stored.events, [], "{}", row["name"]);
            continue;
        }
        let found: Value = serde_json::from_str(stored.events[0].as_str()).unwrap();
        let [pubkey, created_at, kind, tags, content] =
            ["pubkey", "created_at", "kind", "tags", "content"].map(|name| &found[name]);
        let members = json!([0, pubkey, created_at, kind, tags, content]);
        assert_eq!(members, hashed, "{}", row["name"]);
        assert_eq!(
            found.as_object().unwrap().len(),
            7,
            "{}: unknown members stay out",
            row["name"]
        );
    }
}

#[track_caller]
fn check_frame(client: &mut Client, row: &Value) {
    client.send(row["frame"].as_str().unwrap());
    let want = &row["expect"];
    let types = match want["type"].as_str().unwrap() {
        "any_of" => strings(&want["types"]),
        single => vec![single.to_owned()],
    };
    let silent = types.iter().any(|one| one == "none");
    if silent {
        let replies = client.fence();
        let legal = replies
            .iter()
            .all(|reply| types.iter().any(|one| one == reply.verb()));
        assert!(replies.len() <= 1 && legal, "{}: {replies:?}", row["name"]);
        return;
    }
    let reply = client.next_reply();
    let fail = || panic!("{}: {want}, got {reply:?}", row["name"]);
    if !types.iter().any(|one| one == reply.verb()) {
        fail();
    }
    for name in ["id", "sub"] {
        if want["type"] != "any_of"
            && want[name].is_string()
            && want[name].as_str() != reply.subject()
        {
            fail();
        }
    }
    let (text, agrees) = match &reply {
        Reply::Ok { accepted, text, .. } => (&**text, want["value"] == *accepted),
        Reply::Closed { text, .. } | Reply::Notice(text) => (&**text, true),
        Reply::Count { count, .. } => ("", want["count"] == *count),
        _ => ("", true),
    };
    if !agrees || !begins_with_one(text, &want["prefix_any"]) {
        fail();
    }
    assert_eq!(
        client.fence(),
        [],
        "{}: the connection stays usable",
        row["name"]
    );
}

/// Whether `text` begins with one of the prefixes, if there are any.
pub(crate) fn begins_with_one(text: &str, prefixes: &Value) -> bool {
    prefixes.is_null()
        || strings(prefixes)
            .iter()
            .any(|prefix| text.starts_with(&format!("{prefix}: ")))
}

#[test]
fn every_frame_gets_the_answer_of_its_row() {
    let relay = Relay::start();
    check_frames(&|| relay.client());
}

/// Sends every row of `frames.jsonl` to an empty relay.
#[track_caller]
pub(crate) fn check_frames(connect: Connect<'_>) {
    let mut rows: Vec<Value> = vectors::lines("frames.jsonl");
    // Sync is not offered yet (NIP-77).
    rows.retain(|row| !row["rule"].as_str().unwrap().starts_with("R77"));
    // Refused ones first, since they share an id with an accepted one (R01-16).
    rows.sort_by_key(|row| row["expect"]["value"] == true);
    for row in rows {
        check_frame(&mut connect(), &row);
    }
}

#[test]
fn stored_events_come_newest_first_and_lowest_id_first_whatever_the_order_of_arrival() {
    let vector: Value = vectors::json("ordering.json");
    let events: Vec<Event> = array(&vector["events"]).iter().map(event).collect();
    let mut orders = vec![events.clone(), events.iter().rev().cloned().collect()];
    let mut random = seeded();
    for _ in 0..4 {
        let mut order = events.clone();
        random.shuffle(&mut order);
        orders.push(order);
    }
    for order in orders {
        let relay = Relay::start();
        let mut client = relay.client();
        for event in &order {
            client.accept(event);
        }
        check_order(&mut client, &vector);
    }
}

/// Asks for the events of `ordering.json`, which are all that is stored.
#[track_caller]
pub(crate) fn check_order(client: &mut Client, vector: &Value) {
    let all = client.query(array(&vector["req"]));
    assert_eq!(all.ids(), strings(&vector["expect_order"]));
    for (limit, want) in vector["limits"].as_object().unwrap() {
        let mut filter = vector["req"][0].clone();
        filter["limit"] = limit.parse::<u64>().unwrap().into();
        assert_eq!(
            client.query(&[filter]).ids(),
            strings(want),
            "limit {limit}"
        );
    }
}

/// The same event now, for this challenge, and as broken as the row says.
fn auth_event(row: &Value, challenge: &str) -> Event {
    let theirs = &row["event"];
    let number = |value: &Value| value.as_i64().expect("an integer");
    let age = number(&row["now"]) - number(&theirs["created_at"]);
    let created_at = now().checked_add_signed(-age).expect("a time");
    let tags: Vec<Vec<String>> = array(&theirs["tags"]).iter().map(strings).collect();
    let live = |element: &String| match element {
        element if row["challenge"] == **element => challenge.to_owned(),
        element => element.clone(),
    };
    let tags: Vec<Vec<String>> = tags
        .iter()
        .map(|tag| tag.iter().map(live).collect())
        .collect();
    let tags: Vec<Vec<&str>> = tags
        .iter()
        .map(|tag| tag.iter().map(String::as_str).collect())
        .collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    let signer = (0..8)
        .map(Key::nth)
        .find(|key| theirs["pubkey"] == key.hex());
    let kind = u16::try_from(number(&theirs["kind"])).expect("a kind");
    signer
        .expect("one of the eight keys")
        .sign(created_at, kind, &tags, "")
}

/// Turns the last digit of a member into another.
fn spoil(event: &Event, member: &str) -> String {
    let mut value: Value = serde_json::from_str(event.as_str()).unwrap();
    let mut text = value[member].as_str().unwrap().to_owned();
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    value[member] = text.into();
    value.to_string()
}

#[test]
fn every_auth_event_gets_the_verdict_of_its_row() {
    let relay = Relay::start();
    for row in vectors::lines::<Value>("auth.jsonl") {
        let url = row["relay_url"].as_str().unwrap();
        assert_eq!(
            url.trim_end_matches('/'),
            RELAY_URL,
            "the relay under test has one name"
        );
        let mut client = relay.client();
        let challenge = client.challenge();
        let event = auth_event(&row, &challenge);
        let text = match row["reason"].as_str() {
            Some("signature") => spoil(&event, "sig"),
            Some("id") => spoil(&event, "id"),
            _ => event.as_str().to_owned(),
        };
        let id = serde_json::from_str::<Value>(&text).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        client.send(&format!(r#"["AUTH",{text}]"#));
        let (accepted, message) = client.ok(&id);
        let verdict = if accepted { "ok" } else { "refused" };
        assert_eq!(row["expect"], verdict, "{}: {message}", row["name"]);
    }
}
