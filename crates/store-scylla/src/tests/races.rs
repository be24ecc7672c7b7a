//! Two workers that write what concerns each other at the same moment.

use std::sync::Arc;

use heliograph_protocol::{Event, EventId, Filter, Outcome};
use heliograph_store::{
    EventStore as _,
    conformance::{NOW, RELAY_URL, collect, event, key},
};

use super::{bed::Bed, block_on};
use crate::{ScyllaStore, statement::Op};

const ROUNDS: u32 = 120;

async fn at_once(
    one: &ScyllaStore,
    first: &Arc<Event>,
    other: &ScyllaStore,
    second: &Arc<Event>,
) -> (Outcome, Outcome) {
    let write = async |store: &ScyllaStore, event: &Arc<Event>| {
        store.write(vec![Arc::clone(event)]).await.unwrap()[0]
    };
    tokio::join!(write(one, first), write(other, second))
}

/// The ids that each of these filters finds, which has to be the same.
async fn found(store: &ScyllaStore, filters: &[String]) -> Vec<EventId> {
    let mut answers = Vec::new();
    for filter in filters {
        let filter = Filter::parse(filter).unwrap();
        let answer = collect(store, &filter, NOW).await;
        answers.push(answer.iter().map(|event| *event.id()).collect::<Vec<_>>());
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    answers.swap_remove(0)
}

fn by(author: u32, kind: u16) -> Vec<String> {
    let author = key(author);
    vec![
        format!(r#"{{"authors":["{author}"],"kinds":[{kind}]}}"#),
        format!(r#"{{"authors":["{author}"],"kinds":[{kind},40001,40002,40003,40004]}}"#),
    ]
}

/// `pair` gives the event that has to go and the one that removes it.
fn the_target_never_survives(pair: impl Fn(u32) -> (Arc<Event>, Arc<Event>)) {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        for round in 0..ROUNDS {
            let (target, request) = pair(round);
            let (_target, requested) = at_once(&bed, &target, &other, &request).await;
            assert_eq!(requested, Outcome::Stored, "round {round}");
            assert_eq!(bed.contains(target.id()).await, Ok(false), "round {round}");
            let author = u32::from_be_bytes(target.pubkey().as_bytes()[..4].try_into().unwrap());
            let left = found(&other, &by(author, target.kind().as_u16())).await;
            assert_eq!(left, [], "round {round}");
        }
    });
}

#[test]
fn a_deletion_by_id_and_its_target() {
    the_target_never_survives(|round| {
        let note = event(round, 10, 1, &[], "");
        let id = note.id().to_hex();
        (note, event(round, 20, 5, &[&["e", &id]], ""))
    });
}

#[test]
fn a_deletion_by_address_and_its_target() {
    the_target_never_survives(|round| {
        let article = event(round, 10, 30_023, &[&["d", "a"]], "");
        let address = format!("30023:{}:a", key(round));
        (article, event(round, 20, 5, &[&["a", &address]], ""))
    });
}

#[test]
fn a_request_to_vanish_and_a_note() {
    the_target_never_survives(|round| {
        let note = event(round, 10, 1, &[], "");
        (note, event(round, 20, 62, &[&["relay", RELAY_URL]], ""))
    });
}

#[test]
fn a_request_to_vanish_and_a_gift_wrap() {
    the_target_never_survives(|round| {
        let wrap = event(round, 10, 1059, &[&["p", &key(round + 5_000).to_hex()]], "");
        (
            wrap,
            event(round + 5_000, 20, 62, &[&["relay", RELAY_URL]], ""),
        )
    });
}

/// Writes `first` through `other`, held up before its first statement of this kind while `second` is
/// written whole by another worker.
async fn overtaken(
    bed: &Bed,
    other: &ScyllaStore,
    held: Op,
    first: &Arc<Event>,
    second: &Arc<Event>,
) {
    let (there, go) = other.core().client.stop.hold(held);
    let overtake = async {
        there.await.expect("the statement comes");
        bed.write(vec![Arc::clone(second)]).await.unwrap();
        drop(go);
    };
    let write = other.write(vec![Arc::clone(first)]);
    let (written, ()) = tokio::join!(write, overtake);
    written.unwrap();
}

/// Events by the author and others, and what removes each.
fn removals() -> [(Arc<Event>, Arc<Event>); 4] {
    let (note, article) = (
        event(1, 10, 1, &[], ""),
        event(2, 10, 30_023, &[&["d", "a"]], ""),
    );
    let wrap = event(4, 10, 1059, &[&["p", &key(5).to_hex()]], "");
    let (id, address) = (note.id().to_hex(), format!("30023:{}:a", key(2)));
    let by_id = event(1, 20, 5, &[&["e", &id]], "");
    let by_address = event(2, 20, 5, &[&["a", &address]], "");
    let vanish = |author| event(author, 20, 62, &[&["relay", RELAY_URL]], "");
    [
        (note, by_id),
        (article, by_address),
        (event(3, 10, 1, &[], ""), vanish(3)),
        (wrap, vanish(5)),
    ]
}

/// It has to be there when its guard is read once more.
#[test]
fn an_event_that_is_overtaken_by_what_removes_it_goes() {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        for held in [Op::IndexPut, Op::EventPut] {
            for (target, request) in removals() {
                overtaken(&bed, &other, held, &target, &request).await;
                let left = bed.contains(target.id()).await;
                assert_eq!(left, Ok(false), "{held:?}: {}", target.as_str());
            }
            bed.empty().await;
        }
    });
}

