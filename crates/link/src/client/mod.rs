//! A gateway's end: what it has open, and the session at the matcher that serves it.
//!
//! [`Client`] is what the gateway asks, [`Link`] the task that keeps a session. All deliveries come
//! from that task, but for slots that are released while there is none.

mod active;
mod connect;
mod pages;
mod session;
mod shared;
mod table;

use std::{fmt, sync::Arc};

use heliograph_bus::{
    BoxFuture, BusError, ConnectionId, Count, Counted, Deliver, Delivery, Open, Pages, Requests,
    Resume, Slot,
};
use heliograph_proto::{encode_filters, v1};
use heliograph_protocol::{PublicKey, Refusal};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tonic::Status;

use self::{
    active::Active,
    connect::Connector,
    pages::{Answer, BREAK_WAIT},
    shared::Lists,
    table::{NotBegun, Table},
};
use crate::{
    ClientMetrics, ClientOptions, LinkError,
    rendezvous::Target,
    status,
    transport::{Dial, Transport},
};

pub use session::Link;

/// How often a COUNT is asked when its matcher goes away.
const COUNTS_MAX: u32 = 2;

/// Asks the matcher that serves this gateway. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What client and task share.
pub(crate) struct Shared {
    options: ClientOptions,
    table: Mutex<Table>,
    /// Taken before `table`, never with it.
    lists: Mutex<Lists>,
    session: watch::Sender<Session>,
    stop: watch::Sender<bool>,
    deliver: Arc<dyn Deliver>,
    metrics: ClientMetrics,
}

/// The session of the hour.
#[derive(Debug, Clone)]
enum Session {
    None,
    Some(Arc<Active>),
    /// There will be none any more.
    Stopped,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("session", &*self.session.borrow())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client, and the task that has to be run for it. `targets` says at any time which matcher
    /// is to serve this gateway: another one, or none, ends the session at once. `deliver` takes
    /// what comes.
    ///
    /// # Errors
    ///
    /// The certificates can't be used.
    pub fn new(
        options: ClientOptions,
        targets: watch::Receiver<Option<Target>>,
        deliver: Arc<dyn Deliver>,
        metrics: ClientMetrics,
    ) -> Result<(Self, Link), LinkError> {
        Self::over(options, Transport::Tcp, targets, deliver, metrics)
    }

    /// The same over connections of another kind than TCP.
    ///
    /// # Errors
    ///
    /// The certificates can't be used.
    pub fn with_dial(
        options: ClientOptions,
        dial: Dial,
        targets: watch::Receiver<Option<Target>>,
        deliver: Arc<dyn Deliver>,
        metrics: ClientMetrics,
    ) -> Result<(Self, Link), LinkError> {
        Self::over(options, Transport::Other(dial), targets, deliver, metrics)
    }

    fn over(
        options: ClientOptions,
        transport: Transport,
        targets: watch::Receiver<Option<Target>>,
        deliver: Arc<dyn Deliver>,
        metrics: ClientMetrics,
    ) -> Result<(Self, Link), LinkError> {
        let connector = Connector::new(&options, transport, metrics.queue_bytes.clone())?;
        let shared = Arc::new(Shared {
            options,
            table: Mutex::default(),
            lists: Mutex::default(),
            session: watch::Sender::new(Session::None),
            stop: watch::Sender::new(false),
            deliver,
            metrics,
        });
        let link = Link::new(Arc::clone(&shared), connector, targets);
        Ok((Self { shared }, link))
    }

    /// Whether a matcher serves this gateway at the moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(*self.shared.session.borrow(), Session::Some(_))
    }

    /// Ends the session and the task of [`Link::run`]. Questions get [`BusError::Closed`] then.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }
}

impl Shared {
    /// Waits for a session.
    async fn active(&self, until: Instant) -> Result<Arc<Active>, BusError> {
        let mut session = self.session.subscribe();
        let found = session.wait_for(|session| !matches!(session, Session::None));
        let Ok(found) = timeout_at(until, found).await else {
            return Err(BusError::NoMatcher);
        };
        // The sender lives in `self`.
        match found.as_deref() {
            Ok(Session::Some(active)) => Ok(Arc::clone(active)),
            _ => Err(BusError::Closed),
        }
    }

