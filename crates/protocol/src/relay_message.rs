//! Relay messages: what goes to a client, as one JSON text each (NIP-01, NIP-42, NIP-45, NIP-67).

use crate::{EventId, Refusal, SubscriptionId, json::write_json_string};

/// What EOSE says about stored events that were not sent (NIP-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EoseHint {
    /// Nothing: it isn't known, or the client's own limit cut the answer (R67-2).
    None,
    /// Every visible stored match was sent.
    Finish,
    /// Others are known to exist.
    More,
}

/// A message to a client, but for EVENT, which is put together from [`event_head`] and the event's
/// wire form so that the latter is shared.
#[derive(Debug, Clone, Copy)]
pub enum RelayMessage<'a> {
    /// `["OK",<id>,<bool>,<text>]`; `id` as the client sent it.
    Ok {
        /// 64 hex characters.
        id: &'a str,
        /// The text after `true`, or why not.
        answer: Result<&'a str, &'a Refusal>,
    },
    /// `["EOSE",<id>]` with the hint, if there is one.
    Eose(&'a SubscriptionId, EoseHint),
    /// `["CLOSED",<id>,<text>]`
    Closed(&'a SubscriptionId, &'a Refusal),
    /// `["NOTICE",<text>]`
    Notice(&'a Refusal),
    /// `["AUTH",<challenge>]`
    Auth(&'a str),
    /// `["COUNT",<id>,{"count":n}]`, with `"approximate":true` for an estimate (R45-2).
    Count {
        /// The query.
        id: &'a SubscriptionId,
        /// How many events match.
        count: u64,
        /// Whether that is an estimate.
        approximate: bool,
    },
}

impl RelayMessage<'_> {
    /// The JSON text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ok { id, answer } => {
                out.extend_from_slice(br#"["OK","#);
                write_json_string(id, out);
                match answer {
                    Ok(text) => {
                        out.extend_from_slice(b",true,");
                        write_json_string(text, out);
                    }
                    Err(refusal) => {
                        out.extend_from_slice(b",false,");
                        write_json_string(&refusal.to_string(), out);
                    }
                }
            }
            Self::Eose(id, hint) => {
                out.extend_from_slice(br#"["EOSE","#);
                write_json_string(id.as_str(), out);
                match hint {
                    EoseHint::None => {}
                    EoseHint::Finish => out.extend_from_slice(br#",["finish"]"#),
                    EoseHint::More => out.extend_from_slice(br#",["more"]"#),
                }
            }
            Self::Closed(id, refusal) => {
                out.extend_from_slice(br#"["CLOSED","#);
                write_json_string(id.as_str(), out);
                out.push(b',');
                write_json_string(&refusal.to_string(), out);
            }
            Self::Notice(refusal) => {
                out.extend_from_slice(br#"["NOTICE","#);
                write_json_string(&refusal.to_string(), out);
            }
            Self::Auth(challenge) => {
                out.extend_from_slice(br#"["AUTH","#);
                write_json_string(challenge, out);
            }
            Self::Count {
                id,
                count,
                approximate,
            } => {
                out.extend_from_slice(br#"["COUNT","#);
                write_json_string(id.as_str(), out);
                out.extend_from_slice(format!(r#",{{"count":{count}"#).as_bytes());
                if approximate {
                    out.extend_from_slice(br#","approximate":true"#);
                }
                out.push(b'}');
            }
        }
        out.push(b']');
    }
}

/// The start of an EVENT message: `["EVENT",<id>,`. The event's wire form and `]` follow.
#[must_use]
pub fn event_head(id: &SubscriptionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + id.as_str().len());
    out.extend_from_slice(br#"["EVENT","#);
    write_json_string(id.as_str(), &mut out);
    out.push(b',');
    out
}

impl EventId {
    /// An `OK` answer for this id.
    #[must_use]
    pub fn ok(&self, answer: Result<&str, &Refusal>) -> Vec<u8> {
        RelayMessage::Ok {
            id: &self.to_hex(),
            answer,
        }
        .encode()
    }
}
