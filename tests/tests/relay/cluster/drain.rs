//! A gateway with thousands of clients is told to stop, as at every roll-out.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use heliograph_sandbox::{cluster::Role, http};

use super::bed::{Bed, own_key, within};
use crate::{
    shutdown::{Crowd, check_drained, check_spread, raise_file_limit},
    support::stored_of,
};

/// How many clients stay idle until they are sent away.
const SOCKETS: usize = 5_000;

/// What the gateway is given: time for load balancers to notice, for closing, and in all.
const UNREADY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(42);

/// How soon it says that it isn't ready.
const UNREADY_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn chart_07_a_gateway_with_5000_sockets_is_unready_at_once_loses_no_ok_and_closes_evenly() {
    raise_file_limit();
    let settings = [
        format!("shutdown.unready_secs={}", UNREADY.as_secs()),
        format!("shutdown.drain_secs={}", DRAIN.as_secs()),
        format!("shutdown.grace_secs={}", GRACE.as_secs()),
        "gateway.connections_max=6000".to_owned(),
    ];
    let Some(bed) = Bed::fresh(&settings.each_ref().map(String::as_str)) else {
        return;
    };
    let (key, admin) = (own_key(), bed.admin(Role::Gateway, 0));
    let crowd = Crowd::new(bed.gateway(0), SOCKETS);
    thread::scope(|scope| {
        let clients = scope.spawn(|| crowd.closes());
        crowd.is_there();
        let mut ending = None;
        let began = OnceLock::new();
        let stop = || {
            began.get_or_init(Instant::now);
            ending = Some(scope.spawn(|| bed.terminate(Role::Gateway, 0)));
            within(UNREADY_WITHIN, "503 for readiness", || {
                let answer = http::get(admin, "/readyz").ok()?;
                (answer.status == 503).then_some(())
            });
            // Whoever is still sent here is served.
            drop(bed.at(0));
        };
        let accepted = check_drained(bed.at(0), bed.at(0), &key, stop);
        let found = stored_of(&mut bed.at(1), &accepted);
        assert_eq!(found.len(), accepted.len(), "some with OK true are lost");

        let status = ending.expect("it was stopped").join().expect("a thread");
        let began = *began.get().expect("it was stopped");
        assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
        assert_eq!(
            status.unwrap().code(),
            Some(0),
            "{}",
            bed.output(Role::Gateway, 0)
        );
        let closes = clients.join().expect("nobody failed");
        check_spread(&closes, began + UNREADY, DRAIN);
    });
}
