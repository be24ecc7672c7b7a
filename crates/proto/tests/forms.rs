//! Values come back from their wire forms as they went in; garbage is an error and never a panic.

use std::sync::Arc;

use bytes::Bytes;
use heliograph_bus::{
    AnswerEnd, AnswerPage, BusError, CommitNumber, Committed, Count, Counted, Eose, Place, Receipt,
};
use heliograph_policy::Reader;
use heliograph_proto::{
    FormError, copied_event, read_filters, read_origin, shared_event,
    v1::{self, matcher_message},
    write_filters,
};
use heliograph_protocol::{
    EoseHint, Event, EventId, Filter, Kind, Origin, Outcome, Prefix, PublicKey, Refusal, Signature,
    Timestamp, TraceContext,
};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use prost::Message;

fn event(content: &str) -> Arc<Event> {
    let sign = |_: &_| Signature::new([3; 64]);
    let (key, time) = (PublicKey::new([1; 32]), Timestamp::from_secs(1_700_000_000));
    let tags = [vec!["t", "nostr"]];
    Arc::new(Event::build(key, time, Kind::new(1), &tags, content, sign))
}

/// Through bytes and back.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(Bytes::from(message.encode_to_vec())).expect("what was encoded")
}

#[track_caller]
fn check_filter(text: &str) {
    let filter = Filter::parse(text).expect("a filter");
    assert_eq!(
        read_filters(write_filters(std::slice::from_ref(&filter))),
        Ok(vec![filter])
    );
}

#[test]
fn filters_come_back_as_they_were() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    check_filter("{}");
    check_filter(r##"{"ids":[],"kinds":[],"authors":[],"#t":[]}"##);
    check_filter(&format!(
        r##"{{"ids":["{b}","{a}"],"authors":["{a}"],"#e":["{a}"]}}"##
    ));
    check_filter(
        r##"{"kinds":[1,65535,0],"#t":["b","a",""],"#T":["x"],"since":0,"until":9,"limit":0}"##,
    );
}

#[test]
fn filters_that_no_client_could_have_sent_are_put_right_or_refused() {
    let read = |filter: v1::Filter| {
        let filters = v1::Filters {
            filters: vec![filter],
        };
        read_filters(filters.encode_to_vec().into()).map(|mut filters| filters.remove(0))
    };
    let kinds = |kinds: &[u32]| v1::Filter {
        kinds: Some(v1::Kinds {
            kinds: kinds.to_vec(),
        }),
        ..v1::Filter::default()
    };
    let sorted = read(kinds(&[7, 1, 7])).unwrap();
    assert_eq!(sorted.kinds, Some(vec![Kind::new(1), Kind::new(7)]));
    assert!(read(kinds(&[65_536])).is_err());
    let ids = v1::Filter {
        ids: Some(v1::Values {
            joined: Bytes::from_static(&[0; 33]),
        }),
        ..v1::Filter::default()
    };
    assert_eq!(
        read(ids),
        Err(FormError::Length {
            field: "values",
            bytes: 33
        })
    );
    let tags = |conditions: &[(u32, &str)]| v1::Filter {
        tags: conditions
            .iter()
            .map(|(letter, value)| v1::TagCondition {
                letter: *letter,
                values: vec![(*value).to_owned()],
            })
            .collect(),
        ..v1::Filter::default()
    };
    assert!(read(tags(&[(u32::from(b'1'), "")])).is_err());
    assert!(read(tags(&[(300, "")])).is_err());
    assert!(read(tags(&[(u32::from(b't'), "a"), (u32::from(b't'), "b")])).is_err());
    assert!(read(tags(&[(u32::from(b't'), &"x".repeat(1_025))])).is_err());
}

#[test]
fn an_event_is_a_slice_of_what_came_in_or_a_copy() {
    let event = event("hi");
    let batch = v1::EventBatch {
        events: vec![v1::Envelope::new(&event)],
        ..v1::EventBatch::default()
    };
    let bytes = Bytes::from(batch.encode_to_vec());
    let read = v1::EventBatch::decode(bytes.clone()).unwrap();
    let json = read.events[0].json.clone();
    assert!(bytes.as_ptr_range().contains(&json.as_ptr()), "shared");
    assert_eq!(
        shared_event(json.clone(), Origin::default()),
        Ok(Arc::clone(&event))
    );
    let copied = copied_event(&json, Origin::default()).unwrap();
    assert_eq!(copied, event);
    assert!(
        !bytes.as_ptr_range().contains(&copied.json().as_ptr()),
        "not shared"
    );
}

