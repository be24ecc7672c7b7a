//! A wire between gateway and matcher: what comes down the first connection, which is the one of
//! live events, can be held back; all can be cut.

use std::net::SocketAddr;

use heliograph_lifecycle::Tasks;
use heliograph_link::Target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A wire to one matcher.
pub(crate) struct Wire {
    pub(crate) target: Target,
    held: watch::Sender<bool>,
    /// Counts up with each cut.
    cut: watch::Sender<u32>,
    refusing: watch::Sender<bool>,
}

impl Wire {
    pub(crate) async fn to(target: &Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let upstream: SocketAddr = target.address.parse().expect("an address");
        let wire = Self {
            target: Target {
                name: target.name.clone(),
                address,
            },
            held: watch::Sender::new(false),
            cut: watch::Sender::new(0),
            refusing: watch::Sender::new(false),
        };
        let (held, cut) = (wire.held.subscribe(), wire.cut.subscribe());
        let refusing = wire.refusing.subscribe();
        let tasks = Tasks::new();
        tasks.clone().spawn("wire", async move {
            let mut count = 0_u32;
            while let Ok((down, _)) = listener.accept().await {
                if *refusing.borrow() {
                    continue;
                }
                // A session opens the one for live events, then the one for pages.
                let held = (count.is_multiple_of(2)).then(|| held.clone());
                count += 1;
                tasks.spawn("connection", carry(down, upstream, held, cut.clone()));
            }
        });
        wire
    }

    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn refuse(&self, refusing: bool) {
        self.refusing.send_replace(refusing);
    }
}

async fn carry(
    down: TcpStream,
    upstream: SocketAddr,
    held: Option<watch::Receiver<bool>>,
    mut cut: watch::Receiver<u32>,
) {
    let Ok(up) = TcpStream::connect(upstream).await else {
        return;
    };
    cut.mark_unchanged();
    let (mut down_read, mut down_write) = down.into_split();
    let (mut up_read, mut up_write) = up.into_split();
    let upward = async { drop(tokio::io::copy(&mut down_read, &mut up_write).await) };
    let downward = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(held) = &held {
                drop(held.clone().wait_for(|held| !held).await);
            }
            match up_read.read(&mut buffer).await {
                Ok(read) if read > 0 => {
                    if let Some(held) = &held {
                        drop(held.clone().wait_for(|held| !held).await);
                    }
                    if down_write.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = upward => {}
        () = downward => {}
        _ = cut.changed() => {}
    }
}
