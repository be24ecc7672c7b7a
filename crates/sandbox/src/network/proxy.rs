//! A TCP proxy whose links faults happen to.
//!
//! Each connection has two pipes of two threads: one reads and says when the bytes are due, one
//! waits until they are and writes. So a delay doesn't limit what is under way, and what is held
//! back is held back by the sender's window in the end, as on a real network.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::link::{Direction, Link};
use crate::Error;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks under way in one direction of one connection; then its sender has to wait.
const CHUNKS_MAX: usize = 64;

/// How often somebody who is stuck in a write looks whether the link was cut.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// Time for the connection to where bytes go.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which link a connection goes over, by its own address and the proxy's; `None` resets it.
type Choose = Box<dyn Fn(SocketAddr, SocketAddr) -> Option<Arc<Link>> + Send + Sync>;

/// Listens until it is dropped; its connections end then.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    choose: Choose,
    is_over: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = format!("{} -> {}", self.address, self.shared.target);
        formatter.debug_tuple("Proxy").field(&proxy).finish()
    }
}

impl Proxy {
    /// Forwards from a free port of `ip` to `target`, all over one link.
    ///
    /// # Errors
    ///
    /// `ip` is no address of this machine.
    pub fn start(ip: IpAddr, target: SocketAddr, link: &Arc<Link>) -> Result<Self, Error> {
        let link = Arc::clone(link);
        Self::at(SocketAddr::new(ip, 0), target, move |_, _| {
            Some(Arc::clone(&link))
        })
    }

    /// As [`start`](Self::start), from this address, over the link that `choose` returns for the address of the one who
    /// connects and the proxy's; where it returns none the connection is reset.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn at(
        from: SocketAddr,
        target: SocketAddr,
        choose: impl Fn(SocketAddr, SocketAddr) -> Option<Arc<Link>> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let failed = || format!("can't start a proxy at {from}");
        let listener = TcpListener::bind(from).map_err(Error::io(failed()))?;
        let address = listener.local_addr().map_err(Error::io(failed()))?;
        let shared = Arc::new(Shared {
            target,
            choose: Box::new(choose),
            is_over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        spawn(move || accept(&listener, &accepting)).map_err(Error::io(failed()))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections go through it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.live().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the one who accepts; without a connection it is gone already.
        drop(TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT));
        for connection in self.shared.live() {
            // Also wakes those that a silent link holds up.
            connection.link.reset();
            connection.end();
        }
    }
}

impl Shared {
    /// The connections that go on.
    fn live(&self) -> Vec<Arc<Connection>> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.has_ended());
        connections.clone()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        // Whoever connected is gone again.
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        // Without a thread the connection is closed.
        drop(spawn(move || serve(client, &shared)));
    }
}

/// Connects to the target and moves bytes until both sides are done.
fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let Some((link, cuts)) = admit(&client, shared) else {
        return reset(&client);
    };
    // A network that drops everything drops the first packet too.
    let now = Instant::now();
    if link.wait(Direction::Out, cuts, now, 0).is_err() {
        return reset(&client);
    }
    let Ok(target) = TcpStream::connect_timeout(&shared.target, CONNECT_TIMEOUT) else {
        return reset(&client);
    };
    for socket in [&client, &target] {
        // They work without, if later.
        drop(socket.set_nodelay(true));
        drop(socket.set_write_timeout(Some(WRITE_TIMEOUT)));
    }
    let connection = Arc::new(Connection {
        ends: [client, target],
        link,
        cuts,
        ended: AtomicBool::new(false),
    });
    shared
        .connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Arc::clone(&connection));
    connection.run();
    drop(shared.live());
}

fn admit(client: &TcpStream, shared: &Shared) -> Option<(Arc<Link>, u64)> {
    let link = (shared.choose)(client.peer_addr().ok()?, client.local_addr().ok()?)?;
    let cuts = link.cuts().ok()?;
    Some((link, cuts))
}

/// The other side gets a reset instead of an end when the socket is closed.
fn reset(socket: &TcpStream) {
    // Otherwise it gets an end, and finds out as well.
    drop(socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)));
}

