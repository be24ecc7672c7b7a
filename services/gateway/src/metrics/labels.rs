//! The closed sets that labels are taken from.

use heliograph_config::SyncMode;
pub(crate) use heliograph_policy::EventLimit;
use heliograph_protocol::Prefix;

use crate::websocket::close;

/// Values of a label, each once.
pub(crate) trait Label: Copy + PartialEq + 'static {
    /// All of them with their names, in the order of the series.
    const ALL: &'static [(Self, &'static str)];

    /// Which series counts it.
    fn position(self) -> usize {
        let position = Self::ALL.iter().position(|(value, _)| *value == self);
        position.expect("every value is in its table")
    }
}

/// Verbs of client messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Event,
    Req,
    Count,
    Close,
    Auth,
    Invalid,
}

impl Label for Verb {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Event, "EVENT"),
        (Self::Req, "REQ"),
        (Self::Count, "COUNT"),
        (Self::Close, "CLOSE"),
        (Self::Auth, "AUTH"),
        (Self::Invalid, "invalid"),
    ];
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The client closed it.
    Client,
    /// It was gone without a close frame.
    Lost,
    /// The process stops.
    Drain,
    /// The process stops for another one to take its place.
    Restart,
    /// The client broke RFC 6455.
    Protocol,
    /// A text that isn't UTF-8.
    NotUtf8,
    /// A message above the limit.
    TooBig,
    /// A message in too many fragments.
    Fragments,
    /// Too many messages without sense.
    InvalidMessages,
    /// Too many bad signatures.
    BadSignatures,
    /// Operators banned the address.
    Banned,
    /// The client doesn't read what is sent.
    Slow,
    /// No answer to pings.
    Silent,
    /// A message was begun and not finished in time.
    Unfinished,
}

impl Label for Closed {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Client, "client"),
        (Self::Lost, "lost"),
        (Self::Drain, "drain"),
        (Self::Restart, "restart"),
        (Self::Protocol, "protocol"),
        (Self::NotUtf8, "not_utf8"),
        (Self::TooBig, "too_big"),
        (Self::Fragments, "fragments"),
        (Self::InvalidMessages, "invalid_messages"),
        (Self::BadSignatures, "bad_signatures"),
        (Self::Banned, "banned"),
        (Self::Slow, "slow"),
        (Self::Silent, "silent"),
        (Self::Unfinished, "unfinished"),
    ];
}

impl Closed {
    /// The close code that goes with it (RFC 6455 §7.4.1).
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Client => "1000",
            Self::Lost => "1006",
            Self::Drain => "1001",
            Self::Restart => "1012",
            Self::Protocol => "1002",
            Self::NotUtf8 => "1007",
            Self::TooBig => "1009",
            Self::Fragments
            | Self::InvalidMessages
            | Self::BadSignatures
            | Self::Banned
            | Self::Slow
            | Self::Silent
            | Self::Unfinished => "1008",
        }
    }

    /// Why a connection ends whose client broke a rule of the wire.
    pub(crate) const fn of_violation(code: u16) -> Self {
        match code {
            close::TOO_BIG => Self::TooBig,
            close::INVALID_TEXT => Self::NotUtf8,
            close::POLICY => Self::Fragments,
            _ => Self::Protocol,
        }
    }

    /// Whether the client gets no more than a close frame: it doesn't read.
    pub(crate) const fn is_cut(self) -> bool {
        matches!(self, Self::Slow | Self::Silent | Self::Unfinished)
    }
}

/// What became of an EVENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventResult {
    /// OK `true`: it is stored now.
    Stored,
    /// OK `true`: it was stored before.
    Duplicate,
    /// OK `true`: delivered, not stored.
    Ephemeral,
    /// OK `false`.
    Refused(Prefix),
    /// No answer: the connection was closed first.
    Unanswered,
}

impl EventResult {
    /// The values of `result` and `reason`, in the order of [`position`](Self::position).
    pub(super) fn labels() -> impl Iterator<Item = [(&'static str, &'static str); 2]> {
        let other = [
            Self::Stored,
            Self::Duplicate,
            Self::Ephemeral,
            Self::Unanswered,
        ];
        let all = other.into_iter().chain(Prefix::ALL.map(Self::Refused));
        all.map(|value| {
            let result = match value {
                Self::Stored | Self::Duplicate | Self::Ephemeral => "accepted",
                Self::Refused(_) => "refused",
                Self::Unanswered => "unanswered",
            };
            [("result", result), ("reason", value.as_str())]
        })
    }

    /// One word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Ephemeral => "ephemeral",
            Self::Refused(prefix) => prefix.as_str(),
            Self::Unanswered => "closed",
        }
    }

    pub(super) fn position(self) -> usize {
        match self {
            Self::Stored => 0,
            Self::Duplicate => 1,
            Self::Ephemeral => 2,
            Self::Unanswered => 3,
            Self::Refused(prefix) => 4 + prefix_position(prefix),
        }
    }
}

