//! The pool under load, with bad signatures, and without threads.

use std::sync::mpsc::{Receiver as StdReceiver, SyncSender, sync_channel};

use heliograph_testkit::keys::Key;

use super::*;

fn note(n: usize) -> Arc<Event> {
    Arc::new(Key::nth(n).note(1, "hello"))
}

/// A note whose signature is another's.
fn forged() -> Arc<Event> {
    let text = Key::nth(0).note(1, "hello").as_str().to_owned();
    let sig = Key::nth(0).note(2, "other").sig().to_hex();
    let cut = text.len() - 130;
    let text = format!("{}{sig}\"}}", &text[..cut]);
    Arc::new(Event::parse(&text).expect("the id says nothing about the signature"))
}

/// A look-up that says when it began and ends when told to.
fn gate() -> (
    impl FnOnce(&EventId) -> bool + Send,
    StdReceiver<()>,
    SyncSender<()>,
) {
    let (began, has_begun) = sync_channel(1);
    let (open, opened) = sync_channel::<()>(1);
    let known = move |_: &EventId| {
        began.send(()).expect("the test waits for it");
        opened.recv().is_err()
    };
    (known, has_begun, open)
}

#[tokio::test]
async fn good_signatures_are_valid_and_others_are_not() {
    let verifier = Verifier::start(2, 100).unwrap();
    for n in [0, 1, 0] {
        assert_eq!(verifier.verify(&note(n)).await, Ok(()));
    }
    assert_eq!(
        verifier.verify(&forged()).await,
        Err(VerifyError::BadSignature)
    );
    let counters = verifier.counters();
    assert_eq!(counters.valid.load(Relaxed), 3);
    assert_eq!(counters.bad.load(Relaxed), 1);
    assert_eq!(counters.key_misses.load(Relaxed), 2);
    assert_eq!(counters.key_hits.load(Relaxed), 2);
}

#[tokio::test]
async fn without_threads_a_check_is_over_at_once() {
    let verifier = Verifier::inline();
    let (good, bad) = (note(0), forged());
    for (event, expected) in [(good, Ok(())), (bad, Err(VerifyError::BadSignature))] {
        let mut verdict = std::pin::pin!(verifier.verify(&event));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(
            verdict.as_mut().poll(&mut context),
            std::task::Poll::Ready(expected)
        );
    }
    let counters = verifier.counters();
    assert_eq!(
        (counters.valid.load(Relaxed), counters.bad.load(Relaxed)),
        (1, 1)
    );
}

#[tokio::test]
async fn what_is_known_is_not_checked() {
    let verifier = Verifier::start(1, 100).unwrap();
    let event = forged();
    let id = *event.id();
    assert_eq!(
        verifier.check(event, move |known| *known == id).await,
        Ok(Verdict::Known)
    );
    assert_eq!(verifier.check(note(0), |_| false).await, Ok(Verdict::Valid));
    assert_eq!(
        verifier.check(forged(), |_| false).await,
        Err(VerifyError::BadSignature)
    );
    assert_eq!(verifier.counters().known.load(Relaxed), 1);
}

#[tokio::test]
async fn a_full_queue_turns_events_away_at_once() {
    let verifier = Verifier::start(1, 1).unwrap();
    let (known, has_begun, open) = gate();
    let mut running = Box::pin(verifier.check(note(0), known));
    assert!(futures_pending(&mut running).await);
    has_begun.recv().unwrap();
    let one = note(1);
    let mut waiting = Box::pin(verifier.verify(&one));
    assert!(futures_pending(&mut waiting).await);
    assert_eq!(verifier.queue_len(), 1);
    assert_eq!(verifier.verify(&note(2)).await, Err(VerifyError::Busy));
    assert_eq!(verifier.counters().rejected.load(Relaxed), 1);
    open.send(()).unwrap();
    assert_eq!(running.await, Ok(Verdict::Valid));
    assert_eq!(waiting.await, Ok(()));
}

/// Polls once; whether the future isn't ready.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}

#[tokio::test]
async fn what_waited_too_long_is_not_checked_any_more() {
    let verifier = Verifier::start_with(1, 100, Duration::ZERO).unwrap();
    assert_eq!(verifier.verify(&note(0)).await, Err(VerifyError::Busy));
    assert_eq!(verifier.counters().overdue.load(Relaxed), 1);
    assert_eq!(verifier.counters().valid.load(Relaxed), 0);
}

#[tokio::test]
async fn an_event_whose_asker_left_is_skipped() {
    let verifier = Verifier::start(1, 10).unwrap();
    let (known, has_begun, open) = gate();
    let mut running = Box::pin(verifier.check(note(0), known));
    assert!(futures_pending(&mut running).await);
    has_begun.recv().unwrap();
    let one = note(1);
    let mut left = Box::pin(verifier.verify(&one));
    assert!(futures_pending(&mut left).await);
    drop(left);
    open.send(()).unwrap();
    assert_eq!(running.await, Ok(Verdict::Valid));
    assert_eq!(verifier.verify(&note(2)).await, Ok(()));
    assert_eq!(verifier.counters().valid.load(Relaxed), 2);
}

#[tokio::test]
async fn a_look_up_that_panics_costs_one_answer_and_no_thread() {
    let verifier = Verifier::start(1, 10).unwrap();
    let panics = |_: &EventId| panic!("for the test");
    assert_eq!(
        verifier.check(note(0), panics).await,
        Err(VerifyError::Stopped)
    );
    assert_eq!(verifier.verify(&note(0)).await, Ok(()));
}

#[tokio::test]
async fn many_events_each_get_their_own_verdict() {
    let verifier = Arc::new(Verifier::start(3, 1_000).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let verifier = Arc::clone(&verifier);
        tasks.spawn(async move {
            let event = if n % 7 == 0 { forged() } else { note(n) };
            (n, verifier.verify(&event).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (n, verdict) = done.unwrap();
        let expected = if n % 7 == 0 {
            Err(VerifyError::BadSignature)
        } else {
            Ok(())
        };
        assert_eq!(verdict, expected, "{n}");
    }
}

#[tokio::test]
async fn dropping_the_pool_ends_its_threads() {
    let verifier = Verifier::start(2, 10).unwrap();
    let shared = Arc::clone(&verifier.shared);
    assert_eq!(verifier.verify(&note(0)).await, Ok(()));
    drop(verifier);
    assert_eq!(
        Arc::strong_count(&shared),
        1,
        "the threads have dropped theirs"
    );
}

#[tokio::test]
async fn a_look_up_may_hold_the_last_reference_to_the_pool() {
    let verifier = Arc::new(Verifier::start(1, 10).unwrap());
    let held = Arc::clone(&verifier);
    let (known, has_begun, open) = gate();
    let (done, is_done) = sync_channel(1);
    let look_up = move |id: &EventId| {
        let answer = known(id);
        drop(held);
        done.send(()).expect("the test waits for it");
        answer
    };
    let mut running = Box::pin(verifier.check(note(0), look_up));
    assert!(futures_pending(&mut running).await);
    has_begun.recv().unwrap();
    drop(running);
    drop(verifier);
    open.send(()).unwrap();
    is_done.recv().unwrap();
}
