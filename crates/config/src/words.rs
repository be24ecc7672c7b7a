//! The words that keys allow, with what they mean.

use crate::value::{Consistency, Durability, LogFormat, StreamStorage, SyncMode};

pub(crate) const WEB: &[&str] = &["https://", "http://"];
pub(crate) const CONTACTS: &[&str] = &["mailto:", "https://", "http://", "nostr:"];
pub(crate) const FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];
pub(crate) const DURABILITIES: &[(&str, Durability)] = &[
    ("stored", Durability::Stored),
    ("quorum", Durability::Quorum),
];
pub(crate) const STORAGES: &[(&str, StreamStorage)] = &[
    ("file", StreamStorage::File),
    ("memory", StreamStorage::Memory),
];
pub(crate) const CONSISTENCIES: &[(&str, Consistency)] = &[
    ("local_quorum", Consistency::LocalQuorum),
    ("quorum", Consistency::Quorum),
    ("one", Consistency::One),
];
pub(crate) const SYNC_MODES: &[(&str, SyncMode)] =
    &[("fsync", SyncMode::Fsync), ("none", SyncMode::None)];
