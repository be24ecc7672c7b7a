//! A connection to a relay: TCP, TLS if the URL says so, WebSocket.

use std::{io, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Limits, WebSocketStream};

use crate::target::Target;

/// Time to connect, all steps together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What WebSocket runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// A relay can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// No connection.
    #[error("TCP: {0}")]
    Tcp(io::Error),
    /// Not who it should be.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Nobody who could be.
    #[error("TLS: {0} is no name to ask a certificate for")]
    Name(String),
    /// No relay.
    #[error("WebSocket: {0}")]
    Upgrade(#[from] tokio_websockets::Error),
}

/// Connects to a relay; a message of more bytes than that ends the connection.
///
/// # Errors
///
/// [`ConnectError`]: it can't be reached in time.
pub async fn connect(
    target: &Target,
    tls: Option<&Arc<ClientConfig>>,
    message_bytes_max: usize,
) -> Result<Socket, ConnectError> {
    let connected = timeout(CONNECT_TIMEOUT, open(target, tls, message_bytes_max)).await;
    connected.map_err(|_elapsed| ConnectError::Timeout)?
}

async fn open(
    target: &Target,
    tls: Option<&Arc<ClientConfig>>,
    message_bytes_max: usize,
) -> Result<Socket, ConnectError> {
    let stream = stream(target, tls).await?;
    let limits = Limits::default().max_payload_len(Some(message_bytes_max));
    let builder = ClientBuilder::from_uri(target.uri.clone()).limits(limits);
    let (socket, _response) = builder.connect_on(stream).await?;
    Ok(socket)
}

/// What is below: TCP, TLS if the URL says so.
pub(crate) async fn stream(
    target: &Target,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, ConnectError> {
    let addresses = target.addresses().await.map_err(ConnectError::Tcp)?;
    let tcp = TcpStream::connect(addresses.as_slice()).await;
    let tcp = tcp.map_err(ConnectError::Tcp)?;
    tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
    Ok(match tls.filter(|_| target.is_encrypted()) {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from(target.host.clone());
            let name = name.map_err(|_invalid| ConnectError::Name(target.host.clone()))?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, tcp).await;
            Box::new(stream.map_err(ConnectError::Tls)?)
        }
    })
}
