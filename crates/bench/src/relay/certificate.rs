//! A certificate for a relay that is measured behind TLS, which nobody but itself has signed.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use crate::client::{Connection, TlsConnection};

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// In PEM.
    pub(crate) file: PathBuf,
    /// Its key, in PEM.
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes one for 127.0.0.1 in a directory, by `openssl`.
    ///
    /// # Errors
    ///
    /// There is no such program, or it fails, with its last words.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let made = Self {
            file: directory.join("relay.pem"),
            key: directory.join("relay.key"),
        };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-subj",
                "/CN=relay",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.file)
            .output()
            .context("a certificate is made by openssl")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl: {words}");
        Ok(made)
    }

    /// What a client connects with that trusts it alone.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.file)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each shakes hands in full, as strangers do.
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Upgrades a connection to a relay, over TLS if it has a certificate.
///
/// # Errors
///
/// It doesn't take one, or not yet.
pub(super) async fn upgrades(address: SocketAddr, certificate: Option<&Certificate>) -> Result<()> {
    match certificate {
        None => drop(Connection::open(address, false).await?),
        Some(shown) => drop(TlsConnection::open(address, &shown.connector()?).await?),
    }
    Ok(())
}
