//! Checks a history that a failed run left: `cargo run -p heliograph-testkit --example
//! check_history -- FILE`.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::{io, path::PathBuf, process::ExitCode, time::Instant};

use heliograph_testkit::history::{Expect, History, check};

fn main() -> io::Result<ExitCode> {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: check_history FILE");
        return Ok(ExitCode::from(64));
    };
    let history = History::read(&path)?;
    let began = Instant::now();
    let expect = Expect {
        gateways: history.gateways(),
        ..Expect::default()
    };
    let result = check(&history, &expect);
    println!(
        "{} entries, checked in {:.1?}",
        history.len(),
        began.elapsed()
    );
    match result {
        Ok(summary) => {
            println!("{summary}");
            Ok(ExitCode::SUCCESS)
        }
        Err(violations) => {
            println!("{violations}");
            Ok(ExitCode::FAILURE)
        }
    }
}
