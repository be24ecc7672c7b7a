//! Clients that try to make a relay remember something for each of them: every kind there is, by
//! thousands of keys from thousands of addresses, with filters of thousands of shapes.
//!
//! Each address is told to the relay by `X-Forwarded-For`, from a connection that it trusts. Each connection
//! authenticates with a key of its own, publishes its share of the kinds, signed by that key, and asks a question that
//! looks like no other.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use heliograph_protocol::Timestamp;
use heliograph_testkit::{
    PATIENCE, RELAY_URL,
    frame::{CLOSE, Frame},
    keys::Key,
    websocket::{Ending, Handshake, Message, WebSocket},
};
use serde_json::{Value, json};

/// Every kind there is.
pub const KINDS: usize = 1 << 16;

/// Names of tags that filters may have.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Keys of nobody else.
const FIRST_KEY: usize = 40_000_000;

/// How many.
#[derive(Debug, Clone, Copy)]
pub struct Abuse {
    /// Addresses, each with a connection, a key and a shape of its filter.
    pub addresses: usize,
    /// Kinds, spread over all that there are.
    pub kinds: usize,
    /// Who do it at the same time.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that were taken.
    pub connections: usize,
    /// AUTHs that got OK true.
    pub authenticated: usize,
    /// EVENTs that got OK true.
    pub accepted: usize,
    /// The kinds of EVENTs that got OK false, ascending.
    pub refused: Vec<u16>,
}

impl Abuse {
    /// Does it.
    ///
    /// # Panics
    ///
    /// If the relay takes no connection, or doesn't answer.
    #[must_use]
    pub fn run(self, relay: SocketAddr) -> Outcome {
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let one = |first: usize| {
                let visits = (first..self.addresses).step_by(self.threads);
                scope.spawn(move || {
                    visits
                        .map(|number| self.visit(relay, number))
                        .collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..self.threads).map(one).collect();
            let visits = threads.into_iter().map(thread::ScopedJoinHandle::join);
            visits
                .flat_map(|visits| visits.expect("nobody failed"))
                .collect()
        });
        let mut all = Outcome::default();
        for one in outcomes {
            all.connections += one.connections;
            all.authenticated += one.authenticated;
            all.accepted += one.accepted;
            all.refused.extend(one.refused);
        }
        all.refused.sort_unstable();
        all
    }

    /// One address: its share of the kinds.
    fn visit(self, relay: SocketAddr, number: usize) -> Outcome {
        let forwarded = format!("X-Forwarded-For: {}", address(number));
        let handshake = Handshake::default().field(&forwarded);
        let socket = WebSocket::try_connect_with(relay, &handshake, PATIENCE);
        let mut socket = socket.unwrap_or_else(|error| panic!("{}: {error}", address(number)));
        let key = Key::nth(FIRST_KEY + number);
        let now = Timestamp::now().as_secs();
        let mut outcome = Outcome {
            connections: 1,
            ..Outcome::default()
        };
        let challenge = read_value(&mut socket, "AUTH")[1].clone();
        let challenge = challenge.as_str().unwrap_or_default();
        let auth = key.auth(now, RELAY_URL, challenge);
        socket.send_text(&format!("[\"AUTH\",{}]", auth.as_str()));
        outcome.authenticated += usize::from(read_value(&mut socket, "OK")[2] == true);
        let mut waiting = HashMap::new();
        for kind in self.share(number)..self.share(number + 1) {
            let kind = u16::try_from(kind * KINDS / self.kinds).expect("a kind");
            let place = number.to_string();
            let event = key.sign(now, kind, &[&["d", &place]], "one of every kind");
            socket.send_text(&format!("[\"EVENT\",{}]", event.as_str()));
            waiting.insert(event.id().to_hex(), kind);
        }
        while !waiting.is_empty() {
            let answer = read_value(&mut socket, "OK");
            let kind = waiting.remove(answer[1].as_str().unwrap_or_default());
            match kind.expect("an event that was sent") {
                _ if answer[2] == true => outcome.accepted += 1,
                kind => outcome.refused.push(kind),
            }
        }
        let question = json!(["REQ", "q", filter(number, &key)]);
        socket.send_text(&question.to_string());
        read_value(&mut socket, "EOSE");
        socket.send(&Frame::new(CLOSE, 1_000_u16.to_be_bytes()));
        while socket.read(Duration::from_secs(1)).is_ok() {}
        outcome
    }

    /// Where the share of an address begins.
    fn share(self, number: usize) -> usize {
        number * self.kinds / self.addresses
    }
}

/// A filter of another shape for each number: names of two tags, and how many kinds.
fn filter(number: usize, key: &Key) -> Value {
    let letter = |at: usize| char::from(LETTERS[at % LETTERS.len()]);
    let (first, rest) = (letter(number), number / LETTERS.len());
    let (second, rest) = (letter(number + 1 + rest % 51), rest / 51);
    let kinds: Vec<usize> = (0..=rest % 9).collect();
    // A value that is right for every tag, those of ids and keys too.
    let value = key.hex();
    json!({
        "authors": [value],
        "kinds": kinds,
        "limit": 1,
        format!("#{first}"): [value],
        format!("#{second}"): [value],
    })
}

fn address(number: usize) -> Ipv4Addr {
    let [.., a, b, c] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    // In no network that the relay trusts.
    Ipv4Addr::new(198, 18 + a, b, c)
}

/// The next message with this verb.
fn read_value(socket: &mut WebSocket, verb: &str) -> Value {
    let head = format!("[\"{verb}\"");
    loop {
        match socket.read(PATIENCE) {
            Ok(Message::Text(text)) if text.starts_with(&head) => {
                return serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{error}: {text}"));
            }
            Ok(Message::Close(code, reason)) => socket.fail(&format!("close {code} {reason}")),
            Ok(_) => {}
            Err(ending @ (Ending::Deadline | Ending::Gone | Ending::Illegal(_))) => {
                socket.fail(&format!("expected {verb}, got {ending:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn shares_are_all_kinds_once() {
        let abuse = Abuse {
            addresses: 10_000,
            kinds: KINDS,
            threads: 1,
        };
        assert_eq!((abuse.share(0), abuse.share(10_000)), (0, KINDS));
        assert!((0..10_000).all(|n| (6..=7).contains(&(abuse.share(n + 1) - abuse.share(n)))));
    }

    #[test]
    fn thousands_of_filters_have_a_shape_of_their_own() {
        let key = Key::nth(FIRST_KEY);
        let shape = |number| {
            let filter = filter(number, &key);
            let filter = filter.as_object().expect("a filter is an object");
            let count = |value: &Value| value.as_array().map_or(1, Vec::len);
            let members = filter
                .iter()
                .map(|(name, value)| format!("{name}:{}", count(value)));
            members.collect::<Vec<_>>().join(",")
        };
        let shapes: HashSet<String> = (0..10_000).map(shape).collect();
        assert!(shapes.len() > 4_000, "{}", shapes.len());
    }

    #[test]
    fn every_address_is_another() {
        let mut all: Vec<Ipv4Addr> = (0..10_000).map(address).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10_000);
    }
}
