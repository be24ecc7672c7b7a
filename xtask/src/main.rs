//! Everything a script would do for this repository: `cargo xtask test` runs every check,
//! `cargo xtask tidy` the checks over the tree, `cargo xtask reference` writes `docs/reference/`,
//! `cargo xtask proto` the types of the wire forms, `cargo xtask observe` dashboards and the list of
//! alerts, `cargo xtask chart` what is generated in `helm/`, `cargo xtask cluster up` starts a whole cluster, `cargo xtask mutate` breaks what the tests
//! must notice, `cargo xtask bench` measures relays side by side, `cargo xtask load` runs the
//! k6 suite.
//!
//! `.ci/run` calls `cargo xtask test` and nothing else, so what passes here passes there.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to its terminal"
)]

mod bench;
mod capacity;
mod chart;
mod cluster;
mod failures;
mod gameday;
mod load;
mod mutate;
mod observe;
mod package;
mod previous;
mod proto;
mod reference;
mod servers;
mod shell;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Checks and generators of this repository"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what the checks need and runs all of them; fails if one fails.
    Test {
        /// Run this stage alone; may be given several times.
        #[arg(long, value_name = "STAGE")]
        only: Vec<test::Stage>,
    },
    /// Checks the tree: dependency direction, docs, changelog, links, sizes, words.
    Tidy,
    /// Writes the types of the wire forms in proto/ and records what is new in them.
    Proto {
        /// Write nothing; fail if that isn't up to date.
        #[arg(long)]
        check: bool,
    },
    /// Measures relays side by side, optimised, and writes a table with ratios to the first.
    Bench(bench::Bench),
    /// Measures what `heliograph capacity` computes with.
    #[command(subcommand)]
    Capacity(capacity::Command),
    /// A cluster on this machine: real servers and every role as a process.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Breaks a cluster on this machine, fault by fault, and waits for the alert of each.
    #[command(name = "gameday")]
    GameDay(gameday::GameDay),
    /// Writes the table of values in the chart's README and the golden files of what it renders.
    Chart {
        /// Write nothing; fail if a file is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Runs the k6 suite against a relay that it starts, or against any other.
    Load(load::Load),
    /// Breaks promises in a copy of the tree, one by one, and fails if the tests don't notice.
    Mutate(mutate::Options),
    /// Writes deploy/grafana/ and the list of alerts from their definitions.
    Observe {
        /// Write nothing; fail if a file is not up to date or the linter finds something.
        #[arg(long)]
        check: bool,
    },
    /// Makes what a release consists of: static program, image, Debian package, list of components.
    #[command(subcommand)]
    Package(package::Command),
    /// Writes docs/reference/ from what the binary says of itself.
    Reference {
        /// Write nothing; fail if a page is not up to date.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test { only } => test::run(&only),
        Task::Tidy => tidy::run(),
        Task::Proto { check: false } => proto::write(),
        Task::Proto { check: true } => proto::check(),
        Task::Bench(options) => bench::run(&options),
        Task::Capacity(command) => capacity::run(&command),
        Task::Cluster(command) => cluster::run(&command),
        Task::GameDay(day) => gameday::run(&day),
        Task::Chart { check: false } => chart::write(),
        Task::Chart { check: true } => chart::check(),
        Task::Load(options) => load::run(&options),
        Task::Mutate(options) => mutate::run(&options),
        Task::Observe { check: false } => observe::write(),
        Task::Observe { check: true } => observe::check(),
        Task::Package(command) => package::run(&command),
        Task::Reference { check: false } => reference::write(),
        Task::Reference { check: true } => reference::check(),
    }
}
