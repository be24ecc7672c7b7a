//! Tools that work on a configuration or a data directory and end.
//!
//! Reading tools look into the store beside a running relay; writing tools need it for themselves
//! and say so. Results go to the standard output, everything else to the standard error stream.

mod archive;
mod cluster;
mod config;
mod copy;
mod corpus;
mod delete;
mod events;
mod export;
mod health;
mod import;
mod info;
mod input;
mod lines;
mod mirror;
mod output;
mod progress;
mod publish;
mod repair;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::{io, process::ExitCode};

use anyhow::Context as _;
use heliograph_config::Loaded;
use heliograph_telemetry::{LogStyle, init_logs};

use self::{
    output::{Stdout, note},
    store::Place,
};
use crate::cli::{ClusterTool, Settings, Tool};

/// The configuration is wrong; as `EX_USAGE` of sysexits, which supervisors don't restart on.
pub(crate) const EXIT_CONFIG: u8 = 64;

/// Runs a tool to its end. Exit codes: 0 done, 1 failed, 2 usage (by clap), 64 bad configuration.
pub(crate) fn run(tool: Tool, settings: &Settings) -> ExitCode {
    with_output(settings, |loaded, out| dispatch(tool, loaded, out))
}

/// The same for tools that work on a cluster.
pub(crate) fn run_on_cluster(tool: ClusterTool, settings: &Settings) -> ExitCode {
    with_output(settings, |loaded, out| cluster::run(tool, loaded, out))
}

fn with_output(
    settings: &Settings,
    run: impl FnOnce(&Loaded, &mut Stdout) -> anyhow::Result<()>,
) -> ExitCode {
    let loaded = match settings.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            note(&errors.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    // The store tells its troubles as logs. That nobody has set them up before is certain here.
    drop(init_logs(LogStyle::Text, "warn"));
    let mut out = Stdout::new();
    let done = run(&loaded, &mut out).and_then(|()| Ok(out.finish()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough: `heliograph export | head`.
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(tool: Tool, loaded: &Loaded, out: &mut impl io::Write) -> anyhow::Result<()> {
    match tool {
        Tool::Config(tool) => return Ok(config::run(tool, loaded, out)?),
        Tool::Corpus(arguments) => return corpus::run(&arguments, out),
        Tool::Health { ready } => return health::run(loaded.config().admin.listen, ready, out),
        _ => {}
    }
    let place = Place::of(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(async {
        match tool {
            Tool::Config(_) | Tool::Corpus(_) | Tool::Health { .. } => Ok(()),
            Tool::Import(arguments) => Box::pin(import::run(&arguments, &place, out)).await,
            Tool::Archive(arguments) => Box::pin(archive::run(arguments, &place, out)).await,
            Tool::Copy(arguments) => Box::pin(copy::run(arguments, &place, out)).await,
            Tool::Mirror(arguments) => Box::pin(mirror::run(arguments, out)).await,
            Tool::Export(arguments) => export::run(arguments, &place, out).await,
            Tool::Query { filter } => export::query(filter, &place, out).await,
            Tool::Count { filter } => export::count(filter, &place, out).await,
            Tool::Delete(arguments) => delete::run(arguments, &place, out).await,
            Tool::Info { json } => info::run(json, &place, out),
            Tool::Compact => info::compact(&place, out),
            Tool::Repair => repair::run(&place, out),
        }
    })
}

/// Whether the standard output was closed by its reader. Other pipes don't occur here: a store and
/// files never answer so.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let io_errors = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    io_errors
        .map(io::Error::kind)
        .any(|kind| kind == io::ErrorKind::BrokenPipe)
}
