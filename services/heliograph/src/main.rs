//! The one binary: a subcommand per role and tool; without one, all roles in one process.

mod capacity;
mod certificate;
mod cli;
#[cfg(test)]
mod documented;
mod metrics;
mod process;
mod readiness;
mod reference;
mod roles;
mod settings;
mod standalone;
mod telemetry;
mod tools;
mod watch;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use heliograph_config::{Config, Loaded, LogFormat, environment};
use heliograph_lifecycle::arm_failpoint;
use heliograph_telemetry::{LogError, LogStyle, init_logs};

use crate::{
    cli::{Cli, Command, Settings},
    process::Reload,
    tools::EXIT_CONFIG,
    watch::Watched,
};

/// musl's own allocator has one lock for all threads: with it the cells of `cargo xtask bench` took a sixth
/// more CPU in the mean, short answers up to a half.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { settings, command } = Cli::parse();
    match command.unwrap_or(Command::Standalone) {
        Command::Standalone => serve(settings, standalone::run),
        Command::Gateway => serve(settings, roles::gateway::run),
        Command::Ingest => serve(settings, roles::ingest::run),
        Command::Matcher => serve(settings, roles::matcher::run),
        Command::Canary { once: false, .. } => serve(settings, roles::canary::run),
        Command::Canary {
            once: true,
            each_address,
            check_limits,
            limits_within,
        } => {
            let limits_within = Duration::from_secs(limits_within.unwrap_or(0).into());
            let look = roles::canary::Look {
                each_address,
                limits_within: check_limits.then_some(limits_within),
            };
            serve(settings, |loaded, _reload| {
                roles::canary::once(&loaded, look)
            })
        }
        Command::Capacity(options) => capacity::run(&options),
        Command::Reference(page) => reference::print(page),
        Command::Tool(tool) => tools::run(tool, &settings),
        Command::Cluster(tool) => tools::run_on_cluster(tool, &settings),
    }
}

/// Loads the configuration, then runs until told to stop.
fn serve(settings: Settings, run: impl FnOnce(Loaded, &Reload) -> anyhow::Result<()>) -> ExitCode {
    let watched = match settings.watched() {
        Ok(watched) => watched,
        Err(problem) => return fail(&problem, EXIT_CONFIG),
    };
    let loaded = match settings.load() {
        Ok(loaded) => loaded,
        Err(errors) => return fail(&errors.to_string(), EXIT_CONFIG),
    };
    if let Err(error) = start_logs(loaded.config()) {
        return fail(&error.to_string(), EXIT_CONFIG);
    }
    if let Err(error) = arm_failpoint(environment()) {
        return fail(&error.to_string(), EXIT_CONFIG);
    }
    if let Some(Err(error)) = watched.map(Watched::follow) {
        return fail(&format!("error: no thread for --watch: {error}"), 1);
    }
    let reload: Reload = Box::new(move || Ok(settings.load()?));
    match run(loaded, &reload) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("error: {error:#}"), 1),
    }
}

fn start_logs(config: &Config) -> Result<(), LogError> {
    let style = match config.log.format {
        LogFormat::Auto => LogStyle::detect(),
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
    };
    init_logs(style, &config.log.level)
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a program that doesn't start"
)]
fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
