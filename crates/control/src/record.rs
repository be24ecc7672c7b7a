//! One record: what its key names, and what it may say.

use std::fmt;

use heliograph_protocol::{EventId, IpNetwork, Kind, PublicKey, Timestamp};

use crate::RecordValue;

/// Characters of a reason at most.
const REASON_CHARS_MAX: usize = 200;

/// Characters of the relay's name at most: fewer than 30 (NIP-11).
const NAME_CHARS_MAX: usize = 29;

/// Characters of the relay's description at most.
const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Characters of a URL at most.
const URL_CHARS_MAX: usize = 2_048;

/// What a record is about. Shown as the key in the bucket: `ban.pubkey.<hex>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// `ban.pubkey.<hex>`: the key may not write, its events are hidden.
    BanPubkey(PublicKey),
    /// `ban.event.<hex>`: the event is refused and hidden.
    BanEvent(EventId),
    /// `ban.ip.<network>`: connections from there are refused. Dots are written as `-`, colons as
    /// `_`.
    BanNetwork(IpNetwork),
    /// `allow.pubkey.<hex>`: the key may write, and others only if they are allowed or admitted.
    AllowPubkey(PublicKey),
    /// `admit.pubkey.<hex>`: the key may write too, until a time or for good.
    AdmitPubkey(PublicKey),
    /// `kind.allow.<n>`: the kind is taken, and others only if they are allowed.
    AllowKind(Kind),
    /// `kind.block.<n>`: the kind is refused.
    BlockKind(Kind),
    /// `relay.name`
    RelayName,
    /// `relay.description`
    RelayDescription,
    /// `relay.icon`
    RelayIcon,
}

/// A record: its key and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it is about.
    pub key: RecordKey,
    /// What it says.
    pub value: RecordValue,
}

impl RecordKey {
    /// Reads a key of the bucket; `None` for one of another version. Each key has one way to be
    /// written.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let pubkey = |hex: &str| PublicKey::from_hex(hex.as_bytes()).ok();
        let kind = |text: &str| text.parse().ok().map(Kind::new);
        let of = |prefix| key.strip_prefix(prefix);
        let parsed = if let Some(hex) = of("ban.pubkey.") {
            Self::BanPubkey(pubkey(hex)?)
        } else if let Some(hex) = of("ban.event.") {
            Self::BanEvent(EventId::from_hex(hex.as_bytes()).ok()?)
        } else if let Some(network) = of("ban.ip.") {
            let text = network.replace('-', ".").replace('_', ":");
            Self::BanNetwork(text.parse().ok()?)
        } else if let Some(hex) = of("allow.pubkey.") {
            Self::AllowPubkey(pubkey(hex)?)
        } else if let Some(hex) = of("admit.pubkey.") {
            Self::AdmitPubkey(pubkey(hex)?)
        } else if let Some(text) = of("kind.allow.") {
            Self::AllowKind(kind(text)?)
        } else if let Some(text) = of("kind.block.") {
            Self::BlockKind(kind(text)?)
        } else {
            match key {
                "relay.name" => Self::RelayName,
                "relay.description" => Self::RelayDescription,
                "relay.icon" => Self::RelayIcon,
                _ => return None,
            }
        };
        (parsed.to_string() == key).then_some(parsed)
    }

    /// Whether the record counts whatever its value says: what is banned or blocked stays so even
    /// if this version can't read why.
    pub(crate) fn counts_alone(&self) -> bool {
        matches!(
            self,
            Self::BanPubkey(_)
                | Self::BanEvent(_)
                | Self::BanNetwork(_)
                | Self::AllowPubkey(_)
                | Self::AllowKind(_)
                | Self::BlockKind(_)
        )
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BanPubkey(key) => write!(f, "ban.pubkey.{key}"),
            Self::BanEvent(id) => write!(f, "ban.event.{id}"),
            Self::BanNetwork(network) => {
                let text = network.to_string().replace('.', "-").replace(':', "_");
                write!(f, "ban.ip.{text}")
            }
            Self::AllowPubkey(key) => write!(f, "allow.pubkey.{key}"),
            Self::AdmitPubkey(key) => write!(f, "admit.pubkey.{key}"),
            Self::AllowKind(kind) => write!(f, "kind.allow.{kind}"),
            Self::BlockKind(kind) => write!(f, "kind.block.{kind}"),
            Self::RelayName => f.write_str("relay.name"),
            Self::RelayDescription => f.write_str("relay.description"),
            Self::RelayIcon => f.write_str("relay.icon"),
        }
    }
}

