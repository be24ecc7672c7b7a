//! Certificates of our own, and a way for clients without TLS to a relay with it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use heliograph_testkit::{PATIENCE, tool::run};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsConnector;

/// A certificate for 127.0.0.1 that nobody but itself signed, in a directory of its own.
pub(crate) struct Certificate {
    directory: TempDir,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let certificate = Self { directory };
        certificate.renew();
        certificate
    }

    /// Writes another certificate with another key into the same files.
    pub(crate) fn renew(&self) {
        self.renew_for(2);
    }

    /// The same, good for so many days.
    pub(crate) fn renew_for(&self, days: u32) {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-nodes", "-newkey", "ec"])
            .args(["-days", &days.to_string()])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args([
                "-subj",
                "/CN=relay",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(self.key())
            .arg("-out")
            .arg(self.file());
        let _said = run(&mut openssl, b"").success();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("relay.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("relay.key")
    }

    /// Settings of a relay that shows it, and further ones.
    pub(crate) fn settings(&self, further: &[&str]) -> Vec<&'static str> {
        let ours = [
            format!("gateway.certificate={}", self.file().display()),
            format!("gateway.key={}", self.key().display()),
        ];
        let further = further.iter().map(|setting| (*setting).to_owned());
        let all = ours.into_iter().chain(further);
        // As long as the test, which is a process's life at most.
        all.map(|setting| &*setting.leak()).collect()
    }
}

/// Listens without TLS and goes on with it, trusting a certificate as it is when the tunnel is dug.
pub(crate) struct Tunnel {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<Result<(), String>>>>,
    _runtime: Runtime,
}

impl Tunnel {
    pub(crate) fn new(relay: SocketAddr, trusted: &Path) -> Self {
        Self::after(relay, trusted, &[])
    }

    /// Sends `preface` before TLS begins.
    pub(crate) fn after(relay: SocketAddr, trusted: &Path, preface: &[u8]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("its address");
        let connector = connector(trusted);
        let preface = preface.to_vec();
        let ends: Arc<Mutex<Vec<Result<(), String>>>> = Arc::default();
        let ended = Arc::clone(&ends);
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                let (connector, preface) = (connector.clone(), preface.clone());
                let ended = Arc::clone(&ended);
                handle.spawn(async move {
                    let end = carry(client, relay, connector, &preface).await;
                    let end = end.map_err(|error| error.to_string());
                    ended.lock().expect("no panic").push(end);
                });
            }
        });
        Self {
            address,
            ends,
            _runtime: runtime,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How connections through it ended so far: in order, or with an error of TLS or TCP.
    pub(crate) fn ends(&self) -> Vec<Result<(), String>> {
        self.ends.lock().expect("no panic").clone()
    }
}

async fn carry(
    mut client: TcpStream,
    relay: SocketAddr,
    connector: TlsConnector,
    preface: &[u8],
) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut relay_side = socket.connect(relay).await?;
    relay_side.write_all(preface).await?;
    let name = ServerName::from(relay.ip());
    let mut relay_side = connector.connect(name, relay_side).await?;
    // Little on the way, so that a client that doesn't read is soon felt at the other end.
    copy_bidirectional_with_sizes(&mut client, &mut relay_side, 4096, 4096).await?;
    Ok(())
}

/// What protocol is agreed on with those that are offered (ALPN), by one handshake.
pub(crate) fn negotiated(
    relay: SocketAddr,
    trusted: &Path,
    offered: &[&str],
) -> std::io::Result<Option<String>> {
    let mut config = client_config(trusted);
    config.alpn_protocols = offered
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let name = ServerName::from(relay.ip());
    let connection = ClientConnection::new(Arc::new(config), name);
    let mut connection = connection.map_err(std::io::Error::other)?;
    let mut socket = std::net::TcpStream::connect(relay)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    let agreed = connection.alpn_protocol();
    Ok(agreed.map(|name| String::from_utf8_lossy(name).into_owned()))
}

fn connector(trusted: &Path) -> TlsConnector {
    TlsConnector::from(Arc::new(client_config(trusted)))
}

fn client_config(trusted: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted).expect("a file in PEM") {
        roots
            .add(certificate.expect("a certificate"))
            .expect("a usable one");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Who resumes a session looks at no certificate.
    config.resumption = Resumption::disabled();
    config
}
