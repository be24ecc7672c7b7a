//! Events that can't be stored: kept, listed, tried again, given up.

use heliograph_bus::{
    Bus as _, BusError, IfStored, IntakeItem as _,
    conformance::{next_items, note, receipt, soon},
};
use heliograph_bus_nats::{NatsError, NatsOptions};
use heliograph_protocol::Outcome;

use crate::bed::{Bed, block_on, options, other, until};

fn impatient() -> NatsOptions {
    NatsOptions {
        deliveries_max: 3,
        ..options()
    }
}

fn refused() -> BusError {
    BusError::Store("the disk is full".to_owned())
}

#[test]
fn an_event_that_is_refused_to_the_end_can_be_replayed() {
    block_on(async {
        let options = impatient();
        {
            let failing = Bed::open(options.clone()).await;
            failing.work(|_| Err(refused()));
            let answer = soon("the refusal", failing.publish(note(1))).await;
            assert_eq!(answer, Err(refused()));
            assert_eq!(failing.metric("ingest_retries_total"), 2.0);
        }
        let bed = Bed::open(other(&options, "ingest-1")).await;
        let letters = bed.dead_letters();
        let list = letters.list(0, 10).await.unwrap();
        assert_eq!(list.len(), 1);
        let letter = &list[0];
        assert_eq!(letter.events, [(*note(1).id(), note(1).kind())]);
        assert_eq!(
            (letter.reason.as_str(), letter.deliveries),
            ("the disk is full", 3)
        );
        assert_eq!(letter.gateway, "gateway-0");
        assert!(letter.published <= letter.at);
        assert_eq!(letters.list(letter.number, 10).await.unwrap(), []);
        assert_eq!(letters.replay_all().await.unwrap(), 1);
        assert_eq!(letters.count().await.unwrap(), 0);
        let mut intake = bed.intake();
        for item in next_items(&mut intake, 10).await {
            assert_eq!(item.event(), &note(1));
            assert_eq!(item.if_stored(), IfStored::Elsewhere, "readers may know it");
            item.answer(Ok(receipt(Outcome::Stored, 1)));
        }
    });
}

#[test]
fn a_letter_can_be_discarded_once() {
    block_on(async {
        let bed = Bed::open(impatient()).await;
        bed.work(|_| Err(refused()));
        soon("the refusal", bed.publish(note(1))).await.unwrap_err();
        let letters = bed.dead_letters();
        letters.discard(1).await.unwrap();
        assert_eq!(letters.count().await.unwrap(), 0);
        for number in [1, 2] {
            let again = letters.discard(number).await;
            assert!(matches!(again, Err(NatsError::NoSuchLetter(n)) if n == number));
            let replay = letters.replay(number).await;
            assert!(matches!(replay, Err(NatsError::NoSuchLetter(n)) if n == number));
        }
    });
}

#[test]
fn what_can_not_be_read_is_set_aside_at_once() {
    block_on(async {
        let options = impatient();
        let bed = Bed::open(options.clone()).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let subject = format!("{}.events.0", options.cluster);
        let context = bed.context();
        let rubbish = context.publish(subject, "\u{7}rubbish".into());
        rubbish.await.unwrap().await.unwrap();
        soon("a receipt", bed.publish(note(1))).await.unwrap();
        until("set aside", || {
            bed.metric(r#"dead_letter_total{reason="unreadable"}"#) == 1.0
        })
        .await;
        let list = bed.dead_letters().list(0, 10).await.unwrap();
        assert_eq!((list.len(), list[0].events.len(), list[0].bytes), (1, 0, 8));
        assert_eq!(list[0].deliveries, 1);
    });
}

#[test]
fn an_event_that_ends_its_workers_is_set_aside() {
    block_on(async {
        let options = NatsOptions {
            deliveries_max: 1,
            ..options()
        };
        let gateway = Bed::open(options.clone()).await;
        let worker = async {
            let dying = Bed::open(other(&options, "ingest-0")).await;
            let mut intake = dying.intake();
            let items = next_items(&mut intake, 10).await;
            dying.client().drain().await.unwrap();
            let heir = Bed::open(other(&options, "ingest-1")).await;
            heir.work(|_| panic!("it was offered again"));
            until("set aside", || {
                heir.metric(r#"dead_letter_total{reason="unanswered"}"#) == 1.0
            })
            .await;
            (items, heir)
        };
        let (answer, _kept) = tokio::join!(soon("the refusal", gateway.publish(note(1))), worker);
        assert!(matches!(answer, Err(BusError::Store(_))), "{answer:?}");
    });
}
