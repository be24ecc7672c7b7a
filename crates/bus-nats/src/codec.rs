//! Between values and the messages that cross the bus.

use std::sync::Arc;

use bytes::Bytes;
use heliograph_bus::{BusError, Committed, Receipt};
use heliograph_proto::{FormError, copied_event, read_origin, shared_event, v1};
use heliograph_protocol::{Event, EventId};
use prost::Message as _;

/// What an event takes in a message beside its text, at most: tags, lengths, time, trace.
pub(crate) const ENVELOPE_BYTES: usize = 96;

/// Events of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) gateway: String,
    /// Which process of that name.
    pub(crate) incarnation: String,
    /// Its number there.
    pub(crate) number: u64,
    pub(crate) events: Vec<Arc<Event>>,
}

/// What became of one event, for its publisher.
pub(crate) type Answer = (EventId, Result<Receipt, BusError>);

pub(crate) fn write_batch(batch: &Batch) -> Bytes {
    let events = batch.events.iter();
    let message = v1::EventBatch {
        gateway: batch.gateway.clone(),
        batch: batch.number,
        events: events.map(|event| v1::Envelope::new(event)).collect(),
        incarnation: batch.incarnation.clone(),
    };
    message.encode_to_vec().into()
}

/// The events share the memory of `payload`: they go on at once.
pub(crate) fn read_batch(payload: Bytes) -> Result<Batch, FormError> {
    let message = v1::EventBatch::decode(payload)?;
    let events = message.events.into_iter();
    let events = events.map(|envelope| {
        let origin = read_origin(envelope.received_micros, envelope.traceparent.as_deref());
        shared_event(envelope.json, origin)
    });
    Ok(Batch {
        gateway: message.gateway,
        incarnation: message.incarnation,
        number: message.batch,
        events: events.collect::<Result<_, _>>()?,
    })
}

pub(crate) fn write_ephemeral(event: &Event) -> Bytes {
    let message = v1::Ephemeral::new(event);
    message.encode_to_vec().into()
}

pub(crate) fn read_ephemeral(payload: Bytes) -> Result<Arc<Event>, FormError> {
    let message = v1::Ephemeral::decode(payload)?;
    let origin = read_origin(message.received_micros, message.traceparent.as_deref());
    copied_event(&message.json, origin)
}

pub(crate) fn write_committed(ingest: &str, changes: &[Committed]) -> Bytes {
    let message = v1::CommittedBatch {
        ingest: ingest.to_owned(),
        changes: changes.iter().map(v1::Change::new).collect(),
    };
    message.encode_to_vec().into()
}

pub(crate) fn read_committed(payload: Bytes) -> Result<Vec<Committed>, FormError> {
    let message = v1::CommittedBatch::decode(payload)?;
    message.changes.iter().map(Committed::try_from).collect()
}

/// The event of a change.
pub(crate) fn event_of(committed: &Committed) -> &Arc<Event> {
    match committed {
        Committed::Winner(event) | Committed::Again(event) | Committed::Seat(event) => event,
    }
}

pub(crate) fn write_receipts(batch: u64, answers: &[Answer]) -> Bytes {
    let receipts = answers.iter();
    let message = v1::Receipts {
        batch,
        receipts: receipts
            .map(|(id, answer)| v1::EventReceipt::new(id, answer))
            .collect(),
    };
    message.encode_to_vec().into()
}

pub(crate) fn read_receipts(payload: Bytes) -> Result<Vec<Answer>, FormError> {
    let message = v1::Receipts::decode(payload)?;
    message
        .receipts
        .iter()
        .map(v1::EventReceipt::read)
        .collect()
}

#[cfg(test)]
mod tests {
    use heliograph_bus::{CommitNumber, conformance::note};
    use heliograph_protocol::Outcome;

    use super::*;

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let batch = Batch {
            gateway: "gateway-0".to_owned(),
            incarnation: "abc".to_owned(),
            number: 7,
            events: vec![note(1), note(2)],
        };
        assert_eq!(read_batch(write_batch(&batch)), Ok(batch));
    }

    #[test]
    fn commits_and_receipts_come_back_as_they_were() {
        let changes = vec![
            Committed::Winner(note(1)),
            Committed::Again(note(2)),
            Committed::Seat(note(3)),
        ];
        assert_eq!(
            read_committed(write_committed("ingest-0", &changes)),
            Ok(changes)
        );
        let receipt = Receipt {
            outcome: Outcome::Superseded,
            commit: CommitNumber(9),
        };
        let answers = vec![
            (*note(1).id(), Ok(receipt)),
            (*note(2).id(), Err(BusError::Store("full".to_owned()))),
        ];
        assert_eq!(read_receipts(write_receipts(1, &answers)), Ok(answers));
    }

    #[test]
    fn what_stands_around_an_event_is_within_the_allowance() {
        let mut batch = Batch {
            gateway: String::new(),
            incarnation: String::new(),
            number: 0,
            events: Vec::new(),
        };
        batch.events = (0..100).map(note).collect();
        let texts: usize = batch.events.iter().map(|event| event.json().len()).sum();
        assert!(write_batch(&batch).len() <= texts + 100 * ENVELOPE_BYTES);
    }

    #[test]
    fn rubbish_is_an_error() {
        assert!(read_batch(Bytes::from_static(b"\xff\xff rubbish")).is_err());
    }
}
