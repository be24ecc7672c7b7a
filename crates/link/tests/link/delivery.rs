//! Live events, releases and keys.

use heliograph_bus::{CommitNumber, ConnectionId, Place, Requests, Slot};
use heliograph_link::ServerOptions;
use heliograph_policy::Reader;
use heliograph_protocol::{PublicKey, Refusal};

use crate::bed::{Gateway, Log, Noted, Served, gateway, note, open, start, until};

const ALL: &str = r#"{"kinds":[1]}"#;
const NONE: &str = r#"{"kinds":[2]}"#;

async fn bed() -> (Log, Served, Gateway) {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&served.target));
    (log, served, gateway)
}

fn commit(log: &Log, served: &Served, content: &str) {
    log.lock().push(note(content));
    served.matcher.catch_up();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_goes_once_to_each_gateway_with_its_own_slots() {
    let (log, served, a) = bed().await;
    let b = gateway("other", Some(&served.target));
    // Opened in an order that gives the matcher's blocks another one than the gateway's.
    for slot in [70_000, 3, 1, 65_536] {
        a.live(slot, ALL).await;
    }
    b.live(2, ALL).await;
    b.live(1, NONE).await;
    commit(&log, &served, "x");
    let event = |slots: &[u32]| Noted::Event {
        content: "x".to_owned(),
        place: Some(Place {
            number: CommitNumber(1),
            index: 0,
        }),
        slots: slots.to_vec(),
    };
    until(|| !a.hub.noted.lock().is_empty() && !b.hub.noted.lock().is_empty()).await;
    assert_eq!(*a.hub.noted.lock(), [event(&[1, 3, 65_536, 70_000])]);
    assert_eq!(*b.hub.noted.lock(), [event(&[2])]);
    assert_eq!(served.metric("deliveries_sent_total"), 2.0);
    served.matcher.ephemeral(&note("y"));
    until(|| b.hub.noted.lock().len() == 2).await;
    let last = b.hub.noted.lock().last().cloned();
    let Some(Noted::Event { place, slots, .. }) = last else {
        panic!("{last:?}")
    };
    assert_eq!((place, slots), (None, vec![1, 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_subscription_is_released_once_and_its_slot_serves_again() {
    let (log, served, gateway) = bed().await;
    gateway.live(7, ALL).await;
    gateway.client.close(Slot(7));
    gateway.client.close(Slot(7));
    until(|| gateway.hub.released(7) == 1).await;
    assert_eq!(served.matcher.open_slots(), 0);
    gateway.live(7, NONE).await;
    gateway.live(8, ALL).await;
    commit(&log, &served, "x");
    until(|| gateway.hub.contents(8) == ["x"]).await;
    assert!(gateway.hub.contents(7).is_empty());
    assert_eq!(gateway.hub.released(7), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_the_matcher_ends_is_told_once_and_still_closed() {
    let (_log, served, gateway) = bed().await;
    gateway.live(1, ALL).await;
    let refusal = Refusal::error("lost");
    served.matcher.end(&refusal);
    served.matcher.end(&refusal);
    until(|| !gateway.hub.ended().is_empty()).await;
    gateway.client.close(Slot(1));
    until(|| gateway.hub.released(1) == 1).await;
    let expected = [Noted::Ended(1, refusal), Noted::Released(1)];
    assert_eq!(*gateway.hub.noted.lock(), expected);
    assert_eq!(served.matcher.open_slots(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_reach_the_matcher_at_once_and_go_with_their_connection() {
    let (_log, served, gateway) = bed().await;
    let [a, b] = [1, 2].map(|byte| PublicKey::new([byte; 32]));
    gateway.connected().await;
    gateway.client.authenticate(ConnectionId(5), a);
    until(|| served.matcher.keys() == [vec![a]]).await;
    let mut asked = open(5, ALL);
    asked.reader = Reader { keys: vec![a, b] }.into();
    drop(gateway.client.open(asked).await.unwrap());
    assert_eq!(
        served.matcher.keys(),
        [vec![a, b]],
        "told with the question"
    );
    gateway.client.close(Slot(5));
    gateway.client.disconnect(ConnectionId(5));
    until(|| served.matcher.keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_session_of_a_gateway_ends_the_old_one() {
    let (log, served, old) = bed().await;
    old.live(1, ALL).await;
    old.client
        .authenticate(ConnectionId(1), PublicKey::new([1; 32]));
    until(|| !served.matcher.keys().is_empty()).await;
    let new = gateway("g", Some(&served.target));
    new.live(9, ALL).await;
    old.target.send_replace(None);
    until(|| served.matcher.open_slots() == 1 && served.sessions.count() == 1).await;
    until(|| served.matcher.keys().is_empty()).await;
    commit(&log, &served, "x");
    until(|| new.hub.contents(9) == ["x"]).await;
    assert!(old.hub.contents(1).is_empty());
}
