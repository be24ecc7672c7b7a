//! The calls of a gateway.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use heliograph_bus::{CommitNumber, Open, Requests, Resume, Resumed};
use heliograph_lifecycle::Tasks;
use heliograph_policy::Reader;
use heliograph_proto::{
    FormError, read_filters,
    v1::{self, gateway_message::Message, matcher_message, matcher_server::Matcher},
};
use heliograph_protocol::{PublicKey, Refusal, Timestamp, TraceContext};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Sessions,
    answer::{self, Answer},
    session::{NotOpened, Opening, Session},
};
use crate::{ServerOptions, queue::Outgoing, status};

/// How long a gateway may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Bytes of a gateway's name at most.
const NAME_BYTES_MAX: usize = 256;

/// Answers gateways.
pub(crate) struct Service {
    pub(crate) requests: Arc<dyn Requests>,
    pub(crate) sessions: Sessions,
    pub(crate) applied: watch::Receiver<CommitNumber>,
    pub(crate) options: ServerOptions,
    pub(crate) tasks: Tasks,
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Ends the session when its stream is no longer sent.
struct EndOnDrop(Arc<Session>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[tonic::async_trait]
impl Matcher for Service {
    type LiveStream = Streamed<v1::MatcherMessage>;
    type OpenStream = Streamed<v1::Page>;

    async fn live(
        &self,
        request: Request<Streaming<v1::GatewayMessage>>,
    ) -> Result<Response<Self::LiveStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = hello(&mut inbound).await?;
        let applied = *self.applied.borrow();
        let session = self
            .sessions
            .open(
                &hello,
                &self.options.name,
                applied,
                self.options.queue_bytes_max,
            )
            .ok_or_else(|| Status::unavailable("stopping"))?;
        tracing::info!(
            gateway = hello.gateway,
            incarnation = hello.incarnation,
            "serving gateway"
        );
        let task = follow(
            inbound,
            Arc::clone(&session),
            self.sessions.clone(),
            Arc::clone(&self.requests),
        );
        self.tasks.spawn("link-session", task);
        let guard = EndOnDrop(Arc::clone(&session));
        let messages = Outgoing(Arc::clone(&session.queue)).map(move |message| {
            let _alive = &guard;
            Ok(message)
        });
        let end = stream::once(async { Err(status::over()) });
        Ok(Response::new(Box::pin(messages.chain(end))))
    }

    async fn open(
        &self,
        request: Request<v1::OpenRequest>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let open = request.into_inner();
        let session = self.sessions.find(open.session).ok_or_else(status::over)?;
        let request = open.request;
        let mut opening = Opening::new(&session, &self.requests);
        let open = self
            .read_open(open, &session, &mut opening)
            .map_err(|error| error.into_status())?;
        let opened = self.requests.open(open).await;
        drop(opening);
        let pages = match opened {
            Ok(pages) => pages,
            Err(error) => return Err(status::of_error(&error).unwrap_or_else(status::over)),
        };
        let sent = self.sessions.metrics().pages.clone();
        Ok(Response::new(Box::pin(answer::stream(Answer {
            pages,
            session,
            request,
            sent,
        }))))
    }

    async fn resume(
        &self,
        request: Request<Streaming<v1::ResumeRequest>>,
    ) -> Result<Response<v1::ResumeReply>, Status> {
        let mut parts = request.into_inner();
        let Some(first) = parts.message().await? else {
            return Err(Status::invalid_argument("nothing to resume"));
        };
        let session = self.sessions.find(first.session).ok_or_else(status::over)?;
        let request = first.request;
        let mut opening = Opening::new(&session, &self.requests);
        let result = self.take_over(first, parts, &session, &mut opening).await?;
        drop(opening);
        if result.is_ok() {
            self.sessions.metrics().resumes.inc();
            let mark = matcher_message::Message::Mark(v1::Mark { request });
            session.send(mark, 0);
        }
        let refused = result.err().as_ref().map(v1::Refusal::from);
        Ok(Response::new(v1::ResumeReply { refused }))
    }

    async fn count(
        &self,
        request: Request<v1::CountRequest>,
    ) -> Result<Response<v1::CountReply>, Status> {
        let count = request.into_inner().try_into();
        let count = count.map_err(|error| status::unreadable(&error))?;
        let result = self.requests.count(count).await;
        Ok(Response::new(v1::CountReply::from(&result)))
    }
}

/// Why a question isn't passed on.
enum NotRead {
    Form(FormError),
    NotOpened(NotOpened),
}

impl NotRead {
    fn into_status(self) -> Status {
        match self {
            Self::Form(error) => status::unreadable(&error),
            Self::NotOpened(NotOpened::Late) => status::over(),
            Self::NotOpened(NotOpened::Exhausted) => {
                Status::resource_exhausted("all subscriptions of this matcher are in use")
            }
        }
    }
}

impl From<FormError> for NotRead {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl From<NotOpened> for NotRead {
    fn from(error: NotOpened) -> Self {
        Self::NotOpened(error)
    }
}

impl Service {
    /// Reads a REQ and takes its slot.
    fn read_open(
        &self,
        open: v1::OpenRequest,
        session: &Arc<Session>,
        opening: &mut Opening,
    ) -> Result<Open, NotRead> {
        let numbers = self.sessions.numbers();
        let filters = read_filters(open.filters)?;
        let reader = Arc::new(Reader::try_from(open.reader.unwrap_or_default())?);
        let slot = session.begin(numbers, open.slot, open.request, opening)?;
        let connection = session.connection(numbers, open.connection, opening);
        session.authenticate(numbers, &*self.requests, open.connection, &reader);
        Ok(Open {
            slot,
            connection,
            filters,
            reader,
            after: CommitNumber(open.after),
            now: Timestamp::from_secs(open.now),
            trace: open.traceparent.as_deref().and_then(TraceContext::parse),
        })
    }