#[test]
fn time_and_trace_travel_beside_an_event_on_every_leg() {
    let trace = TraceContext {
        trace_id: [7; 16],
        span_id: [9; 8],
    };
    let origin = Origin::new(1_234_567, Some(trace));
    let event = Arc::new(Event::clone(&event("hi")).with_origin(origin));
    let check = |event: &Event| {
        assert_eq!(event.origin().received_micros(), Some(1_234_567));
        assert_eq!(event.origin().trace(), Some(trace));
    };
    let envelope = sent(&v1::Envelope::new(&event));
    let origin = read_origin(envelope.received_micros, envelope.traceparent.as_deref());
    check(&shared_event(envelope.json, origin).unwrap());
    let change = Committed::Winner(Arc::clone(&event));
    let Ok(Committed::Winner(changed)) = Committed::try_from(&sent(&v1::Change::new(&change)))
    else {
        panic!("a winner")
    };
    check(&changed);
    let ephemeral = sent(&v1::Ephemeral::new(&event));
    let origin = read_origin(ephemeral.received_micros, ephemeral.traceparent.as_deref());
    check(&copied_event(&ephemeral.json, origin).unwrap());
    // Of a version that sends none, or rubbish.
    let unknown = read_origin(0, Some("rubbish"));
    assert_eq!((unknown.received_micros(), unknown.trace()), (None, None));
}

#[test]
fn changes_come_back_as_they_were() {
    let event = event("change");
    for change in [Committed::Winner, Committed::Again, Committed::Seat] {
        let change = change(Arc::clone(&event));
        assert_eq!(
            Committed::try_from(&sent(&v1::Change::new(&change))),
            Ok(change)
        );
    }
    let unknown = v1::Change {
        kind: 99,
        json: event.json().clone(),
        ..v1::Change::default()
    };
    assert_eq!(
        Committed::try_from(&unknown),
        Err(FormError::Range {
            field: "change",
            value: 99
        })
    );
}

#[test]
fn receipts_come_back_as_they_were() {
    let id = EventId::new([9; 32]);
    for outcome in Outcome::ALL {
        let result = Ok(Receipt {
            outcome,
            commit: CommitNumber(12),
        });
        assert_eq!(
            sent(&v1::EventReceipt::new(&id, &result)).read(),
            Ok((id, result))
        );
    }
    let failed = v1::EventReceipt::new(&id, &Err(BusError::TimedOut));
    let words = BusError::Store(BusError::TimedOut.to_string());
    assert_eq!(sent(&failed).read(), Ok((id, Err(words))));
    assert!(v1::EventReceipt::default().read().is_err());
}

#[test]
fn refusals_keep_prefix_and_text() {
    for prefix in Prefix::ALL {
        let refusal = Refusal::new(prefix, "why not");
        assert_eq!(Refusal::from(sent(&v1::Refusal::from(&refusal))), refusal);
    }
    let unknown = v1::Refusal {
        prefix: 1_000,
        message: "x".to_owned(),
    };
    assert_eq!(Refusal::from(unknown), Refusal::error("x"));
}

#[test]
fn pages_are_split_by_bytes_and_end_once() {
    let events: Vec<_> = ["a", "b", "c"].map(event).into();
    let bytes = events[0].json().len();
    for hint in [EoseHint::None, EoseHint::Finish, EoseHint::More] {
        let eose = Eose {
            hint,
            applied: CommitNumber(5),
            fresh: vec![EventId::new([2; 32])],
            gone: vec![EventId::new([3; 32])],
            archive: true,
        };
        let page = AnswerPage {
            events: events.clone(),
            end: Some(AnswerEnd::Eose(eose)),
        };
        let parts = v1::Page::split(&page, 2 * bytes);
        let counts: Vec<usize> = parts.iter().map(|part| part.events.len()).collect();
        assert_eq!(counts, [2, 1]);
        let read: Vec<AnswerPage> = parts
            .iter()
            .map(|part| sent(part).try_into().unwrap())
            .collect();
        assert_eq!((&read[0].end, &read[1].end), (&None, &page.end));
        assert_eq!([&read[0].events[..], &read[1].events[..]].concat(), events);
    }
    let empty = AnswerPage {
        end: Some(AnswerEnd::Closed(Refusal::error("x"))),
        ..AnswerPage::default()
    };
    let parts = v1::Page::split(&empty, 0);
    assert_eq!(parts.len(), 1);
    assert_eq!(
        AnswerPage::try_from(sent(&parts[0])).unwrap().end,
        empty.end
    );
}

