//! A canary that watches a cluster: each gateway by itself, and all of them behind one address.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use heliograph_sandbox::cluster::Role;

use super::bed::Bed;
use crate::canary_bed::Canary;

/// Longer than anything takes on a busy machine.
const PATIENT: &str = "canary.deadline_ms=20000";

#[test]
fn probes_come_through_every_gateway() {
    let Some(bed) = Bed::shared() else { return };
    let [one, two] = [0, 1].map(|gateway| bed.gateway_url(gateway));
    let canary = Canary::start(&one, &[&one, &two], &[PATIENT]);
    for via in 0..2 {
        canary.until("deliveries", |canary| canary.delivered(via) >= 5.0);
    }
    canary.until("audits", |canary| canary.value("audited_total") >= 10.0);
    assert_eq!((canary.missing(0), canary.missing(1)), (0.0, 0.0));
    assert_eq!(canary.value("lost_total"), 0.0);
    assert!(canary.terminate().success());
}

#[test]
fn a_gateway_that_dies_is_missing_probes_alone_until_it_is_back() {
    let Some(bed) = Bed::with(|options| (options.matchers, options.ingest) = (1, 1), &[]) else {
        return;
    };
    let [one, two] = [0, 1].map(|gateway| bed.gateway_url(gateway));
    let canary = Canary::start(&one, &[&one, &two], &["canary.deadline_ms=8000"]);
    canary.until("deliveries", |canary| canary.delivered(1) >= 3.0);
    bed.kill(Role::Gateway, 1);
    canary.until("missing probes", |canary| canary.missing(1) >= 5.0);
    assert_eq!(canary.value("connected{via=\"1\"}"), 0.0);
    canary.more_delivered(0, 5.0);
    assert_eq!(canary.missing(0), 0.0);
    bed.restart(Role::Gateway, 1).unwrap();
    canary.more_delivered(1, 10.0);
    assert_eq!(canary.value("connected{via=\"1\"}"), 1.0);
    assert_eq!((canary.missing(0), canary.value("lost_total")), (0.0, 0.0));
}

#[test]
fn a_rolling_restart_behind_one_address_is_no_miss_and_no_error() {
    let Some(bed) = Bed::with(
        |options| (options.matchers, options.ingest) = (1, 1),
        &["shutdown.drain_secs=1"],
    ) else {
        return;
    };
    let front = Front::start(bed.gateway(0));
    let url = format!("ws://{}", front.address);
    let canary = Canary::start(&url, &[&url], &[PATIENT]);
    canary.until("deliveries", |canary| canary.delivered(0) >= 3.0);
    for (stops, serves) in [(0, 1), (1, 0)] {
        let before = front.connections.load(Ordering::Acquire);
        front.send_to(bed.gateway(serves));
        let status = bed.terminate(Role::Gateway, stops).unwrap();
        assert!(status.success(), "{status}");
        canary.until("both connections at the other gateway", |_| {
            front.connections.load(Ordering::Acquire) >= before + 2
        });
        canary.more_delivered(0, 5.0);
        bed.restart(Role::Gateway, stops).unwrap();
    }
    canary.until("audits", |canary| canary.value("audited_total") >= 10.0);
    assert_eq!(canary.missing(0), 0.0);
    assert_eq!(canary.published("error"), 0.0);
    assert_eq!(canary.value("lost_total"), 0.0);
}

/// What a service of Kubernetes is to clients: one address, a gateway that is ready behind it.
struct Front {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// Listens, and sends whoever connects to `target`.
    fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            target: Arc::new(Mutex::new(target)),
            connections: Arc::default(),
        };
        let (target, connections) = (Arc::clone(&front.target), Arc::clone(&front.connections));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever comes while nobody is there is sent away, and comes back.
                let Ok(gateway) = TcpStream::connect(target) else {
                    continue;
                };
                connections.fetch_add(1, Ordering::AcqRel);
                let (there, back) = (pair(&client, &gateway), pair(&gateway, &client));
                thread::spawn(move || copy(there));
                thread::spawn(move || copy(back));
            }
        });
        front
    }

    /// Sends those to another gateway who connect from now on.
    fn send_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

fn pair(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (from.try_clone().unwrap(), to.try_clone().unwrap())
}

fn copy((mut from, mut to): (TcpStream, TcpStream)) {
    // However it ends, the other side is to know.
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}
