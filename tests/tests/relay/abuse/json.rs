//! JSON that parsers disagree about, or that is made to cost them much.

use heliograph_testkit::{
    client::{Client, query},
    frame::Frame,
    keys::Key,
    reply::Reply,
};

use super::relay;
use crate::support::now;

/// So many arrays in each other.
fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

/// What comes for a message: the verb of the answer, and its text.
#[track_caller]
fn answer(client: &mut Client, message: impl AsRef<[u8]>) -> (&'static str, String) {
    client.socket.send(&Frame::text(message));
    let reply = client.next_reply();
    let text = match &reply {
        Reply::Ok { text, .. } | Reply::Closed { text, .. } | Reply::Notice(text) => text.clone(),
        Reply::Close(code, _) => code.to_string(),
        _ => String::new(),
    };
    (reply.verb(), text)
}

#[track_caller]
fn check(client: &mut Client, message: &str, verb: &str, text: &str) {
    let answer = answer(client, message);
    let begins = answer.1.starts_with(text) && (text.is_empty() == answer.1.is_empty());
    assert!(answer.0 == verb && begins, "{answer:?} to {message:.200}");
}

/// A REQ and a COUNT of this filter.
fn both(filter: &str) -> [String; 2] {
    ["REQ", "COUNT"].map(|verb| format!(r#"["{verb}","s",{filter}]"#))
}

/// JSON: 16 levels in a message (R01-23), no key twice (R01-14), whole numbers below 2^53 (R01-11), no lone
/// surrogates and no control characters (R01-15). Answered by OK `false`, CLOSED or NOTICE, as far as can be
/// read what it is about.
#[test]
fn json_depth_and_duplicate_keys() {
    let relay =
        relay("[gateway]\ninvalid_messages_max = 0\n[policy]\ncreated_at_upper_limit_secs = 0");
    let mut client = relay.client();
    let note = Key::nth(0).note(now(), "deep");
    let with = |member: &str| {
        format!(
            r#"["EVENT",{},{member}}}]"#,
            &note.as_str()[..note.as_str().len() - 1]
        )
    };

    // The message and the object are two of the levels.
    check(
        &mut client,
        &with(&format!(r#""x":{}"#, nested(14))),
        "OK",
        "",
    );
    check(
        &mut client,
        &with(&format!(r#""x":{}"#, nested(15))),
        "NOTICE",
        "invalid: ",
    );
    for message in both(&format!(r#"{{"x":{}}}"#, nested(14))) {
        check(&mut client, &message, "CLOSED", "unsupported: ");
    }
    for message in both(&format!(r#"{{"x":{}}}"#, nested(15))) {
        check(&mut client, &message, "NOTICE", "invalid: ");
    }
    check(
        &mut client,
        &format!(r#"["CLOSE","s",{}]"#, nested(16)),
        "NOTICE",
        "invalid: ",
    );
    check(&mut client, &nested(65_000), "NOTICE", "invalid: ");
    check(
        &mut client,
        &r#"{"a":"#.repeat(20_000),
        "NOTICE",
        "invalid: ",
    );

    check(&mut client, &with(r#""kind":1"#), "OK", "invalid: ");
    check(&mut client, &with(r#""k\u0069nd":1"#), "OK", "invalid: ");
    check(
        &mut client,
        &with(r#""unknown":1,"unknown":2"#),
        "OK",
        "invalid: ",
    );
    for filter in [
        r#"{"kinds":[1],"kinds":[1]}"#,
        r#"{"kinds":[1],"\u006binds":[1]}"#,
    ] {
        for message in both(filter) {
            check(&mut client, &message, "CLOSED", "invalid: ");
        }
    }

    let latest = Key::nth(0).note((1 << 53) - 1, "latest");
    let later = latest
        .as_str()
        .replace("9007199254740991", "9007199254740992");
    check(
        &mut client,
        &format!(r#"["EVENT",{}]"#, latest.as_str()),
        "OK",
        "",
    );
    check(
        &mut client,
        &format!(r#"["EVENT",{later}]"#),
        "OK",
        "invalid: created_at: expected a plain integer",
    );
    for (number, verb) in [
        ("9007199254740991", ""),
        ("9007199254740992", "invalid: "),
        ("1e3", "invalid: "),
        ("1.0", "invalid: "),
        ("-1", "invalid: "),
        ("123456789012345678901234567890", "invalid: "),
    ] {
        for message in both(&format!(r#"{{"since":{number},"ids":[]}}"#)) {
            let refused = answer(&mut client, &message);
            let begins = refused.1.starts_with(verb) && verb.is_empty() == refused.1.is_empty();
            assert!(begins, "{refused:?} to {message}");
        }
    }

    check_texts(&mut client);
    let mut witness = relay.client();
    for message in [query("REQ", "s", &[]), query("COUNT", "s", &[])] {
        let bytes = [message.as_bytes(), b"\xed\xa0\x80"].concat();
        let mut client = relay.client();
        assert_eq!(answer(&mut client, bytes), ("close", "1007".to_owned()));
    }
    assert_eq!(witness.fence(), []);
}

/// Characters that a string may not hold, as they are or by their escape.
#[track_caller]
fn check_texts(client: &mut Client) {
    let note = Key::nth(0).note(now(), "deep");
    // NUL is a character like others, if it is escaped (R01-7).
    client.accept(&Key::nth(0).note(now(), "\0"));
    for message in both(r##"{"#t":["\u0000"],"limit":0}"##) {
        assert_ne!(answer(client, &message).0, "CLOSED");
    }
    for (broken, verb) in [
        (r"\ud800", "CLOSED"),
        (r"\udc00\ud800", "CLOSED"),
        ("\0", "NOTICE"),
        ("\u{1f}", "NOTICE"),
    ] {
        for message in both(&format!(r##"{{"#t":["{broken}"]}}"##)) {
            check(client, &message, verb, "invalid: ");
        }
        let event = note.as_str().replace("deep", broken);
        let verb = if verb == "CLOSED" { "OK" } else { verb };
        check(client, &format!(r#"["EVENT",{event}]"#), verb, "invalid: ");
    }
}
