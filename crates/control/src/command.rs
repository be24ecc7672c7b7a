//! What `heliograph control` can do, one variant a command.

use heliograph_protocol::{EventId, IpNetwork, Kind, PublicKey, Timestamp};

use crate::{ControlError, ControlStore, Record, RecordKey, store::Listed};

/// One command of the tool. Texts are read with [`parse_pubkey`](crate::parse_pubkey),
/// [`parse_event_id`](crate::parse_event_id), [`parse_until`](crate::parse_until) and
/// `IpNetwork::from_str`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `list`
    List,
    /// `ban pubkey <key> [--reason …]`
    BanPubkey {
        /// Who may not write and isn't shown.
        pubkey: PublicKey,
        /// Told to whoever writes with it.
        reason: Option<String>,
    },
    /// `unban pubkey <key>`
    UnbanPubkey(PublicKey),
    /// `ban event <id> [--reason …]`
    BanEvent {
        /// What is refused and not shown.
        event: EventId,
        /// Told to whoever sends it.
        reason: Option<String>,
    },
    /// `unban event <id>`
    UnbanEvent(EventId),
    /// `ip ban <network> [--reason …]`
    BanNetwork {
        /// Where no connection is taken from.
        network: IpNetwork,
        /// For the operators.
        reason: Option<String>,
    },
    /// `ip unban <network>`
    UnbanNetwork(IpNetwork),
    /// `allow pubkey <key>`
    AllowPubkey(PublicKey),
    /// `disallow pubkey <key>`
    DisallowPubkey(PublicKey),
    /// `admit <key> [--until …]`
    AdmitPubkey {
        /// Who may write too.
        pubkey: PublicKey,
        /// Until when; for good without.
        until: Option<Timestamp>,
    },
    /// `dismiss <key>`
    DismissPubkey(PublicKey),
    /// `kind allow <n>`: also takes a block of that kind away.
    AllowKind(Kind),
    /// `kind block <n>`
    BlockKind(Kind),
    /// `kind clear <n>`: neither allowed nor blocked by record.
    ClearKind(Kind),
    /// `name <text>`; without a text the configuration's again.
    Name(Option<String>),
    /// `description <text>`; without a text the configuration's again.
    Description(Option<String>),
    /// `icon <url>`; without a URL the configuration's again.
    Icon(Option<String>),
}

impl Command {
    /// Does it, and returns the lines to show. What it changes is in force everywhere within 2 s.
    ///
    /// # Errors
    ///
    /// [`ControlError::Invalid`] for a text that isn't allowed, otherwise as the servers answer.
    pub async fn run(
        self,
        store: &ControlStore,
        now: Timestamp,
    ) -> Result<Vec<String>, ControlError> {
        match self {
            Self::List => {
                let listed = store.list().await?;
                Ok(listed.iter().map(|listed| line(listed, now)).collect())
            }
            Self::BanPubkey { pubkey, reason } => {
                let record = Record::new(RecordKey::BanPubkey(pubkey)).reason(reason);
                set(store, record, now).await
            }
            Self::UnbanPubkey(pubkey) => remove(store, &[RecordKey::BanPubkey(pubkey)]).await,
            Self::BanEvent { event, reason } => {
                let record = Record::new(RecordKey::BanEvent(event)).reason(reason);
                set(store, record, now).await
            }
            Self::UnbanEvent(event) => remove(store, &[RecordKey::BanEvent(event)]).await,
            Self::BanNetwork { network, reason } => {
                let record = Record::new(RecordKey::BanNetwork(network)).reason(reason);
                set(store, record, now).await
            }
            Self::UnbanNetwork(network) => remove(store, &[RecordKey::BanNetwork(network)]).await,
            Self::AllowPubkey(pubkey) => {
                set(store, Record::new(RecordKey::AllowPubkey(pubkey)), now).await
            }
            Self::DisallowPubkey(pubkey) => {
                let lines = remove(store, &[RecordKey::AllowPubkey(pubkey)]).await?;
                let any = |key: &RecordKey| matches!(key, RecordKey::AllowPubkey(_));
                opened(store, lines, any, "everyone may write").await
            }
            Self::AdmitPubkey { pubkey, until } => {
                let record = Record::new(RecordKey::AdmitPubkey(pubkey)).until(until);
                set(store, record, now).await
            }
            Self::DismissPubkey(pubkey) => remove(store, &[RecordKey::AdmitPubkey(pubkey)]).await,
            Self::AllowKind(kind) => {
                let lines = set(store, Record::new(RecordKey::AllowKind(kind)), now).await?;
                store.remove(&RecordKey::BlockKind(kind)).await?;
                Ok(lines)
            }
            Self::BlockKind(kind) => set(store, Record::new(RecordKey::BlockKind(kind)), now).await,
            Self::ClearKind(kind) => {
                let keys = [RecordKey::AllowKind(kind), RecordKey::BlockKind(kind)];
                let lines = remove(store, &keys).await?;
                let any = |key: &RecordKey| matches!(key, RecordKey::AllowKind(_));
                opened(store, lines, any, "every kind is taken that isn't blocked").await
            }
            Self::Name(text) => set_text(store, RecordKey::RelayName, text, now).await,
            Self::Description(text) => {
                set_text(store, RecordKey::RelayDescription, text, now).await
            }
            Self::Icon(url) => set_text(store, RecordKey::RelayIcon, url, now).await,
        }
    }
}

async fn set(
    store: &ControlStore,
    mut record: Record,
    now: Timestamp,
) -> Result<Vec<String>, ControlError> {
    record.value.at = Some(now.as_secs());
    store.set(&record).await?;
    Ok(vec![record.describe(now)])
}

async fn set_text(
    store: &ControlStore,
    key: RecordKey,
    text: Option<String>,
    now: Timestamp,
) -> Result<Vec<String>, ControlError> {
    match text {
        Some(text) => set(store, Record::new(key).text(text), now).await,
        None => remove(store, &[key]).await,
    }
}

async fn remove(store: &ControlStore, keys: &[RecordKey]) -> Result<Vec<String>, ControlError> {
    let mut removed = Vec::new();
    for key in keys {
        if store.remove(key).await? {
            removed.push(format!("removed {key}"));
        }
    }
    if removed.is_empty() {
        removed.push("there is no such record".to_owned());
    }
    Ok(removed)
}

/// Says so if no record of a list is left, since that opens what the list closed.
async fn opened(
    store: &ControlStore,
    mut lines: Vec<String>,
    of_list: impl Fn(&RecordKey) -> bool,
    effect: &str,
) -> Result<Vec<String>, ControlError> {
    let listed = store.list().await?;
    let left = listed
        .iter()
        .any(|listed| RecordKey::parse(&listed.key).is_some_and(|key| of_list(&key)));
    if !left {
        lines.push(format!(
            "no such record is left: unless the configuration has a list, {effect}"
        ));
    }
    Ok(lines)
}

fn line(listed: &Listed, now: Timestamp) -> String {
    match &listed.record {
        Some(record) => record.describe(now),
        None => {
            let line = format!("not understood: {} {}", listed.key, listed.value);
            line.replace(char::is_control, " ")
        }
    }
}
