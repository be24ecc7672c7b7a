//! One client: its socket, its subscriptions, its keys. One task, and no memory for buffers while
//! nothing is on its way.

mod answer;
mod count;
mod event;
mod messages;
mod reading;
mod socket;

use std::{net::IpAddr, ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    future::FutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use hashbrown::HashMap;
use heliograph_bus::{Bus, CommitNumber, ConnectionId};
use heliograph_lifecycle::Phase;
use heliograph_policy::{Reader, TokenBucket};
use heliograph_protocol::{Refusal, RelayMessage, SubscriptionId};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use self::{answer::Subscription, messages::Done, socket::Socket};
use crate::{
    Options, Stream,
    addresses::{AddressKey, Admitted},
    metrics::{BannedBy, Closed, Limit},
    outbox::Outbox,
    server::Gateway,
    tops::Unnoted,
    websocket::{Decoder, close, deflate::Agreement},
};

/// Work under way for one connection: each ends in one answer.
type Work = FuturesUnordered<heliograph_bus::BoxFuture<'static, Done>>;

/// Stored answers and counts of one connection that run at once; the others wait. Each holds pages
/// while its client doesn't read.
const QUESTIONS_MAX: usize = 4;

/// Time that a client has to take what waits before its close frame.
const FLUSH: Duration = Duration::from_secs(5);

/// Time after which a session that had much to read lets others run.
const READ_SLICE: Duration = Duration::from_millis(1);

/// A connection after its upgrade.
pub(crate) struct Opened {
    pub(crate) id: ConnectionId,
    /// The client's, as far as proxies are believed.
    pub(crate) address: IpAddr,
    /// What came right behind the HTTP request.
    pub(crate) read_ahead: Bytes,
    pub(crate) admitted: Admitted,
    /// What was agreed on about compression.
    pub(crate) compression: Option<Agreement>,
}

/// Serves a connection until either side ends it.
pub(crate) async fn run<B: Bus, S: Stream>(gateway: Arc<Gateway<B>>, stream: S, opened: Opened) {
    let options = gateway.options.load_full();
    let Opened {
        id,
        address,
        read_ahead,
        admitted,
        compression,
    } = opened;
    let compressor = compression.map(|agreement| gateway.deflate.compressor(agreement));
    let bytes_max = options.limits.outbox_bytes_max;
    let outbox = Outbox::new(bytes_max, compressor, &gateway.budget);
    let mut socket = Socket::new(stream, Arc::clone(&outbox));
    let mut session = Session::new(Arc::clone(&gateway), id, address, admitted, outbox);
    let decoder = Decoder::new(compression.is_some());
    let mut work = Work::new();
    let closed = session
        .serve(&mut socket, decoder, read_ahead, &options, &mut work)
        .await;
    session.end_subscriptions();
    session.count_closed(closed);
    let left = matches!(closed, Closed::Client | Closed::Lost);
    let finish = async {
        if left {
            session.finish_events(&mut work).await;
        }
    };
    tokio::join!(socket.linger(&gateway), finish);
    session.forget();
}

/// The state of one connection.
struct Session<B: Bus> {
    gateway: Arc<Gateway<B>>,
    id: ConnectionId,
    address: IpAddr,
    admitted: Admitted,
    outbox: Arc<Outbox>,
    /// The keys that authenticated (R42-5); replaced, never changed, since reads hold on to it.
    reader: Arc<Reader>,
    challenge: String,
    subscriptions: HashMap<SubscriptionId, Subscription>,
    /// What the next REQ has to see (R01-57).
    commit: CommitNumber,
    events: TokenBucket,
    reqs: TokenBucket,
    pending_events: usize,
    pending_counts: usize,
    invalid_messages: u32,
    unnoted: Unnoted,
    /// Places for [`QUESTIONS_MAX`].
    questions: Arc<Semaphore>,
    closing: Option<Closed>,
    /// When it was opened; once it is closing, when that began.
    since: Instant,
    /// Whether `since` says when closing began.
    flushing: bool,
}

impl<B: Bus> Session<B> {
    fn new(
        gateway: Arc<Gateway<B>>,
        id: ConnectionId,
        address: IpAddr,
        admitted: Admitted,
        outbox: Arc<Outbox>,
    ) -> Self {
        Self {
            gateway,
            id,
            address,
            admitted,
            outbox,
            reader: Arc::default(),
            challenge: challenge(),
            subscriptions: HashMap::new(),
            commit: CommitNumber::default(),
            events: TokenBucket::default(),
            reqs: TokenBucket::default(),
            pending_events: 0,
            pending_counts: 0,
            invalid_messages: 0,
            unnoted: Unnoted::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            closing: None,
            since: Instant::now(),
            flushing: false,
        }
    }

    /// Reads, works and writes until the connection is to end; says why it does.
    async fn serve<S: Stream>(
        &mut self,
        socket: &mut Socket<S>,
        mut decoder: Decoder,
        read_ahead: Bytes,
        options: &Options,
        work: &mut Work,
    ) -> Closed {
        let mut phase = self.gateway.shutdown.watch();
        // Made once, since thousands of connections wait in the same lists.
        let draining = phase.reached(Phase::Draining);
        let banned = changed(self.gateway.networks.subscribe());
        tokio::pin!(draining, banned);
        // The address may have been banned since it was let in.
        self.close_if_banned();
        let mut drain_at = None;
        let mut heard = Instant::now();
        let timer = tokio::time::sleep(options.limits.ping_interval);
        tokio::pin!(timer);

        self.outbox
            .text(RelayMessage::Auth(&self.challenge).encode());
        // Given away: with it go the eight kilobytes that the head of the request was read into.
        self.take(&mut Vec::from(read_ahead), &mut decoder, work, heard);
        let mut begun = decoder.is_partial().then_some(heard);
        loop {
            self.close_if_due(drain_at);
            let blocked = match socket.write(&self.gateway) {
                Ok(blocked) => blocked,
                Err(_error) => return self.closing.unwrap_or(Closed::Lost),
            };
            match self.patience(socket, blocked, options) {
                ControlFlow::Break(closed) => return closed,
                ControlFlow::Continue(Some(until)) if timer.deadline() > until => {
                    timer.as_mut().reset(until);
                }
                ControlFlow::Continue(_) => {}
            }
            let reading = drain_at.is_none()
                && self.closing.is_none()
                && self.pending_events < options.limits.pending_events_max;
            // Answers before questions, so that a client that sends without end is answered.
            tokio::select! {
                biased;
                Some(done) = work.next() => {
                    self.done(done);
                    // Answers that are ready together leave together.
                    while let Some(Some(done)) = work.next().now_or_never() {
                        self.done(done);
                    }
                }
                () = socket.writable(), if blocked => {}
                () = self.outbox.ready() => {}
                _ = &mut draining, if drain_at.is_none() => {
                    self.close_subscriptions(&Refusal::error("shutting down"));
                    let at = Instant::now() + spread(self.id, options);
                    drain_at = Some(at);
                    timer.as_mut().reset(at);
                }
                // The gateway, which holds the sender, lives as long as this.
                networks = &mut banned => {
                    banned.set(changed(networks));
                    self.close_if_banned();
                }
                () = socket.readable(), if reading => {
                    let mut finished = false;
                    let started = Instant::now();
                    let take = |chunk: &mut [u8]| {
                        finished = self.take(chunk, &mut decoder, work, started);
                    };
                    match socket.read(take) {
                        Ok(0) => {}
                        Ok(_) => {
                            heard = Instant::now();
                            // A message keeps its deadline however its bytes trickle in.
                            begun = match begun {
                                _ if !decoder.is_partial() => None,
                                Some(begun) if !finished => Some(begun),
                                _ => Some(heard),
                            };
                            if let Some(begun) = begun {
                                let limit = options.limits.message_timeout;
                                timer.as_mut().reset(begun + limit);
                            }
                            if started.elapsed() > READ_SLICE {
                                tokio::task::yield_now().await;
                            }
                        }
                        Err(_error) => return self.closing.unwrap_or(Closed::Lost),
                    }
                }
                () = &mut timer => {
                    let next = self.next_ring(drain_at, heard, begun, options);
                    timer.as_mut().reset(next);
                }
            }
        }
    }

    /// Begins to close a connection that is drained, or whose client is too slow (R01-28).
    fn close_if_due(&mut self, drain_at: Option<Instant>) {
        let drained = drain_at.is_some_and(|at| at <= Instant::now());
        if drained && self.closing.is_none() && self.pending_events == 0 {
            let options = self.gateway.options.load();
            let (code, reason, closed) = match options.limits.restarts {
                true => (close::RESTART, "restarting", Closed::Restart),
                false => (close::GOING_AWAY, "shutting down", Closed::Drain),
            };
            self.outbox.close(code, reason);
            self.closing = Some(closed);
        }
        if self.outbox.is_overflowed() {
            let traffic = &self.gateway.metrics.traffic;
            traffic.queued(self.outbox.bytes());
            self.close(
                Closed::Slow,
                close::POLICY,
                "too slow: too much waits for you",
            );
        }
    }

    /// Begins to close a connection whose address operators have banned.
    fn close_if_banned(&mut self) {
        let options = self.gateway.options.load();
        let banned = options.is_banned(self.address);
        drop(options);
        if banned && self.closing.is_none() {
            let limits = &self.gateway.metrics.limits;
            limits.banned(BannedBy::Control).inc();
            self.close(Closed::Banned, close::POLICY, "blocked by the operator");
        }
    }

    /// Whether the session is over; if not, until when it waits for a client that doesn't read.
    fn patience<S: Stream>(
        &mut self,
        socket: &Socket<S>,
        blocked: bool,
        options: &Options,
    ) -> ControlFlow<Closed, Option<Instant>> {
        let now = Instant::now();
        if let Some(closed) = self.closing {
            let flush_by = self.closing_since(now) + FLUSH;
            if !blocked || closed.is_cut() || flush_by <= now {
                return ControlFlow::Break(closed);
            }
            return ControlFlow::Continue(Some(flush_by));
        }
        let Some(since) = socket.stalled_since() else {
            return ControlFlow::Continue(None);
        };
        let stalled_at = since + options.limits.handshake_timeout;
        if stalled_at <= now {
            self.close(Closed::Slow, close::POLICY, "too slow: you don't read");
            return ControlFlow::Break(Closed::Slow);
        }
        ControlFlow::Continue(Some(stalled_at))
    }

    /// When the timer is to ring next.
    fn next_ring(
        &mut self,
        drain_at: Option<Instant>,
        heard: Instant,
        begun: Option<Instant>,
        options: &Options,
    ) -> Instant {
        let now = Instant::now();
        match drain_at {
            Some(at) if at > now => at,
            _ if self.closing.is_some() => now + FLUSH,
            Some(_) => now + options.limits.ping_interval,
            None => now + self.tick(heard, begun, options),
        }
    }

    /// The timer rang: pings a silent client, closes one that stays silent or never finishes.
    /// Returns when to look again.
    fn tick(&mut self, heard: Instant, begun: Option<Instant>, options: &Options) -> Duration {
        self.note_unnoted();
        let (limits, silence) = (&options.limits, heard.elapsed());
        if begun.is_some_and(|begun| begun.elapsed() >= limits.message_timeout) {
            let limits = &self.gateway.metrics.limits;
            limits.bound(Limit::MessageTime).inc();
            self.close(
                Closed::Unfinished,
                close::POLICY,
                "a message was not finished in time",
            );
        } else if let Some(timeout) = limits.pong_timeout
            && silence >= limits.ping_interval + timeout
        {
            self.close(Closed::Silent, close::POLICY, "no answer to pings");
        } else if silence >= limits.ping_interval {
            self.outbox.ping();
            return limits.pong_timeout.unwrap_or(limits.ping_interval);
        }
        limits
            .ping_interval
            .saturating_sub(silence)
            .max(Duration::from_secs(1))
    }

    /// Ends the connection with a close frame and nothing else.
    fn close(&mut self, closed: Closed, code: u16, reason: &'static str) {
        self.outbox.cut(code, reason);
        self.closing = Some(closed);
    }

    /// Sends the challenge before an `auth-required:` answer, unless it is still outstanding
    /// (R42-1). The one of the start stays in force until it has been used.
    fn challenge_if_used(&mut self) {
        if !self.reader.is_anonymous() {
            self.challenge = challenge();
            self.outbox
                .text(RelayMessage::Auth(&self.challenge).encode());
        }
    }

    /// When closing began: now, if it hadn't.
    fn closing_since(&mut self, now: Instant) -> Instant {
        if !self.flushing {
            self.count_age();
            self.flushing = true;
            self.since = now;
        }
        self.since
    }

    /// Counts the end of the connection.
    fn count_closed(&mut self, closed: Closed) {
        self.note_unnoted();
        let metrics = &self.gateway.metrics;
        metrics.connections.closed(closed).inc();
        if closed == Closed::Slow {
            metrics.traffic.slow_closed().inc();
        }
        // Else it was counted when closing began.
        if !self.flushing {
            self.count_age();
        }
    }

    /// Notes for the lists of the busiest what its reads left.
    fn note_unnoted(&mut self) {
        let address = AddressKey::new(self.address);
        let tops = &self.gateway.metrics.tops;
        self.unnoted.note(tops, address, Instant::now().into_std());
    }

    fn count_age(&self) {
        let age_seconds = &self.gateway.metrics.connections.age_seconds;
        age_seconds.observe(self.since.elapsed().as_secs_f64());
    }

    fn end_subscriptions(&mut self) {
        for id in self.subscription_ids() {
            self.end_subscription(&id);
        }
    }

    /// Open subscriptions in an order that is the same in every run.
    fn subscription_ids(&self) -> Vec<SubscriptionId> {
        let mut ids: Vec<SubscriptionId> = self.subscriptions.keys().cloned().collect();
        ids.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        ids
    }

    /// Waits for the EVENTs of a client that left right after sending them: it gets no answer, but
    /// the events are stored. Each ends within the time for its receipt.
    async fn finish_events(&mut self, work: &mut Work) {
        while self.pending_events > 0
            && let Some(done) = work.next().await
        {
            self.done(done);
        }
    }

    /// The last step: the matcher forgets the keys of the connection.
    fn forget(&self) {
        if let Ok(matcher) = self.gateway.bus.matcher() {
            matcher.disconnect(self.id);
        }
    }
}

/// Waits for the next value and returns what waits for those behind it.
async fn changed<T>(mut values: watch::Receiver<T>) -> watch::Receiver<T> {
    if values.changed().await.is_err() {
        // There is none, so nothing is to be done.
        std::future::pending::<()>().await;
    }
    values
}

/// A share of the drain time that differs from connection to connection, so that the clients don't
/// all reconnect at once.
fn spread(id: ConnectionId, options: &Options) -> Duration {
    let thousandths = u32::try_from(id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54).unwrap_or(0);
    options.limits.drain * thousandths / 1_024
}

/// 128 random bits as hex (R42-1).
fn challenge() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    let mut hex = Vec::with_capacity(32);
    heliograph_protocol::encode_hex(&bytes, &mut hex);
    hex.into_iter().map(char::from).collect()
}
