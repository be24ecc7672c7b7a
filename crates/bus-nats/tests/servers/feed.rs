//! Matchers: what they start with, follow and miss; and what is newest.

use std::sync::Arc;

use heliograph_bus::{
    Bus as _, BusError, CommitNumber, Committed, Feed as _, FeedItem,
    conformance::{all, event, next_commit, note, soon},
};
use heliograph_bus_nats::{FeedError, NatsOptions};

use crate::bed::{Bed, block_on, options, other, until};

async fn commit(bed: &Bed, n: u32) -> CommitNumber {
    let number = bed.commit(vec![Committed::Winner(note(n))]).await;
    number.unwrap()
}

async fn purge_up_to(bed: &Bed, options: &NatsOptions, number: u64) {
    let stream = format!("{}_committed", options.cluster);
    let stream = bed.context().get_stream(stream).await.unwrap();
    // Everything below this number.
    stream.purge().sequence(number).await.unwrap();
}

#[test]
fn a_feed_begins_with_the_oldest_commit_that_is_kept() {
    block_on(async {
        let options = options();
        let ingest = Bed::open(options.clone()).await;
        for n in 1..=10 {
            commit(&ingest, n).await;
        }
        purge_up_to(&ingest, &options, 4).await;
        let matcher = Bed::open(other(&options, "matcher-0")).await;
        let caught_up = matcher.feed_caught_up();
        let mut feed = matcher.feed();
        for n in 4..=10_u32 {
            let expected = (CommitNumber(n.into()), vec![Committed::Winner(note(n))]);
            assert_eq!(next_commit(&mut feed).await, expected);
            assert!(!*caught_up.borrow(), "commit {n} isn't applied yet");
        }
        // Asking for more says that the last is applied.
        let (more, _) = tokio::join!(next_commit(&mut feed), async {
            until("caught up", || *caught_up.borrow()).await;
            commit(&ingest, 11).await
        });
        assert_eq!(more.0, CommitNumber(11));
    });
}

#[test]
fn a_feed_says_where_it_begins_if_earlier_commits_are_gone() {
    block_on(async {
        let options = options();
        let ingest = Bed::open(options.clone()).await;
        for n in 1..=5 {
            commit(&ingest, n).await;
        }
        purge_up_to(&ingest, &options, 4).await;
        let matcher = Bed::open(other(&options, "matcher-0")).await;
        let mut some = matcher.feed();
        let begins = |number| Some(FeedItem::Begins(CommitNumber(number)));
        assert_eq!(soon("the beginning", some.next()).await, begins(3));
        assert_eq!(next_commit(&mut some).await.0, CommitNumber(4));

        // Nothing is left of them, and still it isn't the beginning of the stream.
        purge_up_to(&ingest, &options, 6).await;
        let matcher = Bed::open(other(&options, "matcher-1")).await;
        let caught_up = matcher.feed_caught_up();
        let mut none = matcher.feed();
        assert_eq!(soon("the beginning", none.next()).await, begins(5));
        assert!(!*caught_up.borrow(), "the beginning isn't applied yet");
        let (next, ()) = tokio::join!(next_commit(&mut none), async {
            until("caught up", || *caught_up.borrow()).await;
            commit(&ingest, 6).await;
        });
        assert_eq!(next.0, CommitNumber(6));
    });
}

#[test]
fn a_feed_of_an_empty_stream_is_caught_up_at_once() {
    block_on(async {
        let bed = Bed::open(options()).await;
        let caught_up = bed.feed_caught_up();
        let mut feed = bed.feed();
        let (item, ()) = tokio::join!(next_commit(&mut feed), async {
            until("caught up", || *caught_up.borrow()).await;
            commit(&bed, 1).await;
        });
        assert_eq!(item.0, CommitNumber(1));
    });
}

#[test]
fn a_feed_that_missed_commits_ends_and_says_so() {
    block_on(async {
        let options = NatsOptions {
            feed_items_max: 1,
            ..options()
        };
        let bed = Bed::open(options.clone()).await;
        let mut feed = bed.feed();
        commit(&bed, 0).await;
        assert_eq!(next_commit(&mut feed).await.0, CommitNumber(1));
        // Far more than is read ahead, in number and in bytes.
        let text = "x".repeat(16 << 10);
        for n in 1..1_000 {
            let events = vec![Committed::Winner(event(n, 1, &text))];
            bed.commit(events).await.unwrap();
        }
        purge_up_to(&bed, &options, 990).await;
        let mut last = 1;
        while let Some(item) = soon("the end", feed.next()).await {
            let FeedItem::Committed { number, .. } = item else {
                panic!("{item:?}")
            };
            last += 1;
            assert_eq!(number, CommitNumber(last), "nothing is skipped");
        }
        assert!(last < 990, "{last}");
        let error = bed.feed_error().unwrap();
        assert!(
            matches!(error, FeedError::Gap { expected, found: 990 } if expected == last + 1),
            "{error}"
        );
        assert_eq!(bed.metric("bus_feed_gaps_total"), 1.0);
    });
}

