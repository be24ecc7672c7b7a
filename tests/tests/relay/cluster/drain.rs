//! A gateway with thousands of clients is told to stop, as at every roll-out.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use heliograph_sandbox::{cluster::Role, http};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
};

use super::bed::{Bed, own_key, within};
use crate::{shutdown::check_drained, support::stored_of};

/// How many clients stay idle until they are sent away.
const SOCKETS: usize = 5_000;

/// What the gateway is given: time for load balancers to notice, for closing, and in all.
const UNREADY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(42);

/// How soon it says that it isn't ready.
const UNREADY_WITHIN: Duration = Duration::from_secs(1);

/// How much of [`DRAIN`] the closes may take more or less.
const TOLERANCE: f64 = 0.1;

const CLOSE: u8 = 0x88;

/// An idle client: takes what comes until it is sent away, and says when that was and with which code.
async fn idle(address: SocketAddr, opened: Arc<tokio::sync::Semaphore>) -> (Instant, u16) {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
    opened.add_permits(1);
    loop {
        let opcode = socket.read_u8().await.expect("a frame");
        let len = match socket.read_u8().await.expect("a length") {
            126 => usize::from(socket.read_u16().await.expect("a length")),
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        socket.read_exact(&mut payload).await.expect("a payload");
        if opcode == CLOSE {
            let code = [payload[0], payload[1]];
            return (Instant::now(), u16::from_be_bytes(code));
        }
    }
}

/// Opens idle clients, says so, and returns when each was sent away and how.
fn crowd(address: SocketAddr, is_there: &OnceLock<()>) -> Vec<(Instant, u16)> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let opened = Arc::new(tokio::sync::Semaphore::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..SOCKETS {
            clients.spawn(idle(address, Arc::clone(&opened)));
        }
        let all = u32::try_from(SOCKETS).expect("few");
        let all = opened.acquire_many(all).await;
        is_there.get_or_init(|| ());
        drop(all);
        clients.join_all().await
    })
}

/// As many files as the system lets this process have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("one's own limit");
}

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
    let is_there = OnceLock::new();
    thread::scope(|scope| {
        let clients = scope.spawn(|| crowd(bed.gateway(0), &is_there));
        within(Duration::from_secs(60), "5,000 clients", || {
            is_there.get().copied()
        });
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
        let clients = clients.join().expect("nobody failed");
        assert!(clients.iter().all(|(_, code)| *code == 1001));
        let mut times: Vec<f64> = clients
            .iter()
            .map(|(at, _)| (*at - began).as_secs_f64())
            .collect();
        times.sort_by(f64::total_cmp);
        let (first, last) = (times[0], times[SOCKETS - 1]);
        assert!(
            first >= UNREADY.as_secs_f64(),
            "the first after {first:.2} s"
        );
        let (spread, drain) = (last - first, DRAIN.as_secs_f64());
        assert!(
            (spread - drain).abs() <= TOLERANCE * drain,
            "closes over {spread:.2} s"
        );
        // Evenly: each quarter of the time takes about a quarter of them.
        for quarter in 1..4 {
            let share = f64::from(quarter) / 4.0;
            let at = first + share * drain;
            let gone = times.partition_point(|time| *time < at);
            let wanted = share * times.len() as f64;
            assert!(
                (gone as f64 - wanted).abs() <= TOLERANCE * times.len() as f64,
                "{gone} were sent away after {at:.2} s"
            );
        }
    });
}
