//! One conformance suite for every bus: what [`Bus`] promises, as small cases with names.
//!
//! A backend implements [`Backend`] in its tests, so that each case gets a bus of its own, and calls
//! [`bus_conformance_tests!`](crate::bus_conformance_tests). The cases need a tokio runtime with time.

use std::{
    future::Future,
    ops::Deref,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use heliograph_protocol::{Event, Kind, Outcome, PublicKey, Signature, Timestamp};
use tokio::time::timeout;

use crate::{
    Bus, BusError, CommitNumber, Committed, Feed, FeedItem, IfStored, Intake, IntakeItem, Receipt,
};

/// Time for anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time in which nothing may happen.
const QUIET: Duration = Duration::from_millis(200);

/// A bus under test.
pub trait Backend {
    /// The bus.
    type Bus: Bus;
    /// Keeps the bus and what it lives on until the case is over.
    type Handle: Deref<Target = Self::Bus>;

    /// Whether an event that gets no answer, or an error, is offered again; else its publisher gets
    /// the error.
    const REDELIVERS: bool;
    /// Whether [`Bus::history`] goes back.
    const HISTORY: bool;

    /// An empty bus. It redelivers within seconds, if at all.
    fn open(&self) -> impl Future<Output = Self::Handle>;

    /// An empty bus that has room for one [`note`] between publishers and receipts.
    fn open_narrow(&self) -> impl Future<Output = Self::Handle>;

    /// Ends the intake, as at the end of the process.
    fn close_intake(bus: &Self::Bus);

    /// Ends the feed, as at the end of the process.
    fn close_feed(bus: &Self::Bus);
}

/// Makes one `#[test]` of each case of the suite.
///
/// `bus_conformance_tests!(block_on, backend)`: `block_on` runs a future to its end, `backend` is an
/// expression of a [`Backend`](crate::conformance::Backend).
#[macro_export]
macro_rules! bus_conformance_tests {
    (@each $block_on:path, $backend:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $block_on($crate::conformance::$case(&$backend));
            }
        )*
    };
    ($block_on:path, $backend:expr) => {
        $crate::bus_conformance_tests! { @each $block_on, $backend;
            a_receipt_reaches_its_publisher
            each_publisher_gets_its_own_receipt
            the_events_of_one_publisher_keep_their_order
            an_event_published_twice_at_once_is_answered_twice
            an_event_without_an_answer_is_an_error_or_comes_again
            an_event_answered_with_an_error_is_an_error_or_comes_again
            a_worker_gets_no_more_events_than_it_asked_for
            a_full_bus_makes_publishers_wait
            commits_are_numbered_in_order_and_reach_the_feed
            a_commit_of_several_megabytes_arrives_whole
            each_kind_of_change_arrives_as_it_was
            the_newest_number_covers_every_commit
            ephemeral_events_reach_the_feed
            history_has_what_was_committed
            a_closed_intake_ends_and_its_last_events_are_answered
            a_closed_feed_ends
        }
    };
}

/// A text note that differs from those of other numbers.
#[must_use]
pub fn note(n: u32) -> Arc<Event> {
    event(n, 1, "")
}

/// An event of this kind and content that differs from those of other numbers.
#[must_use]
pub fn event(n: u32, kind: u16, content: &str) -> Arc<Event> {
    let tags: [Vec<&str>; 0] = [];
    Arc::new(Event::build(
        PublicKey::new([1; 32]),
        Timestamp::from_secs(1_700_000_000 + u64::from(n)),
        Kind::new(kind),
        &tags,
        content,
        |_id| Signature::new([7; 64]),
    ))
}

/// A receipt with this number.
#[must_use]
pub const fn receipt(outcome: Outcome, commit: u64) -> Receipt {
    Receipt {
        outcome,
        commit: CommitNumber(commit),
    }
}

