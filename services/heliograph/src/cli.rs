//! The command line: every role and tool is a subcommand, none is the whole relay.

mod moving;

use std::{num::NonZero, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use heliograph_config::{ConfigErrors, IpNetwork, Loaded, environment, load};
use heliograph_control::{parse_event_id, parse_pubkey};
use heliograph_protocol::{EventId, Filter, PublicKey, Timestamp};

use crate::watch::Watched;

pub(crate) use moving::{Archive, CopyTo, Import, Mirror};

/// A Nostr relay, from one process to a cluster. Without a command it runs as one process.
#[derive(Debug, Parser)]
#[command(name = "heliograph", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// What to do; the relay if absent.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Configuration file (TOML); `heliograph config print` shows every key.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Reads the configuration file again whenever it changes, as at SIGHUP.
    #[arg(long, global = true)]
    watch: bool,
    /// Data directory, as the key store.dir.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// Address to listen on, as the key gateway.listen.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Sets any key, as in `--set gateway.limit_max=100`; may be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

/// Every role and tool.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a whole relay in this process (the default).
    Standalone,
    /// Runs a gateway of a cluster: clients on one side, NATS and a matcher on the other.
    Gateway,
    /// Runs an ingest worker of a cluster: stores events and announces them.
    Ingest,
    /// Runs a matcher of a cluster: answers questions and delivers live events.
    Matcher,
    /// Publishes through one gateway of a relay, reads through others, and measures.
    Canary {
        /// Publishes three probes, says how that went and ends; exit code 1 if it didn't go well.
        #[arg(long)]
        once: bool,
        /// Reads through every address that the names in canary.read have, each for itself.
        #[arg(long, requires = "once")]
        each_address: bool,
        /// Compares the limits that each reader's relay advertises (NIP-11) with this configuration.
        #[arg(long, requires = "once")]
        check_limits: bool,
        /// Gives relays so many seconds to take changed limits, instead of none.
        #[arg(long, value_name = "SECONDS", requires = "check_limits")]
        limits_within: Option<u16>,
    },
    Capacity(Box<crate::capacity::Options>),
    /// Prints a page of the reference, for `cargo xtask reference`.
    #[command(subcommand, hide = true)]
    Reference(ReferencePage),
    #[command(flatten)]
    Tool(Tool),
    #[command(flatten)]
    Cluster(ClusterTool),
}

/// What works on a cluster and ends.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterTool {
    /// Makes or extends the tables of a cluster's database; safe to repeat, and beside a running
    /// cluster.
    Migrate {
        /// Changes nothing; exit code 1 if something is to be done.
        #[arg(long)]
        check: bool,
    },
    /// Shows and repeats what could not be stored.
    #[command(subcommand)]
    DeadLetters(DeadLettersTool),
    /// Shows and changes what operators decide: in force everywhere within 2 s.
    #[command(subcommand)]
    Control(ControlTool),
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersTool {
    /// Lists them, oldest first.
    List {
        /// One JSON object a line, with the ids of the events.
        #[arg(long)]
        json: bool,
    },
    /// Gives one back to be stored, or all.
    Replay {
        /// Its number, as listed.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        number: Option<u64>,
        /// Every one.
        #[arg(long)]
        all: bool,
    },
    /// Throws one away.
    Discard {
        /// Its number, as listed.
        number: u64,
    },
}

/// What to do with control records.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlTool {
    /// Lists them.
    List,
    /// Refuses and hides what a key writes, or one event.
    #[command(subcommand)]
    Ban(BanTool),
    /// Takes a ban back.
    #[command(subcommand)]
    Unban(UnbanTool),
    /// Puts a key on the list of those that may write; the first one closes the relay to others.
    Allow {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
    },
    /// Takes a key off that list; the last one opens the relay.
    Disallow {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
    },
    /// Lets a key write beside those on the list, such as one that has paid.
    Admit {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
        /// Until when: a date, Unix seconds, or a time from now such as 30d; for good without.
        #[arg(long)]
        until: Option<String>,
    },
    /// Takes an admission back.
    Dismiss {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
    },
    /// Decides about a kind of events.
    Kind {
        /// What to do.
        action: KindAction,
        /// The kind.
        kind: u16,
    },
    /// Decides about addresses.
    #[command(subcommand)]
    Ip(IpTool),
    /// Names the relay in its information document; without a text as configured again.
    Name {
        /// Fewer than 30 characters.
        text: Option<String>,
    },
    /// Describes the relay in its information document; without a text as configured again.
    Description {
        /// Plain text.
        text: Option<String>,
    },
    /// The relay's picture in its information document; without a URL as configured again.
    Icon {
        /// http or https.
        url: Option<String>,
    },
}