impl Record {
    /// A record that says nothing beside its key.
    #[must_use]
    pub fn new(key: RecordKey) -> Self {
        Self {
            key,
            value: RecordValue::default(),
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn reason(mut self, reason: Option<String>) -> Self {
        self.value.reason = reason;
        self
    }

    /// The same, ending at a time.
    #[must_use]
    pub fn until(mut self, until: Option<Timestamp>) -> Self {
        self.value.until = until.map(Timestamp::as_secs);
        self
    }

    /// The same with a text.
    #[must_use]
    pub fn text(mut self, text: String) -> Self {
        self.value.text = Some(text);
        self
    }

    /// Checks that the record says only what it may say.
    ///
    /// # Errors
    ///
    /// A text for the operator.
    pub fn check(&self) -> Result<(), String> {
        if let Some(reason) = &self.value.reason {
            plain("the reason", reason, REASON_CHARS_MAX)?;
        }
        let text = self.value.text.as_deref();
        match self.key {
            RecordKey::RelayName => plain("the name", text.unwrap_or_default(), NAME_CHARS_MAX),
            RecordKey::RelayDescription => plain(
                "the description",
                text.unwrap_or_default(),
                DESCRIPTION_CHARS_MAX,
            ),
            RecordKey::RelayIcon => web_url(text.unwrap_or_default()),
            _ => Ok(()),
        }
    }

    /// As in a list: `ban pubkey <hex>: spam`.
    #[must_use]
    pub fn describe(&self, now: Timestamp) -> String {
        let what = match &self.key {
            RecordKey::BanPubkey(key) => format!("ban pubkey {key}"),
            RecordKey::BanEvent(id) => format!("ban event {id}"),
            RecordKey::BanNetwork(network) => format!("ban ip {network}"),
            RecordKey::AllowPubkey(key) => format!("allow pubkey {key}"),
            RecordKey::AdmitPubkey(key) => format!("admit {key}"),
            RecordKey::AllowKind(kind) => format!("allow kind {kind}"),
            RecordKey::BlockKind(kind) => format!("block kind {kind}"),
            RecordKey::RelayName => "name".to_owned(),
            RecordKey::RelayDescription => "description".to_owned(),
            RecordKey::RelayIcon => "icon".to_owned(),
        };
        let until = self.value.until.map(|until| {
            let over = until <= now.as_secs();
            format!("until {until}{}", if over { " (over)" } else { "" })
        });
        let texts = [&self.value.reason, &self.value.text];
        let said: Vec<String> = texts.into_iter().flatten().cloned().chain(until).collect();
        if said.is_empty() {
            what
        } else {
            format!("{what}: {}", said.join(", ")).replace(char::is_control, " ")
        }
    }
}

/// One line of text that isn't empty.
fn plain(what: &str, text: &str, chars_max: usize) -> Result<(), String> {
    if text.trim().is_empty() {
        Err(format!("{what} is empty"))
    } else if text.chars().any(char::is_control) {
        Err(format!("{what} holds a control character or line break"))
    } else if text.chars().count() > chars_max {
        Err(format!("{what} is longer than {chars_max} characters"))
    } else {
        Ok(())
    }
}

fn web_url(text: &str) -> Result<(), String> {
    plain("the URL", text, URL_CHARS_MAX)?;
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !text.contains(char::is_whitespace) => Ok(()),
        _ => Err("the URL has to begin with https:// or http://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";

    #[test]
    fn a_key_reads_as_it_is_written() {
        for key in [
            format!("ban.pubkey.{HEX}"),
            format!("ban.event.{HEX}"),
            format!("allow.pubkey.{HEX}"),
            format!("admit.pubkey.{HEX}"),
            "ban.ip.10-0-0-0/8".to_owned(),
            "ban.ip.2001_db8__/32".to_owned(),
            "ban.ip.__/0".to_owned(),
            "kind.allow.0".to_owned(),
            "kind.block.65535".to_owned(),
            "relay.name".to_owned(),
            "relay.description".to_owned(),
            "relay.icon".to_owned(),
        ] {
            let parsed = RecordKey::parse(&key).unwrap_or_else(|| panic!("{key}"));
            assert_eq!(parsed.to_string(), key);
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_=.".contains(c);
            assert!(key.chars().all(allowed), "NATS would refuse {key}");
        }
    }

    #[test]
    fn keys_of_other_versions_and_second_ways_to_write_one_are_none() {
        for key in [
            "",
            "ban",
            "ban.pubkey.",
            "ban.pubkey.7e7e",
            "ban.word.spam",
            "ban.ip.10-0-0-1",
            "ban.ip.10-0-0-1/8",
            "ban.ip.10.0.0.0/8",
            "ban.ip.__ffff_10-0-0-1/128",
            "kind.allow.007",
            "kind.allow.65536",
            "kind.allow.+1",
            "relay.name.x",
            "é",
        ] {
            assert_eq!(RecordKey::parse(key), None, "{key}");
        }
        assert_eq!(
            RecordKey::parse(&format!("ban.pubkey.{}", HEX.to_uppercase())),
            None
        );
    }

    #[track_caller]
    fn check(record: &Record, problem: &str) {
        let checked = record.check().err().unwrap_or_default();
        assert!(
            checked.contains(problem) && checked.is_empty() == problem.is_empty(),
            "{checked:?}"
        );
    }

    #[test]
    fn texts_are_bounded_and_plain() {
        let ban = || Record::new(RecordKey::BlockKind(Kind::new(1)));
        check(&ban(), "");
        check(&ban().reason(Some("spam".to_owned())), "");
        check(&ban().reason(Some(String::new())), "is empty");
        check(&ban().reason(Some("a\nb".to_owned())), "control character");
        check(&ban().reason(Some("a".repeat(201))), "longer than 200");
        check(&Record::new(RecordKey::RelayName), "the name is empty");
        check(&Record::new(RecordKey::RelayName).text("é".repeat(29)), "");
        check(
            &Record::new(RecordKey::RelayName).text("é".repeat(30)),
            "longer than 29",
        );
        let icon = |url: &str| Record::new(RecordKey::RelayIcon).text(url.to_owned());
        check(&icon("https://example.com/a.png"), "");
        check(&icon("ftp://example.com"), "begin with https://");
        check(&icon("https://a b"), "begin with https://");
    }
}