/// Waits for what has to happen.
///
/// # Panics
///
/// If it doesn't, after half a minute.
pub async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, happening).await {
        Ok(happened) => happened,
        Err(_elapsed) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Runs all at once, first polled in their order.
pub async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// The next events of a worker.
///
/// # Panics
///
/// If none come, or the intake ends.
pub async fn next_items<I: Intake>(intake: &mut I, count_max: usize) -> Vec<I::Item> {
    let items = soon("events for a worker", intake.next(count_max)).await;
    items.expect("the intake is open")
}

/// The next commit of a feed; ephemeral events are passed over.
///
/// # Panics
///
/// If none comes, or the feed ends.
pub async fn next_commit<F: Feed>(feed: &mut F) -> (CommitNumber, Vec<Committed>) {
    loop {
        match soon("a commit for the feed", feed.next()).await {
            Some(FeedItem::Committed { number, events }) => return (number, events),
            Some(FeedItem::Ephemeral(_) | FeedItem::Begins(_)) => {}
            None => panic!("the feed ended"),
        }
    }
}

/// Answers each event by `answer` until `work` is done.
///
/// # Panics
///
/// If the work isn't done in time.
pub async fn with_worker<B: Bus, T>(
    bus: &B,
    mut answer: impl FnMut(&Event) -> Result<Receipt, BusError>,
    work: impl Future<Output = T>,
) -> T {
    let mut intake = bus.intake();
    let worker = async {
        while let Some(items) = intake.next(1_000).await {
            for item in items {
                let receipt = answer(item.event());
                item.answer(receipt);
            }
        }
        std::future::pending::<()>().await;
    };
    // The work first: the worker never ends.
    let both = async {
        tokio::select! {
            biased;
            done = work => done,
            () = worker => unreachable!("the worker never ends"),
        }
    };
    soon("the work", both).await
}

/// Polls once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// A receipt is what the worker said.
pub async fn a_receipt_reaches_its_publisher<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let said = receipt(Outcome::Superseded, 7);
    let publish = bus.publish(note(1));
    let got = with_worker(&*bus, |_| Ok(said), publish).await;
    assert_eq!(got, Ok(said));
}

/// Many publishers at once, each with another outcome and number.
pub async fn each_publisher_gets_its_own_receipt<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let expected = |event: &Event| {
        let n = event.created_at().as_secs();
        let outcome = Outcome::ALL[usize::try_from(n).expect("64 bits") % Outcome::ALL.len()];
        Ok(receipt(outcome, n))
    };
    let events: Vec<Arc<Event>> = (0..2_000).map(note).collect();
    let publish = all(events.iter().map(|event| bus.publish(Arc::clone(event))));
    let got = with_worker(&*bus, expected, publish).await;
    for (event, got) in events.iter().zip(got) {
        assert_eq!(got, expected(event));
    }
}

/// What is published in an order is offered in it.
pub async fn the_events_of_one_publisher_keep_their_order<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let events: Vec<Arc<Event>> = (0..500).map(note).collect();
    let mut seen = Vec::new();
    let publish = all(events.iter().map(|event| bus.publish(Arc::clone(event))));
    let worker = |event: &Event| {
        seen.push(*event.id());
        Ok(receipt(Outcome::Stored, 1))
    };
    with_worker(&*bus, worker, publish).await;
    let sent: Vec<_> = events.iter().map(|event| *event.id()).collect();
    assert_eq!(seen, sent);
}

/// Two clients may send the same event at the same moment.
pub async fn an_event_published_twice_at_once_is_answered_twice<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let publish = all([bus.publish(note(1)), bus.publish(note(1))]);
    let stored = Ok(receipt(Outcome::Stored, 1));
    let got = with_worker(&*bus, |_| stored.clone(), publish).await;
    assert_eq!(got, [stored.clone(), stored]);
}

/// A worker that dies answers nothing.
pub async fn an_event_without_an_answer_is_an_error_or_comes_again<B: Backend>(backend: &B) {
    error_or_again(backend, drop).await;
}

/// A store that fails may work again soon.
pub async fn an_event_answered_with_an_error_is_an_error_or_comes_again<B: Backend>(backend: &B) {
    error_or_again(backend, |item| item.answer(Err(BusError::Closed))).await;
}