    /// Reads all parts, then has the matcher take over what is still wanted.
    async fn take_over(
        &self,
        first: v1::ResumeRequest,
        mut parts: Streaming<v1::ResumeRequest>,
        session: &Arc<Session>,
        opening: &mut Opening,
    ) -> Result<Result<(), Refusal>, Status> {
        let (id, from) = (first.session, CommitNumber(first.from));
        let mut subscriptions = Vec::new();
        let mut bytes = 0;
        let mut part = Some(first);
        while let Some(read) = part {
            if read.session != id {
                return Err(Status::invalid_argument("parts of two resumptions"));
            }
            for connection in read.connections {
                bytes += self
                    .read_resumed(connection, session, opening, &mut subscriptions)
                    .map_err(NotRead::into_status)?;
            }
            if bytes > self.options.resume_bytes_max {
                return Ok(Err(Refusal::error("too many subscriptions to go on with")));
            }
            part = parts.message().await?;
        }
        // The end of the session first: the matcher's work would be for nobody.
        tokio::select! {
            biased;
            () = session.over() => Err(status::over()),
            result = self.requests.resume(Resume { from, subscriptions }) => Ok(result),
        }
    }

    /// Reads the subscriptions of one connection; returns the bytes of their filters. Those that
    /// were closed meanwhile are left out.
    fn read_resumed(
        &self,
        resumed: v1::ResumedConnection,
        session: &Arc<Session>,
        opening: &mut Opening,
        subscriptions: &mut Vec<Resumed>,
    ) -> Result<usize, NotRead> {
        let numbers = self.sessions.numbers();
        let reader = Arc::new(Reader::try_from(resumed.reader.unwrap_or_default())?);
        let mut taken = Vec::with_capacity(resumed.subscriptions.len());
        let mut bytes = 0;
        for subscription in resumed.subscriptions {
            bytes += subscription.filters.len();
            let filters = read_filters(subscription.filters)?;
            match session.begin(numbers, subscription.slot, subscription.request, opening) {
                Ok(slot) => taken.push((slot, filters)),
                Err(NotOpened::Late) if !session.is_over() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if taken.is_empty() {
            // Nobody would say again that it is over.
            return Ok(bytes);
        }
        let connection = session.connection(numbers, resumed.connection, opening);
        session.authenticate(numbers, &*self.requests, resumed.connection, &reader);
        subscriptions.extend(taken.into_iter().map(|(slot, filters)| Resumed {
            slot,
            connection,
            filters,
            reader: Arc::clone(&reader),
        }));
        Ok(bytes)
    }
}

async fn hello(inbound: &mut Streaming<v1::GatewayMessage>) -> Result<v1::Hello, Status> {
    let first = timeout(HELLO_WAIT, inbound.message()).await;
    let first = first.map_err(|_elapsed| Status::deadline_exceeded("expected Hello"))??;
    match first.and_then(|first| first.message) {
        Some(Message::Hello(hello)) if (1..=NAME_BYTES_MAX).contains(&hello.gateway.len()) => {
            Ok(hello)
        }
        _ => Err(Status::invalid_argument("expected Hello with a name")),
    }
}

/// Does what a gateway says until the session ends, then closes what it left open.
async fn follow(
    mut inbound: Streaming<v1::GatewayMessage>,
    session: Arc<Session>,
    sessions: Sessions,
    requests: Arc<dyn Requests>,
) {
    loop {
        // The end first: what comes after it is for nobody.
        let message = tokio::select! {
            biased;
            () = session.over() => break,
            message = inbound.message() => message,
        };
        let understood = match message {
            Ok(Some(message)) => apply(message, &session, &sessions, &*requests),
            Ok(None) | Err(_) => {
                session.end();
                break;
            }
        };
        if !understood {
            tracing::warn!(
                gateway = session.gateway,
                "unreadable message, session ended"
            );
            session.end();
        }
    }
    sessions.clear(&session, &*requests).await;
    tracing::info!(gateway = session.gateway, "gateway left");
}

/// Does one thing; `false` if it makes no sense.
fn apply(
    message: v1::GatewayMessage,
    session: &Session,
    sessions: &Sessions,
    requests: &dyn Requests,
) -> bool {
    match message.message {
        Some(Message::Close(close)) => session.close(requests, close.slot, close.request),
        Some(Message::Authenticate(authenticate)) => {
            let Ok(key) = <[u8; 32]>::try_from(&*authenticate.key) else {
                return false;
            };
            let reader = Reader {
                keys: vec![PublicKey::new(key)],
            };
            session.authenticate(
                sessions.numbers(),
                requests,
                authenticate.connection,
                &reader,
            );
        }
        Some(Message::Disconnect(gone)) => session.disconnect(requests, gone.connection),
        // Of a later version, perhaps: what it doesn't say can't be done.
        Some(Message::Hello(_)) | None => return false,
    }
    true
}
