//! Removing a cluster's keyspace and streams from servers that it shares with others.
//!
//! As far as it goes: what can't be removed stays until the servers go, under a name that nobody
//! uses again.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use super::servers::Servers;
use crate::{cql, environment};

/// Time for each answer of NATS.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Removes what belongs to the cluster `name`, if its servers stay.
pub(super) fn forget(servers: &Servers, name: &str) {
    let (nats, cql) = servers.others();
    let statement = format!("DROP KEYSPACE IF EXISTS {name}");
    for contact_point in cql {
        let dropped = contact_point
            .parse()
            .is_ok_and(|address| cql::execute(address, &statement).is_ok());
        if dropped {
            break;
        }
    }
    for url in nats {
        if delete_streams(url, name).is_ok() {
            break;
        }
    }
}

/// Deletes every stream that has `name` in its name, key-value buckets among them.
fn delete_streams(url: &str, name: &str) -> io::Result<()> {
    let address = url.strip_prefix("nats://").unwrap_or(url);
    let mut client = Client::connect(address)?;
    let names = client.ask("$JS.API.STREAM.NAMES")?;
    for stream in streams(&names).filter(|stream| stream.to_lowercase().contains(name)) {
        client.ask(&format!("$JS.API.STREAM.DELETE.{stream}"))?;
    }
    Ok(())
}

/// The names in an answer of `STREAM.NAMES`: `{…,"streams":["A","B"]}`, null if there are none.
fn streams(answer: &str) -> impl Iterator<Item = &str> {
    let list = answer
        .split_once("\"streams\":[")
        .map_or("", |(_, list)| list);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    list.split(',')
        .map(|name| name.trim_matches('"'))
        .filter(|name| !name.is_empty())
}

/// A client that speaks just enough of the NATS protocol to ask JetStream.
struct Client {
    socket: BufReader<TcpStream>,
    /// Where it is answered, and nobody else: others may clean up at the same time.
    inbox: String,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let mut client = Self {
            socket: BufReader::new(socket),
            inbox: format!("_INBOX.{}", environment::unique()),
        };
        let subscribe = format!("SUB {} 1\r\n", client.inbox);
        client.send(&format!("CONNECT {{\"verbose\":false}}\r\n{subscribe}"))?;
        Ok(client)
    }

    /// Sends an empty request and returns the body of the answer.
    fn ask(&mut self, subject: &str) -> io::Result<String> {
        self.send(&format!("PUB {subject} {} 0\r\n\r\n", self.inbox))?;
        loop {
            let line = self.line()?;
            if line.starts_with("MSG ") {
                return self.line();
            }
            if line.starts_with("PING") {
                self.send("PONG\r\n")?;
            }
            if line.starts_with("-ERR") {
                return Err(io::Error::other(line));
            }
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.socket.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.socket.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: &[&str]) {
        assert_eq!(streams(answer).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_names_of_streams_are_read() {
        check(r#"{"total":2,"streams":["A","KV_b"]}"#, &["A", "KV_b"]);
        check(r#"{"total":0,"streams":null}"#, &[]);
        check(r#"{"total":0,"streams":[]}"#, &[]);
        check("", &[]);
    }
}
