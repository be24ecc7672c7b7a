//! What clients of all sorts do to a relay, so that there is something to see on every panel.
//!
//! Most of it is the workload of the fault tests: publishers, subscribers, askers. Beside it
//! `Visitors` come and go at each gateway and do what only some clients do: authenticate, compress,
//! repeat themselves, break rules, read what is old, and stop reading.

mod visit;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use heliograph_faults::workload::{Options, Workload};
use heliograph_protocol::Timestamp;
use heliograph_testkit::{history::History, keys::Key, websocket::WebSocket};

pub use visit::BLOCKED;
use visit::Visitor;

/// Between two visits at one gateway.
const VISIT_EVERY: Duration = Duration::from_millis(700);

/// Time for a connection; a gateway that is gone refuses it at once.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Between two clients of a crowd.
const CROWD_EVERY: Duration = Duration::from_millis(20);

/// What a reader that stops takes before anybody notices, in bytes.
const NARROW_BYTES: usize = 4_096;

/// Clients at work at one relay, until this is dropped.
#[derive(Debug)]
pub struct Load {
    work: Option<Workload>,
    visitors: Visitors,
}

impl Load {
    /// Starts them, with about `rate` events a second at all gateways together.
    #[must_use]
    pub fn start(seed: u64, rate: u32, gateways: Vec<SocketAddr>) -> Self {
        let options = Options {
            seed,
            rate,
            ..Options::default()
        };
        Self {
            visitors: Visitors::start(seed, &gateways),
            work: Some(Workload::with(options, gateways, History::new())),
        }
    }

    /// Waits until `events` more got their OK true.
    ///
    /// # Panics
    ///
    /// If that takes longer than `patience`.
    #[track_caller]
    pub fn progress(&self, events: usize, patience: Duration) {
        if let Some(work) = &self.work {
            work.progress(events, patience);
        }
    }

    /// How many visits there were.
    #[must_use]
    pub fn visits(&self) -> u64 {
        self.visitors.visits.load(Ordering::Relaxed)
    }

    /// Ends all but nobody's promises: what is on its way is lost.
    pub fn stop(mut self) {
        drop(self.work.take());
    }
}

/// Clients that come and go.
#[derive(Debug)]
struct Visitors {
    is_over: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    fn start(seed: u64, gateways: &[SocketAddr]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(AtomicU64::new(0));
        let start = |(number, gateway): (u64, &SocketAddr)| {
            let (is_over, visits) = (Arc::clone(&is_over), Arc::clone(&visits));
            let visitor = Visitor::new(seed.wrapping_add(number), *gateway);
            spawn(move || come_and_go(visitor, &is_over, &visits))
        };
        let threads = (0..).zip(gateways).map(start).collect();
        Self {
            is_over,
            visits,
            threads,
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // One that failed has said so.
            let _failed = thread.join();
        }
    }
}

fn come_and_go(mut visitor: Visitor, is_over: &AtomicBool, visits: &AtomicU64) {
    while !is_over.load(Ordering::Relaxed) {
        let next = Instant::now() + VISIT_EVERY;
        visitor.visit();
        visits.fetch_add(1, Ordering::Relaxed);
        while !is_over.load(Ordering::Relaxed) && Instant::now() < next {
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// Clients that have lost their gateway and try the others, again and again, until this is dropped.
#[derive(Debug)]
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// They come to these gateways.
    #[must_use]
    pub fn start(gateways: Vec<SocketAddr>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        Self {
            thread: Some(spawn(move || crowd(&gateways, &over))),
            is_over,
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _failed = thread.join();
        }
    }
}

fn crowd(gateways: &[SocketAddr], is_over: &AtomicBool) {
    let mut inside: Vec<WebSocket> = Vec::new();
    for gateway in gateways.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        // Who is refused tries again later.
        inside.extend(WebSocket::try_connect(*gateway, CONNECT_PATIENCE));
        thread::park_timeout(CROWD_EVERY);
    }
}

/// Connections that asked for everything that is new and read none of it.
///
/// # Panics
///
/// If the relay can't be reached.
#[must_use]
pub fn stalled(gateway: SocketAddr, count: usize) -> Vec<WebSocket> {
    let stall = |_| {
        let mut socket = WebSocket::connect_narrow(gateway, NARROW_BYTES);
        // Each subscription gets every event once more.
        for sub in 0..40 {
            socket.send_text(&format!("[\"REQ\",\"{sub}\",{{\"limit\":0}}]"));
        }
        socket
    };
    (0..count).map(stall).collect()
}

/// Publishes an event of this many bytes of text, whatever becomes of it.
///
/// # Panics
///
/// If the relay can't be reached.
pub fn shout(gateway: SocketAddr, bytes: usize) {
    let mut socket = WebSocket::connect(gateway);
    let event = Key::nth(0).note(Timestamp::now().as_secs(), &"loud ".repeat(bytes / 5));
    socket.send_text(&format!("[\"EVENT\",{}]", event.as_str()));
    // Until it is answered.
    drop(socket.read(CONNECT_PATIENCE));
    drop(socket.read(CONNECT_PATIENCE));
}

fn spawn(run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name("visitor".to_owned()).spawn(run);
    thread.expect("a thread more")
}