#[test]
fn counts_and_places_come_back_as_they_were() {
    let count = Count {
        filters: vec![Filter::parse(r#"{"kinds":[1]}"#).unwrap()],
        reader: Arc::new(Reader {
            keys: vec![PublicKey::new([7; 32]), PublicKey::new([1; 32])],
        }),
        after: CommitNumber(3),
        now: Timestamp::from_secs(4),
        trace: None,
    };
    let read: Count = sent(&v1::CountRequest::from(&count)).try_into().unwrap();
    assert_eq!(
        (read.filters, read.after, read.now),
        (count.filters, count.after, count.now)
    );
    assert_eq!(read.reader, count.reader, "keys in their order");
    for result in [
        Ok(Counted {
            count: 1,
            approximate: true,
        }),
        Err(Refusal::restricted("no")),
    ] {
        assert_eq!(sent(&v1::CountReply::from(&result)).read(), Ok(result));
    }
    assert!(v1::CountReply::default().read().is_err());
    let place = Place {
        number: CommitNumber(u64::MAX),
        index: u32::MAX,
    };
    assert_eq!(Place::from(sent(&v1::Place::from(place))), place);
}

/// Decodes, then converts whatever was decoded.
fn read_everything(bytes: &Bytes) {
    if let Ok(page) = v1::Page::decode(bytes.clone()) {
        drop(AnswerPage::try_from(page));
    }
    if let Ok(batch) = v1::CommittedBatch::decode(bytes.clone()) {
        batch
            .changes
            .iter()
            .for_each(|change| drop(Committed::try_from(change)));
    }
    if let Ok(receipts) = v1::Receipts::decode(bytes.clone()) {
        receipts
            .receipts
            .iter()
            .for_each(|receipt| drop(receipt.read()));
    }
    if let Ok(count) = v1::CountRequest::decode(bytes.clone()) {
        drop(Count::try_from(count));
    }
    if let Ok(v1::MatcherMessage {
        message: Some(matcher_message::Message::Delivery(delivery)),
    }) = v1::MatcherMessage::decode(bytes.clone())
    {
        drop(shared_event(delivery.json, Origin::default()));
        drop(delivery.slots.unwrap_or_default().unpack());
    }
    drop(read_filters(bytes.clone()));
    drop(shared_event(bytes.clone(), Origin::default()));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_everything(&bytes.into());
    }

    #[test]
    fn a_damaged_message_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let eose = Eose { hint: EoseHint::More, gone: vec![], archive: false, applied: CommitNumber(1), fresh: vec![EventId::new([1; 32])] };
        let page = AnswerPage { events: vec![event("x")], end: Some(AnswerEnd::Eose(eose)) };
        let delivery = matcher_message::Message::Delivery(v1::Delivery {
            json: event("y").json().clone(),
            place: None,
            slots: v1::SlotSet::pack(&[heliograph_bus::Slot(1), heliograph_bus::Slot(900)]),
            received_micros: 7,
            traceparent: None,
        });
        let filter = Filter::parse(r##"{"kinds":[1],"#t":["a"],"since":1}"##).unwrap();
        for bytes in [
            v1::Page::split(&page, 1).remove(0).encode_to_vec(),
            v1::MatcherMessage { message: Some(delivery) }.encode_to_vec(),
            write_filters(&[filter]).to_vec(),
        ] {
            let mut bytes = bytes;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_everything(&bytes.clone().into());
            bytes.truncate(at);
            read_everything(&bytes.into());
        }
    }

    #[test]
    fn any_set_of_slots_comes_back(mut slots in prop::collection::vec(any::<u32>(), 1..200), near in any::<bool>()) {
        if near {
            slots.iter_mut().for_each(|slot| *slot %= 400);
        }
        slots.sort_unstable();
        slots.dedup();
        let slots: Vec<_> = slots.into_iter().map(heliograph_bus::Slot).collect();
        let set = v1::SlotSet::pack(&slots).unwrap();
        prop_assert_eq!(set.unpack().unwrap(), slots);
    }
}
