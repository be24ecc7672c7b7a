//! Limits against abuse: each as it is by default, at the limit and one past it, through every door.
//!
//! One test for each limit, by its name. What of it clients are told is read from the information
//! document (R11-4), what they aren't told from the configuration that the binary prints.

mod addresses;
mod cardinality;
mod events;
mod filters;
mod json;
mod order;
mod signatures;
mod socket;

use std::time::Instant;

use heliograph_protocol::{Event, EventId, Kind, PublicKey, Signature, Timestamp};
use heliograph_testkit::{
    client::Client,
    http::{Response, exchange},
    process::{Relay, command},
    reply::Reply,
    tool::run,
    websocket::{Handshake, WebSocket},
};

/// A relay as people run it, but for these lines of its configuration.
#[track_caller]
fn relay(lines: &str) -> Relay {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("heliograph.toml");
    std::fs::write(&file, lines).unwrap();
    Relay::configured(&file)
}

/// What a key is by default, as `heliograph config print` has it.
#[track_caller]
fn default_of(section: &str, key: &str) -> String {
    let printed = run(command().args(["config", "print"]), b"")
        .success()
        .stdout;
    let section = format!("[{section}]");
    let mut lines = printed
        .lines()
        .skip_while(|line| **line != *section)
        .skip(1);
    let value = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    value
        .unwrap_or_else(|| panic!("no {key} in {section}:\n{printed}"))
        .to_owned()
}

/// A bucket of tokens that was full when this was made.
struct Bucket {
    burst: usize,
    per_sec: usize,
    since: Instant,
}

impl Bucket {
    fn new(burst: usize, per_sec: usize) -> Self {
        Self {
            burst,
            per_sec,
            since: Instant::now(),
        }
    }

    /// Asserts that all it held was let through, and no more than came back since: true on a machine
    /// of any speed.
    #[track_caller]
    fn check(&self, passed: usize) {
        let seconds = usize::try_from(self.since.elapsed().as_secs()).unwrap() + 1;
        let most = self.burst + self.per_sec * seconds;
        assert!(
            (self.burst..=most).contains(&passed),
            "{passed} let through in {seconds} s, allowed are {} to {most}",
            self.burst
        );
    }
}

/// An event that anybody could make up: dated a day ahead, so that it is refused as `invalid:` before
/// anybody looks at its signature.
fn made_up(n: u64) -> Event {
    let tags: [Vec<&str>; 0] = [];
    let at = Timestamp::from_secs(Timestamp::now().as_secs() + 86_400);
    let sign = |_: &EventId| Signature::new([0; 64]);
    let author = PublicKey::new([7; 32]);
    Event::build(author, at, Kind::new(1), &tags, &n.to_string(), sign)
}

/// Whether a rate let the message through that this answers, whatever became of it then.
#[track_caller]
fn passed(reply: &Reply) -> bool {
    let (Reply::Ok { text, .. } | Reply::Closed { text, .. }) = reply else {
        panic!("neither OK nor CLOSED: {reply:?}");
    };
    !text.starts_with("rate-limited: ")
}

/// The next answers of a connection: to how many a rate wasn't in the way.
#[track_caller]
fn count_passed(client: &mut Client, answers: usize) -> usize {
    let replies = (0..answers).map(|_| client.next_reply());
    replies.filter(|reply| passed(reply)).count()
}

/// A handshake as a proxy passes it on for this client.
fn forwarded(client: &str) -> Handshake {
    Handshake::default().field(&format!("X-Forwarded-For: {client}"))
}

fn connect(relay: &Relay, handshake: &Handshake) -> Client {
    Client::over(WebSocket::connect_with(relay.address(), handshake))
}

/// What a request to upgrade is told that isn't upgraded.
#[track_caller]
fn refused(relay: &Relay, handshake: &Handshake) -> Response {
    exchange(
        relay.address(),
        handshake.request(relay.address()).as_bytes(),
    )
}
