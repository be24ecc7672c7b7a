//! What breaks something when the script asks for it.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    thread::Scope,
    time::Duration,
};

/// How long a connection may say nothing: others wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A page that does something when it is asked for; gone when this is dropped.
pub(crate) struct Hook {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Hook {
    /// Listens on a free port; every request runs `act` and is answered with what
    /// that returns.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        act: impl Fn() -> String + Send + 'scope,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        scope.spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                // One that goes wrong is its client's affair: the script says if it got no answer.
                let _answered = stream.and_then(|stream| answer(&stream, &act));
            }
        });
        Self { address, is_over }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Only wakes the thread, which looks then.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers one request.
///
/// # Errors
///
/// It doesn't come in time or not whole, or its answer can't be written.
fn answer(mut stream: &TcpStream, act: &impl Fn() -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        match lines.next().transpose()? {
            Some(line) if line.is_empty() => break,
            Some(_field) => {}
            // Nothing was asked for.
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    let body = act();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes())
}
