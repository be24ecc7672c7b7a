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

/// Bytes of a message of a relay; probes are short, so a longer one ends the connection.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What WebSocket runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A relay can't be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("TCP: {0}")]
    Tcp(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("TLS: {0} is no name to ask a certificate for")]
    Name(String),
    #[error("WebSocket: {0}")]
    Upgrade(#[from] tokio_websockets::Error),
}

/// Connects to a relay.
pub(crate) async fn connect(
    target: &Target,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Socket, ConnectError> {
    let connected = timeout(CONNECT_TIMEOUT, open(target, tls)).await;
    connected.map_err(|_elapsed| ConnectError::Timeout)?
}

async fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<Socket, ConnectError> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await;
    let tcp = tcp.map_err(ConnectError::Tcp)?;
    tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
    let stream: Box<dyn Stream> = match tls.filter(|_| target.is_encrypted()) {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from(target.host.clone());
            let name = name.map_err(|_invalid| ConnectError::Name(target.host.clone()))?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, tcp).await;
            Box::new(stream.map_err(ConnectError::Tls)?)
        }
    };
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
    let builder = ClientBuilder::from_uri(target.uri.clone()).limits(limits);
    let (socket, _response) = builder.connect_on(stream).await?;
    Ok(socket)
}
