//! Stopping in order (CL-6): pending EVENTs answered, subscriptions closed with a reason, 1001,
//! exit code 0.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use heliograph_protocol::Event;
use heliograph_sandbox::{http, wait::within};
use heliograph_testkit::{
    PATIENCE,
    client::{Client, End},
    keys::Key,
    process::Relay,
    reply::Reply,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    operate::admin,
    support::{notes, now, stored_of},
};

/// How much of the drain time the closes may take more or less, and how far from their share of all each
/// tenth of it may be.
const TOLERANCE: f64 = 0.1;

/// How long thousands of clients may take to connect.
const CROWD_MAX: Duration = Duration::from_secs(60);

const CLOSE: u8 = 0x88;

/// Reads to the close frame and returns its code and what came before.
#[track_caller]
fn to_the_end(client: &mut Client) -> (Vec<Reply>, u16) {
    let mut replies = Vec::new();
    loop {
        match client.next_reply() {
            Reply::Close(code, _) => return (replies, code),
            reply => replies.push(reply),
        }
    }
}

/// Publishes, stops the relay once an EVENT is answered and others are on their way, and reads to the
/// end: every EVENT answered or refused, a reason for every subscription, 1001. The ids accepted.
#[track_caller]
pub(crate) fn check_drained(
    mut reader: Client,
    mut writer: Client,
    key: &Key,
    stop: impl FnOnce(),
) -> Vec<String> {
    reader.req("one", &[json!({"kinds": [1], "limit": 0})]);
    reader.req("two", &[json!({"kinds": [2], "limit": 0})]);
    let events: Vec<Event> = notes(key, now(), 200);
    for event in &events {
        writer.send_event(event);
    }
    let first = events[0].id().to_hex();
    assert!(writer.ok(&first).0);
    stop();
    let (replies, code) = to_the_end(&mut writer);
    assert_eq!(code, 1001, "{replies:?}");
    let mut accepted = vec![first];
    for reply in replies {
        match reply {
            Reply::Ok {
                id, accepted: true, ..
            } => accepted.push(id),
            Reply::Ok {
                accepted: false,
                text,
                ..
            } => {
                assert!(text.starts_with("error: "), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    let (replies, code) = to_the_end(&mut reader);
    assert_eq!(code, 1001);
    for sub in ["one", "two"] {
        let closed: Vec<&Reply> = replies
            .iter()
            .filter(|reply| reply.subject() == Some(sub))
            .collect();
        let Some(Reply::Closed { text, .. }) = closed.last() else {
            panic!("{closed:?}")
        };
        assert_eq!(text, "error: shutting down");
    }
    accepted
}

/// As many files as the system lets this process have.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("one's own limit");
}

/// Idle clients that stay until they are sent away.
pub(crate) struct Crowd {
    address: SocketAddr,
    count: usize,
    is_there: OnceLock<()>,
}

/// When a client was sent away, and with which code.
pub(crate) type Closed = (Instant, u16);

impl Crowd {
    pub(crate) fn new(address: SocketAddr, count: usize) -> Self {
        Self {
            address,
            count,
            is_there: OnceLock::new(),
        }
    }

    /// Waits until all have connected, on another thread.
    #[track_caller]
    pub(crate) fn is_there(&self) {
        within(CROWD_MAX, "idle clients", || self.is_there.get().copied());
    }

    /// Connects all and waits until each is sent away.
    pub(crate) fn closes(&self) -> Vec<Closed> {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let opened = Arc::new(Semaphore::new(0));
            let mut clients = JoinSet::new();
            for _ in 0..self.count {
                clients.spawn(idle(self.address, Arc::clone(&opened)));
            }
            let all = u32::try_from(self.count).expect("few");
            drop(opened.acquire_many(all).await);
            self.is_there.get_or_init(|| ());
            clients.join_all().await
        })
    }
}

/// An idle client: takes what comes until it is sent away.
async fn idle(address: SocketAddr, opened: Arc<Semaphore>) -> Closed {
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

/// All were sent away with 1001, none before `from`, and evenly over `drain`.
#[track_caller]
pub(crate) fn check_spread(closes: &[Closed], from: Instant, drain: Duration) {
    let others = closes.iter().filter(|(_, code)| *code != 1001);
    assert_eq!(others.count(), 0, "with another code than 1001");
    let mut times: Vec<Instant> = closes.iter().map(|(at, _)| *at).collect();
    times.sort();
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(first >= from, "the first {:?} too early", from - first);
    let spread = last - first;
    assert!(
        spread.abs_diff(drain) <= drain.mul_f64(TOLERANCE),
        "closes over {spread:?}, not {drain:?}"
    );
    for tenth in 1..10 {
        let share = f64::from(tenth) / 10.0;
        let at = first + drain.mul_f64(share);
        let gone = times.partition_point(|time| *time < at) as f64 / times.len() as f64;
        assert!(
            (gone - share).abs() <= TOLERANCE,
            "{gone:.2} of all were sent away after {share} of the time"
        );
    }
}

#[test]
fn a_relay_with_2000_sockets_is_unready_at_once_loses_no_ok_and_closes_evenly() {
    let (unready, drain, grace) = (2, 10, 30);
    let (drain_time, grace_time) = (Duration::from_secs(drain), Duration::from_secs(grace));
    raise_file_limit();
    let settings = [
        format!("shutdown.unready_secs={unready}"),
        format!("shutdown.drain_secs={drain}"),
        format!("shutdown.grace_secs={grace}"),
        "gateway.connections_max=3000".to_owned(),
    ];
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut relay = Relay::on(&data, &settings.each_ref().map(String::as_str));
    let (admin, key) = (admin(&relay), Key::nth(0));
    let crowd = Crowd::new(relay.address(), 2_000);
    let mut began = None;
    let (accepted, closes) = thread::scope(|scope| {
        let clients = scope.spawn(|| crowd.closes());
        crowd.is_there();
        let stop = || {
            began = Some(Instant::now());
            relay.terminate();
            within(Duration::from_secs(1), "503 for readiness", || {
                let answer = http::get(admin, "/readyz").ok()?;
                (answer.status == 503).then_some(())
            });
            // Whoever is still sent here is served.
            assert_eq!(relay.client().fence(), []);
        };
        let accepted = check_drained(relay.client(), relay.client(), &key, stop);
        (accepted, clients.join().expect("nobody failed"))
    });
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
    let began = began.expect("it was stopped");
    assert!(began.elapsed() < grace_time, "{:?}", began.elapsed());
    check_spread(&closes, began + Duration::from_secs(unready), drain_time);
    let relay = Relay::on(&data, &[]);
    let found = stored_of(&mut relay.client(), &accepted);
    assert_eq!(found.len(), accepted.len(), "some with OK true are lost");
}

#[track_caller]
fn check_stop(signal: Signal) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut relay = Relay::on(&data, &["shutdown.drain_secs=1"]);
    let stop = || relay.signal(signal);
    let accepted = check_drained(relay.client(), relay.client(), &Key::nth(0), stop);
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
    let relay = Relay::on(&data, &[]);
    let found = stored_of(&mut relay.client(), &accepted);
    for id in accepted {
        assert!(found.contains(&id), "{id} got OK true and is lost");
    }
}

#[test]
fn sigterm_answers_what_is_pending_then_closes() {
    check_stop(Signal::TERM);
}

#[test]
fn ctrl_c_does_the_same() {
    check_stop(Signal::INT);
}

#[test]
fn every_connection_gets_1001_and_none_is_accepted_after() {
    let mut relay = Relay::with(&["shutdown.drain_secs=1"]);
    let mut clients: Vec<Client> = (0..20).map(|_| relay.client()).collect();
    for client in &mut clients {
        let end = client.req("s", &[json!({"limit": 0})]).end;
        assert!(matches!(end, End::Eose(_)));
    }
    relay.terminate();
    for client in &mut clients {
        assert_eq!(client.closed("s"), "error: shutting down");
        assert_eq!(to_the_end(client).1, 1001);
    }
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
    assert!(std::net::TcpStream::connect_timeout(&relay.address(), PATIENCE).is_err());
}

#[test]
fn a_relay_that_is_restarted_says_1012() {
    let mut relay = Relay::with(&["shutdown.drain_secs=1", "shutdown.restarts=true"]);
    let mut client = relay.client();
    client.req("s", &[json!({"limit": 0})]);
    relay.terminate();
    assert_eq!(client.closed("s"), "error: shutting down");
    assert_eq!(to_the_end(&mut client).1, 1012);
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_stop() {
    let settings = ["shutdown.drain_secs=1", "shutdown.grace_secs=5"];
    let mut relay = Relay::with(&settings);
    let mut writer = relay.client();
    let mut stuck = Client::over(heliograph_testkit::websocket::WebSocket::connect_narrow(
        relay.address(),
        4_096,
    ));
    stuck.req("s", &[json!({"kinds": [1]})]);
    let text = "x".repeat(50_000);
    for n in 0..20 {
        writer.accept(&Key::nth(0).sign(1_700_000_000 + n, 1, &[], &text));
    }
    relay.terminate();
    assert_eq!(relay.exit().code(), Some(0), "{}", relay.log());
}

#[test]
fn a_relay_stopped_and_continued_goes_on() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.client(), relay.client());
    reader.req("s", &[json!({"kinds": [1]})]);
    relay.signal(Signal::STOP);
    let event = Key::nth(0).note(now(), "sent while it slept");
    writer.send_event(&event);
    relay.signal(Signal::CONT);
    assert_eq!(writer.ok(&event.id().to_hex()), (true, String::new()));
    assert_eq!(reader.next_event("s"), event);
}
