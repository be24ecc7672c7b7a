//! What messages are, and what they are made.

use serde_json::{Value, json};

use crate::proxy::messages::Subscription;

/// OK true for an event that the relay didn't have.
pub(super) fn is_new(message: &Value, _: Option<&Subscription>) -> bool {
    message[2] == true && !begins(message, "duplicate:")
}

/// OK true for one that it had.
pub(super) fn is_duplicate(message: &Value, _: Option<&Subscription>) -> bool {
    message[2] == true && begins(message, "duplicate:")
}

/// OK true.
pub(super) fn is_accepted(message: &Value, _: Option<&Subscription>) -> bool {
    message[2] == true
}

/// OK false.
pub(super) fn is_refused(message: &Value, _: Option<&Subscription>) -> bool {
    message[2] == false
}

/// For a client that was there before: it asks for more than the newest event.
pub(super) fn is_return(_: &Value, subscription: Option<&Subscription>) -> bool {
    subscription.is_some_and(|subscription| subscription.request[2]["limit"] == 500)
}

/// For somebody who listens to the feed whose delivery is measured.
pub(super) fn is_feed(message: &Value, _: Option<&Subscription>) -> bool {
    message[1] == "feed"
}

/// OK false for a wrong signature.
pub(super) fn is_invalid(message: &Value, _: Option<&Subscription>) -> bool {
    message[2] == false && begins(message, "invalid:")
}

fn begins(message: &Value, prefix: &str) -> bool {
    let text = message[3].as_str();
    text.is_some_and(|text| text.starts_with(prefix))
}

/// The OK says false.
pub(super) fn refuse(message: &mut Value) {
    message[2] = json!(false);
    message[3] = json!("error: broken");
}

/// The OK says true.
pub(super) fn accept(message: &mut Value) {
    message[2] = json!(true);
    message[3] = json!("");
}

/// The subscription is closed instead.
pub(super) fn close(message: &mut Value) {
    *message = json!(["CLOSED", message[1], "error: broken"]);
}

/// An event that no filter of the suite is for but those for everything.
pub(super) fn foreign(message: &Value, _: Option<&Subscription>) -> Value {
    let zeros = "0".repeat(64);
    let event = json!({
        "id": zeros,
        "pubkey": zeros,
        "created_at": 1,
        "kind": 65_432,
        "tags": [],
        "content": "",
        "sig": zeros.repeat(2),
    });
    json!(["EVENT", message[1], event])
}

/// A COUNT that is wrong by one.
pub(super) fn one_more(message: &mut Value) {
    let count = message[2]["count"].as_u64().unwrap_or_default();
    message[2]["count"] = json!(count + 1);
}

/// The sync fails.
pub(super) fn neg_error(message: &mut Value) {
    *message = json!(["NEG-ERR", message[1], "error: broken"]);
}

/// The relay has nothing: version 1 and no range.
pub(super) fn neg_empty(message: &mut Value) {
    message[2] = json!("61");
}