    async fn ask(
        self: &Arc<Self>,
        open: Open,
        mut request: v1::OpenRequest,
    ) -> Result<Answer, BusError> {
        let until = Instant::now() + self.options.session_wait;
        let (active, begun) = loop {
            let active = self.active(until).await?;
            let begun = self.table.lock().begin(open.slot, &active);
            match begun {
                Ok(begun) => break (active, begun),
                // The next session is announced once this one is cleared away.
                Err(NotBegun::Over) => timeout_at(until, active.over())
                    .await
                    .map_err(|_elapsed| BusError::NoMatcher)?,
                Err(NotBegun::Gone) => return Err(BusError::Closed),
            }
        };
        request.session = active.session;
        request.request = begun.request;
        request.reader = Some((&begun.keys).into());
        let mut pages = active.pages.clone();
        // The end of the session first: another matcher will answer.
        let asked = tokio::select! {
            biased;
            () = active.over() => return Err(self.interrupted()),
            asked = pages.open(request) => asked,
        };
        match asked {
            Ok(pages) => Ok(Answer {
                shared: Arc::clone(self),
                slot: open.slot,
                request: begun.request,
                pages: pages.into_inner(),
                mark: Some(begun.mark),
                active,
            }),
            Err(status) => {
                let failed = self.failed(open.slot, begun.request, &active, &status);
                Err(failed.await)
            }
        }
    }

    /// A question failed: by the matcher's word, or with the session.
    async fn failed(
        &self,
        slot: Slot,
        request: u64,
        active: &Arc<Active>,
        status: &Status,
    ) -> BusError {
        match status::error_of(status) {
            Some(error) => {
                self.table.lock().refused(slot, request, active);
                error
            }
            None => {
                if status::is_over(status) {
                    // What was queued before still comes.
                    let wait = self.options.mark_wait;
                    drop(timeout(wait, active.over()).await);
                }
                self.broken(active).await
            }
        }
    }

    /// Ends a session that can't go on, and waits until it is cleared away: only then may the same
    /// slot be asked for again.
    async fn broken(&self, active: &Active) -> BusError {
        active.break_off();
        // The task does this at once; the bound is there in case it isn't run any more.
        drop(timeout(BREAK_WAIT, active.over()).await);
        self.interrupted()
    }

    fn interrupted(&self) -> BusError {
        self.metrics.interrupted.inc();
        BusError::Interrupted
    }

    async fn ask_count(&self, count: &Count) -> Result<Counted, Refusal> {
        let until = Instant::now() + self.options.session_wait;
        for _ in 0..COUNTS_MAX {
            let active = self.active(until).await?;
            let mut control = active.control.clone();
            // The end of the session first: another matcher will answer.
            let reply = tokio::select! {
                biased;
                () = active.over() => continue,
                reply = control.count(v1::CountRequest::from(count)) => reply,
            };
            match reply {
                Ok(reply) => match reply.into_inner().read() {
                    Ok(result) => return result,
                    Err(error) => return Err(Refusal::error(error.to_string())),
                },
                Err(status) => match status::error_of(&status) {
                    Some(error) => return Err(error.into()),
                    None => drop(self.broken(&active).await),
                },
            }
        }
        Err(self.interrupted().into())
    }

    fn deliver_all(&self, slots: Vec<Slot>, of: impl Fn(Slot) -> Delivery) {
        for slot in slots {
            self.deliver.deliver(of(slot));
        }
    }
}

impl Requests for Client {
    fn open(&self, open: Open) -> BoxFuture<'_, Result<Box<dyn Pages>, BusError>> {
        let kept = v1::Filters::from(&open.filters[..]);
        let filters = encode_filters(&kept);
        let kept = Arc::new(self.shared.lists.lock().share(kept));
        // At once, and not when the future is first polled: from here on a close concerns it.
        let admitted =
            self.shared
                .table
                .lock()
                .admit(open.slot, open.connection, kept, &open.reader);
        Box::pin(async move {
            if !admitted {
                return Err(BusError::Store("this subscription is open".to_owned()));
            }
            let request = v1::OpenRequest {
                slot: open.slot.0,
                connection: open.connection.0,
                filters,
                after: open.after.0,
                now: open.now.as_secs(),
                traceparent: open.trace.as_ref().map(ToString::to_string),
                ..v1::OpenRequest::default()
            };
            let answer = self.shared.ask(open, request).await?;
            Ok(Box::new(answer) as Box<dyn Pages>)
        })
    }

    /// Not for gateways: the link resumes by itself.
    fn resume(&self, _resume: Resume) -> BoxFuture<'_, Result<(), Refusal>> {
        let refusal = Refusal::error("subscriptions are resumed by the link");
        Box::pin(std::future::ready(Err(refusal)))
    }

    fn close(&self, slot: Slot) {
        let free = self.shared.table.lock().close(slot);
        if free {
            self.shared.deliver.deliver(Delivery::Released(slot));
        }
    }

    fn authenticate(&self, connection: ConnectionId, key: PublicKey) {
        self.shared.table.lock().authenticate(connection, &key);
    }

    fn disconnect(&self, connection: ConnectionId) {
        self.shared.table.lock().disconnect(connection);
    }

    fn count(&self, count: Count) -> BoxFuture<'_, Result<Counted, Refusal>> {
        Box::pin(async move { self.shared.ask_count(&count).await })
    }
}