/// What to do with a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindAction {
    /// Take only kinds that are allowed.
    Allow,
    /// Take it no more.
    Block,
    /// As configured again.
    Clear,
}

/// What to ban.
#[derive(Debug, Subcommand)]
pub(crate) enum BanTool {
    /// A key.
    Pubkey {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
        /// Told to whoever writes with it.
        #[arg(long)]
        reason: Option<String>,
    },
    /// An event.
    Event {
        /// 64 hex digits or note.
        #[arg(value_parser = event_id)]
        id: EventId,
        /// Told to whoever sends it.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// What to unban.
#[derive(Debug, Subcommand)]
pub(crate) enum UnbanTool {
    /// A key.
    Pubkey {
        /// 64 hex digits or npub.
        #[arg(value_parser = pubkey)]
        pubkey: PublicKey,
    },
    /// An event.
    Event {
        /// 64 hex digits or note.
        #[arg(value_parser = event_id)]
        id: EventId,
    },
}

/// What to do with addresses.
#[derive(Debug, Subcommand)]
pub(crate) enum IpTool {
    /// Takes no connection from there, and ends those that are open.
    Ban {
        /// An address or a network, as in 192.0.2.0/24.
        network: IpNetwork,
        /// For the operators.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Takes that back.
    Unban {
        /// As it was banned.
        network: IpNetwork,
    },
}

/// A generated page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ReferencePage {
    /// Every key of the configuration.
    Config,
    /// Every metric.
    Metrics,
}

/// What works on a configuration or a data directory and ends.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Checks or shows the configuration.
    #[command(subcommand)]
    Config(ConfigTool),
    /// Stores the events of JSONL files and archives, verified; the relay must not run.
    Import(Import),
    /// Backs up into a directory, what is new since the last time; beside a running relay.
    Archive(Archive),
    /// Copies a store into the cluster of this configuration; beside a running relay.
    Copy(CopyTo),
    /// Copies other relays into this one, over their own protocol: what they have, then live.
    Mirror(Mirror),
    /// Writes events as JSONL, newest first; also beside a running relay.
    Export(Export),
    /// Prints the events that match a filter, newest first; also beside a running relay.
    Query {
        /// A NIP-01 filter as JSON; its limit is honoured.
        #[arg(value_parser = filter)]
        filter: Filter,
    },
    /// Counts the events that match a filter; also beside a running relay.
    Count {
        /// A NIP-01 filter as JSON; its limit is ignored (NIP-45).
        #[arg(value_parser = filter)]
        filter: Filter,
    },
    /// Removes events that match a filter, without a trace; the relay must not run.
    Delete(Delete),
    /// Shows how much is stored, by kind; also beside a running relay.
    Info {
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Asks the process that this configuration runs whether it is alive; exit code 1 if it isn't.
    Health {
        /// Asks whether it takes traffic instead.
        #[arg(long)]
        ready: bool,
    },
    /// Gives free space back to the file system; the relay must not run.
    Compact,
    /// Mends a damaged log as far as it can be read, so that the relay starts again.
    Repair,
    /// Writes signed events for benchmarks as JSONL: the same seed gives the same bytes.
    Corpus(Corpus),
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ConfigTool {
    /// Names everything that is wrong; exit code 0 if nothing is.
    Check,
    /// Prints the values in force as TOML, each with its meaning, default and where it was read.
    Print,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A NIP-01 filter as JSON; everything if absent.
    #[arg(long, value_parser = filter, default_value = "{}", hide_default_value = true)]
    pub(crate) filter: Filter,
    /// The oldest `created_at`, in Unix seconds.
    #[arg(long, value_name = "SECONDS", value_parser = timestamp)]
    pub(crate) since: Option<Timestamp>,
    /// The newest `created_at`, in Unix seconds.
    #[arg(long, value_name = "SECONDS", value_parser = timestamp)]
    pub(crate) until: Option<Timestamp>,
    /// The file to write, compressed if it ends in .gz or .zst; the standard output if absent. An
    /// existing file is replaced once everything is written.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// A NIP-01 filter as JSON; its limit is honoured, newest first.
    #[arg(long, value_parser = filter)]
    pub(crate) filter: Filter,
    /// Prints the events that would go and removes nothing; also beside a running relay.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Removes without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Arguments of `corpus`.
#[derive(Debug, Args)]
pub(crate) struct Corpus {
    /// Another seed gives other authors and other events.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many events.
    #[arg(long, value_name = "COUNT")]
    pub(crate) events: u64,
    /// How many authors; a quarter of the events if absent, 100 to 100,000.
    #[arg(long, value_name = "COUNT")]
    pub(crate) authors: Option<u32>,
    /// The oldest `created_at`, in Unix seconds, or below zero in seconds from now; 1 January 2026 if absent.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) time_start: Option<i64>,
    /// Over how many seconds events are spread; 30 days if absent.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_span: Option<u64>,
    /// Threads that sign; one for each core if absent. The bytes are the same with any number.
    #[arg(long, value_name = "COUNT")]
    pub(crate) threads: Option<NonZero<usize>>,
    /// The file to write; the standard output if absent.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl Settings {
    /// The file to look at for changes, if that is wanted.
    ///
    /// # Errors
    ///
    /// It is wanted, and there is none; or it can't be read.
    pub(crate) fn watched(&self) -> Result<Option<Watched>, String> {
        if !self.watch {
            return Ok(None);
        }
        let path = self.config.as_deref();
        let path = path.ok_or("--watch: there is no file to look at, add --config FILE")?;
        let watched = Watched::new(path);
        let watched = watched.map_err(|error| format!("{} can't be read: {error}", path.display()));
        watched.map(Some)
    }

    /// Loads the configuration: default < file < environment < flags. Called again for a reload.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigErrors> {
        self.load_from(environment())
    }

    /// [`load`](Self::load) with the variables of the environment as an argument.
    pub(crate) fn load_from(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigErrors> {
        let named = [("gateway.listen", &self.listen), ("store.dir", &self.data)];
        let named = named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        // The flags of their own come last: they are the more deliberate ones.
        let set = self
            .set
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()));
        let overrides: Vec<_> = set.chain(named).collect();
        load(self.config.as_deref(), environment, &overrides)
    }
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn filter(text: &str) -> Result<Filter, String> {
    Filter::parse(text).map_err(|refusal| refusal.to_string())
}

fn pubkey(text: &str) -> Result<PublicKey, String> {
    parse_pubkey(text)
}

fn event_id(text: &str) -> Result<EventId, String> {
    parse_event_id(text)
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    let secs = text
        .parse()
        .map_err(|_syntax| "expected Unix seconds".to_owned())?;
    let time = Timestamp::from_secs(secs);
    if time <= Timestamp::MAX {
        Ok(time)
    } else {
        Err("beyond the year 285 million".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use clap::CommandFactory;

    use super::*;

    #[track_caller]
    fn parse(arguments: &[&str]) -> Cli {
        let arguments = std::iter::once("heliograph").chain(arguments.iter().copied());
        Cli::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        for arguments in [["--data", "/x", "compact"], ["compact", "--data", "/x"]] {
            let loaded = parse(&arguments).settings.load_from(empty()).unwrap();
            assert_eq!(loaded.config.store.dir, PathBuf::from("/x"));
        }
    }

    #[test]
    fn flags_of_their_own_win_over_set() {
        let cli = parse(&[
            "--listen",
            "127.0.0.1:1",
            "--set",
            "gateway.listen=127.0.0.1:2",
        ]);
        let loaded = cli.settings.load_from(empty()).unwrap();
        assert_eq!(loaded.config.gateway.listen.port(), 1);
    }

    #[test]
    fn a_malformed_filter_is_a_usage_error() {
        let error = Cli::try_parse_from(["heliograph", "query", "{\"kinds\":1}"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
