//! TLS at the edge, for relays without a proxy in front (RFC 8446; TLS 1.2 for old clients).

mod identity;
mod socket;

pub use self::identity::{CertificateFiles, IdentityError};

pub(crate) use self::socket::TlsSocket;

use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicU64},
};

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::identity::Identity;

/// What every TLS connection of a listener is made with. Clones are the same.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    identity: Arc<Identity>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub fn read(files: CertificateFiles) -> Result<Self, IdentityError> {
        let identity = Arc::new(Identity::read(files)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<_>);
        // WebSockets begin in HTTP/1.1 (RFC 6455 §4.1).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            identity,
        })
    }

    /// When the certificate that is shown ends, in Unix seconds; follows what is in force.
    #[must_use]
    pub fn ends(&self) -> Arc<AtomicU64> {
        self.identity.ends()
    }

    /// Looks at the files again; whoever connects from now on sees what is new in them. Says whether something
    /// was.
    ///
    /// # Errors
    ///
    /// What is new can't be used: the certificate of before stays in force.
    pub fn refresh(&self) -> Result<bool, IdentityError> {
        self.identity.refresh()
    }

    /// The handshake.
    ///
    /// # Errors
    ///
    /// The client speaks something else, or went away.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}
