//! Events: what is accepted reads back unchanged and says what `serde_json` says; what is refused
//! for its id alone is accepted once the id is put right.

use heliograph_protocol::{Event, EventError};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Reads `data` as an event and as a stored one.
///
/// # Panics
///
/// If something doesn't hold.
pub fn check_event(data: &[u8]) {
    if let Ok(event) = Event::from_wire(data.to_vec().into()) {
        look_at(&event);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Event::parse(text) {
        Ok(event) => check_accepted(&event, text),
        Err(EventError::IdMismatch) => check_with_right_id(text),
        Err(_) => {}
    }
}

/// Calls every accessor: none may panic, whatever the bytes.
fn look_at(event: &Event) {
    let elements: usize = event.tags().map(|tag| tag.elements().count()).sum();
    assert!(event.indexed_tags().count() <= elements);
    let _ = (
        event.sig(),
        event.content(),
        event.address(),
        event.expiration(),
    );
    let _ = (event.as_str(), event.is_protected());
}

fn check_accepted(event: &Event, text: &str) {
    look_at(event);
    assert_eq!(
        Event::parse(event.as_str()).as_ref(),
        Ok(event),
        "the wire form is an event"
    );
    assert_eq!(
        Event::from_wire(event.json().clone()).as_ref(),
        Ok(event),
        "and reads back"
    );
    // `serde_json` refuses numbers beyond its range in members that a relay ignores.
    let Ok(theirs) = serde_json::from_str::<Map<String, Value>>(text) else {
        return;
    };
    let ours: Map<String, Value> = serde_json::from_str(event.as_str()).expect("JSON");
    assert_eq!(ours.len(), 7);
    for (member, value) in &ours {
        assert_eq!(theirs.get(member), Some(value), "{member}");
    }
    let tags: Vec<Vec<String>> = event
        .tags()
        .map(|tag| tag.elements().map(Into::into).collect())
        .collect();
    assert_eq!(ours["tags"], serde_json::json!(tags));
    assert_eq!(ours["content"], *event.content());
}

/// The id as another serializer computes it takes the place of the one in the text.
fn check_with_right_id(text: &str) {
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else {
        return;
    };
    let form: Vec<&Value> = ["pubkey", "created_at", "kind", "tags", "content"]
        .map(|name| &members[name])
        .to_vec();
    let form = serde_json::to_string(&form).expect("JSON");
    let hash = Sha256::digest(format!("[0,{}", &form[1..]));
    let right: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let wrong = members["id"]
        .as_str()
        .expect("the parser took it for an id");
    if text.matches(wrong).count() == 1 {
        let text = text.replace(wrong, &right);
        let event = Event::parse(&text).expect("only the id was wrong");
        assert_eq!(event.id().to_hex(), right);
        check_accepted(&event, &text);
    }
}
