//! Members lose each other without being told, and find each other again; slow ways are only slow.

use std::time::Duration;

use heliograph_faults::{
    bed::{Bed, Harm, PATIENCE, Way, say},
    schedule::{Fault, Schedule},
    workload::Workload,
};
use heliograph_sandbox::cluster::{Peer, Role};
use heliograph_testkit::history::Expect;

/// How long a way is broken: longer than a lease, so that others notice.
const BROKEN: Duration = Duration::from_secs(6);

/// How much later things come on a slow way.
const DELAY: Duration = Duration::from_millis(200);

fn way(role: Role, number: usize, peer: Peer) -> Way {
    Way { role, number, peer }
}

/// Lets faults happen under load, one after another, and checks what clients saw of them all.
#[track_caller]
fn check(bed: &mut Bed, seed: u64, faults: &[Fault]) {
    let faults = faults.iter().map(|fault| (*fault, BROKEN));
    Schedule::of(seed, faults).check(bed);
}

#[test]
fn nothing_is_lost_when_ways_are_silent_cut_or_slow() {
    let Some(mut bed) = Bed::linked(&[]) else {
        return;
    };
    let gateway_nats = way(Role::Gateway, 0, Peer::Nats);
    let to_matchers = [0, 1].map(|matcher| way(Role::Gateway, 0, Peer::Matcher(matcher)));
    let ingest_cql = way(Role::Ingest, 0, Peer::Cql);
    let matcher_nats = way(Role::Matcher, 0, Peer::Nats);
    check(
        &mut bed,
        11,
        &[
            Fault::Harm(gateway_nats, Harm::Silence),
            Fault::Harm(to_matchers[0], Harm::Silence),
            Fault::Harm(to_matchers[1], Harm::Silence),
            Fault::Harm(ingest_cql, Harm::Silence),
            Fault::Harm(matcher_nats, Harm::Silence),
            Fault::Harm(gateway_nats, Harm::Cut),
            Fault::Harm(ingest_cql, Harm::Cut),
            Fault::Harm(to_matchers[0], Harm::Delay(DELAY)),
            Fault::Harm(to_matchers[1], Harm::Delay(DELAY)),
        ],
    );
}

/// What NATS had sent when a connection broke was once taken for commits that the stream had lost,
/// and the matcher ended.
#[test]
fn a_matcher_goes_on_when_its_connection_to_nats_breaks_again_and_again_under_load() {
    let Some(bed) = Bed::linked(&[]) else { return };
    let load = Workload::start(13, bed.gateways(), bed.history().clone());
    for matcher in [0, 1].into_iter().cycle().take(20) {
        load.progress(20, PATIENCE);
        bed.mark(&format!("reset matcher {matcher} - nats"));
        bed.link(Role::Matcher, matcher, Peer::Nats).reset();
    }
    say(&load.finish(&Expect::default()).to_string());
    bed.check_running();
}

#[test]
fn nothing_is_lost_when_a_member_is_cut_off_from_everybody_but_its_clients() {
    let Some(mut bed) = Bed::linked(&[]) else {
        return;
    };
    // Either matcher: one of them serves.
    let members = [
        (Role::Ingest, 0),
        (Role::Matcher, 0),
        (Role::Matcher, 1),
        (Role::Gateway, 0),
    ];
    let faults = members.map(|(role, number)| Fault::Isolate(role, number));
    check(&mut bed, 12, &faults);
}
