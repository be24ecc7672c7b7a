//! A connection over TLS that asks and is held: what it costs a relay is looked at, not how fast it is.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    answer::Answer,
    connection::{reason, request, response},
    frame::{self, CLOSE, Header, PING, PONG, TEXT},
};

/// A connection after its upgrade.
#[derive(Debug)]
pub(crate) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    /// Bytes that came and weren't looked at.
    input: Vec<u8>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl TlsConnection {
    /// Connects, shakes hands and upgrades.
    ///
    /// # Errors
    ///
    /// No connection, another certificate, or no upgrade.
    pub(crate) async fn open(address: SocketAddr, connector: &TlsConnector) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("can't connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let stream = connector.connect(name, stream).await;
        let mut stream = stream.context("no TLS")?;
        stream.write_all(request(address, "").as_bytes()).await?;
        let (head, input) = response(&mut stream).await?;
        ensure!(head.starts_with("http/1.1 101"), "no upgrade: {head}");
        Ok(Self {
            stream,
            input,
            bytes_sent: 0,
            bytes_received: 0,
        })
    }

    /// Sends a REQ and reads until its EOSE; `heard` is told what comes.
    ///
    /// # Errors
    ///
    /// The connection broke or was closed.
    pub(crate) async fn subscribe(
        &mut self,
        filter: &str,
        mut heard: impl FnMut(&Answer<'_>),
    ) -> Result<()> {
        self.send(TEXT, format!(r#"["REQ","s",{filter}]"#).as_bytes())
            .await?;
        loop {
            let (opcode, payload) = self.frame().await?;
            match opcode {
                PING => self.send(PONG, &payload).await?,
                CLOSE => bail!("the relay closes: {}", reason(&payload)),
                TEXT => {
                    let answer = Answer::parse(&payload);
                    heard(&answer);
                    if matches!(answer, Answer::Eose(_) | Answer::Closed(..)) {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Begins the closing handshake and goes without waiting for its end.
    pub(crate) async fn close(mut self) {
        // The relay may have gone before: then there is nothing to say.
        let _gone = self.send(CLOSE, &1_000_u16.to_be_bytes()).await;
        let _gone = self.stream.shutdown().await;
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        frame::write(opcode, payload, &mut bytes);
        self.bytes_sent += bytes.len() as u64;
        self.stream.write_all(&bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some(header) = Header::parse(&self.input)? {
                let end = header.length + header.payload;
                if self.input.len() >= end {
                    let payload = self.input[header.length..end].to_vec();
                    self.input.drain(..end);
                    return Ok((header.opcode, payload));
                }
            }
            let read = self.stream.read_buf(&mut self.input).await?;
            ensure!(read > 0, "the relay has closed the connection");
            self.bytes_received += read as u64;
        }
    }
}
