//! Messages both ways over one connection.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, stream::SplitStream};
use serde_json::Value;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::sleep,
};
use tokio_websockets::{ClientBuilder, Limits, Message, ServerBuilder, WebSocketStream};

use super::{
    Shared, Stream,
    messages::{Talk, What},
    rules::{Act, Rule},
};

/// Messages on their way in each direction: few, so that a reader that stops is noticed behind us.
const QUEUE_MAX: usize = 16;

/// Goes on until either side has ended.
pub(super) async fn run(shared: &Shared, rules: &[Rule], client: Stream, relay: Stream) {
    let client = ServerBuilder::new()
        .limits(Limits::unlimited())
        .serve(client);
    let relay = ClientBuilder::new()
        .limits(Limits::unlimited())
        .take_over(relay);
    let (client_sink, from_client) = client.split();
    let (relay_sink, from_relay) = relay.split();
    let (to_client, client_queue) = channel(QUEUE_MAX);
    let (to_relay, relay_queue) = channel(QUEUE_MAX);
    let talk = Mutex::new(Talk::default());
    // The client has gone once all that it said is passed on, or once it can't be written to.
    let upwards = async {
        tokio::join!(
            upwards(from_client, to_relay, &talk),
            write(relay_queue, relay_sink)
        );
    };
    // The relay has gone: what it said is still on its way.
    let downwards = async {
        downwards((shared, rules), from_relay, to_client, &talk).await;
        pending::<()>().await;
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
        () = write(client_queue, client_sink) => {}
    }
}

/// What the client says.
async fn upwards(
    mut from: SplitStream<WebSocketStream<Stream>>,
    to: Sender<Message>,
    talk: &Mutex<Talk>,
) {
    while let Some(Ok(message)) = from.next().await {
        // The library answers them itself.
        if message.is_ping() || message.is_pong() {
            continue;
        }
        if let Some(value) = json(&message) {
            talk.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .said(&value);
        }
        if to.send(message).await.is_err() {
            return;
        }
    }
}

/// What the relay says, by the rules.
async fn downwards(
    (shared, rules): (&Shared, &[Rule]),
    mut from: SplitStream<WebSocketStream<Stream>>,
    to: Sender<Message>,
    talk: &Mutex<Talk>,
) {
    while let Some(Ok(message)) = from.next().await {
        if message.is_ping() || message.is_pong() {
            continue;
        }
        let (message, act, before) = match json(&message) {
            Some(value) => judge(rules, value, message, talk),
            None => (message, None, None),
        };
        if let Some(before) = before
            && to.send(before).await.is_err()
        {
            return;
        }
        let sent = match act {
            Some(Act::Drop) => continue,
            Some(Act::Delay(time)) => {
                later(shared, message, time, to.clone());
                continue;
            }
            Some(Act::Repeat) => {
                drop(to.send(message.clone()).await);
                to.send(message).await
            }
            Some(Act::Edit(_) | Act::Precede(_)) | None => to.send(message).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The message as it goes on, what else becomes of it, and what goes before it.
fn judge(
    rules: &[Rule],
    mut value: Value,
    message: Message,
    talk: &Mutex<Talk>,
) -> (Message, Option<Act>, Option<Message>) {
    let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
    let what: What = talk.heard(&value);
    let subscription = talk.subscription(&value);
    let act = rules
        .iter()
        .find_map(|rule| rule.message(what, &value, subscription));
    match act {
        Some(Act::Edit(edit)) => {
            edit(&mut value);
            (Message::text(value.to_string()), act, None)
        }
        Some(Act::Precede(make)) => {
            let before = make(&value, subscription).to_string();
            (message, act, Some(Message::text(before)))
        }
        act => (message, act, None),
    }
}

fn later(shared: &Shared, message: Message, time: Duration, to: Sender<Message>) {
    shared.tasks.spawn("late message", async move {
        sleep(time).await;
        // The client may have gone meanwhile.
        drop(to.send(message).await);
    });
}

fn json(message: &Message) -> Option<Value> {
    serde_json::from_str(message.as_text()?).ok()
}

async fn write(
    mut queue: Receiver<Message>,
    mut to: impl SinkExt<Message, Error = tokio_websockets::Error> + Unpin,
) {
    while let Some(message) = queue.recv().await {
        let is_last = message.is_close();
        if to.send(message).await.is_err() || is_last {
            return;
        }
    }
}