async fn error_or_again<B: Backend>(
    backend: &B,
    fail: impl FnOnce(<<B::Bus as Bus>::Intake as Intake>::Item),
) {
    let bus = backend.open().await;
    let mut intake = bus.intake();
    let mut publish = pin!(bus.publish(note(1)));
    assert!(poll_once(publish.as_mut()).await.is_pending());
    let first = async {
        let mut items = next_items(&mut intake, 10).await;
        assert_eq!(items.len(), 1);
        items.remove(0)
    };
    let item = tokio::select! {
        item = first => item,
        answer = &mut publish => panic!("answered by nobody: {answer:?}"),
    };
    let if_stored = item.if_stored();
    assert_ne!(if_stored, IfStored::Unknown, "it is new");
    fail(item);
    if !B::REDELIVERS {
        assert!(soon("the error", publish).await.is_err());
        return;
    }
    let stored = receipt(Outcome::Stored, 3);
    let again = async {
        let item = next_items(&mut intake, 10).await.remove(0);
        assert_eq!(item.if_stored(), if_stored, "the store knows more");
        item.answer(Ok(stored));
    };
    let (answer, ()) = tokio::join!(soon("the receipt", publish), again);
    assert_eq!(answer, Ok(stored));
}

/// However many wait.
pub async fn a_worker_gets_no_more_events_than_it_asked_for<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut intake = bus.intake();
    let worker = async {
        let mut left = 100;
        while left > 0 {
            let items = next_items(&mut intake, 7).await;
            assert!((1..=7).contains(&items.len()), "{} events", items.len());
            left -= items.len();
            for item in items {
                item.answer(Ok(receipt(Outcome::Stored, 1)));
            }
        }
    };
    let publish = all((0..100).map(|n| bus.publish(note(n))));
    let (answers, ()) = tokio::join!(soon("receipts", publish), worker);
    assert!(answers.iter().all(Result::is_ok));
}

/// What waits is bounded: the second event is let in when the first has its receipt.
pub async fn a_full_bus_makes_publishers_wait<B: Backend>(backend: &B) {
    let bus = backend.open_narrow().await;
    let mut intake = bus.intake();
    let worker = async {
        let mut items = next_items(&mut intake, 10).await;
        assert_eq!(items.len(), 1, "the second doesn't fit in");
        let early = timeout(QUIET, intake.next(10)).await;
        assert!(early.is_err(), "the second came while the bus was full");
        items.remove(0).answer(Ok(receipt(Outcome::Stored, 1)));
        for item in next_items(&mut intake, 10).await {
            item.answer(Ok(receipt(Outcome::Stored, 2)));
        }
    };
    let publish = all([bus.publish(note(1)), bus.publish(note(2))]);
    let (answers, ()) = tokio::join!(soon("receipts", publish), worker);
    let receipts = [receipt(Outcome::Stored, 1), receipt(Outcome::Stored, 2)];
    assert_eq!(answers, receipts.map(Ok));
}

/// The feed has them all, in the order of their numbers.
pub async fn commits_are_numbered_in_order_and_reach_the_feed<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    let mut last = CommitNumber(0);
    for n in 0..50 {
        let events = vec![Committed::Winner(note(n))];
        let number = soon("a commit", bus.commit(events.clone())).await;
        let number = number.expect("the bus is open");
        assert!(number > last, "{number:?} after {last:?}");
        last = number;
        assert_eq!(next_commit(&mut feed).await, (number, events));
    }
}

/// In one batch or in several: the last number covers all of it.
pub async fn a_commit_of_several_megabytes_arrives_whole<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    let text = "x".repeat(128 << 10);
    let events: Vec<Committed> = (0..20)
        .map(|n| Committed::Winner(event(n, 1, &text)))
        .collect();
    let number = soon("the commit", bus.commit(events.clone())).await;
    let number = number.expect("the bus is open");
    let mut got = Vec::new();
    loop {
        let (at, part) = next_commit(&mut feed).await;
        got.extend(part);
        if at == number {
            break;
        }
        assert!(at < number, "{at:?} is beyond {number:?}");
    }
    assert!(got == events, "{} of {} events", got.len(), events.len());
}

