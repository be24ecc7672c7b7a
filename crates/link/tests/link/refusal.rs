//! Answers of the matcher that are no answers, and peers that make no sense.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use heliograph_bus::{BusError, CommitNumber, Count, Counted, Requests, Slot};
use heliograph_link::ServerOptions;
use heliograph_policy::Reader;
use heliograph_proto::v1::{
    self, gateway_message::Message, matcher_client::MatcherClient, matcher_message,
};
use heliograph_protocol::{Filter, PublicKey, Refusal, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::bed::{Log, Served, gateway, note, open, start, until};

const ALL: &str = r#"{"kinds":[1]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_question_leaves_the_session_as_it_is() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&served.target));
    for error in [BusError::TimedOut, BusError::Store("disk".to_owned())] {
        *served.matcher.refuse_open.lock() = Some(error.clone());
        let asked = gateway.client.open(open(1, ALL)).await;
        assert_eq!(asked.err(), Some(error));
        gateway.client.close(Slot(1));
        until(|| served.matcher.open_slots() == 0).await;
    }
    until(|| gateway.hub.released(1) == 2).await;
    *served.matcher.refuse_open.lock() = None;
    gateway.live(1, ALL).await;
    assert_eq!(gateway.metric("reconnects_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_matcher_that_is_closing_interrupts() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&served.target));
    *served.matcher.refuse_open.lock() = Some(BusError::Closed);
    let asked = gateway.client.open(open(1, ALL)).await;
    assert_eq!(asked.err(), Some(BusError::Interrupted));
    *served.matcher.refuse_open.lock() = None;
    gateway.live(1, ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_answered_or_refused() {
    let log = Log::default();
    log.lock().extend(["a", "b"].map(note));
    let served = start("m", &log, ServerOptions::default()).await;
    let gateway = gateway("g", Some(&served.target));
    let count = |keys: Vec<PublicKey>| Count {
        filters: vec![Filter::parse(ALL).unwrap()],
        reader: Arc::new(Reader { keys }),
        after: CommitNumber(1),
        now: Timestamp::from_secs(1),
        trace: None,
    };
    let counted = gateway
        .client
        .count(count(vec![PublicKey::new([1; 32])]))
        .await;
    let expected = Counted {
        count: 2,
        approximate: true,
    };
    assert_eq!(counted, Ok(expected));
    let refused = gateway.client.count(count(Vec::new())).await;
    assert_eq!(refused, Err(Refusal::auth_required("who are you?")));
}

/// A peer that speaks gRPC but isn't a gateway.
async fn stranger(served: &Served) -> MatcherClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", served.target.address));
    let channel = endpoint.expect("an address").connect().await;
    MatcherClient::new(channel.expect("a listener"))
}

fn say(message: Message) -> v1::GatewayMessage {
    v1::GatewayMessage {
        message: Some(message),
    }
}

fn hello(name: &str) -> v1::GatewayMessage {
    say(Message::Hello(v1::Hello {
        gateway: name.to_owned(),
        incarnation: String::new(),
    }))
}

/// What a matcher answers to these first words.
async fn answer(served: &Served, words: Vec<v1::GatewayMessage>) -> Code {
    let mut stranger = stranger(served).await;
    let mut live = match stranger.live(stream::iter(words)).await {
        Ok(live) => live.into_inner(),
        Err(status) => return status.code(),
    };
    loop {
        match live.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_make_no_sense_are_refused() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let close = || say(Message::Close(v1::Close::default()));
    let key = say(Message::Authenticate(v1::Authenticate {
        connection: 1,
        key: Bytes::from_static(b"short"),
    }));
    assert_eq!(answer(&served, vec![]).await, Code::InvalidArgument);
    assert_eq!(
        answer(&served, vec![hello("")]).await,
        Code::InvalidArgument
    );
    assert_eq!(
        answer(&served, vec![hello(&"x".repeat(1_000))]).await,
        Code::InvalidArgument
    );
    assert_eq!(answer(&served, vec![close()]).await, Code::InvalidArgument);
    for second in [key, hello("g"), v1::GatewayMessage::default()] {
        assert_eq!(
            answer(&served, vec![hello("g"), close(), second]).await,
            Code::Unavailable
        );
    }
    let mut stranger = stranger(&served).await;
    let no_session = stranger.open(v1::OpenRequest::default()).await.unwrap_err();
    assert_eq!(no_session.code(), Code::Unavailable);
    let no_session = stranger
        .resume(stream::iter([v1::ResumeRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(no_session.code(), Code::Unavailable);
    let mut raw = TcpStream::connect(&served.target.address).await.unwrap();
    raw.write_all(&[0xa5; 10_000]).await.unwrap();
    drop(raw.read_to_end(&mut Vec::new()).await);
    until(|| served.sessions.count() == 0).await;
    let gateway = gateway("g", Some(&served.target));
    gateway.live(1, ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_can_t_be_read_is_refused_and_takes_no_slot() {
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    let mut stranger = stranger(&served).await;
    let (words, said) = tokio::sync::mpsc::channel(8);
    words.send(hello("g")).await.unwrap();
    let said = stream::unfold(said, |mut said| async { Some((said.recv().await?, said)) });
    let mut live = stranger.live(said).await.unwrap().into_inner();
    let first = live.message().await.unwrap().unwrap();
    let Some(matcher_message::Message::Welcome(welcome)) = first.message else {
        panic!("{first:?}")
    };
    let question = v1::OpenRequest {
        session: welcome.session,
        request: 1,
        slot: 4,
        filters: Bytes::from_static(b"\xff\xff\xff"),
        ..v1::OpenRequest::default()
    };
    let refused = stranger.open(question.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.details()),
        (Code::Internal, &b"s"[..])
    );
    assert_eq!(served.matcher.open_slots(), 0);
    // A close that overtakes the question it concerns.
    let close = |request| say(Message::Close(v1::Close { slot: 4, request }));
    words.send(close(2)).await.unwrap();
    loop {
        let message = live.message().await.unwrap().unwrap().message;
        if matches!(
            message,
            Some(matcher_message::Message::Released(v1::Released { slot: 4 }))
        ) {
            break;
        }
    }
    let late = v1::OpenRequest {
        request: 2,
        filters: Bytes::new(),
        ..question.clone()
    };
    assert_eq!(
        stranger.open(late).await.unwrap_err().code(),
        Code::Unavailable
    );
    let next = v1::OpenRequest {
        request: 3,
        filters: Bytes::new(),
        ..question
    };
    stranger.open(next.clone()).await.unwrap();
    assert_eq!(served.matcher.open_slots(), 1);
    let again = v1::OpenRequest { request: 9, ..next };
    assert_eq!(
        stranger.open(again).await.unwrap_err().code(),
        Code::Unavailable,
        "in use"
    );
    drop(words);
    until(|| served.matcher.open_slots() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_bears_a_matcher_that_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = heliograph_link::Target {
        name: "m".to_owned(),
        address: listener.local_addr().unwrap().to_string(),
    };
    let gateway = gateway("g", Some(&target));
    for _ in 0..2 {
        let (mut peer, _) = listener.accept().await.unwrap();
        drop(peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    }
    let log = Log::default();
    let served = start("m", &log, ServerOptions::default()).await;
    gateway.target.send_replace(Some(served.target.clone()));
    gateway.live(1, ALL).await;
}
