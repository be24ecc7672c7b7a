//! The command line, and how much of each work there is.

mod contestants;

use std::path::PathBuf;

use clap::Parser;
use serde::{Deserialize, Serialize};

pub use contestants::ClusterSize;
pub(crate) use contestants::{READY, RelayOptions};

/// Measures relays side by side: each is started on an empty directory, loaded with the same events and
/// given the same work, all in turn and then in reversed order.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask bench")]
pub struct Options {
    /// A relay: `name=command`, run by `sh`, with {port} and {dir} replaced by a free port and an empty
    /// directory; listens on 127.0.0.1. Its limits of rates have to be off. May be repeated; ratios are
    /// to the first. Without it this Heliograph alone.
    #[arg(long = "relay", value_name = "NAME=COMMAND", value_parser = named)]
    pub relays: Vec<(String, String)>,
    /// How a relay is loaded from a file: `name=command`, with {file}, {dir} and {port} replaced, run
    /// on an empty directory while the relay doesn't run. Adds a cell, and the relay is asked about what was
    /// imported; it is loaded over WebSocket all the same.
    #[arg(long = "import", value_name = "NAME=COMMAND", value_parser = named)]
    pub imports: Vec<(String, String)>,
    /// How a relay is started with TLS: `name=command`, with {certificate} and {key} replaced by files in
    /// PEM besides. Adds a cell.
    #[arg(long = "tls", value_name = "NAME=COMMAND", value_parser = named)]
    pub tls: Vec<(String, String)>,
    /// What a relay has done before it answers OK: `name=fsync`, `name=none` or any word; stands beside
    /// its figures.
    #[arg(long = "durability", value_name = "NAME=CLASS", value_parser = named)]
    pub durabilities: Vec<(String, String)>,
    /// A relay of others that is built from the registry first: nostr-relay-builder. May be repeated;
    /// comes behind --relay, or behind this Heliograph.
    #[arg(long = "peer", value_name = "NAME")]
    pub peers: Vec<String>,
    /// A cluster of this Heliograph on servers of its own, named "cluster": 2x2x1 are two gateways, two
    /// matchers and one ingest worker; x3 behind it are three NATS servers instead of one. Its CPU time and memory are those of
    /// all its processes; those of NATS and of the database also stand apart.
    #[arg(long, value_name = "SIZE")]
    pub cluster: Option<ClusterSize>,
    /// Connections of the cell "sockets"; 10,000, with --quick 1,000. More than one process may have
    /// open are spread over several here; the relay needs as many open files, or several gateways.
    #[arg(long, value_name = "COUNT")]
    pub sockets: Option<u32>,
    /// How many of these come from one address: 127.64.0.1 and those behind it.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub sockets_per_address: u32,
    /// Events that are loaded, before those that are published; 120,000, with --quick 20,000.
    #[arg(long, value_name = "COUNT")]
    pub events: Option<u64>,
    /// Seed of the corpus.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Authors of the corpus; a quarter of the events if absent, 2,000 at least.
    #[arg(long, value_name = "COUNT")]
    pub authors: Option<u32>,
    /// A sixth of the work and shorter times: for a first look.
    #[arg(long)]
    pub quick: bool,
    /// How long each question is asked, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// How often each relay is measured: every second time in reversed order.
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    pub passes: u32,
    /// Only cells whose name begins so; may be repeated. Loading is always done.
    #[arg(long, value_name = "CELL")]
    pub only: Vec<String>,
    /// Keeps this client on the last core and the relays on the others.
    #[arg(long)]
    pub pin: bool,
    /// Where bench.json and bench.md are written, and data directories live meanwhile: on the disk that
    /// is to be measured. Cells with a generator of their own also write NAME/summary.json and .md, in the
    /// format of the load scripts.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub out: PathBuf,
    /// Heliograph, where it is measured; given by `cargo xtask`.
    #[arg(long, hide = true)]
    pub binary: Option<PathBuf>,
    /// Programs of --peer: `name=path`; given by `cargo xtask`.
    #[arg(long = "peer-program", hide = true, value_parser = named)]
    pub peer_programs: Vec<(String, String)>,
    /// What starts a cluster; given by `cargo xtask`.
    #[arg(long, hide = true)]
    pub xtask: Option<PathBuf>,
    /// What holds the connections of "sockets": this program if absent; for tests.
    #[arg(long, hide = true)]
    pub worker: Option<PathBuf>,
    /// What was built; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    pub commit: String,
    /// When this was started (RFC 3339); given by `cargo xtask`.
    #[arg(long, hide = true)]
    pub started: Option<String>,
    /// How this was called; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "cargo xtask bench")]
    pub command: String,
    /// How much work there is, if neither all nor a sixth; for tests.
    #[arg(skip)]
    pub sizes: Option<Sizes>,
}