/// Winners, repetitions and seats are told apart.
pub async fn each_kind_of_change_arrives_as_it_was<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    let events = vec![
        Committed::Seat(event(1, 0, "")),
        Committed::Winner(event(2, 30_023, "\u{e9}\n\"")),
        Committed::Again(note(3)),
    ];
    let number = soon("the commit", bus.commit(events.clone())).await;
    let number = number.expect("the bus is open");
    assert_eq!(next_commit(&mut feed).await, (number, events));
}

/// A question that comes after an acknowledgement has to see what was acknowledged.
pub async fn the_newest_number_covers_every_commit<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    for n in 0..50 {
        let events = vec![Committed::Winner(note(n))];
        let number = soon("a commit", bus.commit(events)).await;
        let number = number.expect("the bus is open");
        let newest = soon("the newest number", all([bus.newest(), bus.newest()])).await;
        assert_eq!(newest, [Ok(number), Ok(number)]);
        next_commit(&mut feed).await;
    }
}

/// They may be lost, as while the feed begins, but not all of them.
pub async fn ephemeral_events_reach_the_feed<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    let sent = event(1, 20_001, "typing");
    let got = async {
        loop {
            let published = bus.publish_ephemeral(Arc::clone(&sent)).await;
            assert_eq!(published, Ok(()));
            if let Ok(item) = timeout(QUIET, feed.next()).await {
                return item;
            }
        }
    };
    match soon("the event", got).await {
        Some(FeedItem::Ephemeral(got)) => assert_eq!(got, sent),
        other => panic!("{other:?}"),
    }
}

/// From any number on, without a gap, and nothing after the newest; or not at all.
pub async fn history_has_what_was_committed<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    let mut committed = Vec::new();
    for n in 0..30 {
        let events = vec![Committed::Winner(note(n))];
        let number = soon("a commit", bus.commit(events.clone())).await;
        committed.push((number.expect("the bus is open"), events));
        next_commit(&mut feed).await;
    }
    if !B::HISTORY {
        assert!(bus.history(CommitNumber(0)).await.is_err());
        return;
    }
    for skip in [0_usize, 1, 29, 30] {
        let mut after = skip
            .checked_sub(1)
            .map_or(CommitNumber(0), |last| committed[last].0);
        let mut got = Vec::new();
        loop {
            let part = soon("history", bus.history(after)).await;
            let part = part.expect("all of it is kept");
            let Some((last, _)) = part.last() else {
                break;
            };
            after = *last;
            got.extend(part);
        }
        assert_eq!(got, committed[skip..]);
    }
}

/// The worker ends, but what it has is still answered.
pub async fn a_closed_intake_ends_and_its_last_events_are_answered<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut intake = bus.intake();
    let said = receipt(Outcome::Stored, 1);
    let worker = async {
        let items = next_items(&mut intake, 10).await;
        B::close_intake(&bus);
        assert!(soon("the end", intake.next(10)).await.is_none());
        for item in items {
            item.answer(Ok(said));
        }
    };
    let (answer, ()) = tokio::join!(soon("the receipt", bus.publish(note(1))), worker);
    assert_eq!(answer, Ok(said));
}

/// After what was read ahead.
pub async fn a_closed_feed_ends<B: Backend>(backend: &B) {
    let bus = backend.open().await;
    let mut feed = bus.feed();
    for n in 0..3 {
        let number = soon("a commit", bus.commit(vec![Committed::Winner(note(n))])).await;
        number.expect("the bus is open");
    }
    next_commit(&mut feed).await;
    B::close_feed(&bus);
    let end = async {
        let mut left = 0;
        while feed.next().await.is_some() {
            left += 1;
        }
        left
    };
    assert!(soon("the end", end).await <= 2);
}
