//! A relay in this process that does what a test tells it: each is a gateway of one relay, since
//! those that share a memory share events.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::{Event, Filter};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

/// Events that a slow connection may lag behind.
const LIVE_MAX: usize = 1_024;

/// How a relay treats its clients.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    /// Whether accepted events go to open subscriptions.
    pub(crate) delivers: bool,
    /// How late.
    pub(crate) delay: Duration,
    /// Whether accepted events are kept.
    pub(crate) remembers: bool,
    /// Whether an EVENT is looked at.
    pub(crate) answers: bool,
    /// What every EVENT is refused with.
    pub(crate) refuses: Option<&'static str>,
    /// What every REQ by ids is refused with.
    pub(crate) closes: Option<&'static str>,
    /// Whether clients have to authenticate, for this relay URL.
    pub(crate) auth: bool,
    /// Whether the challenge comes behind the first refusal.
    pub(crate) challenges_late: bool,
    /// Whether answers to authentication are accepted.
    pub(crate) accepts_auth: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            delivers: true,
            delay: Duration::ZERO,
            remembers: true,
            answers: true,
            refuses: None,
            closes: None,
            auth: false,
            challenges_late: false,
            accepts_auth: true,
        }
    }
}

/// What relays share.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    events: Arc<Mutex<Vec<Event>>>,
    live: broadcast::Sender<(Instant, Event)>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            events: Arc::default(),
            live: broadcast::channel(LIVE_MAX).0,
        }
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running relay.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) manners: watch::Sender<Manners>,
    /// How often connections were closed by the relay.
    kicks: watch::Sender<usize>,
    /// How often all open ones were told to hang.
    hangs: watch::Sender<usize>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// EVENTs that came.
    pub(crate) heard: Arc<AtomicUsize>,
}

impl Fake {
    /// Listens on a free port.
    pub(crate) async fn start(memory: &Memory, tasks: &Tasks) -> Self {
        Self::listen(memory, None, tasks).await
    }

    /// The same behind TLS.
    pub(crate) async fn encrypted(
        memory: &Memory,
        config: rustls::ServerConfig,
        tasks: &Tasks,
    ) -> Self {
        Self::listen(memory, Some(TlsAcceptor::from(Arc::new(config))), tasks).await
    }

    async fn listen(memory: &Memory, tls: Option<TlsAcceptor>, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let fake = Self {
            url: format!("{scheme}://{address}"),
            manners: watch::Sender::new(Manners::default()),
            kicks: watch::Sender::new(0),
            hangs: watch::Sender::new(0),
            connections: Arc::default(),
            heard: Arc::default(),
        };
        let (manners, kicks) = (fake.manners.subscribe(), fake.kicks.subscribe());
        let (hangs, connections) = (fake.hangs.subscribe(), Arc::clone(&fake.connections));
        let (memory, url, clients) = (memory.clone(), fake.url.clone(), tasks.clone());
        let heard = Arc::clone(&fake.heard);
        tasks.spawn("fake relay", async move {
            while let Ok((tcp, _peer)) = listener.accept().await {
                let (mut kicks, mut hangs) = (kicks.clone(), hangs.clone());
                // What was ordered is over for those who come now.
                kicks.mark_unchanged();
                hangs.mark_unchanged();
                let client = Client {
                    memory: memory.clone(),
                    manners: manners.clone(),
                    url: url.clone(),
                    heard: Arc::clone(&heard),
                    subscriptions: Vec::new(),
                    is_known: false,
                };
                connections.fetch_add(1, Ordering::AcqRel);
                clients.spawn("fake client", serve(client, tcp, tls.clone(), kicks, hangs));
            }
        });
        fake
    }

    /// Treats clients otherwise from now on.
    pub(crate) fn now(&self, change: impl FnOnce(&mut Manners)) {
        self.manners.send_modify(change);
    }

    /// Closes every connection in order, as a gateway that stops does.
    pub(crate) fn kick(&self) {
        self.kicks.send_modify(|kicks| *kicks += 1);
    }

    /// Has every open connection hang for good.
    pub(crate) fn hang(&self) {
        self.hangs.send_modify(|hangs| *hangs += 1);
    }
}

/// One connection.
struct Client {
    memory: Memory,
    manners: watch::Receiver<Manners>,
    url: String,
    heard: Arc<AtomicUsize>,
    subscriptions: Vec<(String, Filter)>,
    is_known: bool,
}

async fn serve(
    client: Client,
    tcp: TcpStream,
    tls: Option<TlsAcceptor>,
    kicks: watch::Receiver<usize>,
    hangs: watch::Receiver<usize>,
) {
    match tls {
        None => client.run(tcp, kicks, hangs).await,
        Some(acceptor) => {
            // Who doesn't trust this relay is no client.
            if let Ok(stream) = acceptor.accept(tcp).await {
                client.run(stream, kicks, hangs).await;
            }
        }
    }
}

