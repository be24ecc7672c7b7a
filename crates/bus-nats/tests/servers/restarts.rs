//! Servers that are killed and come back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use heliograph_bus::{
    Bus as _, Committed, Feed as _, FeedItem, Intake as _, IntakeItem as _,
    conformance::{all, note, receipt, soon},
};
use heliograph_bus_nats::{
    Durability, FeedError, Lease, LinkState, NatsOptions, Role, StreamStorage,
};
use heliograph_protocol::{EventId, Outcome};
use heliograph_sandbox::nats::{Nats, NatsOptions as ServerOptions};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::bed::{Bed, block_on, options, other, until};

fn start(nodes: u8) -> Arc<Nats> {
    let options = ServerOptions {
        nodes,
        ..ServerOptions::default()
    };
    Arc::new(Nats::start(&options).unwrap())
}

fn on(servers: &Nats, replicas: usize) -> NatsOptions {
    NatsOptions {
        servers: servers.urls(),
        storage: StreamStorage::File,
        committed_storage: StreamStorage::File,
        replicas,
        ..options()
    }
}

/// Restarts a node off the runtime's threads.
async fn restart(servers: &Arc<Nats>, node: usize) {
    let servers = Arc::clone(servers);
    let restarting = spawn_blocking(move || servers.restart(node).unwrap());
    restarting.await.unwrap();
}

#[test]
fn every_acknowledged_publish_is_in_the_stream_after_the_server_was_killed() {
    block_on(async {
        let servers = start(1);
        let bed = Bed::open(NatsOptions {
            durability: Durability::Quorum,
            quorum_with_few_replicas: true,
            publish_deadline: Duration::from_secs(20),
            ..on(&servers, 1)
        })
        .await;
        let publish = all((0..20).map(|lane| {
            let bed = &bed;
            async move {
                let mut acknowledged = Vec::new();
                for n in 0..100 {
                    let event = note(lane * 1_000 + n);
                    let id = *event.id();
                    if bed.publish(event).await.is_ok() {
                        acknowledged.push(id);
                    }
                    sleep(Duration::from_millis(10)).await;
                }
                acknowledged
            }
        }));
        let kill = async {
            sleep(Duration::from_millis(300)).await;
            servers.kill(0);
            until("noticed", || matches!(bed.state(), LinkState::Down { .. })).await;
            restart(&servers, 0).await;
            until("connected again", || bed.state() == LinkState::Up).await;
        };
        let (acknowledged, ()) = soon("both", async { tokio::join!(publish, kill) }).await;
        let acknowledged: BTreeSet<EventId> = acknowledged.into_iter().flatten().collect();
        assert!(
            acknowledged.len() > 1_000,
            "{} acknowledged",
            acknowledged.len()
        );
        let mut intake = bed.intake();
        let mut missing = acknowledged;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !missing.is_empty() && Instant::now() < deadline {
            for item in soon("events", intake.next(1_000)).await.unwrap() {
                missing.remove(item.event().id());
                item.answer(Ok(receipt(Outcome::Stored, 1)));
            }
        }
        assert_eq!(missing.len(), 0, "acknowledged and lost");
    });
}

#[test]
fn a_batch_that_is_sent_again_is_kept_once() {
    block_on(async {
        let servers = start(1);
        let options = NatsOptions {
            durability: Durability::Quorum,
            quorum_with_few_replicas: true,
            ack_timeout: Duration::from_millis(200),
            ..on(&servers, 1)
        };
        let bed = Bed::open(options.clone()).await;
        servers.pause(0);
        let status = format!("/proc/{}/stat", servers.pid(0));
        until("stopped", || {
            std::fs::read_to_string(&status).unwrap().contains(" T ")
        })
        .await;
        let resume = async {
            let retries = r#"bus_publish_retries_total{what="events"}"#;
            until("sent again", || bed.metric(retries) >= 3.0).await;
            servers.resume(0);
        };
        let (answer, ()) = tokio::join!(soon("the receipt", bed.publish(note(1))), resume);
        assert_eq!(answer, Ok(receipt(Outcome::Stored, 0)));
        let stream = format!("{}_events", options.cluster);
        let stream = bed.context().get_stream(stream).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 1);
    });
}

#[test]
fn what_ingest_shows_of_the_server_says_how_old_it_is() {
    block_on(async {
        let servers = start(1);
        let bed = Bed::open(on(&servers, 1)).await;
        bed.work(|_| Ok(receipt(Outcome::Stored, 1)));
        let looked = || bed.metric("ingest_looked_timestamp_seconds");
        until("a look", || looked() > 0.0).await;
        let age = || heliograph_telemetry::unix_micros() as f64 / 1e6 - looked();
        servers.kill(0);
        // A look would have come every two seconds.
        until("its age", || age() > 5.0).await;
        restart(&servers, 0).await;
        until("another look", || age() < 2.0).await;
    });
}