/// How much of each work there is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// Events that are loaded.
    pub events: u64,
    /// Connections that load, and events of each that wait for their OK.
    pub load: (u32, u32),
    /// Events published by one connection, one at a time.
    pub publish_single: u64,
    /// Events published by one connection, 100 in flight.
    pub publish_window: u64,
    /// Events published by 50 connections, 20 in flight each.
    pub publish_many: u64,
    /// Events published by 50 connections at a fixed rate.
    pub publish_paced: u64,
    /// That rate, in events a second.
    pub publish_rate: u32,
    /// Different questions of each kind.
    pub questions: usize,
    /// How long each kind is asked by 20 connections; by one, half as long.
    pub ask_secs: f64,
    /// Notes with one subscriber, and how many a second.
    pub live_single: (u64, u32),
    /// Subscribers, notes and notes a second of the wide fan-out.
    pub live_wide: (u32, u64, u32),
    /// Subscribers and notes of the sustained fan-out.
    pub live_sustained: (u32, u64),
    /// Connections that idle.
    pub idle: u32,
    /// Connections that come and go, and how often.
    pub churn: (u32, u32),
    /// Subscribers of which a twentieth stops reading; notes a second; notes before and after.
    pub stalled: (u32, u32, u64, u64),
    /// Connections that are open at once, and notes that go to all.
    pub sockets: (u32, u64),
    /// How long is waited at most until a relay rests, in seconds.
    pub settle_secs: f64,
    /// How long it has to use little before it counts as resting around work that writes, in seconds:
    /// longer than a relay keeps what it has answered before it moves it to its database.
    pub quiet_secs: f64,
}

impl Sizes {
    /// What the tables of the documentation are made with.
    #[must_use]
    pub fn full() -> Self {
        Self {
            events: 120_000,
            load: (8, 128),
            publish_single: 1_000,
            publish_window: 10_000,
            publish_many: 20_000,
            publish_paced: 10_000,
            publish_rate: 1_000,
            questions: 100,
            ask_secs: 5.0,
            live_single: (200, 50),
            live_wide: (1_000, 100, 10),
            live_sustained: (200, 1_000),
            idle: 1_000,
            churn: (2_000, 10),
            stalled: (400, 20, 200, 400),
            sockets: (10_000, 3),
            settle_secs: 15.0,
            quiet_secs: 2.0,
        }
    }

    /// For a first look.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            events: 20_000,
            publish_single: 200,
            publish_window: 2_000,
            publish_many: 4_000,
            publish_paced: 1_000,
            publish_rate: 500,
            questions: 40,
            ask_secs: 1.0,
            live_single: (50, 50),
            live_wide: (500, 20, 10),
            live_sustained: (100, 300),
            idle: 200,
            churn: (200, 3),
            stalled: (200, 20, 60, 300),
            sockets: (1_000, 3),
            settle_secs: 5.0,
            ..Self::full()
        }
    }

    /// For tests: each cell a second or less, also where nothing is optimised.
    #[must_use]
    pub fn small() -> Self {
        Self {
            events: 3_000,
            load: (4, 64),
            publish_single: 20,
            publish_window: 200,
            publish_many: 300,
            publish_paced: 100,
            publish_rate: 200,
            questions: 10,
            ask_secs: 0.2,
            live_single: (10, 50),
            live_wide: (50, 4, 10),
            live_sustained: (20, 50),
            idle: 30,
            churn: (20, 2),
            stalled: (40, 50, 20, 250),
            sockets: (200, 2),
            settle_secs: 0.5,
            quiet_secs: 0.2,
        }
    }

    /// Events that are published after the load.
    pub(crate) fn published(&self) -> u64 {
        self.publish_single + self.publish_window + self.publish_many + self.publish_paced
    }
}

impl Options {
    /// How much work there is.
    pub(crate) fn sizes(&self) -> Sizes {
        let whole = if self.quick {
            Sizes::quick()
        } else {
            Sizes::full()
        };
        let whole = self.sizes.unwrap_or(whole);
        Sizes {
            events: self.events.unwrap_or(whole.events),
            ask_secs: self.seconds.unwrap_or(whole.ask_secs),
            sockets: (self.sockets.unwrap_or(whole.sockets.0), whole.sockets.1),
            ..whole
        }
    }

    /// Whether a cell takes part.
    pub(crate) fn wants(&self, cell: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|begin| cell.starts_with(begin.as_str()))
    }
}

fn named(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() || value.is_empty() {
        return Err("expected NAME=VALUE");
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse_from(["bench"].iter().chain(arguments))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_relay_without_a_command_is_refused() {
        assert!(Options::try_parse_from(["bench", "--relay", "no command"]).is_err());
    }

    #[test]
    fn single_sizes_can_be_changed() {
        let sizes = parse(&["--quick", "--events", "7", "--seconds", "0.5"]).sizes();
        let expected = Sizes {
            events: 7,
            ask_secs: 0.5,
            ..Sizes::quick()
        };
        assert_eq!(sizes, expected);
    }
}
