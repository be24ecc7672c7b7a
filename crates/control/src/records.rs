//! All records as this process knows them, and the rules that they make.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use heliograph_policy::{ControlRules, Reason};
use heliograph_protocol::Timestamp;

use crate::{Record, RecordKey, RecordValue};

/// The records of the bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    known: BTreeMap<RecordKey, RecordValue>,
    /// Keys of records that this version can't follow.
    ignored: BTreeSet<String>,
}

impl Records {
    /// Takes what the bucket says of one key; `None` that it says nothing any more.
    pub(crate) fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        self.ignored.remove(key);
        let parsed = RecordKey::parse(key);
        if let Some(parsed) = &parsed {
            self.known.remove(parsed);
        }
        let Some(value) = value else { return };
        match parsed.and_then(|key| read(key, value)) {
            Some(record) => {
                self.known.insert(record.key, record.value);
            }
            None => {
                self.ignored.insert(key.to_owned());
            }
        }
    }

    /// How many records are in force.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// The keys of records that this version can't follow.
    pub(crate) fn ignored(&self) -> &BTreeSet<String> {
        &self.ignored
    }

    /// The rules that the records make together.
    pub(crate) fn rules(&self) -> ControlRules {
        let mut rules = ControlRules::default();
        for (key, value) in &self.known {
            let reason = || -> Reason { value.reason.as_deref().map(Arc::from) };
            match *key {
                RecordKey::BanPubkey(key) => {
                    rules.pubkeys_banned.insert(key, reason());
                }
                RecordKey::BanEvent(id) => {
                    rules.events_banned.insert(id, reason());
                }
                RecordKey::BanNetwork(network) => rules.networks_banned.insert(network, reason()),
                RecordKey::AllowPubkey(key) => {
                    rules.pubkeys_allowed.insert(key);
                }
                RecordKey::AdmitPubkey(key) => {
                    let until = value.until.map(Timestamp::from_secs);
                    rules.pubkeys_admitted.insert(key, until);
                }
                RecordKey::AllowKind(kind) => {
                    rules.kinds_allowed.insert(kind);
                }
                RecordKey::BlockKind(kind) => {
                    rules.kinds_blocked.insert(kind);
                }
                RecordKey::RelayName => rules.relay.name.clone_from(&value.text),
                RecordKey::RelayDescription => rules.relay.description.clone_from(&value.text),
                RecordKey::RelayIcon => rules.relay.icon.clone_from(&value.text),
            }
        }
        rules
    }
}

/// Reads a record, or nothing if it can't be followed. What bans, blocks or allows by its key alone
/// counts even if its value can't be read.
pub(crate) fn read(key: RecordKey, value: &[u8]) -> Option<Record> {
    let read = RecordValue::from_bytes(value).ok();
    let record = read.map(|value| Record { key, value });
    let record = record.filter(|record| record.check().is_ok());
    record.or_else(|| key.counts_alone().then(|| Record::new(key)))
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Kind, PublicKey};

    use super::*;

    const KEY: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";

    fn records(list: &[(&str, &str)]) -> Records {
        let mut records = Records::default();
        for (key, value) in list {
            records.apply(&key.replace("{key}", KEY), Some(value.as_bytes()));
        }
        records
    }

    fn key() -> PublicKey {
        PublicKey::from_hex(KEY.as_bytes()).unwrap()
    }

    #[test]
    fn every_kind_of_record_has_its_effect() {
        let rules = records(&[
            ("ban.pubkey.{key}", r#"{"reason":"spam"}"#),
            ("ban.event.{key}", "{}"),
            ("ban.ip.10-0-0-0/8", "{}"),
            ("allow.pubkey.{key}", ""),
            ("admit.pubkey.{key}", r#"{"until":5}"#),
            ("kind.allow.1", "{}"),
            ("kind.block.2", "{}"),
            ("relay.name", r#"{"text":"Harbour"}"#),
            ("relay.description", r#"{"text":"A harbour"}"#),
            ("relay.icon", r#"{"text":"https://a.example/i.png"}"#),
        ])
        .rules();
        assert_eq!(rules.pubkeys_banned[&key()].as_deref(), Some("spam"));
        assert_eq!(rules.events_banned.len(), 1);
        assert!(rules.networks_banned.check([10, 1, 1, 1].into()).is_err());
        assert!(rules.pubkeys_allowed.contains(&key()));
        assert_eq!(
            rules.pubkeys_admitted[&key()],
            Some(Timestamp::from_secs(5))
        );
        assert!(rules.kinds_allowed.contains(&Kind::new(1)));
        assert!(rules.kinds_blocked.contains(&Kind::new(2)));
        assert_eq!(rules.relay.name.as_deref(), Some("Harbour"));
        assert_eq!(rules.relay.description.as_deref(), Some("A harbour"));
        assert!(rules.relay.icon.is_some());
    }

    #[test]
    fn a_removed_record_has_none() {
        let mut records = records(&[("ban.pubkey.{key}", "{}"), ("from.the.future", "{}")]);
        assert_eq!((records.len(), records.ignored().len()), (1, 1));
        records.apply(&format!("ban.pubkey.{KEY}"), None);
        records.apply("from.the.future", None);
        records.apply("never.seen", None);
        assert_eq!((records.len(), records.ignored().len()), (0, 0));
        assert_eq!(records.rules(), ControlRules::default());
    }

    #[test]
    fn a_ban_counts_even_if_its_value_cannot_be_read() {
        for value in ["junk", "[]", r#"{"reason":7}"#, "{\"reason\":\"a\\nb\"}"] {
            let records = records(&[("ban.pubkey.{key}", value)]);
            assert_eq!(records.rules().pubkeys_banned[&key()], None, "{value}");
            assert!(records.ignored().is_empty());
        }
    }

    #[test]
    fn an_admission_or_name_that_cannot_be_read_is_ignored() {
        for (key, value) in [
            ("admit.pubkey.{key}", r#"{"until":"soon"}"#),
            ("admit.pubkey.{key}", "junk"),
            (
                "relay.name",
                r#"{"text":"a name of many more than thirty characters"}"#,
            ),
            ("relay.name", "{}"),
            ("relay.icon", r#"{"text":"javascript:"}"#),
        ] {
            let records = records(&[(key, value)]);
            assert_eq!(
                (records.len(), records.ignored().len()),
                (0, 1),
                "{key} {value}"
            );
        }
    }

    #[test]
    fn a_record_that_becomes_unreadable_loses_its_effect() {
        let records = records(&[
            ("admit.pubkey.{key}", "{}"),
            ("admit.pubkey.{key}", r#"{"until":"soon"}"#),
        ]);
        assert!(records.rules().pubkeys_admitted.is_empty());
    }
}
