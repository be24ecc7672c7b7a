//! What relays say (NIP-01, NIP-42), as far as a canary listens.

use heliograph_protocol::{Event, EventId};
use serde_json::Value;

/// A message of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `["EVENT",<sub>,<event>]`, the id being that of the content.
    Event(String, Box<Event>),
    /// `["OK",<id>,<accepted>,<text>]`
    Ok(EventId, bool, String),
    /// `["EOSE",<sub>]`
    Eose(String),
    /// `["CLOSED",<sub>,<text>]`
    Closed(String, String),
    /// `["AUTH",<challenge>]`
    Auth(String),
    /// Anything else, such as NOTICE.
    Other,
}

impl Message {
    /// Reads a message leniently: relays differ in what they add.
    pub fn parse(text: &str) -> Self {
        Self::read(text).unwrap_or(Self::Other)
    }

    fn read(text: &str) -> Option<Self> {
        let parts: Vec<Value> = serde_json::from_str(text).ok()?;
        let string = |index: usize| parts.get(index)?.as_str().map(str::to_owned);
        match parts.first()?.as_str()? {
            "EVENT" => {
                let event = Event::parse(&parts.get(2)?.to_string()).ok()?;
                Some(Self::Event(string(1)?, Box::new(event)))
            }
            "OK" => {
                let id = EventId::from_hex(string(1)?.as_bytes()).ok()?;
                let accepted = parts.get(2)?.as_bool()?;
                Some(Self::Ok(id, accepted, string(3).unwrap_or_default()))
            }
            "EOSE" => Some(Self::Eose(string(1)?)),
            "CLOSED" => Some(Self::Closed(string(1)?, string(2).unwrap_or_default())),
            "AUTH" => Some(Self::Auth(string(1)?)),
            _ => None,
        }
    }
}

/// Whether a refusal asks for authentication (NIP-42).
pub fn asks_for_auth(text: &str) -> bool {
    text.starts_with("auth-required:")
}

#[cfg(test)]
mod tests {
    use heliograph_testkit::keys::Key;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_read_whatever_the_order_of_its_members() {
        let event = Key::nth(0).note(1, "é");
        let value: Value = serde_json::from_str(event.as_str()).unwrap();
        let text = json!(["EVENT", "s", value]).to_string();
        assert_eq!(
            Message::parse(&text),
            Message::Event("s".to_owned(), Box::new(event))
        );
    }

    #[test]
    fn an_event_that_was_changed_on_the_way_is_none() {
        let event = Key::nth(0).note(1, "as it was");
        let changed = event.as_str().replace("as it was", "as it is");
        assert_eq!(
            Message::parse(&format!(r#"["EVENT","s",{changed}]"#)),
            Message::Other
        );
    }

    #[test]
    fn answers_are_read_with_and_without_text() {
        let id = EventId::new([0xab; 32]);
        let hex = id.to_hex();
        for (text, message) in [
            (
                format!(r#"["OK","{hex}",false,"blocked: no"]"#),
                Message::Ok(id, false, "blocked: no".to_owned()),
            ),
            (
                format!(r#"["OK","{hex}",true]"#),
                Message::Ok(id, true, String::new()),
            ),
            (
                r#"["EOSE","s",["finish"]]"#.to_owned(),
                Message::Eose("s".to_owned()),
            ),
            (
                r#"["CLOSED","s","error: no"]"#.to_owned(),
                Message::Closed("s".to_owned(), "error: no".to_owned()),
            ),
            (r#"["AUTH","c"]"#.to_owned(), Message::Auth("c".to_owned())),
            (r#"["NOTICE","hello"]"#.to_owned(), Message::Other),
            ("{}".to_owned(), Message::Other),
            (r#"["OK",1,true,""]"#.to_owned(), Message::Other),
        ] {
            assert_eq!(Message::parse(&text), message, "{text}");
        }
    }
}
