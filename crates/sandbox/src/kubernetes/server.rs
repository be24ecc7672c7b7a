//! A Kubernetes API server on etcd, without nodes: what it takes, a cluster takes.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};

use super::install::go;
use crate::{
    Error, Storage,
    directory::Directory,
    http::{self, Answer},
    install,
    loopback::Block,
    process::{Launch, Process},
    tools::{self, download, is_stamped, once},
};

const NAME: &str = "kube-apiserver";

/// What the server says that it is: that of `go.mod`, which a build from source doesn't know.
const VERSION: [(&str, &str); 3] = [
    ("gitVersion", "v1.36.3"),
    ("gitMajor", "1"),
    ("gitMinor", "36"),
];

/// What it is built from.
const SOURCES: [(&str, &str); 3] = [
    ("go.mod", include_str!("../../kubernetes/apiserver/go.mod")),
    ("go.sum", include_str!("../../kubernetes/apiserver/go.sum")),
    (
        "main.go",
        include_str!("../../kubernetes/apiserver/main.go"),
    ),
];

/// Debian's package of etcd, and the directory that it is unpacked in.
const ETCD: &str = "etcd-server";

/// Time until it is ready; three seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time for the connection, and for each piece of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const PORT: u16 = 6443;

/// The one user, who may do everything.
const TOKEN: &str = "heliograph-sandbox";

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The API server.
    pub apiserver: PathBuf,
    /// What it keeps its objects in.
    pub etcd: PathBuf,
}

/// The programs: the server built with Go on first use (7 minutes of a core), etcd from Debian's
/// package if it isn't on the path.
///
/// # Errors
///
/// There is no Go or no openssl, the build fails, or etcd can't be had.
pub fn install() -> Result<Programs, Error> {
    install::program(
        "openssl",
        || install::succeeds(Command::new("openssl").arg("version")),
        "openssl",
        "install openssl (the package openssl)",
    )?;
    Ok(Programs {
        etcd: install::debian(
            ETCD,
            "etcd",
            "install etcd 3.4 or later (the package etcd-server), so that etcd is on the path",
        )?,
        apiserver: install_apiserver()?,
    })
}

fn install_apiserver() -> Result<PathBuf, Error> {
    let tools = tools::directory()?;
    let program = tools.join("bin").join(NAME);
    let stamp = tools.join(format!("{NAME}.version"));
    let package = "k8s.io/component-base/version";
    let flags = VERSION.map(|(name, value)| format!(" -X {package}.{name}={value}"));
    let flags = format!("-s -w{}", flags.concat());
    // Other sources make another program.
    let version = flags.clone() + &SOURCES.map(|(_, text)| text).concat();
    let version = version.trim();
    let installed = || is_stamped(&stamp, version) && program.exists();
    once(&tools, NAME, installed, || {
        go()?;
        let module = tools.join(NAME);
        fs::create_dir_all(&module).map_err(Error::path("can't create", &module))?;
        for (name, text) in SOURCES {
            write(&module.join(name), text)?;
        }
        download(NAME, || {
            let mut go = Command::new("go");
            go.args(["build", "-trimpath", "-ldflags", &flags, "-o"])
                .arg(&program)
                .env("CGO_ENABLED", "0")
                .current_dir(&module);
            go
        })?;
        write(&stamp, version)
    })?;
    Ok(program)
}

/// A running server; stopped and removed on drop.
#[derive(Debug)]
pub struct ApiServer {
    apiserver: Process,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    kubeconfig: PathBuf,
    // Dropped after the server.
    _etcd: Process,
    _block: Block,
    _directory: Directory,
}

