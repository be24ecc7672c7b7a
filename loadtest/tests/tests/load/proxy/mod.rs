//! A relay that breaks a promise: a proxy between k6 and a real relay that does what a test tells it
//! to some of the messages.
//!
//! What always holds: a message that no rule is for passes as it came and in order; a peer that
//! doesn't read is a peer that isn't read from, so that stalls reach the other side.

pub(crate) mod messages;
mod pump;
pub(crate) mod rules;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use heliograph_lifecycle::Tasks;
use heliograph_testkit::client::Client;
use tokio::{
    io::{self, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use rules::{Rule, Way};

/// Bytes of a request's or an answer's head, which the suite's are far below.
const HEAD_BYTES_MAX: u64 = 16 * 1_024;

/// Time for the relay's answer to a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A proxy; its connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    /// Until it is told where the relay is.
    listener: Option<TcpListener>,
    runtime: Option<Runtime>,
}

/// A side of a connection, with what was read too early.
type Stream = BufReader<TcpStream>;

/// What the connections of a proxy share.
struct Shared {
    relay: SocketAddr,
    rules: Vec<Rule>,
    /// Upgrades that are served without rules before all others.
    spared: usize,
    /// The relay's information document, if not its own.
    information: Option<&'static str>,
    upgrades: AtomicUsize,
    tasks: Tasks,
}

impl Proxy {
    /// Listens on a free port; nobody is served yet.
    pub(crate) fn bind() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a free port");
        Self {
            address: listener.local_addr().expect("it is bound"),
            listener: Some(listener),
            runtime: Some(runtime),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// `ws://…`
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Serves clients from now on, who reach this relay by these rules; but none are for the first
    /// `spared` upgrades.
    pub(crate) fn serve(&mut self, relay: SocketAddr, rules: Vec<Rule>, spared: usize) {
        self.serve_as(None, relay, rules, spared);
    }

    /// The same for a relay that doesn't say itself what it can (NIP-11).
    pub(crate) fn serve_as(
        &mut self,
        information: Option<&'static str>,
        relay: SocketAddr,
        rules: Vec<Rule>,
        spared: usize,
    ) {
        let listener = self.listener.take().expect("it is told once");
        let tasks = Tasks::new();
        let shared = Arc::new(Shared {
            relay,
            rules,
            spared,
            information,
            upgrades: AtomicUsize::new(0),
            tasks: tasks.clone(),
        });
        let runtime = self.runtime.as_ref().expect("until it is dropped");
        tasks.spawn_on(runtime.handle(), "proxy", async move {
            while let Ok((client, _peer)) = listener.accept().await {
                let connection = connection(Arc::clone(&shared), client);
                shared.tasks.spawn("proxied connection", async move {
                    // A side that is gone ends the connection; k6 counts what it misses by that.
                    drop(connection.await);
                });
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connection(shared: Arc<Shared>, client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    let request = head(&mut client).await?;
    let is_upgrade = field(&request, "upgrade").is_some();
    if let Some(information) = shared.information.filter(|_| !is_upgrade) {
        return client.write_all(page(information).as_bytes()).await;
    }
    let mut rules: &[Rule] = &[];
    if is_upgrade {
        let before = shared.upgrades.fetch_add(1, Ordering::AcqRel);
        if before >= shared.spared {
            rules = &shared.rules;
        }
    }
    for rule in rules {
        match rule.upgrade() {
            Some(Way::Refuse) => return client.write_all(b"HTTP/1.1 503 Broken\r\n\r\n").await,
            Some(Way::Wait(time)) => sleep(time).await,
            None => {}
        }
    }
    let relay = TcpStream::connect(shared.relay).await?;
    relay.set_nodelay(true)?;
    let mut relay = BufReader::new(relay);
    relay
        .write_all(without_compression(&request).as_bytes())
        .await?;
    if !is_upgrade {
        return tunnel(client, relay).await;
    }
    let answer = timeout(HANDSHAKE_TIMEOUT, head(&mut relay)).await??;
    client.write_all(answer.as_bytes()).await?;
    if !answer.starts_with("HTTP/1.1 101") {
        return tunnel(client, relay).await;
    }
    pump::run(&shared, rules, client, relay).await;
    Ok(())
}

/// An answer to a request for the information document (NIP-11).
fn page(information: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/nostr+json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{information}",
        information.len()
    )
}

/// Bytes both ways, as of an HTTP request.
async fn tunnel(mut client: Stream, mut relay: Stream) -> io::Result<()> {
    io::copy_bidirectional(&mut client, &mut relay).await?;
    Ok(())
}

/// Reads up to the empty line, and that.
async fn head(stream: &mut Stream) -> io::Result<String> {
    let mut stream = stream.take(HEAD_BYTES_MAX);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// The value of a header, by its name in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The request as the relay gets it: messages have to be readable on the way.
fn without_compression(request: &str) -> String {
    let lines = request.split_inclusive("\r\n");
    let extensions = "sec-websocket-extensions:";
    lines
        .filter(|line| !line.to_ascii_lowercase().starts_with(extensions))
        .collect()
}