impl Client {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        stream: S,
        mut kicks: watch::Receiver<usize>,
        mut hangs: watch::Receiver<usize>,
    ) {
        let Ok((_request, mut socket)) = ServerBuilder::new().accept(stream).await else {
            return;
        };
        let mut live = self.memory.live.subscribe();
        let (auth, late) = {
            let manners = self.manners.borrow();
            (manners.auth, manners.challenges_late)
        };
        if auth && !late {
            say(&mut socket, &json!(["AUTH", "challenge"])).await;
        }
        loop {
            tokio::select! {
                biased; // the test's orders first
                Ok(()) = hangs.changed() => std::future::pending::<()>().await,
                Ok(()) = kicks.changed() => {
                    let close = Message::close(Some(CloseCode::SERVICE_RESTART), "restarts");
                    // Whoever is gone needs no goodbye.
                    drop(socket.send(close).await);
                    return;
                }
                Ok((at, event)) = live.recv() => self.deliver(&mut socket, at, &event).await,
                message = socket.next() => match message {
                    Some(Ok(message)) => {
                        if let Some(text) = message.as_text() {
                            let text = text.to_owned();
                            self.answer(&mut socket, &text).await;
                        }
                    }
                    _ => return,
                },
            }
        }
    }

    async fn deliver<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: &mut WebSocketStream<S>,
        at: Instant,
        event: &Event,
    ) {
        let manners = self.manners.borrow().clone();
        if !manners.delivers || self.subscriptions.is_empty() {
            return;
        }
        sleep_until(at + manners.delay).await;
        for (sub, filter) in &self.subscriptions {
            if filter.matches(event) {
                say(socket, &json!(["EVENT", sub, value(event)])).await;
            }
        }
    }

    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        text: &str,
    ) {
        let message: Vec<Value> = serde_json::from_str(text).unwrap();
        let manners = self.manners.borrow().clone();
        let stranger = manners.auth && !self.is_known;
        match message[0].as_str().unwrap() {
            "EVENT" if !manners.answers => {
                self.heard.fetch_add(1, Ordering::AcqRel);
            }
            "EVENT" => {
                self.heard.fetch_add(1, Ordering::AcqRel);
                let event = Event::parse(&message[1].to_string()).unwrap();
                let refused = match manners.refuses {
                    _ if stranger => Some("auth-required: who are you?"),
                    refused => refused,
                };
                let (accepted, why) = (refused.is_none(), refused.unwrap_or_default());
                if accepted && manners.remembers {
                    self.memory.events().push(event.clone());
                }
                say(socket, &json!(["OK", event.id().to_hex(), accepted, why])).await;
                if accepted {
                    // Without anybody connected there is nobody to tell.
                    drop(self.memory.live.send((Instant::now(), event)));
                }
            }
            "REQ" if stranger => {
                say(
                    socket,
                    &json!(["CLOSED", message[1], "auth-required: who are you?"]),
                )
                .await;
                if manners.challenges_late {
                    say(socket, &json!(["AUTH", "challenge"])).await;
                }
            }
            "REQ" => self.stored(socket, &message, &manners).await,
            "CLOSE" => self.subscriptions.retain(|(sub, _)| message[1] != **sub),
            "AUTH" => {
                let event = Event::parse(&message[1].to_string()).unwrap();
                let has = |name, value: &str| event.values(name).any(|found| found == value);
                let right = has("relay", &self.url) && has("challenge", "challenge");
                self.is_known = right && manners.accepts_auth;
                let why = if self.is_known {
                    ""
                } else {
                    "restricted: not you"
                };
                say(
                    socket,
                    &json!(["OK", event.id().to_hex(), self.is_known, why]),
                )
                .await;
            }
            other => panic!("{other}"),
        }
    }

    async fn stored<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        message: &[Value],
        manners: &Manners,
    ) {
        let sub = message[1].as_str().unwrap().to_owned();
        if let Some(why) = manners.closes
            && message[2]["ids"].is_array()
        {
            return say(socket, &json!(["CLOSED", sub, why])).await;
        }
        let filter = Filter::parse(&message[2].to_string()).unwrap();
        let found: Vec<Event> = {
            let events = self.memory.events();
            events
                .iter()
                .filter(|event| filter.matches(event))
                .cloned()
                .collect()
        };
        for event in found {
            say(socket, &json!(["EVENT", sub, value(&event)])).await;
        }
        say(socket, &json!(["EOSE", sub])).await;
        self.subscriptions.retain(|(open, _)| *open != sub);
        self.subscriptions.push((sub, filter));
    }
}

fn value(event: &Event) -> Value {
    serde_json::from_str(event.as_str()).unwrap()
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, value: &Value) {
    // A client that is gone is noticed when it is read from.
    drop(socket.send(Message::text(value.to_string())).await);
}
