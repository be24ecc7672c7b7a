//! `heliograph-bench`, started by `cargo xtask bench`: progress on the standard error stream, the table
//! on the standard output.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use heliograph_bench::{options::Options, report::markdown, run, run_as_worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(ended) = run_as_worker(&arguments) {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                note(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let options = Options::parse();
    let mut tell = |line: &str| note(line);
    match run(&options, &mut tell) {
        Ok(report) => {
            let text = markdown(&report);
            drop(std::io::stdout().lock().write_all(text.as_bytes()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line for the person. Nobody is told if even that fails.
fn note(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
