//! One line of a history.

use std::{fmt, sync::Arc, time::Duration};

use heliograph_protocol::{Event, EventId};
use serde_json::Value;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When, since the history's start.
    pub at: Duration,
    /// When it should have been sent, for what is sent by a schedule.
    pub intended: Option<Duration>,
    /// The connection, unique in the history; 0 where it plays no part.
    pub connection: u32,
    /// The number of the gateway at the other end.
    pub gateway: usize,
    /// What happened.
    pub what: What,
}

/// What happened. A client's messages are noted before they are sent, the relay's after they came.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A connection was opened.
    Connected,
    /// The relay couldn't be reached.
    Unreachable {
        /// What the network said.
        why: Arc<str>,
    },
    /// The relay or the network ended the connection: its subscriptions are over, and what wasn't
    /// answered will not be.
    Disconnected {
        /// How it ended.
        why: Arc<str>,
    },
    /// The client ended the connection; what it still waited for, it had been owed.
    Left {
        /// Why.
        why: Arc<str>,
    },
    /// The relay sent what it may not.
    Illegal {
        /// What is wrong with it.
        why: Arc<str>,
    },
    /// EVENT was sent.
    Publish {
        /// The event.
        event: Event,
    },
    /// OK came.
    Ok {
        /// Of which event.
        id: EventId,
        /// Whether the relay has it.
        accepted: bool,
        /// The text.
        text: Arc<str>,
    },
    /// REQ was sent.
    Req {
        /// The subscription, new on this connection.
        sub: Arc<str>,
        /// The filters, as sent.
        filters: Arc<[Value]>,
    },
    /// CLOSE was sent.
    Close {
        /// The subscription.
        sub: Arc<str>,
    },
    /// EVENT came.
    Event {
        /// The subscription.
        sub: Arc<str>,
        /// The event.
        event: Event,
    },
    /// EOSE came.
    Eose {
        /// The subscription.
        sub: Arc<str>,
        /// The hint of NIP-67.
        hint: Option<Arc<str>>,
    },
    /// CLOSED came.
    Closed {
        /// The subscription or query.
        sub: Arc<str>,
        /// The text.
        text: Arc<str>,
    },
    /// COUNT was sent.
    Count {
        /// The query.
        sub: Arc<str>,
        /// The filters, as sent.
        filters: Arc<[Value]>,
    },
    /// COUNT came.
    Counted {
        /// The query.
        sub: Arc<str>,
        /// How many.
        count: u64,
    },
    /// NOTICE came.
    Notice {
        /// The text.
        text: Arc<str>,
    },
    /// From here on this connection reads back what was published.
    ReadBack,
    /// Something was done to the relay.
    Mark {
        /// What.
        name: Arc<str>,
    },
    /// A fault begins.
    Begin {
        /// Which.
        name: Arc<str>,
    },
    /// A fault is over.
    End {
        /// Which.
        name: Arc<str>,
    },
    /// The gateway can't answer from here on.
    Frozen,
    /// The gateway goes on.
    Thawed,
}

impl What {
    /// The event that was sent or came.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Publish { event } | Self::Event { event, .. } => Some(event),
            _ => None,
        }
    }

    /// The subscription or query that is named.
    #[must_use]
    pub fn sub(&self) -> Option<&str> {
        match self {
            Self::Req { sub, .. }
            | Self::Close { sub }
            | Self::Event { sub, .. }
            | Self::Eose { sub, .. }
            | Self::Closed { sub, .. }
            | Self::Count { sub, .. }
            | Self::Counted { sub, .. } => Some(sub),
            _ => None,
        }
    }

    /// The id of the event that was sent, came or was answered.
    #[must_use]
    pub fn id(&self) -> Option<&EventId> {
        match self {
            Self::Ok { id, .. } => Some(id),
            other => other.event().map(Event::id),
        }
    }

    /// Whether it is a note about a fault and no client's doing.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Mark { .. } | Self::Begin { .. } | Self::End { .. } | Self::Frozen | Self::Thawed
        )
    }
}

/// As reports show it: short ids, filters cut, the time in seconds.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.4} s ", self.at.as_secs_f64())?;
        match &self.what {
            What::Mark { name } => return write!(f, "FAULT {name}"),
            What::Begin { name } => return write!(f, "FAULT begins: {name}"),
            What::End { name } => return write!(f, "FAULT over: {name}"),
            What::Frozen => return write!(f, "FAULT gateway {} frozen", self.gateway),
            What::Thawed => return write!(f, "FAULT gateway {} goes on", self.gateway),
            _ => {}
        }
        write!(
            f,
            "connection {} gateway {} ",
            self.connection, self.gateway
        )?;
        self.what.fmt(f)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = |f: &mut fmt::Formatter<'_>, event: &Event| {
            let (id, kind, at) = (event.id(), event.kind(), event.created_at());
            write!(f, "{id} kind {kind} created_at {}", at.as_secs())
        };
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Unreachable { why } => write!(f, "unreachable: {why}"),
            Self::Disconnected { why } => write!(f, "disconnected: {why}"),
            Self::Left { why } => write!(f, "left: {why}"),
            Self::Illegal { why } => write!(f, "illegal: {why}"),
            Self::Publish { event } => {
                f.write_str("> EVENT ")?;
                about(f, event)
            }
            Self::Ok { id, accepted, text } => write!(f, "< OK {id} {accepted} {text:?}"),
            Self::Req { sub, filters } => write!(f, "> REQ {sub} {}", shortened(filters)),
            Self::Close { sub } => write!(f, "> CLOSE {sub}"),
            Self::Event { sub, event } => {
                write!(f, "< EVENT {sub} ")?;
                about(f, event)
            }
            Self::Eose { sub, hint } => write!(f, "< EOSE {sub} {hint:?}"),
            Self::Closed { sub, text } => write!(f, "< CLOSED {sub} {text:?}"),
            Self::Count { sub, filters } => write!(f, "> COUNT {sub} {}", shortened(filters)),
            Self::Counted { sub, count } => write!(f, "< COUNT {sub} {count}"),
            Self::Notice { text } => write!(f, "< NOTICE {text:?}"),
            Self::ReadBack => f.write_str("reads everything back"),
            Self::Mark { name } | Self::Begin { name } | Self::End { name } => f.write_str(name),
            Self::Frozen => f.write_str("frozen"),
            Self::Thawed => f.write_str("goes on"),
        }
    }
}

/// Characters of filters that a report shows.
const FILTER_CHARS_MAX: usize = 300;

fn shortened(filters: &[Value]) -> String {
    let texts: Vec<String> = filters.iter().map(Value::to_string).collect();
    let text = texts.join(",");
    let mut shown: String = text.chars().take(FILTER_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
