//! A matcher over the memory store, without sockets: limits, hints, privacy, the live join.

mod behind;
mod expiry;
mod lag;
mod resume;

use std::{sync::Arc, time::Duration};

use heliograph_bus::{
    AnswerEnd, BusError, CommitNumber, Committed, ConnectionId, Count, Delivery, FeedItem, Open,
    Requests, Slot,
};
use heliograph_policy::{FilterLimits, Reader};
use heliograph_protocol::{EoseHint, Event, Filter, Prefix};
use heliograph_recent::{Recent, RecentOptions};
use heliograph_store::{
    Budget, EventStore, MemoryStore,
    conformance::{NOW, event, key, relay_urls},
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{Batches, Matcher, Metrics, Options, Progress};

type Delivered = Arc<Mutex<Vec<(Arc<Event>, Vec<Slot>)>>>;

/// A matcher and what it delivered.
struct Bed {
    store: MemoryStore,
    matcher: Arc<Matcher<MemoryStore>>,
    delivered: Delivered,
    commits: Arc<Mutex<u64>>,
    history: Arc<History>,
    /// Whether nobody knows what may be visible in the store, as between machines.
    unknown_horizon: Arc<Mutex<bool>>,
    registry: Registry,
}

/// The stream of commits, as far as it can be read again.
struct History {
    kept: Mutex<Batches>,
    /// Closed while a reading is to wait.
    gate: watch::Sender<bool>,
    readings: watch::Sender<usize>,
    /// Whether readings fail.
    failing: watch::Sender<bool>,
}

impl Bed {
    fn new() -> Self {
        Self::with(Budget::UNLIMITED)
    }

    fn with(req_budget: Budget) -> Self {
        Self::build(req_budget, Budget::UNLIMITED, 1 << 20)
    }

    fn counting(count_budget: Budget) -> Self {
        Self::build(Budget::UNLIMITED, count_budget, 1 << 20)
    }

    fn build(req_budget: Budget, count_budget: Budget, replay_bytes_max: usize) -> Self {
        let store = MemoryStore::new(relay_urls());
        let recent = Recent::new(store.clone(), RecentOptions::default(), relay_urls());
        let options = Options {
            visibility: relay_urls().into(),
            filters: FilterLimits {
                limit_max: 4,
                limit_default: 3,
                ..FilterLimits::default()
            },
            req_budget,
            count_budget,
            commit_wait: Duration::from_millis(50),
            replay_bytes_max,
        };
        let history = Arc::new(History {
            kept: Mutex::default(),
            gate: watch::Sender::new(true),
            readings: watch::Sender::new(0),
            failing: watch::Sender::new(false),
        });
        let read = Arc::clone(&history);
        let commits = Arc::<Mutex<u64>>::default();
        let newest = Arc::clone(&commits);
        let unknown_horizon = Arc::<Mutex<bool>>::default();
        let unknown = Arc::clone(&unknown_horizon);
        let delivered = Delivered::default();
        let sink = Arc::clone(&delivered);
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        let matcher = Matcher::new(
            recent,
            options,
            Box::new(move |delivery| {
                if let Delivery::Event { event, slots, .. } = delivery {
                    sink.lock().push((event, slots));
                }
            }),
            Progress {
                newest: Box::new(move || {
                    let newest = CommitNumber(*newest.lock());
                    Box::pin(async move { Ok(newest) })
                }),
                horizon: Box::new(move || (!*unknown.lock()).then(CommitNumber::default)),
                history: Box::new(move |after| {
                    let history = Arc::clone(&read);
                    Box::pin(async move { history.after(after).await })
                }),
            },
            metrics,
        );
        Self {
            store,
            matcher,
            delivered,
            commits,
            history,
            unknown_horizon,
            registry,
        }
    }

    /// Commits one change under this number.
    fn announce(&self, number: u64, change: Committed) {
        let (number, events) = (CommitNumber(number), vec![change]);
        *self.commits.lock() = number.0;
        self.history.kept.lock().push((number, events.clone()));
        self.matcher.apply(FeedItem::Committed { number, events });
    }

    /// Stores and commits one event, as ingest does.
    async fn publish(&self, event: &Arc<Event>) {
        self.store.write(vec![Arc::clone(event)]).await.unwrap();
        let mut commits = self.commits.lock();
        *commits += 1;
        let number = CommitNumber(*commits);
        let events = vec![Committed::Winner(Arc::clone(event))];
        self.history.kept.lock().push((number, events.clone()));
        self.matcher.apply(FeedItem::Committed { number, events });
    }

    fn open(filters: &[&str], reader: Reader) -> Open {
        Open {
            slot: Slot(0),
            connection: ConnectionId(1),
            filters: filters
                .iter()
                .map(|filter| Filter::parse(filter).unwrap())
                .collect(),
            reader: Arc::new(reader),
            after: CommitNumber::default(),
            now: NOW,
            trace: None,
        }
    }

    async fn req(&self, filters: &[&str], reader: Reader) -> (Vec<Arc<Event>>, AnswerEnd) {
        let mut pages = self
            .matcher
            .open(Self::open(filters, reader))
            .await
            .unwrap();
        let mut events = Vec::new();
        loop {
            let page = pages.next().await.unwrap();
            events.extend(page.events);
            if let Some(end) = page.end {
                return (events, end);
            }
        }
    }

    #[track_caller]
    fn check(answer: &(Vec<Arc<Event>>, AnswerEnd), expected: &[&Arc<Event>], hint: EoseHint) {
        let content = |event: &Arc<Event>| event.content().into_owned();
        let got: Vec<String> = answer.0.iter().map(content).collect();
        let want: Vec<String> = expected.iter().map(|event| content(event)).collect();
        let AnswerEnd::Eose(end) = &answer.1 else {
            panic!("expected EOSE, got {:?}", answer.1)
        };
        assert_eq!((got, end.hint), (want, hint));
    }
}

impl History {
    async fn after(&self, after: CommitNumber) -> Result<Batches, BusError> {
        self.readings.send_modify(|readings| *readings += 1);
        let opened = self.gate.subscribe().wait_for(|open| *open).await.is_ok();
        assert!(opened, "the gate outlives its readers");
        if *self.failing.borrow() {
            return Err(BusError::Unavailable);
        }
        let kept = self.kept.lock();
        match kept.first() {
            Some((first, _)) if first.0 > after.0 + 1 => Err(BusError::Closed),
            _ => Ok(kept
                .iter()
                .filter(|(number, _)| *number > after)
                .cloned()
                .collect()),
        }
    }
}

fn hint(end: &AnswerEnd) -> Option<EoseHint> {
    match end {
        AnswerEnd::Eose(eose) => Some(eose.hint),
        AnswerEnd::Closed(_) => None,
    }
}

fn anyone() -> Reader {
    Reader::default()
}

/// Notes at 10, 20, 30 …, oldest first.
async fn notes(bed: &Bed, count: u64) -> Vec<Arc<Event>> {
    let mut notes = Vec::new();
    for n in 1..=count {
        let note = event(1, n * 10, 1, &[], &n.to_string());
        bed.publish(&note).await;
        notes.push(note);
    }
    notes
}

#[tokio::test]
async fn everything_sent_is_finish_whatever_limit_was_asked_for() {
    let bed = Bed::new();
    let notes = notes(&bed, 2).await;
    let all = [&notes[1], &notes[0]];
    Bed::check(
        &bed.req(&[r#"{"kinds":[1]}"#], anyone()).await,
        &all,
        EoseHint::Finish,
    );
    Bed::check(
        &bed.req(&[r#"{"limit":3}"#], anyone()).await,
        &all,
        EoseHint::Finish,
    );
    Bed::check(
        &bed.req(&[r#"{"limit":9}"#], anyone()).await,
        &all,
        EoseHint::Finish,
    );
}

#[tokio::test]
async fn a_limit_of_the_client_that_cut_is_never_finish() {
    let bed = Bed::new();
    let notes = notes(&bed, 3).await;
    let answer = bed.req(&[r#"{"limit":2}"#], anyone()).await;
    Bed::check(&answer, &[&notes[2], &notes[1]], EoseHint::None);
    let nothing = bed.req(&[r#"{"limit":0}"#], anyone()).await;
    Bed::check(&nothing, &[], EoseHint::None);
}

#[tokio::test]
async fn the_relays_own_limit_says_that_there_is_more() {
    let bed = Bed::new();
    let notes = notes(&bed, 5).await;
    let newest = [&notes[4], &notes[3], &notes[2]];
    Bed::check(&bed.req(&["{}"], anyone()).await, &newest, EoseHint::More);
    let clamped = bed.req(&[r#"{"limit":100}"#], anyone()).await;
    Bed::check(
        &clamped,
        &[&notes[4], &notes[3], &notes[2], &notes[1]],
        EoseHint::More,
    );
}

#[tokio::test]
async fn the_second_in_which_the_relays_limit_falls_is_sent_whole() {
    let bed = Bed::new();
    notes(&bed, 1).await;
    for n in 0..5 {
        bed.publish(&event(n, 100, 1, &[], "same second")).await;
    }
    let (events, end) = bed.req(&["{}"], anyone()).await;
    assert_eq!((events.len(), hint(&end)), (5, Some(EoseHint::More)));
    for n in 5..20 {
        bed.publish(&event(n, 100, 1, &[], "same second")).await;
    }
    let (events, end) = bed.req(&["{}"], anyone()).await;
    assert_eq!(
        (events.len(), hint(&end)),
        (6, Some(EoseHint::More)),
        "at most twice the cap"
    );
}

#[tokio::test]
async fn what_another_filter_sent_is_not_more() {
    let bed = Bed::new();
    let notes = notes(&bed, 4).await;
    let filters = ["{}", r#"{"until":10}"#];
    let answer = bed.req(&filters, anyone()).await;
    let all = [&notes[3], &notes[2], &notes[1], &notes[0]];
    Bed::check(&answer, &all, EoseHint::None);
}

#[tokio::test]
async fn each_filter_has_a_limit_of_its_own_and_each_event_is_sent_once() {
    let bed = Bed::new();
    let notes = notes(&bed, 4).await;
    let filters = [
        r#"{"limit":1}"#,
        r#"{"until":30,"limit":2}"#,
        r#"{"until":20,"limit":1}"#,
    ];
    let answer = bed.req(&filters, anyone()).await;
    Bed::check(&answer, &[&notes[3], &notes[2], &notes[1]], EoseHint::None);
}

#[tokio::test]
async fn a_spent_budget_is_closed_and_leaves_nothing_open() {
    let bed = Bed::with(Budget {
        rows: 2,
        time: Duration::MAX,
    });
    notes(&bed, 4).await;
    let (_, end) = bed.req(&[r#"{"limit":4}"#], anyone()).await;
    assert!(matches!(end, AnswerEnd::Closed(refusal) if refusal.prefix == Prefix::Error));
    bed.publish(&event(1, 99, 1, &[], "live")).await;
    assert!(bed.delivered.lock().is_empty());
}

#[tokio::test]
async fn hidden_events_count_neither_for_the_limit_nor_for_the_hint() {
    let bed = Bed::new();
    let note = event(1, 1, 1, &[], "note");
    bed.publish(&note).await;
    for n in 0..6 {
        bed.publish(&event(2, 100 + n, 4, &[&["p", &key(3).to_hex()]], "secret"))
            .await;
    }
    let mixed = [r#"{"kinds":[1,4]}"#];
    Bed::check(&bed.req(&mixed, anyone()).await, &[&note], EoseHint::Finish);
    let (mine, _) = bed.req(&mixed, Reader { keys: vec![key(3)] }).await;
    assert_eq!(mine.len(), 3);
}

#[tokio::test]
async fn live_events_reach_the_slot_until_it_is_closed() {
    let bed = Bed::new();
    let answer = bed.req(&[r#"{"kinds":[1]}"#], anyone()).await;
    Bed::check(&answer, &[], EoseHint::Finish);
    let note = event(1, 10, 1, &[], "live");
    bed.publish(&note).await;
    bed.publish(&event(1, 11, 7, &[], "+")).await;
    assert_eq!(*bed.delivered.lock(), [(note, vec![Slot(0)])]);
    bed.matcher.close(Slot(0));
    bed.publish(&event(1, 12, 1, &[], "later")).await;
    assert_eq!(bed.delivered.lock().len(), 1);
}

#[tokio::test]
async fn a_loser_is_not_delivered_after_the_winner() {
    let bed = Bed::new();
    bed.req(&["{}"], anyone()).await;
    let (old, new) = (event(1, 10, 0, &[], "old"), event(1, 11, 0, &[], "new"));
    bed.publish(&new).await;
    bed.publish(&old).await;
    bed.publish(&new).await;
    assert_eq!(*bed.delivered.lock(), [(new, vec![Slot(0)])]);
}

#[tokio::test]
async fn private_live_events_follow_the_keys_of_the_connection() {
    let bed = Bed::new();
    bed.req(&[r#"{"kinds":[1059]}"#], Reader { keys: vec![key(8)] })
        .await;
    let wrap = |at, to| event(1, at, 1059, &[&["p", &key(to).to_hex()]], "wrap");
    bed.publish(&wrap(10, 5)).await;
    assert!(bed.delivered.lock().is_empty());
    bed.matcher.authenticate(ConnectionId(1), key(5));
    let second = wrap(11, 5);
    bed.publish(&second).await;
    assert_eq!(*bed.delivered.lock(), [(second, vec![Slot(0)])]);
    bed.matcher.disconnect(ConnectionId(1));
    bed.publish(&wrap(12, 5)).await;
    assert_eq!(bed.delivered.lock().len(), 1);
}

#[tokio::test]
async fn count_is_the_size_of_the_visible_union() {
    let bed = Bed::new();
    notes(&bed, 4).await;
    bed.publish(&event(2, 100, 4, &[], "secret")).await;
    let count = Count {
        filters: ["{}", r#"{"until":20,"limit":1}"#]
            .map(|filter| Filter::parse(filter).unwrap())
            .to_vec(),
        reader: Arc::default(),
        after: CommitNumber::default(),
        now: NOW,
        trace: None,
    };
    assert_eq!(bed.matcher.count(count).await.unwrap().count, 4);
}

#[tokio::test]
async fn a_question_waits_for_the_commit_that_it_has_to_see() {
    let bed = Arc::new(Bed::new());
    let note = event(1, 10, 1, &[], "mine");
    let open = Open {
        after: CommitNumber(1),
        ..Bed::open(&["{}"], anyone())
    };
    let opened = async {
        let mut pages = bed.matcher.open(open).await.unwrap();
        pages.next().await.unwrap().events.len()
    };
    let publish = async {
        tokio::task::yield_now().await;
        bed.publish(&note).await;
    };
    let (found, ()) = tokio::join!(opened, publish);
    assert_eq!(found, 1);
}

#[tokio::test]
async fn a_question_whose_commit_does_not_come_is_refused_not_answered_without_it() {
    let bed = Bed::new();
    let open = Open {
        after: CommitNumber(1),
        ..Bed::open(&["{}"], anyone())
    };
    assert_eq!(bed.matcher.open(open).await.err(), Some(BusError::TimedOut));
    let count = Count {
        filters: vec![Filter::default()],
        reader: Arc::default(),
        after: CommitNumber(1),
        now: NOW,
        trace: None,
    };
    let refusal = bed.matcher.count(count).await.unwrap_err();
    assert_eq!(refusal.prefix, Prefix::Error);
}

#[tokio::test]
async fn the_budget_of_a_count_is_for_all_its_filters() {
    let bed = Bed::counting(Budget {
        rows: 7,
        time: Duration::MAX,
    });
    notes(&bed, 3).await;
    let count = |filters: &[&str]| Count {
        filters: filters
            .iter()
            .map(|filter| Filter::parse(filter).unwrap())
            .collect(),
        reader: Arc::default(),
        after: CommitNumber::default(),
        now: NOW,
        trace: None,
    };
    let one = bed.matcher.count(count(&["{}"])).await.unwrap();
    assert_eq!(one.count, 3);
    let three = bed.matcher.count(count(&["{}", "{}", "{}"])).await;
    assert_eq!(three.unwrap_err().prefix, Prefix::Error);
    // So that a question that is too much isn't taken for a failure of the relay.
    assert_eq!(bed.matcher.metrics().answers_over_budget.get(), 1);
}

#[tokio::test]
async fn subscriptions_that_come_and_go_leave_nothing_behind_even_without_events() {
    let bed = Bed::new();
    for turn in 0_u64..50 {
        let authors: Vec<String> = (0..100_u64)
            .map(|n| format!("\"{:064x}\"", turn * 1_000 + n))
            .collect();
        let filter = format!(r#"{{"authors":[{}],"limit":0}}"#, authors.join(","));
        bed.req(&[&filter], anyone()).await;
        bed.matcher.close(Slot(0));
    }
    let stats = bed.matcher.index_stats();
    assert!(stats.purges <= 2 && stats.filters <= 2, "{stats:?}");
}

#[tokio::test]
async fn an_ephemeral_event_that_is_sent_again_is_delivered_once() {
    let bed = Bed::new();
    bed.req(&[r#"{"kinds":[20001]}"#], anyone()).await;
    let event = event(1, 10, 20_001, &[], "typing");
    bed.matcher.apply(FeedItem::Ephemeral(Arc::clone(&event)));
    bed.matcher.apply(FeedItem::Ephemeral(Arc::clone(&event)));
    assert_eq!(*bed.delivered.lock(), [(event, vec![Slot(0)])]);
}
