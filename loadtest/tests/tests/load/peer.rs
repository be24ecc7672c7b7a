//! The same suite against a relay that others wrote.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use heliograph_loadtest::{BREACH, Run};
use heliograph_sandbox::{
    Error, or_skip, peers,
    process::{Launch, Process},
};
use heliograph_testkit::{frame::Frame, websocket::Handshake};
use tempfile::TempDir;

use crate::bed::{RUN_PATIENCE, beside_others, corpus, programs};

/// Time until it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer may take, once it does.
const ANSWER: Duration = Duration::from_secs(5);

/// How many ports are tried: somebody else may take one before it is listened on.
const PORTS: usize = 5;

/// A relay of the crate `nostr-relay-builder` on an empty store; killed and removed on drop.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Peer {
    /// `None` after saying so where it can't be had.
    pub(crate) fn start() -> Option<Self> {
        let program = or_skip(peers::nostr_relay_builder())?;
        for _ in 1..PORTS {
            match Self::start_once(&program) {
                // As it does where it can't listen.
                Err(Error::Ended { log, .. }) => println!("again, on another port: {log}"),
                started => return Some(started.unwrap()),
            }
        }
        Some(Self::start_once(&program).unwrap())
    }

    fn start_once(program: &Path) -> Result<Self, Error> {
        let directory = tempfile::tempdir().unwrap();
        // It can't choose one itself, and says nothing.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let process = Process::start(&Launch {
            name: "nostr-relay-builder".to_owned(),
            program: program.to_owned(),
            arguments: vec![
                address.port().to_string().into(),
                directory.path().join("data").into(),
            ],
            variables: Vec::new(),
            hide_variables: "",
            directory: directory.path().to_owned(),
            log: directory.path().join("log"),
        })?;
        process.wait_until("answer to a REQ", PATIENCE, |_| answers(address).is_ok())?;
        Ok(Self {
            address,
            _process: process,
            _directory: directory,
        })
    }
}

/// Asks a relay for its events and reads up to the EOSE.
fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let handshake = Handshake::default().request(address);
    stream.write_all(handshake.as_bytes())?;
    read_until(&mut stream, "\r\n\r\n")?;
    let request = Frame::text(r#"["REQ","ready",{"limit":1}]"#).encode();
    stream.write_all(&request)?;
    read_until(&mut stream, r#"["EOSE","ready"]"#)
}

fn read_until(stream: &mut TcpStream, end: &str) -> io::Result<()> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    Ok(())
}

#[test]
fn the_smoke_profile_runs_against_another_relay_unchanged() {
    let Some(programs) = programs() else {
        return;
    };
    let _turn = beside_others();
    let Some(peer) = Peer::start() else {
        return;
    };
    let url = format!("ws://{}", peer.address);
    let run = Run::new(&programs.stock, "main.js", &[url], corpus());
    let ended = run.finish(RUN_PATIENCE).unwrap();
    println!("{}", ended.output);
    // What it keeps to is its own affair; that it was measured is ours.
    let code = ended.status.code();
    assert!([Some(0), Some(BREACH)].contains(&code), "{}", ended.output);
    let summary = ended.summary().unwrap();
    let without = |nip: &str| format!("the relay's information document doesn't name NIP-{nip}");
    let expected: BTreeMap<String, String> =
        [("auth", "42"), ("count", "45"), ("negentropy", "77")]
            .into_iter()
            .map(|(name, nip)| (name.to_owned(), without(nip)))
            .collect();
    assert_eq!(summary.skipped, expected);
    assert_eq!(summary.scenarios.len(), 7);
    for (name, scenario) in &summary.scenarios {
        let done = &scenario.metrics[&format!("{name}_done")];
        assert!(done.count() > 0.0, "{name}: {}", ended.output);
    }
}
