//! The manual page heliograph(1), from what the program says of itself.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{clock, version};
use crate::shell;

/// What `--help` doesn't say.
const END: &str = "\
.SH FILES
.TP
.I /etc/heliograph/heliograph.toml
The configuration of the relay in one process.
.TP
.I /etc/heliograph/cluster.toml
The configuration of all roles of a cluster, if you make one.
.TP
.I /var/lib/heliograph
The data.
.SH ENVIRONMENT
Every key of the configuration has a variable: that of gateway.listen is HELIOGRAPH_GATEWAY_LISTEN.
A secret may stand in a file that HELIOGRAPH_NATS_PASSWORD_FILE and its like name.
.SH EXIT STATUS
0: done. 1: failed. 2: the command line is wrong. 64: the configuration is wrong.
.SH SIGNALS
SIGTERM and SIGINT stop in order, a second one at once. SIGHUP reads the configuration again.
";

/// The page, in roff.
///
/// # Errors
///
/// The program doesn't run, or its help has another form.
pub(super) fn page(program: &Path, epoch: u64) -> Result<String> {
    let help = |command: &mut Command| shell::read(command.arg("--help"));
    write(&help(&mut shell::relay(program))?, epoch).context("heliograph --help")
}

fn write(help: &str, epoch: u64) -> Result<String> {
    let about = help.lines().next().context("is empty")?;
    let commands = section(help, "Commands:").context("has no commands")?;
    let options = section(help, "Options:").context("has no options")?;
    let date = clock::rfc3339(epoch);
    let date = date.split('T').next().unwrap_or_default();
    let name = "heliograph \\- a Nostr relay, from one process to a cluster";
    let mut page = format!(
        ".TH HELIOGRAPH 1 {date} \"heliograph {}\" \"User commands\"\n.SH NAME\n{name}\n\
         .SH SYNOPSIS\n.B heliograph\n[\\fIoptions\\fR] [\\fIcommand\\fR]\n\
         .SH DESCRIPTION\n{}.\n\
         .B heliograph\n\\fIcommand\\fR\n.B \\-\\-help\nsays more of a command.\n",
        version(),
        escape(about),
    );
    for (title, items) in [("COMMANDS", commands), ("OPTIONS", options)] {
        page = format!("{page}.SH {title}\n");
        for (term, text) in items {
            page = format!("{page}.TP\n.B {}\n{}\n", escape(&term), escape(&text));
        }
    }
    Ok(page + END)
}

/// The items of a section: a term, two spaces or more, a text.
fn section(help: &str, title: &str) -> Option<Vec<(String, String)>> {
    let lines = help.lines().skip_while(|line| *line != title).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let items: Vec<(String, String)> = lines
        .filter_map(|line| {
            let (term, text) = line.trim().split_once("  ")?;
            Some((term.to_owned(), text.trim().to_owned()))
        })
        .collect();
    (!items.is_empty()).then_some(items)
}

/// Hyphens are those of the keyboard, and no line is a request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('-', "\\-");
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_has_a_paragraph() {
        let help = "A relay. It runs\n\nUsage: x\n\nCommands:\n  dead-letters  Shows them\n\n\
                    Options:\n      --set <KEY=VALUE>  Sets `a.b`\n  -h, --help             Print help\n";
        let page = write(help, 0).unwrap();
        for expected in [
            ".TH HELIOGRAPH 1 1970-01-01 ",
            ".TP\n.B dead\\-letters\nShows them\n",
            ".TP\n.B \\-\\-set <KEY=VALUE>\nSets `a.b`\n",
            ".TP\n.B \\-h, \\-\\-help\nPrint help\n",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
    }

    #[test]
    fn help_of_another_form_is_an_error() {
        assert!(write("A relay\n", 0).is_err());
        assert!(write("", 0).is_err());
    }

    #[test]
    fn a_text_is_no_request() {
        assert_eq!(escape(".so /etc/passwd"), "\\&.so /etc/passwd");
    }
}
