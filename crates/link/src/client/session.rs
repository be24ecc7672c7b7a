//! The task that keeps a session: reaches the matcher of the hour, resumes there what is live, hands
//! on what comes, and clears away when it is over.

use std::{future::pending, pin::pin, sync::Arc};

use futures_util::stream;
use hashbrown::HashMap;
use heliograph_bus::{CommitNumber, Delivery, Place, Slot};
use heliograph_proto::{
    FormError, read_origin, shared_event,
    v1::{self, matcher_message::Message},
};
use heliograph_protocol::Refusal;
use tokio::{
    sync::watch,
    time::{Duration, Instant, MissedTickBehavior, sleep, sleep_until},
};

use super::{
    Session, Shared,
    active::Active,
    connect::{Backoff, Connected, Connector},
};
use crate::{rendezvous::Target, status};

/// A session that lasted this long wasn't refused: the next one is tried for at once.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// How often is looked whether the matcher still says something.
const LISTEN_EVERY: Duration = Duration::from_millis(500);

/// The task behind a [`Client`](crate::Client).
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    connector: Connector,
    targets: watch::Receiver<Option<Target>>,
    /// Everything up to here was delivered, to all live subscriptions.
    delivered: CommitNumber,
    sessions: u64,
}

/// What a resumption is for.
struct Resuming {
    /// Its own number; the mark of this number ends it.
    request: u64,
    /// Slots with the requests that stand for them; without those released since.
    resumed: HashMap<u32, u64>,
    began: Instant,
}

/// What the matcher made of it.
enum Resumed {
    TakenOver,
    Refused(Refusal),
    Broken,
}

/// The state of a running session.
struct Running<'a> {
    shared: &'a Shared,
    /// As far as the matcher of this session says.
    position: CommitNumber,
    /// The number from which is being resumed, until that is done.
    from: Option<CommitNumber>,
    resuming: Option<Resuming>,
    /// When the resumption came on last, or the matcher towards it.
    progress: Instant,
}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        connector: Connector,
        targets: watch::Receiver<Option<Target>>,
    ) -> Self {
        Self {
            shared,
            connector,
            targets,
            delivered: CommitNumber::default(),
            sessions: 0,
        }
    }

    /// Keeps a session until [`Client::stop`](crate::Client::stop).
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::new(&shared.options);
        let mut unserved = Instant::now();
        while let Some((target, connected)) = self.reach(&mut backoff, unserved).await {
            let began = Instant::now();
            tracing::info!(matcher = target.name, "served by matcher");
            if self.serve(target.clone(), connected).await {
                unserved = Instant::now();
            }
            // Nothing speaks against another matcher.
            let moved = self.targets.borrow().as_ref() != Some(&target);
            if moved || began.elapsed() >= GOOD_SESSION {
                backoff.reset();
            }
        }
        shared.session.send_replace(Session::Stopped);
        let refusal = Refusal::error("shutting down");
        let ended = shared.table.lock().give_up();
        shared.deliver_all(ended, |slot| Delivery::Ended(slot, refusal.clone()));
    }

    /// Tries until a matcher takes us; gives live subscriptions up when that takes too long. `None`
    /// when stopped.
    async fn reach(
        &mut self,
        backoff: &mut Backoff,
        unserved: Instant,
    ) -> Option<(Target, Connected)> {
        let shared = Arc::clone(&self.shared);
        let mut stop = shared.stop.subscribe();
        let mut attempts = pin!(attempts(&self.connector, &mut self.targets, backoff));
        let mut waiting = true;
        loop {
            // Stopping first, giving up next: an attempt may take its time.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return None,
                () = sleep_until(unserved + shared.options.give_up), if waiting => {
                    waiting = false;
                    shared.give_up();
                }
                connected = &mut attempts => return Some(connected),
            }
        }
    }

    /// One session, from its welcome until nothing comes from it any more. Whether live subscriptions
    /// were served in it: all of them, or with some of what they had missed.
    async fn serve(&mut self, target: Target, connected: Connected) -> bool {
        let shared = Arc::clone(&self.shared);
        let Connected {
            active,
            live,
            welcome,
        } = connected;
        self.sessions += 1;
        if self.sessions > 1 {
            shared.metrics.reconnects.inc();
        }
        let resumption = shared.table.lock().attach(&active);
        let parts = resumption.parts();
        let welcomed = CommitNumber(welcome.position);
        let (from, resuming) = if parts.is_empty() {
            (None, None)
        } else {
            (Some(self.delivered), Some(Resuming::new(&active, &parts)))
        };
        let mut running = Running {
            shared: &shared,
            position: welcomed,
            from,
            resuming,
            progress: Instant::now(),
        };
        shared
            .session
            .send_replace(Session::Some(Arc::clone(&active)));
        shared.metrics.connected.set(1);
        let requests = running.requests(&active, parts);
        self.follow(&mut running, &active, live, requests, &target)
            .await;
        let served = running.from.is_none_or(|from| from > self.delivered);
        self.delivered = running.delivered(self.delivered);
        shared.metrics.connected.set(0);
        shared.session.send_replace(Session::None);
        let free = shared.table.lock().detach();
        active.finish();
        shared.deliver_all(free, Delivery::Released);
        served
    }

    /// Hands on what comes until the session is over, for whatever reason. The stream is dropped with
    /// the end, so nothing comes after it.
    async fn follow(
        &mut self,
        running: &mut Running<'_>,
        active: &Arc<Active>,
        mut live: tonic::Streaming<v1::MatcherMessage>,
        requests: Vec<v1::ResumeRequest>,
        target: &Target,
    ) {
        let mut stop = running.shared.stop.subscribe();
        let options = &running.shared.options;
        let mut resume = pin!(resume(Arc::clone(active), requests));
        let mut resumed = running.resuming.is_none();
        let mut beats = tokio::time::interval(LISTEN_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            // What ends the session first, then what ends its beginning, then what may be without
            // end; silence is looked for when nothing else is there.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = moved(&mut self.targets, target) => {
                    tracing::info!(matcher = target.name, "another matcher is to serve");
                    return;
                }
                () = active.broken() => return,
                result = &mut resume, if !resumed => {
                    resumed = true;
                    if running.resume_answered(result).is_break() {
                        return;
                    }
                }
                message = live.message() => {
                    heard = Instant::now();
                    match message {
                        Ok(Some(message)) => if let Err(error) = running.apply(message) {
                            tracing::warn!(%error, matcher = target.name, "unreadable message");
                            return;
                        },
                        Ok(None) => return,
                        Err(error) => {
                            tracing::warn!(%error, matcher = target.name, "matcher lost");
                            return;
                        }
                    }
                }
                _ = beats.tick() => {
                    if heard.elapsed() > options.silence {
                        tracing::warn!(matcher = target.name, "matcher says nothing");
                        return;
                    }
                    if !resumed && running.progress.elapsed() > options.resume_wait {
                        tracing::warn!(matcher = target.name, "resuming makes no progress");
                        return;
                    }
                }
            }
        }
    }
}