pub(super) fn prefix_position(prefix: Prefix) -> usize {
    let position = Prefix::ALL.iter().position(|other| *other == prefix);
    position.expect("every prefix is in ALL")
}

/// What became of a REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReqResult {
    /// EOSE.
    Eose,
    /// CLOSED instead of EOSE.
    Closed,
    /// The client ended it, replaced it or left before EOSE.
    Ended,
}

impl Label for ReqResult {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Eose, "eose"),
        (Self::Closed, "closed"),
        (Self::Ended, "ended"),
    ];
}

/// Whether a live event had to wait for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The socket took all there was.
    Ok,
    /// The socket was full when the event was to be written, or the event waited behind what had filled it.
    Slow,
}

impl Label for Reader {
    const ALL: &'static [(Self, &'static str)] = &[(Self::Ok, "ok"), (Self::Slow, "slow")];
}

/// A rate that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateLimit {
    EventsPerConnection,
    EventsPerIp,
    ReqsPerConnection,
    ReqsPerIp,
    ConnectionsPerIp,
    VerifyQueue,
}

impl Label for RateLimit {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::EventsPerConnection, "events_per_connection"),
        (Self::EventsPerIp, "events_per_ip"),
        (Self::ReqsPerConnection, "reqs_per_connection"),
        (Self::ReqsPerIp, "reqs_per_ip"),
        (Self::ConnectionsPerIp, "connections_per_ip"),
        (Self::VerifyQueue, "verify_queue"),
    ];
}

/// A bound that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    ConnectionsPerIp,
    Draining,
    MessageBytes,
    Fragments,
    MessageTime,
    InvalidMessages,
    Subscriptions,
    PendingCounts,
    Filters,
    FilterValues,
    AuthKeys,
    Event(EventLimit),
}

impl Label for Limit {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Connections, "connections"),
        (Self::ConnectionsPerIp, "connections_per_ip"),
        (Self::Draining, "draining"),
        (Self::MessageBytes, "message_bytes"),
        (Self::Fragments, "fragments"),
        (Self::MessageTime, "message_time"),
        (Self::InvalidMessages, "invalid_messages"),
        (Self::Subscriptions, "subscriptions"),
        (Self::PendingCounts, "pending_counts"),
        (Self::Filters, "filters"),
        (Self::FilterValues, "filter_values"),
        (Self::AuthKeys, "auth_keys"),
        (Self::Event(EventLimit::Bytes), "event_bytes"),
        (Self::Event(EventLimit::Tags), "event_tags"),
        (Self::Event(EventLimit::Content), "event_content"),
        (Self::Event(EventLimit::Future), "event_future"),
        (Self::Event(EventLimit::Past), "event_past"),
        (Self::Event(EventLimit::EphemeralAge), "event_ephemeral_age"),
        (Self::Event(EventLimit::ProofOfWork), "event_pow"),
    ];
}

/// Who banned an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BannedBy {
    /// The gateway, for bad signatures.
    Signatures,
    /// Operators.
    Control,
}

impl Label for BannedBy {
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Signatures, "signatures"), (Self::Control, "control")];
}

/// What `OK true` promises where this gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// One process: the event survives the end of the process.
    None,
    /// One process: it is synced to disk.
    Fsync,
    /// Cluster: it is stored in the database.
    Stored,
    /// Cluster: a quorum of the stream's servers has it.
    Quorum,
}

impl From<SyncMode> for Durability {
    fn from(sync: SyncMode) -> Self {
        match sync {
            SyncMode::Fsync => Self::Fsync,
            SyncMode::None => Self::None,
        }
    }
}

impl From<heliograph_config::Durability> for Durability {
    fn from(durability: heliograph_config::Durability) -> Self {
        match durability {
            heliograph_config::Durability::Stored => Self::Stored,
            heliograph_config::Durability::Quorum => Self::Quorum,
        }
    }
}

impl Durability {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fsync => "fsync",
            Self::Stored => "stored",
            Self::Quorum => "quorum",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_result_of_an_event_has_a_series_of_its_own() {
        let other = [
            EventResult::Stored,
            EventResult::Duplicate,
            EventResult::Ephemeral,
            EventResult::Unanswered,
        ];
        let refused = Prefix::ALL.map(EventResult::Refused);
        let positions: BTreeSet<_> = other
            .into_iter()
            .chain(refused)
            .map(EventResult::position)
            .collect();
        assert_eq!(positions.len(), 14);
        assert_eq!(positions.last(), Some(&(EventResult::labels().count() - 1)));
    }

    #[track_caller]
    fn check_names<L: Label>() {
        let names: BTreeSet<_> = L::ALL.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), L::ALL.len());
        for (position, (value, _)) in L::ALL.iter().enumerate() {
            assert_eq!(value.position(), position);
        }
    }

    #[test]
    fn every_value_has_a_name_of_its_own() {
        check_names::<Verb>();
        check_names::<Closed>();
        check_names::<ReqResult>();
        check_names::<Reader>();
        check_names::<RateLimit>();
        check_names::<Limit>();
        check_names::<BannedBy>();
    }
}
