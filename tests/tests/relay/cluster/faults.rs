//! Members are killed, started and added under load: nothing that got its OK is lost, no open
//! subscription misses anything or gets it twice, and no EOSE hides what is stored.

use std::{slice::from_ref, thread, time::Duration};

use heliograph_protocol::Event;
use heliograph_sandbox::cluster::Role;
use heliograph_testkit::{client::End, keys::Key};
use serde_json::json;

use super::{
    bed::{Bed, own_key, within},
    load::{Load, Subscribers},
};
use crate::{
    shutdown::check_drained,
    support::{accept_all, id_set, ids, notes, stored_of},
};

/// Stored before a fault, and asked for during it.
const STORED: usize = 300;

/// Asks both gateways for what is stored until the load ends: whole, or CLOSED with a reason. How
/// often it was whole, and how often not.
fn ask(bed: &Bed, load: &Load, key: &Key, stored: &[Event]) -> [usize; 2] {
    let (want, mut clients) = (id_set(stored), bed.both());
    let filter = json!({"authors": [key.hex()], "limit": STORED});
    let mut ends = [0, 0];
    for turn in 0.. {
        if load.is_over() {
            break;
        }
        let answer = clients[turn % 2].query(from_ref(&filter));
        match answer.end {
            End::Eose(_) => {
                assert_eq!(id_set(&answer.events), want, "an EOSE that hides something");
                ends[0] += 1;
            }
            End::Closed(text) => {
                assert!(text.starts_with("error: "), "{text}");
                ends[1] += 1;
            }
        }
    }
    ends
}

/// Publishes through both gateways while `faults` happen, with subscriptions open on both and
/// stored events asked for; then checks all that is promised.
fn check(faults: impl FnOnce(&Bed, &Load)) {
    let Some(bed) = Bed::fresh(&[]) else {
        return;
    };
    let (before, keys) = (own_key(), [own_key(), own_key()]);
    let stored = notes(&before, 1_700_000_000, STORED);
    accept_all(&mut bed.at(0), &stored);
    let mut subscribers = Subscribers::open(&bed, &keys);
    let load = Load::default();
    let (published, ends) = thread::scope(|scope| {
        let publishers: Vec<_> = (0..2)
            .map(|n| (bed.at(n), &keys[n], &load))
            .map(|(client, key, load)| scope.spawn(move || load.publish(client, key)))
            .collect();
        let asking = scope.spawn(|| ask(&bed, &load, &before, &stored));
        let over = load.guard();
        faults(&bed, &load);
        drop(over);
        let published: Vec<_> = publishers.into_iter().map(|thread| thread.join()).collect();
        (published, asking.join().expect("somebody who asks"))
    });
    let (mut accepted, mut unsure) = (Vec::new(), Vec::new());
    for part in published {
        let part = part.expect("a publisher");
        accepted.extend(part.accepted);
        unsure.extend(part.unsure);
    }
    println!(
        "{} accepted, {} refused with error:, answers whole and with an error: {ends:?}",
        accepted.len(),
        unsure.len()
    );
    assert!(ends[0] > 0, "nobody could read");
    let all = ids(&accepted);
    for mut client in bed.both() {
        let found = stored_of(&mut client, &all);
        let lost = all.iter().filter(|id| !found.contains(*id)).count();
        assert_eq!(lost, 0, "of {} that got OK true", all.len());
    }
    subscribers.check(&bed, &accepted, &unsure);
}

#[test]
fn subscriptions_go_on_without_gap_or_repetition_when_matchers_die_and_come() {
    check(|bed, load| {
        load.progress(200);
        for matcher in [0, 1] {
            bed.kill(Role::Matcher, matcher);
            load.progress(300);
            bed.restart(Role::Matcher, matcher).unwrap();
            load.progress(100);
        }
        for _ in 0..2 {
            bed.add(Role::Matcher).unwrap();
            load.progress(200);
        }
        let status = bed.terminate(Role::Matcher, 0).unwrap();
        let said = bed.output(Role::Matcher, 0);
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("failed to renew the lease"), "{said}");
        load.progress(200);
        // Of the gateways, which all lived: each had to move away from both matchers that died.
        within(PATIENCE, "resumed subscriptions", || {
            let moved = bed.sum(Role::Gateway, "heliograph_link_resume_seconds_count");
            (moved >= 2.0).then_some(())
        });
    });
}

#[test]
fn nothing_that_got_its_ok_is_lost_and_nobody_misses_it_when_ingest_workers_die() {
    check(|bed, load| {
        load.progress(200);
        for worker in [0, 1] {
            bed.kill(Role::Ingest, worker);
            load.progress(300);
            bed.restart(Role::Ingest, worker).unwrap();
            load.progress(200);
        }
    });
}

#[test]
fn a_gateway_that_is_told_to_stop_answers_closes_and_ends_well() {
    let Some(bed) = Bed::fresh(&["shutdown.drain_secs=1"]) else {
        return;
    };
    let key = own_key();
    let status = thread::scope(|scope| {
        let mut ending = None;
        let stop = || ending = Some(scope.spawn(|| bed.terminate(Role::Gateway, 0)));
        let accepted = check_drained(bed.at(0), bed.at(0), &key, stop);
        let found = stored_of(&mut bed.at(1), &accepted);
        assert_eq!(
            found.len(),
            accepted.len(),
            "some that got OK true are lost"
        );
        let ending = ending.expect("stop was called");
        ending.join().expect("a thread").unwrap()
    });
    assert_eq!(status.code(), Some(0), "{}", bed.output(Role::Gateway, 0));
    // It comes back as it was.
    bed.restart(Role::Gateway, 0).unwrap();
    let filter = json!({"authors": [key.hex()], "limit": 1});
    assert_eq!(bed.at(0).query(&[filter]).events.len(), 1);
}

/// A batch goes to another worker at the latest by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