#[test]
fn a_feed_does_not_pass_over_what_it_can_not_read() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        let mut feed = bed.feed();
        let subject = format!("{}.committed", options.cluster);
        let context = bed.context();
        let rubbish = context.publish(subject, "\u{7}rubbish".into());
        rubbish.await.unwrap().await.unwrap();
        assert!(soon("the end", feed.next()).await.is_none());
        let error = bed.feed_error().unwrap();
        assert!(
            matches!(error, FeedError::Unreadable { number: 1, .. }),
            "{error}"
        );
    });
}

#[test]
fn history_that_is_no_longer_kept_is_refused() {
    block_on(async {
        let options = options();
        let bed = Bed::open(options.clone()).await;
        for n in 1..=10 {
            commit(&bed, n).await;
        }
        purge_up_to(&bed, &options, 5).await;
        for after in [0, 3, 11] {
            let history = bed.history(CommitNumber(after)).await;
            assert_eq!(history, Err(BusError::Closed), "after {after}");
        }
        let history = bed.history(CommitNumber(4)).await.unwrap();
        assert_eq!(history.len(), 6);
        assert_eq!(bed.history(CommitNumber(10)).await, Ok(Vec::new()));
    });
}

#[test]
fn history_comes_in_bounded_parts() {
    block_on(async {
        let bed = Bed::open(NatsOptions {
            history_bytes_max: 100 << 10,
            ..options()
        })
        .await;
        let text = "x".repeat(30 << 10);
        for n in 0..10 {
            let events = vec![Committed::Winner(event(n, 1, &text))];
            bed.commit(events).await.unwrap();
        }
        let mut after = CommitNumber(0);
        let mut calls = 0;
        loop {
            let part = bed.history(after).await.unwrap();
            let Some((last, _)) = part.last() else { break };
            assert!(part.len() <= 4, "{} of 30 KiB", part.len());
            after = *last;
            calls += 1;
        }
        assert_eq!((after, calls >= 3), (CommitNumber(10), true));
    });
}

#[test]
fn many_who_ask_for_the_newest_share_few_requests() {
    block_on(async {
        let bed = Bed::open(options()).await;
        let number = commit(&bed, 1).await;
        let asking = all((0..1_000).map(|_| bed.newest()));
        let answers = soon("answers", asking).await;
        assert!(answers.iter().all(|answer| *answer == Ok(number)));
        let requests = bed.metric("bus_newest_requests_total");
        assert!(
            (1.0..=50.0).contains(&requests),
            "{requests} requests for 1,000"
        );
    });
}

#[test]
fn the_newest_covers_what_another_process_committed() {
    block_on(async {
        let options = options();
        let ingest = Bed::open(options.clone()).await;
        let matcher = Bed::open(other(&options, "matcher-0")).await;
        for n in 0..200 {
            let number = commit(&ingest, n).await;
            // Others ask all the time, so that requests are under way.
            let others = all((0..5).map(|_| matcher.newest()));
            assert!(matcher.newest().await.unwrap() >= number);
            drop(others);
        }
        assert!(matcher.known() >= CommitNumber(200));
    });
}

#[test]
fn nothing_to_commit_is_no_commit() {
    block_on(async {
        let bed = Bed::open(options()).await;
        assert_eq!(bed.commit(Vec::new()).await, Ok(CommitNumber(0)));
        assert_eq!(bed.newest().await, Ok(CommitNumber(0)));
    });
}

#[test]
fn commits_of_several_workers_are_all_in_the_feed() {
    block_on(async {
        let options = options();
        let beds = Bed::open_each(&options, ["ingest-0", "ingest-1"]).await;
        let mut feed = beds[0].feed();
        let one = async |bed: &Bed, from: u32| {
            for n in from..from + 200 {
                commit(bed, n).await;
            }
        };
        let reading = async {
            let mut events = Vec::new();
            for number in 1..=400 {
                let (at, part) = next_commit(&mut feed).await;
                assert_eq!(at, CommitNumber(number));
                events.extend(part);
            }
            events
        };
        let (events, (), ()) = tokio::join!(reading, one(&beds[0], 0), one(&beds[1], 1_000));
        for start in [0, 1_000] {
            let of_one: Vec<_> = events
                .iter()
                .filter_map(|committed| match committed {
                    Committed::Winner(event) => Some(Arc::clone(event)),
                    _ => None,
                })
                .filter(|event| (start..start + 200).any(|n| event.id() == note(n).id()))
                .collect();
            let expected: Vec<_> = (start..start + 200).map(note).collect();
            assert_eq!(of_one, expected, "the order of one worker");
        }
    });
}