impl ApiServer {
    /// Installs the programs if need be, starts them and waits until the server is ready.
    ///
    /// # Errors
    ///
    /// They can't be installed, one ends, or the server isn't ready after two minutes.
    pub fn start() -> Result<Self, Error> {
        let programs = install()?;
        let directory = Directory::create("kubernetes", Storage::Memory)?;
        let block = Block::take()?;
        let path = directory.path();
        let client = block.address(1, CLIENT_PORT);
        let etcd = start_etcd(programs.etcd, path, client, block.address(1, PEER_PORT))?;
        let address = block.address(1, PORT);
        let apiserver = start_apiserver(programs.apiserver, path, client, address)?;
        // The server writes it before it listens.
        let authority = path.join("certificates/apiserver.crt");
        apiserver.wait_until("certificate", PATIENCE, |_| {
            fs::read(&authority).is_ok_and(|pem| pem.ends_with(b"-----END CERTIFICATE-----\n"))
        })?;
        let kubeconfig = path.join("kubeconfig");
        write(&kubeconfig, &configure(address, &authority).to_string())?;
        let server = Self {
            apiserver,
            address,
            tls: trust(&authority)?,
            kubeconfig,
            _etcd: etcd,
            _block: block,
            _directory: directory,
        };
        server.apiserver.wait_until("readiness", PATIENCE, |_| {
            let answer = server.request("GET", "/readyz", None);
            answer.is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(server)
    }

    /// A file that tells `helm` and `kubectl` where the server is and who they are.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What it has printed: warnings and errors.
    #[must_use]
    pub fn output(&self) -> String {
        self.apiserver.output()
    }

    /// Asks for what is at `path`.
    ///
    /// # Errors
    ///
    /// The server doesn't answer, or with something else than 200 and JSON.
    pub fn get(&self, path: &str) -> io::Result<Value> {
        let answer = self.request("GET", path, None)?;
        let body = serde_json::from_str(&answer.body)?;
        if answer.status == 200 {
            Ok(body)
        } else {
            Err(refusal(path, &body))
        }
    }

    /// Creates an object at the path of its collection.
    ///
    /// # Errors
    ///
    /// The server's words if it refuses, or it doesn't answer.
    pub fn create(&self, path: &str, object: &Value) -> io::Result<Value> {
        self.send("POST", path, "application/json", object)
    }

    /// Makes an object what `object` says, by server-side apply; a field that the server doesn't know
    /// is refused.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn apply(&self, path: &str, object: &Value) -> io::Result<Value> {
        let path = format!("{path}?fieldManager=sandbox&force=true&fieldValidation=Strict");
        // JSON is YAML.
        self.send("PATCH", &path, "application/apply-patch+yaml", object)
    }

    fn send(&self, method: &str, path: &str, kind: &str, object: &Value) -> io::Result<Value> {
        let body = object.to_string();
        let answer = self.request(method, path, Some((kind, &body)))?;
        let body: Value = serde_json::from_str(&answer.body)?;
        if answer.status / 100 == 2 {
            Ok(body)
        } else {
            Err(refusal(path, &body))
        }
    }

    /// One request, with the type and the text of its body.
    fn request(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> io::Result<Answer> {
        let socket = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        let (kind, body) = body.unwrap_or_default();
        // HTTP/1.0: the answer isn't chunked and ends with the connection.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Accept: application/json\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // Go closes the socket without TLS's own farewell; the length of a body that was cut off
            // shows in its JSON.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        http::parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
    }
}

/// The message of a `Status` object.
fn refusal(path: &str, status: &Value) -> io::Error {
    let message = status["message"].as_str().unwrap_or("refused");
    io::Error::other(format!("{path}: {message}"))
}

fn start_etcd(
    program: PathBuf,
    directory: &Path,
    client: SocketAddr,
    peer: SocketAddr,
) -> Result<Process, Error> {
    let arguments = [
        "--data-dir=etcd".to_owned(),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=default=http://{peer}"),
    ];
    let process = Process::start(&launch("etcd", program, directory, &arguments))?;
    process.wait_for_page(client, "/health", PATIENCE)?;
    Ok(process)
}

fn start_apiserver(
    program: PathBuf,
    directory: &Path,
    etcd: SocketAddr,
    address: SocketAddr,
) -> Result<Process, Error> {
    let openssl = |arguments: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(directory);
        install::run("keys of the API server", &mut openssl)
    };
    openssl(&["genrsa", "-out", "accounts.key", "2048"])?;
    openssl(&[
        "rsa",
        "-in",
        "accounts.key",
        "-pubout",
        "-out",
        "accounts.pub",
    ])?;
    let user = format!("{TOKEN},admin,1,\"system:masters\"\n");
    write(&directory.join("tokens.csv"), &user)?;
    let ip = address.ip();
    let arguments = [
        format!("--etcd-servers=http://{etcd}"),
        format!("--bind-address={ip}"),
        format!("--advertise-address={ip}"),
        format!("--secure-port={}", address.port()),
        "--cert-dir=certificates".to_owned(),
        "--token-auth-file=tokens.csv".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-account-key-file=accounts.pub".to_owned(),
        "--service-account-signing-key-file=accounts.key".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        // Nobody makes the accounts' tokens here.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--watch-cache=false".to_owned(),
    ];
    Process::start(&launch(NAME, program, directory, &arguments))
}

fn launch(name: &str, program: PathBuf, directory: &Path, arguments: &[String]) -> Launch {
    Launch {
        name: name.to_owned(),
        program,
        arguments: arguments.iter().map(Into::into).collect(),
        variables: Vec::new(),
        hide_variables: "ETCD_",
        directory: directory.to_owned(),
        log: directory.join(format!("{name}.log")),
    }
}

/// A kubeconfig; JSON is YAML.
fn configure(address: SocketAddr, authority: &Path) -> Value {
    let server = format!("https://{address}");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {
            "server": server,
            "certificate-authority": authority,
        }}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
        "current-context": "sandbox",
    })
}

/// Trusts the server that showed this certificate, which is followed by that of who signed it.
fn trust(authority: &Path) -> Result<Arc<ClientConfig>, Error> {
    let refuse = |why: String| Error::Options(format!("{}: {why}", authority.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority);
    for certificate in certificates.map_err(|error| refuse(error.to_string()))? {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refuse(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::path("can't write", path))
}