/// The guard has to be there when its targets are looked for.
#[test]
fn what_overtakes_its_own_removal_goes() {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        for held in [Op::GuardPut, Op::EventPut] {
            for (target, request) in removals() {
                overtaken(&bed, &other, held, &request, &target).await;
                let left = bed.contains(target.id()).await;
                assert_eq!(left, Ok(false), "{held:?}: {}", target.as_str());
            }
            bed.empty().await;
        }
    });
}

#[test]
fn a_version_that_is_overtaken_by_a_better_one_goes() {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        let mut tied = ["a", "b"].map(|text| event(1, 10, 0, &[], text));
        tied.sort_by_key(|version| *version.id());
        let [lowest, highest] = tied;
        let (old, new) = (event(2, 10, 0, &[], ""), event(2, 20, 0, &[], ""));
        for held in [Op::IndexPut, Op::EventPut, Op::SeatPut] {
            for (worse, better) in [(&highest, &lowest), (&old, &new)] {
                overtaken(&bed, &other, held, worse, better).await;
                assert_eq!(bed.contains(worse.id()).await, Ok(false), "{held:?}");
                assert_eq!(bed.contains(better.id()).await, Ok(true), "{held:?}");
            }
            bed.empty().await;
        }
    });
}

#[test]
fn versions_of_one_second_end_with_the_lowest_id() {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        let mut both_stored = 0;
        for round in 0..4 * ROUNDS {
            let versions = ["a", "b"].map(|text| event(round, 10, 0, &[], text));
            let outcomes = at_once(&bed, &versions[0], &other, &versions[1]).await;
            both_stored += u32::from(outcomes == (Outcome::Stored, Outcome::Stored));
            let lowest = *versions.iter().map(|event| event.id()).min().unwrap();
            for store in [&*bed, &other] {
                assert_eq!(found(store, &by(round, 0)).await, [lowest], "round {round}");
            }
            for version in &versions {
                let counts = *version.id() == lowest;
                assert_eq!(
                    bed.contains(version.id()).await,
                    Ok(counts),
                    "round {round}"
                );
            }
        }
        assert!(both_stored < 4 * ROUNDS, "no worker ever saw the other");
        let races = bed.metrics().races() + other.metrics().races();
        assert!(races > 0, "no worker ever had to take something back");
    });
}

#[test]
fn a_loser_left_behind_is_ignored_and_cleared_by_who_meets_it() {
    block_on(async {
        let bed = Bed::open().await;
        let other = bed.another().await;
        let old = event(1, 10, 0, &[&["t", "x"]], "");
        let new = event(1, 20, 0, &[], "");
        bed.write(vec![Arc::clone(&old)]).await.unwrap();
        // The newer version's worker dies once its seat is taken and it is written.
        let all = bed.core().client.metrics().count(Op::EventDelete);
        for writes in 0.. {
            other.core().client.stop.after(writes);
            drop(other.write(vec![Arc::clone(&new)]).await);
            if bed.contains(new.id()).await == Ok(true) {
                break;
            }
        }
        assert_eq!(bed.contains(old.id()).await, Ok(false));
        assert!(
            bed.core().event(*old.id()).await.unwrap().is_some(),
            "still there"
        );
        let tagged = Filter::parse(r##"{"#t":["x"]}"##).unwrap();
        assert_eq!(collect(&*bed, &tagged, NOW).await, []);
        assert!(
            bed.core().event(*old.id()).await.unwrap().is_none(),
            "cleared"
        );
        let removed = bed.core().client.metrics().count(Op::EventDelete);
        assert_eq!(removed, all + 1);
    });
}