impl Resuming {
    fn new(active: &Active, parts: &[Vec<v1::ResumedConnection>]) -> Self {
        let subscriptions = parts
            .iter()
            .flatten()
            .flat_map(|connection| &connection.subscriptions);
        Self {
            request: active.next_request(),
            resumed: subscriptions
                .map(|subscription| (subscription.slot, subscription.request))
                .collect(),
            began: Instant::now(),
        }
    }
}

impl Running<'_> {
    /// The messages of the resumption.
    fn requests(
        &self,
        active: &Active,
        parts: Vec<Vec<v1::ResumedConnection>>,
    ) -> Vec<v1::ResumeRequest> {
        let Some((from, resuming)) = self.from.zip(self.resuming.as_ref()) else {
            return Vec::new();
        };
        let part = |connections| v1::ResumeRequest {
            session: active.session,
            request: resuming.request,
            from: from.0,
            connections,
        };
        parts.into_iter().map(part).collect()
    }

    /// Up to where all live subscriptions have everything: those that were opened in this session
    /// from its beginning, those that it took over from when that is done. A matcher that knows of
    /// no commit has just been started and has opened none: then it is as it was `before`.
    fn delivered(&self, before: CommitNumber) -> CommitNumber {
        match (self.from, self.position) {
            (from, CommitNumber(0)) => from.unwrap_or(before),
            (Some(from), position) => from.min(position),
            (None, position) => position,
        }
    }

    fn resume_answered(&mut self, result: Resumed) -> std::ops::ControlFlow<()> {
        match result {
            // The mark comes, or has come, behind what was missed.
            Resumed::TakenOver => {}
            Resumed::Broken => return std::ops::ControlFlow::Break(()),
            Resumed::Refused(refusal) => {
                self.from = None;
                if let Some(resuming) = self.resuming.take() {
                    tracing::warn!(%refusal, "live subscriptions can't go on");
                    let ended = self.shared.table.lock().resume_refused(&resuming.resumed);
                    self.shared.end(ended, &refusal);
                }
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Hands one message on.
    fn apply(&mut self, message: v1::MatcherMessage) -> Result<(), FormError> {
        let shared = self.shared;
        match message.message {
            Some(Message::Delivery(delivery)) => {
                let slots = delivery
                    .slots
                    .ok_or(FormError::Missing("slots"))?
                    .unpack()?;
                let origin = read_origin(delivery.received_micros, delivery.traceparent.as_deref());
                let event = shared_event(delivery.json, origin)?;
                shared.metrics.deliveries.inc();
                let place = delivery.place.map(Place::from);
                self.replayed(place, &slots);
                shared.deliver.deliver(Delivery::Event {
                    event,
                    place,
                    slots,
                });
            }
            Some(Message::Position(position)) => {
                let position = CommitNumber(position.number);
                if position > self.position {
                    self.position = position;
                    self.progress = Instant::now();
                }
            }
            Some(Message::Mark(mark)) => self.marked(mark.request),
            Some(Message::Released(released)) => {
                let slot = Slot(released.slot);
                if let Some(resuming) = &mut self.resuming {
                    resuming.resumed.remove(&slot.0);
                }
                let expected = shared.table.lock().released(slot);
                if expected {
                    shared.deliver.deliver(Delivery::Released(slot));
                }
            }
            Some(Message::Ended(ended)) => {
                let slot = Slot(ended.slot);
                let refusal = ended.refusal.unwrap_or_default().into();
                let open = shared.table.lock().ended(slot);
                shared.end(open.then_some(slot).into_iter().collect(), &refusal);
            }
            Some(Message::Welcome(_)) => return Err(FormError::Missing("sense")),
            // Of a later version, perhaps: what it doesn't say can't be handed on.
            None => return Err(FormError::Missing("message")),
        }
        Ok(())
    }

    /// What is missed comes in order to all that missed it, so each event says that those before have
    /// been delivered: a resumption that is too much for one session goes on in the next.
    fn replayed(&mut self, place: Option<Place>, slots: &[Slot]) {
        if let (Some(from), Some(resuming), Some(place)) = (&mut self.from, &self.resuming, place)
            && slots
                .iter()
                .any(|slot| resuming.resumed.contains_key(&slot.0))
        {
            let before = CommitNumber(place.number.0.saturating_sub(1));
            *from = before.max(*from);
            self.progress = Instant::now();
        }
    }

    fn marked(&mut self, request: u64) {
        let done = self
            .resuming
            .take_if(|resuming| resuming.request == request);
        if let Some(done) = done {
            // Whoever took over has come at least so far.
            self.position = self
                .from
                .take()
                .map_or(self.position, |from| from.max(self.position));
            let took = done.began.elapsed();
            self.shared
                .metrics
                .resume_seconds
                .observe(took.as_secs_f64());
            tracing::info!(subscriptions = done.resumed.len(), ?took, "resumed");
        } else {
            // Nobody waits if the subscription was closed meanwhile.
            self.shared.table.lock().marked(request);
        }
    }
}

impl Shared {
    fn give_up(&self) {
        let ended = self.table.lock().give_up();
        let refusal = Refusal::error("the relay can't go on with this subscription, ask again");
        self.end(ended, &refusal);
    }

    fn end(&self, slots: Vec<Slot>, refusal: &Refusal) {
        self.metrics.ended.inc_by(slots.len() as u64);
        self.deliver_all(slots, |slot| Delivery::Ended(slot, refusal.clone()));
    }
}

/// Tries the target of the hour until one takes us.
async fn attempts(
    connector: &Connector,
    targets: &mut watch::Receiver<Option<Target>>,
    backoff: &mut Backoff,
) -> (Target, Connected) {
    let mut wait = backoff.first();
    loop {
        // Another target first: it need not wait.
        tokio::select! {
            biased;
            () = changed(targets), if !wait.is_zero() => {}
            () = sleep(wait) => {}
        }
        let target = targets.borrow_and_update().clone();
        let Some(target) = target else {
            changed(targets).await;
            continue;
        };
        let result = tokio::select! {
            biased;
            () = moved(targets, &target) => {
                wait = Duration::ZERO;
                continue;
            }
            result = connector.connect(&target) => result,
        };
        wait = backoff.next();
        match result {
            Ok(connected) => return (target, connected),
            Err(error) => {
                tracing::warn!(matcher = target.name, %error, ?wait, "matcher not reached");
            }
        }
    }
}

/// Waits for another target.
async fn changed(targets: &mut watch::Receiver<Option<Target>>) {
    if targets.changed().await.is_err() {
        // Nobody chooses any more: it stays at that.
        pending::<()>().await;
    }
}

/// Waits until the target isn't `target` any more.
async fn moved(targets: &mut watch::Receiver<Option<Target>>, target: &Target) {
    while targets.borrow_and_update().as_ref() == Some(target) {
        changed(targets).await;
    }
}

/// Asks the matcher to take over what is live. It takes its time, and gives up by itself if it doesn't
/// get on.
async fn resume(active: Arc<Active>, parts: Vec<v1::ResumeRequest>) -> Resumed {
    let mut control = active.control.clone();
    match control.resume(stream::iter(parts)).await {
        Ok(reply) => match reply.into_inner().refused {
            None => Resumed::TakenOver,
            Some(refusal) => Resumed::Refused(refusal.into()),
        },
        Err(status) => {
            tracing::warn!(error = %status, "the matcher doesn't resume");
            if status::is_over(&status) {
                // What was queued before still comes, and then the end.
                pending::<()>().await;
            }
            status::error_of(&status)
                .map_or(Resumed::Broken, |error| Resumed::Refused(error.into()))
        }
    }
}
