//! Merging commutes: any order and any repetition of the same events leave the same visible set,
//! the one that the definition gives (CL-1). Failures shrink to few events.

use std::sync::Arc;

use heliograph_protocol::{Event, Filter, Timestamp};
use heliograph_store::{
    EventStore, MemoryStore,
    conformance::{collect, event, key, relay_urls, surviving},
};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

/// One event to come, small enough to shrink; requests name earlier ones by their place.
#[derive(Debug, Clone)]
enum Draft {
    Note {
        author: u32,
        at: u64,
    },
    GiftWrap {
        at: u64,
        to: u32,
    },
    Version {
        author: u32,
        at: u64,
        kind: u16,
        d: &'static str,
        text: u8,
    },
    Delete {
        author: u32,
        at: u64,
        target: prop::sample::Index,
    },
    DeleteAddress {
        author: u32,
        at: u64,
        target: prop::sample::Index,
    },
    Vanish {
        author: u32,
        at: u64,
        relay: &'static str,
    },
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let author = 0..3_u32;
    let at = 0..8_u64;
    let who = move || (author.clone(), at.clone());
    let target = || any::<prop::sample::Index>();
    let kind = prop_oneof![Just(0_u16), Just(30_023)];
    let d = prop_oneof![Just("a"), Just("b")];
    let relay = prop_oneof![Just("ALL_RELAYS"), Just("wss://other.example.com")];
    let draft = prop_oneof![
        2 => who().prop_map(|(author, at)| Draft::Note { author, at }),
        2 => who().prop_map(|(to, at)| Draft::GiftWrap { at, to }),
        4 => (who(), kind, d, 0..3_u8).prop_map(|((author, at), kind, d, text)| {
            Draft::Version { author, at, kind, d, text }
        }),
        3 => (who(), target())
            .prop_map(|((author, at), target)| Draft::Delete { author, at, target }),
        2 => (who(), target())
            .prop_map(|((author, at), target)| Draft::DeleteAddress { author, at, target }),
        1 => (who(), relay).prop_map(|((author, at), relay)| Draft::Vanish { author, at, relay }),
    ];
    prop::collection::vec(draft, 1..24)
}

fn build(drafts: &[Draft]) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = vec![event(0, 4, 1, &[], "first")];
    for draft in drafts {
        let next = match draft {
            Draft::Note { author, at } => event(*author, *at, 1, &[], ""),
            Draft::GiftWrap { at, to } => event(9, *at, 1059, &[&["p", &key(*to).to_hex()]], ""),
            Draft::Version {
                author,
                at,
                kind,
                d,
                text,
            } => event(*author, *at, *kind, &[&["d", d]], &text.to_string()),
            Draft::Delete { author, at, target } => {
                let target = target.get(&events);
                // Not older than what it names: see `random_events`.
                let at = target.created_at().as_secs().max(*at);
                event(*author, at, 5, &[&["e", &target.id().to_hex()]], "")
            }
            Draft::DeleteAddress { author, at, target } => {
                let address = target.get(&events).address();
                let text = address.map(|of| format!("{}:{}:{}", of.kind, of.pubkey, of.d));
                event(*author, *at, 5, &[&["a", &text.unwrap_or_default()]], "")
            }
            Draft::Vanish { author, at, relay } => {
                event(*author, *at, 62, &[&["relay", relay]], "")
            }
        };
        events.push(next);
    }
    events
}

/// Merges the events, in batches of `batch`, and returns what is visible.
fn merged(events: &[Arc<Event>], batch: usize) -> Vec<Arc<Event>> {
    let store = MemoryStore::new(relay_urls());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for batch in events.chunks(batch) {
            store
                .write(batch.to_vec())
                .await
                .expect("memory doesn't fail");
        }
        collect(&store, &Filter::default(), Timestamp::from_secs(100)).await
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<Arc<Event>>, Vec<Arc<Event>>)> {
    drafts()
        .prop_map(|drafts| build(&drafts))
        .prop_flat_map(|events| {
            let mut twice = events.clone();
            twice.extend(events.iter().take(5).cloned());
            (Just(events), Just(twice).prop_shuffle())
        })
}

proptest! {
    #[test]
    fn any_order_leaves_what_the_definition_says((events, shuffled) in shuffled()) {
        let expected = surviving(&events);
        prop_assert_eq!(&merged(&events, 1), &expected);
        prop_assert_eq!(&merged(&shuffled, 1), &expected);
    }

    #[test]
    fn batches_are_the_same_as_events_one_by_one(
        (_events, shuffled) in shuffled(),
        batch in 1..9_usize,
    ) {
        prop_assert_eq!(merged(&shuffled, batch), merged(&shuffled, 1));
    }
}
