//! One connection to a relay, kept up: connects, authenticates if asked, passes texts on, notices
//! silence, and comes back.
//!
//! It knows nothing of probes. What it hears it reports with the time of receipt.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use heliograph_lifecycle::Tasks;
use heliograph_protocol::{Kind, Timestamp};
use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_websockets::{CloseCode, Message as Frame};

use crate::{
    Timing,
    auth::{Auth, Next},
    backoff::Backoff,
    message::{Message, asks_for_auth},
    signer::Signer,
    socket::{Socket, connect},
    target::Target,
};

/// The id of the subscription that a reader keeps open; without it its connection is of no use.
pub(crate) const LIVE: &str = "live";

/// Texts that wait for the socket. A canary sends a handful a second; past it they are dropped, and
/// what they asked for counts as not answered.
const COMMANDS_MAX: usize = 256;

/// A connection that was silent for so long is pinged, and given up after as long again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Bytes of a message of a relay; probes are short, so a longer one ends the connection.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Time for the last frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What connections are made of.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) publish: Target,
    pub(crate) read: Vec<Target>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) signer: Signer,
    pub(crate) kind: Kind,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Publisher,
    /// By its place in `canary.read`.
    Reader(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher => f.write_str("publish"),
            Self::Reader(via) => write!(f, "read {via}"),
        }
    }
}

/// Something that happened on a connection.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) from: Place,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// It is open, or authenticated by now: what wasn't answered has to be sent.
    Ready,
    /// It couldn't be opened, or has ended.
    Down(String),
    /// The relay said this.
    Said(Message),
}

/// The engine's end of a connection. The connection ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    commands: mpsc::Sender<String>,
}

impl Link {
    /// Starts to connect.
    pub(crate) fn start(
        place: Place,
        wiring: &Wiring,
        timing: watch::Receiver<Timing>,
        reports: mpsc::Sender<Report>,
        tasks: &Tasks,
    ) -> Self {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let target = match place {
            Place::Publisher => &wiring.publish,
            Place::Reader(via) => &wiring.read[via],
        };
        let end = End {
            place,
            target: target.clone(),
            tls: wiring.tls.clone(),
            signer: wiring.signer.clone(),
            timing,
            commands,
            reports,
            backoff: Backoff::default(),
        };
        tasks.spawn("connection", end.run());
        Self { commands: sender }
    }

    /// Sends a text, if there is room and a connection.
    pub(crate) fn send(&self, text: String) {
        if self.commands.try_send(text).is_err() {
            tracing::debug!("a text was dropped");
        }
    }
}

/// The other end of a link was dropped.
#[derive(Debug, PartialEq, Eq)]
struct Stopped;

/// Why a connection ended.
#[derive(Debug)]
enum Ended {
    Stopped,
    Lost(String),
}

impl From<Stopped> for Ended {
    fn from(_stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// The end at the socket.
#[derive(Debug)]
struct End {
    place: Place,
    target: Target,
    tls: Option<Arc<ClientConfig>>,
    signer: Signer,
    timing: watch::Receiver<Timing>,
    commands: mpsc::Receiver<String>,
    reports: mpsc::Sender<Report>,
    backoff: Backoff,
}

impl End {
    async fn run(mut self) {
        let Err(Stopped) = self.keep_up().await;
    }

    async fn keep_up(&mut self) -> Result<Infallible, Stopped> {
        loop {
            let connecting = {
                let (target, tls) = (self.target.clone(), self.tls.clone());
                async move { connect(&target, tls.as_ref(), MESSAGE_BYTES_MAX).await }
            };
            let why = match self.unless_stopped(connecting).await? {
                Err(error) => error.to_string(),
                Ok(mut socket) => {
                    let ended = self.speak(&mut socket).await;
                    // Whether it reaches the relay changes nothing.
                    drop(timeout(CLOSE_WAIT, socket.close()).await);
                    match ended {
                        Err(Ended::Stopped) => return Err(Stopped),
                        Err(Ended::Lost(why)) => why,
                    }
                }
            };
            self.report(What::Down(why)).await?;
            let deadline = self.timing.borrow().deadline;
            let pause = sleep(self.backoff.pause(deadline));
            self.unless_stopped(pause).await?;
        }
    }

    /// Waits for something and throws away what was to be sent meanwhile.
    async fn unless_stopped<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::pin!(waiting);
        loop {
            // What it waits for first: it is over then.
            tokio::select! {
                biased;
                done = &mut waiting => return Ok(done),
                command = self.commands.recv() => if command.is_none() {
                    return Err(Stopped);
                },
            }
        }
    }

    async fn report(&self, what: What) -> Result<(), Stopped> {
        self.report_at(Instant::now(), what).await
    }

    async fn report_at(&self, at: Instant, what: What) -> Result<(), Stopped> {
        let from = self.place;
        let report = Report { from, at, what };
        self.reports.send(report).await.map_err(|_stopped| Stopped)
    }

    /// Speaks over a connection until it ends.
    async fn speak(&mut self, socket: &mut Socket) -> Result<Infallible, Ended> {
        let mut auth = Auth::default();
        let mut heard = Instant::now();
        let mut is_pinged = false;
        self.report(What::Ready).await?;
        loop {
            // Reading first: what came is stamped as soon as can be.
            tokio::select! {
                biased;
                frame = socket.next() => {
                    (heard, is_pinged) = (Instant::now(), false);
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return Err(Ended::Lost(error.to_string())),
                        None => return Err(Ended::Lost("ended without a close frame".to_owned())),
                    };
                    self.hear(socket, &mut auth, &frame, heard).await?;
                }
                command = self.commands.recv() => match command {
                    None => return Err(Ended::Stopped),
                    Some(text) => send(socket, Frame::text(text)).await?,
                },
                () = sleep_until(heard + SILENCE_MAX), if !is_pinged => {
                    is_pinged = true;
                    send(socket, Frame::ping("")).await?;
                }
                () = sleep_until(heard + 2 * SILENCE_MAX) => {
                    return Err(Ended::Lost("silent".to_owned()));
                }
            }
        }
    }

