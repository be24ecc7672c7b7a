//! Events, changes of the store and receipts.

use std::sync::Arc;

use bytes::Bytes;
use heliograph_bus::{BusError, CommitNumber, Committed, Receipt};
use heliograph_protocol::{Event, EventId, Origin, Outcome, TraceContext};

use crate::{FormError, v1};

/// Reads an event as a slice of the message that it came in: for those that go on at once, since
/// one small event keeps the whole message in memory.
///
/// # Errors
///
/// [`FormError::Event`] if it isn't laid out as an event's wire form is. The id is taken on trust.
pub fn shared_event(json: Bytes, origin: Origin) -> Result<Arc<Event>, FormError> {
    Ok(Arc::new(Event::from_wire(json)?.with_origin(origin)))
}

/// Reads an event into memory of its own: for those that are kept.
///
/// # Errors
///
/// As [`shared_event`].
pub fn copied_event(json: &[u8], origin: Origin) -> Result<Arc<Event>, FormError> {
    shared_event(Bytes::copy_from_slice(json), origin)
}

/// What came beside an event. A trace that can't be read is none: the event counts.
#[must_use]
pub fn read_origin(received_micros: u64, traceparent: Option<&str>) -> Origin {
    Origin::new(received_micros, traceparent.and_then(TraceContext::parse))
}

/// What goes beside an event: when a gateway read it, in microseconds since 1970 or 0, and its trace.
#[must_use]
pub fn write_origin(origin: &Origin) -> (u64, Option<String>) {
    let trace = origin.trace().as_ref().map(ToString::to_string);
    (origin.received_micros().unwrap_or_default(), trace)
}

impl v1::Envelope {
    /// Wraps an event; the text is shared.
    #[must_use]
    pub fn new(event: &Event) -> Self {
        let (received_micros, traceparent) = write_origin(event.origin());
        Self {
            json: event.json().clone(),
            received_micros,
            traceparent,
        }
    }
}

impl v1::Ephemeral {
    /// Wraps an event; the text is shared.
    #[must_use]
    pub fn new(event: &Event) -> Self {
        let (received_micros, traceparent) = write_origin(event.origin());
        Self {
            json: event.json().clone(),
            received_micros,
            traceparent,
        }
    }
}

impl v1::Change {
    /// Wraps a change; the text is shared.
    #[must_use]
    pub fn new(change: &Committed) -> Self {
        let (kind, event) = match change {
            Committed::Winner(event) => (v1::ChangeKind::Winner, event),
            Committed::Again(event) => (v1::ChangeKind::Again, event),
            Committed::Seat(event) => (v1::ChangeKind::Seat, event),
        };
        let (received_micros, traceparent) = write_origin(event.origin());
        Self {
            kind: kind.into(),
            json: event.json().clone(),
            received_micros,
            traceparent,
        }
    }
}

impl TryFrom<&v1::Change> for Committed {
    type Error = FormError;

    /// The event gets memory of its own: matchers keep it.
    fn try_from(change: &v1::Change) -> Result<Self, FormError> {
        let kind = v1::ChangeKind::try_from(change.kind)
            .map_err(|_unknown| FormError::range("change", change.kind))?;
        let of = match kind {
            v1::ChangeKind::Winner => Self::Winner,
            v1::ChangeKind::Again => Self::Again,
            v1::ChangeKind::Seat => Self::Seat,
            v1::ChangeKind::Unspecified => return Err(FormError::Missing("kind of change")),
        };
        let origin = read_origin(change.received_micros, change.traceparent.as_deref());
        Ok(of(copied_event(&change.json, origin)?))
    }
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Stored => Self::Stored,
            Outcome::Duplicate => Self::Duplicate,
            Outcome::Superseded => Self::Superseded,
            Outcome::Deleted => Self::Deleted,
            Outcome::Vanished => Self::Vanished,
        }
    }
}

impl v1::EventReceipt {
    /// What became of the event `id`.
    #[must_use]
    pub fn new(id: &EventId, result: &Result<Receipt, BusError>) -> Self {
        let id = Bytes::copy_from_slice(id.as_bytes());
        match result {
            Ok(receipt) => Self {
                id,
                outcome: v1::Outcome::from(receipt.outcome).into(),
                commit: receipt.commit.0,
                error: None,
            },
            Err(error) => Self {
                id,
                outcome: v1::Outcome::Unspecified.into(),
                commit: 0,
                error: Some(error.to_string()),
            },
        }
    }

    /// The event and what became of it. An error is the other side's, in its words.
    ///
    /// # Errors
    ///
    /// The id or the outcome is malformed.
    pub fn read(&self) -> Result<(EventId, Result<Receipt, BusError>), FormError> {
        let id = <[u8; 32]>::try_from(&*self.id).map_err(|_length| FormError::Length {
            field: "id",
            bytes: self.id.len(),
        })?;
        let outcome = v1::Outcome::try_from(self.outcome)
            .map_err(|_unknown| FormError::range("outcome", self.outcome))?;
        let outcome = match outcome {
            v1::Outcome::Stored => Outcome::Stored,
            v1::Outcome::Duplicate => Outcome::Duplicate,
            v1::Outcome::Superseded => Outcome::Superseded,
            v1::Outcome::Deleted => Outcome::Deleted,
            v1::Outcome::Vanished => Outcome::Vanished,
            v1::Outcome::Unspecified => {
                let error = self.error.clone().ok_or(FormError::Missing("outcome"))?;
                return Ok((EventId::new(id), Err(BusError::Store(error))));
            }
        };
        let receipt = Receipt {
            outcome,
            commit: CommitNumber(self.commit),
        };
        Ok((EventId::new(id), Ok(receipt)))
    }
}