struct Connection {
    /// The one who connected, and the target.
    ends: [TcpStream; 2],
    link: Arc<Link>,
    cuts: u64,
    ended: AtomicBool,
}

/// Bytes and when they are due.
type Chunk = (Instant, Vec<u8>);

impl Connection {
    fn run(self: &Arc<Self>) {
        let pipes: Vec<_> = Direction::BOTH
            .into_iter()
            .flat_map(|direction| {
                let (sender, receiver) = sync_channel(CHUNKS_MAX);
                let (reader, writer) = (Arc::clone(self), Arc::clone(self));
                [
                    spawn(move || reader.read(direction, &sender)),
                    spawn(move || writer.write(direction, &receiver)),
                ]
            })
            .collect();
        for pipe in pipes {
            match pipe {
                // They don't panic; if one did the others are ended.
                Ok(thread) => drop(thread.join()),
                Err(_none) => self.end(),
            }
        }
        self.ended.store(true, Ordering::SeqCst);
    }

    fn read(&self, direction: Direction, chunks: &SyncSender<Chunk>) {
        let mut source = self.source(direction);
        let mut bytes = vec![0; CHUNK_BYTES];
        loop {
            match source.read(&mut bytes) {
                // The writer finishes what there is, then tells the other side.
                Ok(0) => return,
                Ok(count) => {
                    let due = self.link.due(direction);
                    if chunks.send((due, bytes[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_broken) => {
                    // The other side hears of it as late as of anything else.
                    let due = self.link.due(direction);
                    let (Ok(_) | Err(_)) = self.link.wait(direction, self.cuts, due, 0);
                    return self.end();
                }
            }
        }
    }

    fn write(&self, direction: Direction, chunks: &Receiver<Chunk>) {
        let mut free = Instant::now();
        while let Some((due, bytes)) = self.next(chunks) {
            let wait = |due| self.link.wait(direction, self.cuts, due, bytes.len());
            let Ok(then) = wait(due.max(free)) else {
                return self.end();
            };
            if self.has_ended() {
                return;
            }
            free = then;
            if self.write_all(direction, &bytes).is_err() {
                return self.end();
            }
        }
        let due = self.link.due(direction);
        let told = self.link.wait(direction, self.cuts, due, 0);
        if told.is_ok() && !self.has_ended() {
            // Fails if the other side is gone, which then needn't be told.
            drop(self.sink(direction).shutdown(Shutdown::Write));
        }
    }

    /// The next bytes; `None` after the last ones. Looks now and then whether the link was cut.
    fn next(&self, chunks: &Receiver<Chunk>) -> Option<Chunk> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        loop {
            match chunks.recv_timeout(WRITE_TIMEOUT) {
                Ok(chunk) => return Some(chunk),
                Err(Disconnected) => return None,
                Err(Timeout) if self.link.cuts() == Ok(self.cuts) => {}
                Err(Timeout) => {
                    self.end();
                    return None;
                }
            }
        }
    }

    fn write_all(&self, direction: Direction, mut bytes: &[u8]) -> io::Result<()> {
        let mut sink = self.sink(direction);
        while !bytes.is_empty() {
            match sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_later(&error) && self.link.cuts() == Ok(self.cuts) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends both sides with a reset, and everybody who waits for them.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for socket in &self.ends {
            reset(socket);
            // No more is read; the last one to let go of the socket sends the reset.
            drop(socket.shutdown(Shutdown::Read));
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn source(&self, direction: Direction) -> &TcpStream {
        let [client, target] = &self.ends;
        match direction {
            Direction::Out => client,
            Direction::Back => target,
        }
    }

    fn sink(&self, direction: Direction) -> &TcpStream {
        let [client, target] = &self.ends;
        match direction {
            Direction::Out => target,
            Direction::Back => client,
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    let builder = thread::Builder::new().name("sandbox-proxy".to_owned());
    builder.stack_size(128 << 10).spawn(run)
}