    async fn hear(
        &mut self,
        socket: &mut Socket,
        auth: &mut Auth,
        frame: &Frame,
        at: Instant,
    ) -> Result<(), Ended> {
        if let Some((code, reason)) = frame.as_close() {
            return Err(Ended::Lost(closed(code, reason)));
        }
        let Some(text) = frame.as_text() else {
            return Ok(());
        };
        let message = Message::parse(text);
        match &message {
            Message::Auth(challenge) => {
                if let Some(challenge) = auth.challenged(challenge.clone()) {
                    self.authenticate(socket, auth, &challenge).await?;
                }
                return Ok(());
            }
            Message::Ok(id, accepted, text) => match auth.settled(id, *accepted) {
                Some(true) => return Ok(self.report(What::Ready).await?),
                Some(false) => {
                    let relay = self.target.as_str();
                    tracing::warn!(relay, why = text, "the relay refuses to authenticate");
                    return Ok(());
                }
                None => {}
            },
            _ => {}
        }
        match refusal(&message).map(|_| auth.required()) {
            Some(Next::Answer(challenge)) => {
                return self.authenticate(socket, auth, &challenge).await;
            }
            Some(Next::Wait) => return Ok(()),
            Some(Next::TakeIt) | None => {}
        }
        match &message {
            Message::Closed(sub, why) if sub == LIVE => {
                return Err(Ended::Lost(format!("the subscription was closed: {why}")));
            }
            Message::Ok(_, true, _) | Message::Eose(_) => self.backoff.reset(),
            Message::Other => return Ok(()),
            _ => {}
        }
        Ok(self.report_at(at, What::Said(message)).await?)
    }

    async fn authenticate(
        &self,
        socket: &mut Socket,
        auth: &mut Auth,
        challenge: &str,
    ) -> Result<(), Ended> {
        let relay = self.target.as_str();
        let event = self.signer.answer(Timestamp::now(), relay, challenge);
        auth.sent(*event.id());
        let text = format!(r#"["AUTH",{}]"#, event.as_str());
        send(socket, Frame::text(text)).await
    }
}

/// The text of a refusal for want of authentication.
fn refusal(message: &Message) -> Option<&str> {
    match message {
        Message::Ok(_, false, text) | Message::Closed(_, text) => Some(text.as_str()),
        _ => None,
    }
    .filter(|text| asks_for_auth(text))
}

async fn send(socket: &mut Socket, frame: Frame) -> Result<(), Ended> {
    match timeout(SILENCE_MAX, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
        Err(_elapsed) => Err(Ended::Lost("doesn't read".to_owned())),
    }
}

fn closed(code: CloseCode, reason: &str) -> String {
    let code = u16::from(code);
    match reason {
        "" => format!("closed with {code}"),
        reason => format!("closed with {code}: {reason}"),
    }
}
