//! What a record says beside its key: a small JSON object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The value of a record. Every member may be missing; members that this version doesn't know are
/// kept when it writes the record again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RecordValue {
    /// Why, for the person who meets a ban.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since 1970 at which an admission ends; without one it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The name, description or URL of the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Seconds since 1970 when the record was written, for the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Members of other versions.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl RecordValue {
    /// Reads a value; nothing at all is an empty object, for records written by hand.
    ///
    /// # Errors
    ///
    /// For anything else that isn't an object with members of the right types.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_survive() {
        let text = r#"{"reason":"spam","scope":{"a":[1]},"v":2}"#;
        let value = RecordValue::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(value.reason.as_deref(), Some("spam"));
        assert_eq!(value.to_bytes(), text.as_bytes());
    }

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(
            RecordValue::from_bytes(b"").unwrap(),
            RecordValue::default()
        );
        assert_eq!(RecordValue::default().to_bytes(), b"{}");
    }

    #[test]
    fn other_json_is_refused() {
        for text in [
            "[]",
            "1",
            "\"a\"",
            "{",
            r#"{"until":"soon"}"#,
            r#"{"reason":1}"#,
        ] {
            assert!(RecordValue::from_bytes(text.as_bytes()).is_err(), "{text}");
        }
    }
}
