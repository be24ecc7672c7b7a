//! Messages of the relay, read strictly (NIP-01, NIP-42, NIP-45, NIP-67).
//!
//! Nothing is believed: an EVENT has to be the canonical text of an event whose id is right, in
//! exactly the frame that NIP-01 gives it, and a refusal needs its prefix.

use heliograph_protocol::{Event, Prefix, SubscriptionId, event_head};
use serde_json::Value;

/// A message from the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `["EVENT",<sub>,<event>]`
    Event {
        /// The subscription.
        sub: String,
        /// The event, its wire form being what came.
        event: Event,
    },
    /// `["OK",<id>,<bool>,<text>]`
    Ok {
        /// As sent.
        id: String,
        /// Whether the relay has it.
        accepted: bool,
        /// The text.
        text: String,
    },
    /// `["EOSE",<sub>]` with the hint of NIP-67, if there is one.
    Eose {
        /// The subscription.
        sub: String,
        /// `finish` or `more`.
        hint: Option<String>,
    },
    /// `["CLOSED",<sub>,<text>]`
    Closed {
        /// The subscription or query.
        sub: String,
        /// The text.
        text: String,
    },
    /// `["COUNT",<sub>,{"count":n}]`
    Count {
        /// The query.
        sub: String,
        /// How many.
        count: u64,
    },
    /// `["NOTICE",<text>]`
    Notice(String),
    /// `["AUTH",<challenge>]`
    Auth(String),
    /// The connection was closed with this code.
    Close(u16, String),
}

impl Reply {
    /// Reads a message of the relay, strictly.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let string = |index: usize| {
            let element = value.get(index).and_then(Value::as_str).map(str::to_owned);
            element.ok_or_else(|| format!("element {index} isn't a string"))
        };
        let verb = string(0)?;
        let reply = match (&*verb, value.len()) {
            ("EVENT", 3) => {
                let (sub, event) = (string(1)?, Event::parse(&value[2].to_string()));
                let event = event.map_err(|error| error.to_string())?;
                let mut frame = event_head(&SubscriptionId::new(&sub));
                frame.extend_from_slice(event.json());
                frame.push(b']');
                if frame != text.as_bytes() {
                    return Err("EVENT isn't in wire form".to_owned());
                }
                Self::Event { sub, event }
            }
            ("OK", 4) => {
                let accepted = value[2].as_bool().ok_or("element 2 isn't a boolean")?;
                Self::Ok {
                    id: string(1)?,
                    accepted,
                    text: string(3)?,
                }
            }
            ("EOSE", 2) => Self::Eose {
                sub: string(1)?,
                hint: None,
            },
            ("EOSE", 3) => match value[2].as_array().map(Vec::as_slice) {
                Some([Value::String(hint)]) if matches!(&**hint, "finish" | "more") => Self::Eose {
                    sub: string(1)?,
                    hint: Some(hint.clone()),
                },
                _ => return Err("EOSE hint".to_owned()),
            },
            ("CLOSED", 3) => Self::Closed {
                sub: string(1)?,
                text: string(2)?,
            },
            ("COUNT", 3) => {
                let count = value[2]["count"].as_u64().ok_or("COUNT without a count")?;
                Self::Count {
                    sub: string(1)?,
                    count,
                }
            }
            ("NOTICE", 2) => Self::Notice(string(1)?),
            ("AUTH", 2) => Self::Auth(string(1)?),
            _ => return Err(format!("{verb} of {} elements", value.len())),
        };
        match &reply {
            Self::Ok {
                accepted: false,
                text,
                ..
            }
            | Self::Closed { text, .. } => has_prefix(text)
                .then_some(reply.clone())
                .ok_or("no prefix".to_owned()),
            _ => Ok(reply),
        }
    }

    /// The verb, as the frame has it; `close` for the end of the connection.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Event { .. } => "EVENT",
            Self::Ok { .. } => "OK",
            Self::Eose { .. } => "EOSE",
            Self::Closed { .. } => "CLOSED",
            Self::Count { .. } => "COUNT",
            Self::Notice(_) => "NOTICE",
            Self::Auth(_) => "AUTH",
            Self::Close(..) => "close",
        }
    }

    /// The subscription, query or event that the message names.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::Event { sub, .. }
            | Self::Eose { sub, .. }
            | Self::Closed { sub, .. }
            | Self::Count { sub, .. } => Some(sub),
            Self::Ok { id, .. } => Some(id),
            Self::Notice(_) | Self::Auth(_) | Self::Close(..) => None,
        }
    }
}

/// Whether a refusal begins with one of NIP-01's words, colon, one space (R01-31).
fn has_prefix(text: &str) -> bool {
    Prefix::ALL.iter().any(|prefix| {
        text.strip_prefix(prefix.as_str()).is_some_and(|rest| {
            rest.strip_prefix(": ")
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    #[track_caller]
    fn check(text: &str, legal: bool) {
        assert_eq!(Reply::parse(text).is_ok(), legal, "{text}");
    }

    #[test]
    fn refusals_need_a_prefix_of_nip_01() {
        check(r#"["CLOSED","s","invalid: no"]"#, true);
        check(r#"["CLOSED","s","no"]"#, false);
        check(r#"["CLOSED","s","invalid:no"]"#, false);
        check(r#"["OK","00",false,"invalid:  no"]"#, false);
        check(r#"["OK","00",true,""]"#, true);
        check(r#"["OK","00",true]"#, false);
    }

    #[test]
    fn an_event_has_to_be_in_wire_form() {
        let event = Key::nth(0).note(1, "é\n");
        let wire = event.as_str();
        check(&format!(r#"["EVENT","s",{wire}]"#), true);
        check(
            &format!(r#"["EVENT","s",{}]"#, wire.replace('é', "\\u00e9")),
            false,
        );
        check(&format!(r#"["EVENT","s",{wire} ]"#), false);
        check(
            &format!(
                r#"["EVENT","s",{}]"#,
                wire.replace("\"kind\":1", "\"kind\":2")
            ),
            false,
        );
    }

    #[test]
    fn eose_has_two_elements_or_a_hint() {
        check(r#"["EOSE","s"]"#, true);
        check(r#"["EOSE","s",["finish"]]"#, true);
        check(r#"["EOSE","s",["perhaps"]]"#, false);
        check(r#"["EOSE","s","finish"]"#, false);
    }
}