#[test]
fn a_feed_goes_on_where_it_was_when_the_server_restarts() {
    block_on(async {
        let servers = start(1);
        let bed = Bed::open(on(&servers, 1)).await;
        let mut feed = bed.feed();
        let mut expected = 0;
        let mut read_one = async |expected: &mut u64| {
            let Some(FeedItem::Committed { number, .. }) = soon("a commit", feed.next()).await
            else {
                panic!("the feed ended: {:?}", bed.feed_error())
            };
            *expected += 1;
            assert_eq!(number.0, *expected);
        };
        for n in 0..10 {
            bed.commit(vec![Committed::Winner(note(n))]).await.unwrap();
        }
        for _ in 0..5 {
            read_one(&mut expected).await;
        }
        servers.kill(0);
        restart(&servers, 0).await;
        for n in 10..20 {
            bed.commit(vec![Committed::Winner(note(n))]).await.unwrap();
        }
        for _ in 5..20 {
            read_one(&mut expected).await;
        }
        assert_eq!(bed.metric("bus_feed_gaps_total"), 0.0);
    });
}

#[test]
fn a_feed_ends_when_the_stream_was_made_anew_under_the_same_numbers() {
    block_on(async {
        let servers = start(1);
        let options = NatsOptions {
            committed_storage: StreamStorage::Memory,
            ..on(&servers, 1)
        };
        let bed = Bed::open(options).await;
        let mut feed = bed.feed();
        bed.commit(vec![Committed::Winner(note(0))]).await.unwrap();
        assert!(soon("a commit", feed.next()).await.is_some());
        servers.kill(0);
        restart(&servers, 0).await;
        for n in 1..4 {
            bed.commit(vec![Committed::Winner(note(n))]).await.unwrap();
        }
        assert!(soon("the end", feed.next()).await.is_none());
        let gap = matches!(bed.feed_error(), Some(FeedError::Gap { expected: 2, .. }));
        assert!(gap, "{:?}", bed.feed_error());
    });
}

#[test]
fn nobody_is_removed_while_the_server_is_away() {
    block_on(async {
        let servers = start(1);
        let options = on(&servers, 1);
        let watcher = Bed::open(options.clone()).await;
        let matcher = Bed::open(other(&options, "matcher-0")).await;
        let members = watcher.members(Role::Matcher);
        let lease = Lease {
            role: Role::Matcher,
            name: "matcher-0".to_owned(),
            address: String::new(),
            ready: true,
        };
        let _membership = matcher.join(lease).await.unwrap();
        until("seen", || members.borrow().len() == 1).await;
        let mut changes = members.clone();
        changes.borrow_and_update();
        servers.kill(0);
        sleep(options.lease_ttl * 3).await;
        restart(&servers, 0).await;
        sleep(options.lease_ttl * 3).await;
        assert!(!changes.has_changed().unwrap(), "{:?}", members.borrow());
        assert_eq!(members.borrow().len(), 1);
        watcher.close(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_cluster_loses_a_server_and_no_event() {
    block_on(async {
        let servers = start(3);
        let options = on(&servers, 3);
        let gateway = Bed::open(NatsOptions {
            durability: Durability::Stored,
            publish_deadline: Duration::from_secs(20),
            ..options.clone()
        })
        .await;
        let ingest = Bed::open(other(&options, "ingest-0")).await;
        let matcher = Bed::open(other(&options, "matcher-0")).await;
        let mut intake = ingest.intake();
        let committing = ingest.bus.clone();
        ingest.tasks.spawn("test worker", async move {
            while let Some(items) = intake.next(1_000).await {
                let events = items
                    .iter()
                    .map(|item| Committed::Winner(Arc::clone(item.event())));
                let commit = committing.commit(events.collect()).await;
                for item in items {
                    item.answer(
                        commit
                            .clone()
                            .map(|commit| receipt(Outcome::Stored, commit.0)),
                    );
                }
            }
        });
        let mut feed = matcher.feed();
        let publish = all((0..10).map(|lane| {
            let gateway = &gateway;
            async move {
                let mut acknowledged = Vec::new();
                for n in 0..60 {
                    let event = note(lane * 1_000 + n);
                    let id = *event.id();
                    if gateway.publish(event).await.is_ok() {
                        acknowledged.push(id);
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                acknowledged
            }
        }));
        let kill = async {
            sleep(Duration::from_millis(300)).await;
            // Where most leaders are is unknown; whichever they lead, they are elected anew.
            servers.kill(0);
            sleep(Duration::from_secs(1)).await;
            restart(&servers, 0).await;
        };
        // Each lane may have to wait for two elections, on a machine that has other work too.
        let both = async { tokio::join!(publish, kill) };
        let (acknowledged, ()) = timeout(Duration::from_secs(150), both)
            .await
            .expect("both within 150 s");
        let mut missing: BTreeSet<EventId> = acknowledged.into_iter().flatten().collect();
        println!("{} of 600 acknowledged", missing.len());
        assert!(missing.len() >= 590, "{} acknowledged", missing.len());
        let newest = soon("the newest", async {
            loop {
                if let Ok(newest) = matcher.newest().await {
                    return newest;
                }
            }
        })
        .await;
        let mut last = 0;
        while last < newest.0 {
            match soon("a commit", feed.next()).await {
                Some(FeedItem::Committed { number, events }) => {
                    last += 1;
                    assert_eq!(number.0, last, "no gap and no repetition");
                    for committed in events {
                        if let Committed::Winner(event) = committed {
                            missing.remove(event.id());
                        }
                    }
                }
                other => panic!("{other:?}: {:?}", matcher.feed_error()),
            }
        }
        assert_eq!(missing.len(), 0, "acknowledged and not announced");
    });
}
