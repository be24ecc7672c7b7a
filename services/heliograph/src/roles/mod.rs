//! One part of a cluster in this process: `heliograph gateway`, `ingest`, `matcher`.
//!
//! Each is started as often as needed. They find each other through NATS.

pub(crate) mod gateway;
pub(crate) mod ingest;
pub(crate) mod matcher;
mod node;
mod rebalance;

use anyhow::Context;
use heliograph_config::Loaded;

use crate::{settings, standalone::Reload};

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Ingest,
    Matcher,
}

/// Runs a role until a signal ends it.
///
/// # Errors
///
/// It can't start or go on, with the reason for the operator.
pub(crate) fn run(role: Role, loaded: Loaded, reload: &Reload) -> anyhow::Result<()> {
    // Every connection is an open file.
    heliograph_telemetry::raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings::cores())
        .thread_name("data")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        match role {
            Role::Gateway => Box::pin(gateway::serve(loaded, reload)).await,
            Role::Ingest => Box::pin(ingest::serve(loaded, reload)).await,
            Role::Matcher => Box::pin(matcher::serve(loaded, reload)).await,
        }
    })
}
