//! What a message is for, as far as rules tell messages apart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A sort of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// OK for an EVENT.
    Ok,
    /// OK for an AUTH.
    AuthOk,
    /// EVENT before EOSE.
    Stored,
    /// EVENT after EOSE.
    Live,
    /// The end of what is stored.
    Eose,
    /// The answer to COUNT.
    Count,
    /// NEG-MSG.
    Neg,
    /// CLOSED.
    Closed,
    /// The challenge.
    Challenge,
    /// Anything else, and everything that isn't JSON.
    Other,
}

/// What a connection is about.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// Ids of AUTH events.
    auths: BTreeSet<String>,
    /// Open subscriptions and how far they are.
    subscriptions: BTreeMap<String, Subscription>,
}

/// A subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The REQ.
    pub(crate) request: Value,
    /// Whether EOSE came.
    is_live: bool,
}

impl Talk {
    /// Notes what a client said.
    pub(crate) fn said(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match message[0].as_str() {
            Some("AUTH") => {
                self.auths.insert(text(&message[1]["id"]));
            }
            Some("REQ") => {
                let subscription = Subscription {
                    request: message.clone(),
                    is_live: false,
                };
                self.subscriptions.insert(text(&message[1]), subscription);
            }
            Some("CLOSE") => {
                self.subscriptions.remove(&text(&message[1]));
            }
            _ => {}
        }
    }

    /// What the relay says, and notes it.
    pub(crate) fn heard(&mut self, message: &Value) -> What {
        let name = message[1].as_str().unwrap_or_default();
        match message[0].as_str() {
            Some("OK") if self.auths.contains(name) => What::AuthOk,
            Some("OK") => What::Ok,
            Some("EVENT") => match self.subscriptions.get(name) {
                Some(subscription) if subscription.is_live => What::Live,
                _ => What::Stored,
            },
            Some("EOSE") => {
                if let Some(subscription) = self.subscriptions.get_mut(name) {
                    subscription.is_live = true;
                }
                What::Eose
            }
            Some("COUNT") => What::Count,
            Some("NEG-MSG") => What::Neg,
            Some("CLOSED") => {
                self.subscriptions.remove(name);
                What::Closed
            }
            Some("AUTH") => What::Challenge,
            _ => What::Other,
        }
    }

    /// The subscription that a message of the relay belongs to.
    pub(crate) fn subscription(&self, message: &Value) -> Option<&Subscription> {
        self.subscriptions.get(message[1].as_str()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_live_behind_eose() {
        let mut talk = Talk::default();
        talk.said(&json!(["REQ", "a", {}]));
        assert_eq!(talk.heard(&json!(["EVENT", "a", {}])), What::Stored);
        assert_eq!(talk.heard(&json!(["EOSE", "a"])), What::Eose);
        assert_eq!(talk.heard(&json!(["EVENT", "a", {}])), What::Live);
        talk.said(&json!(["REQ", "a", {"limit": 1}]));
        assert_eq!(talk.heard(&json!(["EVENT", "a", {}])), What::Stored);
    }

    #[test]
    fn an_ok_belongs_to_what_had_that_id() {
        let mut talk = Talk::default();
        talk.said(&json!(["AUTH", {"id": "1"}]));
        talk.said(&json!(["EVENT", {"id": "2"}]));
        assert_eq!(talk.heard(&json!(["OK", "1", true, ""])), What::AuthOk);
        assert_eq!(talk.heard(&json!(["OK", "2", true, ""])), What::Ok);
    }
}
