//! What a cluster costs: CPU time per event, per REQ and per delivery of each role, measured on a
//! cluster that is started for it. `cargo xtask cluster measure` builds and runs this, optimised.
//!
//! Everything is signed before the clock starts; a phase begins and ends with empty queues; CPU time
//! is that of the whole process. The table on the standard output is Markdown; progress goes to the
//! standard error stream.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to its terminal"
)]

mod bed;
mod coefficients;
mod connection;
mod corpus;
mod figures;
mod latency;
mod live;
mod options;
mod questions;
mod report;
mod scaling;
mod writes;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

use bed::Bed;
use coefficients::Looks;
use corpus::Corpus;
use figures::Sample;
use options::Options;
use questions::Question;
use report::Report;

/// What to measure.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask cluster",
    override_usage = "cargo xtask cluster <COMMAND> [OPTIONS]"
)]
enum Command {
    /// Measures the CPU time of each role per event, per REQ and per delivery.
    Measure(Options),
    /// Measures the same with more of each role, in one run.
    Scaling(scaling::Options),
}

fn main() -> ExitCode {
    let report = match Command::parse() {
        Command::Measure(options) => run(&options).map(|report| report.to_string()),
        Command::Scaling(options) => scaling::run(&options),
    };
    match report {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report> {
    eprintln!("signing {} events", options.events);
    let corpus = Corpus::sign(options.events, options.repeat, options.live_events);
    eprintln!("starting servers and roles");
    let bed = Bed::start(options)?;
    let mut report = Report::new(options);
    let mut looks = Looks::default();
    bed.explained(|bed| {
        report.idle(bed.idle()?);
        if options.coefficients.is_some() {
            looks.memory(bed, &corpus)?;
        }
        publish(bed, &corpus, options, &mut report)?;
        ask(
            bed,
            &corpus,
            options,
            ("recent", options.askers),
            &mut report,
        )?;
        if options.coefficients.is_some() {
            looks.events(bed)?;
        }
        bed.stop()
    })?;
    eprintln!("starting the roles again with a small recent tier");
    let bed = bed.with_small_recent_tier(options)?;
    bed.explained(|bed| {
        let askers = options.archive_askers.unwrap_or(options.askers);
        ask(bed, &corpus, options, ("archive", askers), &mut report)?;
        bed.stop()
    })?;
    if let Some(path) = &options.coefficients {
        let measured = coefficients::collect(&report, &looks, options)?;
        let text = serde_json::to_string_pretty(&measured)?;
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(report)
}

/// Loads the events in as many parts as there are repetitions, each part twice; then the live
/// phases on top of what is stored.
fn publish(bed: &Bed, corpus: &Corpus, options: &Options, report: &mut Report) -> Result<()> {
    eprintln!("warming up");
    writes::warm_up(bed, &corpus.warm_up, options)?;
    for (repetition, part) in corpus.parts.iter().enumerate() {
        eprintln!("writes, repetition {}", repetition + 1);
        report.add("new events", writes::saturate(bed, part, options)?);
        report.add("the same again", writes::saturate(bed, part, options)?);
        let live = &corpus.live[repetition];
        report.add("one at a time", live::single(bed, &live.single)?);
        report.add(
            "fan-out",
            live::fan_out(bed, corpus, &live.fan_out, options)?,
        );
    }
    Ok(())
}

/// Asks a tier every kind of question by so many connections; every other repetition in the opposite
/// order, so that what drifts with time falls on all alike.
fn ask(
    bed: &Bed,
    corpus: &Corpus,
    options: &Options,
    (tier, askers): (&str, u16),
    report: &mut Report,
) -> Result<()> {
    let askers = usize::from(askers);
    let questions = Question::all(corpus);
    for question in &questions {
        questions::ask(bed, question, options.warm_up(), askers)?;
    }
    for repetition in 0..options.repeat {
        eprintln!("questions ({tier}), repetition {}", repetition + 1);
        let mut round: Vec<&Question> = questions.iter().collect();
        if repetition % 2 == 1 {
            round.reverse();
        }
        for question in round {
            let sample: Sample = questions::ask(bed, question, options.duration(), askers)?;
            report.add(&format!("{tier}: {}", question.name), sample);
        }
    }
    Ok(())
}
