//! Client messages: only JSON gets more than a NOTICE, and every answer is JSON that echoes the
//! subscription id as it was sent.

use heliograph_protocol::{ClientMessage, EoseHint, MessageError, RelayMessage, SubscriptionId};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Reads `data` as a text message.
///
/// # Panics
///
/// If something doesn't hold.
pub fn check_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = ClientMessage::parse(text);
    if let Err(MessageError::Notice(refusal)) = &parsed {
        echoes(
            &RelayMessage::Notice(refusal),
            "NOTICE",
            &refusal.to_string(),
        );
        return;
    }
    // Compared by syntax alone: `serde_json` keeps fewer numbers and surrogates than JSON has.
    assert!(
        serde_json::from_str::<IgnoredAny>(text).is_ok(),
        "not JSON, yet not a NOTICE: {text}"
    );
    match parsed {
        Ok(ClientMessage::Req { id, filters } | ClientMessage::Count { id, filters }) => {
            assert!(!filters.is_empty() && id.is_valid());
            echoes(
                &RelayMessage::Eose(&id, EoseHint::Finish),
                "EOSE",
                id.as_str(),
            );
            is_second_element(&id, text);
        }
        Ok(ClientMessage::Close(id)) => is_second_element(&id, text),
        Err(MessageError::Req { id, refusal } | MessageError::Count { id, refusal }) => {
            echoes(&RelayMessage::Closed(&id, &refusal), "CLOSED", id.as_str());
            is_second_element(&id, text);
        }
        Ok(ClientMessage::Event(event) | ClientMessage::Auth(event)) => {
            let id = event.id().to_hex();
            echoes(
                &RelayMessage::Ok {
                    id: &id,
                    answer: Ok(""),
                },
                "OK",
                &id,
            );
        }
        Err(MessageError::Event { id, refusal }) => {
            assert_eq!(id.len(), 64);
            echoes(
                &RelayMessage::Ok {
                    id: &id,
                    answer: Err(&refusal),
                },
                "OK",
                &id,
            );
        }
        Err(MessageError::Notice(_)) => unreachable!("answered above"),
    }
}

fn echoes(message: &RelayMessage<'_>, verb: &str, second: &str) {
    let answer: Value = serde_json::from_slice(&message.encode()).expect("an answer is JSON");
    assert_eq!(
        (&answer[0], &answer[1]),
        (&Value::from(verb), &Value::from(second))
    );
}

fn is_second_element(id: &SubscriptionId, text: &str) {
    if let Ok(message) = serde_json::from_str::<Value>(text) {
        assert_eq!(message[1], id.as_str());
    }
}
