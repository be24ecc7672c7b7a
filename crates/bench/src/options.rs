//! The command line, and how much of each work there is.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Parser;
use serde::{Deserialize, Serialize};

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
    /// What a relay has done before it answers OK: `name=fsync`, `name=none` or any word; stands beside
    /// its figures.
    #[arg(long = "durability", value_name = "NAME=CLASS", value_parser = named)]
    pub durabilities: Vec<(String, String)>,
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
    /// is to be measured.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub out: PathBuf,
    /// Heliograph, where it is measured; given by `cargo xtask`.
    #[arg(long, hide = true)]
    pub binary: Option<PathBuf>,
    /// What was built; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "unknown")]
    pub commit: String,
    /// How this was called; given by `cargo xtask`.
    #[arg(long, hide = true, default_value = "cargo xtask bench")]
    pub command: String,
    /// How much work there is, if neither all nor a sixth; for tests.
    #[arg(skip)]
    pub sizes: Option<Sizes>,
}

/// A relay that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayOptions {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) import: Option<String>,
    pub(crate) durability: String,
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

    /// The relays, each with what else is said of it.
    ///
    /// # Errors
    ///
    /// Two of one name; something is said of a relay that isn't there; none at all.
    pub(crate) fn relays(&self) -> Result<Vec<RelayOptions>, String> {
        let mut relays = self.relays.clone();
        let mut imports = unique(&self.imports)?;
        let mut durabilities = unique(&self.durabilities)?;
        if relays.is_empty() {
            let binary = self
                .binary
                .as_deref()
                .ok_or("no --relay")?
                .display()
                .to_string();
            relays.push((OWN.to_owned(), own_command(&binary)));
            imports
                .entry(OWN.to_owned())
                .or_insert_with(|| own_import(&binary));
            durabilities
                .entry(OWN.to_owned())
                .or_insert_with(|| "fsync".to_owned());
        }
        unique(&relays)?;
        let relays: Vec<RelayOptions> = relays
            .into_iter()
            .map(|(name, command)| RelayOptions {
                import: imports.remove(&name),
                durability: durabilities
                    .remove(&name)
                    .unwrap_or_else(|| "unknown".to_owned()),
                name,
                command,
            })
            .collect();
        match imports.keys().chain(durabilities.keys()).next() {
            Some(name) => Err(format!("no --relay is named {name}")),
            None => Ok(relays),
        }
    }
}

/// The name of this relay where no other is given.
const OWN: &str = "heliograph";

/// Default settings but for rates, since all of a bench comes from one address.
fn own_command(binary: &str) -> String {
    const OFF: [&str; 6] = [
        "gateway.connections_per_ip_max",
        "gateway.connections_per_ip_per_sec",
        "gateway.events_per_sec",
        "gateway.events_per_ip_per_sec",
        "gateway.reqs_per_sec",
        "gateway.reqs_per_ip_per_sec",
    ];
    let off: Vec<String> = OFF.iter().map(|key| format!("--set {key}=0")).collect();
    format!(
        "exec '{binary}' --data {{dir}} --listen 127.0.0.1:{{port}} \
         --set admin.listen=127.0.0.1:0 {}",
        off.join(" ")
    )
}

fn own_import(binary: &str) -> String {
    format!("exec '{binary}' --data {{dir}} import {{file}}")
}

fn unique(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(map)
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
    fn what_is_said_of_a_relay_stands_with_it() {
        let options = parse(&[
            "--relay",
            "a=run a --x=1 {port}",
            "--relay",
            "b=run b",
            "--durability",
            "b=none",
            "--import",
            "a=load {file}",
        ]);
        let relays = options.relays().unwrap();
        assert_eq!(relays[0].command, "run a --x=1 {port}");
        assert_eq!(relays[0].import.as_deref(), Some("load {file}"));
        assert_eq!(relays[0].durability, "unknown");
        assert_eq!(relays[1].durability, "none");
    }

    #[test]
    fn names_that_clash_or_are_unknown_are_refused() {
        let refused = [
            &["--relay", "a=x", "--relay", "a=y"][..],
            &["--relay", "a=x", "--durability", "b=fsync"],
            &[],
        ];
        for arguments in refused {
            assert!(parse(arguments).relays().is_err(), "{arguments:?}");
        }
        assert!(Options::try_parse_from(["bench", "--relay", "no command"]).is_err());
    }

    #[test]
    fn without_a_relay_this_one_is_measured_with_its_limits_off() {
        let relays = parse(&["--binary", "/x/heliograph"]).relays().unwrap();
        assert_eq!((relays.len(), relays[0].durability.as_str()), (1, "fsync"));
        assert!(relays[0].command.contains("--set gateway.events_per_sec=0"));
        assert!(relays[0].import.is_some());
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
