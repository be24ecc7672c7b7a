//! An OpenTelemetry collector as a real server: it takes spans over OTLP and writes them down.

mod install;
mod span;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

pub use install::install;
pub use span::Span;

use crate::{
    Error, Storage,
    directory::Directory,
    loopback::Block,
    process::{Launch, Process},
    wait,
};

/// Time until it listens; half a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PORT: u16 = 4317;

/// The file that the spans are in.
const SPANS: &str = "spans.json";

/// A running collector; stopped and removed on drop.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    address: SocketAddr,
    spans: PathBuf,
    // Dropped after the process.
    _block: Block,
    _directory: Directory,
}

impl Collector {
    /// Installs it if need be, starts it and waits until it listens.
    ///
    /// # Errors
    ///
    /// It can't be installed, ends, or doesn't listen after a minute.
    pub fn start() -> Result<Self, Error> {
        let program = install()?;
        let directory = Directory::create("collector", Storage::Memory)?;
        let block = Block::take()?;
        let address = block.address(1, PORT);
        let path = directory.path().to_owned();
        let configuration = path.join("collector.yaml");
        fs::write(&configuration, configure(address))
            .map_err(Error::path("can't write", &configuration))?;
        let process = Process::start(&Launch {
            name: "collector".to_owned(),
            program,
            arguments: vec!["--config=collector.yaml".into()],
            variables: Vec::new(),
            hide_variables: "",
            log: path.join("log"),
            directory: path.clone(),
        })?;
        let state = format!("listener at {address}");
        process.wait_until(&state, PATIENCE, |_| TcpStream::connect(address).is_ok())?;
        Ok(Self {
            process,
            address,
            spans: path.join(SPANS),
            _block: block,
            _directory: directory,
        })
    }

    /// `http://ip:port` of its listener for OTLP over gRPC.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span that it has written down, in the order in which they came. That happens several
    /// times a second.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        // The file is there once there are spans.
        span::read(&fs::read_to_string(&self.spans).unwrap_or_default())
    }

    /// Waits until the spans are as wanted: `choose` gets all that it has.
    ///
    /// # Panics
    ///
    /// If they aren't after `patience`.
    #[track_caller]
    pub fn within<T>(
        &self,
        patience: Duration,
        what: &str,
        mut choose: impl FnMut(&[Span]) -> Option<T>,
    ) -> T {
        wait::within(patience, what, || choose(&self.spans()))
    }

    /// What it has printed: warnings and errors.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }
}

/// The collector's configuration file; it runs in its directory.
fn configure(address: SocketAddr) -> String {
    format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: {address}\n\
         exporters:\n  file:\n    path: {SPANS}\n    flush_interval: 100ms\n\
         service:\n  \
           telemetry:\n    logs:\n      level: warn\n    metrics:\n      level: none\n  \
           pipelines:\n    traces:\n      receivers: [otlp]\n      exporters: [file]\n"
    )
}
