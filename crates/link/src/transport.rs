//! What the link runs over: TCP, unless its caller brings connections of another kind, as a simulated
//! network does.

use std::{fmt, io, sync::Arc, task};

use heliograph_bus::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    codegen::{Service, http::Uri},
    transport::{Channel, Endpoint},
};

/// A connection of another kind than TCP.
pub trait Conduit: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Conduit for T {}

/// Opens a connection to a [`Target::address`](crate::Target::address).
pub type Dial = Arc<dyn Fn(&str) -> BoxFuture<'static, io::Result<Box<dyn Conduit>>> + Send + Sync>;

/// How a gateway's end reaches its matcher.
#[derive(Clone, Default)]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Other(Dial),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "Tcp",
            Self::Other(_) => "Other",
        })
    }
}

impl Transport {
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Channel, tonic::transport::Error> {
        match self {
            Self::Tcp => endpoint.connect().await,
            Self::Other(dial) => {
                let dialer = Dialer(Arc::clone(dial));
                endpoint.connect_with_connector(dialer).await
            }
        }
    }
}

/// A [`Dial`] as the channel wants it.
struct Dialer(Dial);

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Conduit>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = uri.authority().map_or("", |authority| authority.as_str());
        let dialing = (self.0)(address);
        Box::pin(async move { Ok(TokioIo::new(dialing.await?)) })
    }
}
