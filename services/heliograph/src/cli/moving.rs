//! Arguments of the tools that bring data in, out and elsewhere.

use std::path::PathBuf;

use clap::Args;

use super::filter;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files of one event a line, plain, gzip or zstd; directories that `archive` wrote; - reads the
    /// standard input.
    #[arg(value_name = "FILE|DIR|-", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Into the cluster of this configuration, beside what it does, instead of into a store.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Takes protected events ("-" tag, NIP-70) as well, which only their authors may publish. Those
    /// in archives are always taken.
    #[arg(long)]
    pub(crate) protected: bool,
    /// Imports what is whole of an archive that is damaged.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Imports the archive of a relay that has other URLs than this configuration. Requests to vanish that
    /// name only the other relay don't count then.
    #[arg(long)]
    pub(crate) other_relay: bool,
    /// Prints the counts as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `archive`.
#[derive(Debug, Args)]
pub(crate) struct Archive {
    /// The directory of the archive; made if it is absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Of the cluster of this configuration instead of a store.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Goes on until it is stopped (SIGTERM).
    #[arg(long, conflicts_with = "check")]
    pub(crate) follow: bool,
    /// Begins anew and drops what was archived before once everything is: forgets what was deleted.
    #[arg(long, conflicts_with = "check")]
    pub(crate) full: bool,
    /// Seals a segment at so many bytes of events, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) segment_bytes: u64,
    /// With --follow, seals a segment that is so old; what isn't sealed isn't in the archive yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) segment_secs: u64,
    /// Reads the whole archive and says whether it is good; writes nothing.
    #[arg(long, conflicts_with = "cluster")]
    pub(crate) check: bool,
}

/// Arguments of `copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyTo {
    /// Keeps its place in this file, to go on from there another time; `copy.cursor` in the data
    /// directory if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor: Option<PathBuf>,
    /// Goes on with what the relay takes, until it is stopped (SIGTERM).
    #[arg(long)]
    pub(crate) follow: bool,
    /// As --follow, and ends by itself once the relay has stopped, for 10 s, and everything is copied.
    #[arg(long)]
    pub(crate) until_stopped: bool,
}

/// Arguments of `mirror`.
#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// The relay to read from, ws:// or wss://; may be repeated.
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) from: Vec<String>,
    /// The relay to publish to.
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// A NIP-01 filter as JSON; everything if absent. Its since, until and limit don't count.
    #[arg(long, value_parser = filter_text, default_value = "{}", hide_default_value = true)]
    pub(crate) filter: String,
    /// Keeps its place in this file, to go on from there another time.
    #[arg(long, value_name = "FILE", default_value = "mirror.cursor")]
    pub(crate) cursor: PathBuf,
    /// Ends once everything that the relays had is published.
    #[arg(long)]
    pub(crate) once: bool,
    /// A file with a secret key, 64 hex digits, to authenticate with where a relay asks (NIP-42).
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A PEM file with the authorities to trust; those of the system if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// A filter as it was given.
fn filter_text(text: &str) -> Result<String, String> {
    filter(text).map(|_valid| text.to_owned())
}
