//! Commands of the pages about packages: each is run by a check or a test, or only read, or stands with
//! its reason in the list of those that aren't run. That list is printed, and a page shows it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;

use super::{
    super::{Parts, read},
    Products, systemd,
};
use crate::{Arguments, shell};

/// Where the list of commands that aren't run is shown.
pub(super) const INSTALL: &str = "docs/operate/install.md";

const PAGES: [&str; 4] = [INSTALL, systemd::RUN, "docs/release.md", "SECURITY.md"];

/// What checks of the units run, in a root of its own, by its beginning.
const RUN: [&str; 5] = [
    "echo HELIOGRAPH_ADMIN_LISTEN=",
    "sudo install ",
    "sudo systemctl disable --now ",
    "sudo systemctl enable --now ",
    "sudo systemd-sysusers ",
];

/// What is only read: its name and options are known to the program that it starts.
const READ: [&str; 2] = ["cargo xtask", "heliograph"];

/// What isn't run, by its beginning, and why.
const NOT_RUN: [(&str, &str); 12] = [
    (
        "cargo install",
        "it compiles for a quarter of an hour; tests run the same program, compiled otherwise",
    ),
    (
        "cosign",
        "it needs a registry, and an identity that a build service vouches for",
    ),
    (
        "curl",
        "it needs a running relay; checks send the same request themselves",
    ),
    ("docker build", "it needs an engine"),
    ("docker run", "it needs an engine"),
    ("git push", "it is for the one who makes a release"),
    ("git tag", "it is for the one who makes a release"),
    (
        "sha256sum --check",
        "it needs a published release; a check computes the checksums again",
    ),
    ("skopeo", "it needs a registry"),
    (
        "sudo apt install",
        "it would change this machine; dpkg installs the package in a root of its own",
    ),
    (
        "sudo apt-get install",
        "it would change this machine; checks run it where the package is missing",
    ),
    (
        "sudo systemctl",
        "it needs a running systemd, but for `enable` and `disable`",
    ),
];

/// What becomes of a command.
enum Fate {
    Run,
    Read,
    /// By its beginning.
    NotRun(&'static str),
}

/// Each line in a block of `sh`.
pub(super) fn commands(products: &Products) -> Result<()> {
    let (mut run, mut read_only, mut not_run) = (0, 0, BTreeSet::new());
    for page in PAGES {
        let text = String::from_utf8(read(page)?)?;
        for line in blocks(&text) {
            let fate = fate(&line).and_then(|fate| {
                if matches!(fate, Fate::Read) {
                    known(&products.parts, &line)?;
                }
                Ok(fate)
            });
            match fate.with_context(|| format!("{page}: `{line}`"))? {
                Fate::Run => {
                    let there = [INSTALL, systemd::RUN].contains(&page);
                    ensure!(there, "{page}: `{line}` is run on other pages only");
                    run += 1;
                }
                Fate::Read => read_only += 1,
                Fate::NotRun(beginning) => {
                    println!("not run: {line}");
                    not_run.insert(beginning);
                }
            }
        }
    }
    println!("{run} commands are run by other checks; of {read_only} the options are read");
    ensure!(run > 5 && read_only > 10, "pages have lost their commands");
    shown(&String::from_utf8(read(INSTALL)?)?, &not_run)
}

/// The page's table has a row for each beginning of what isn't run, and no other.
fn shown(page: &str, not_run: &BTreeSet<&str>) -> Result<()> {
    for (beginning, reason) in NOT_RUN {
        ensure!(
            not_run.contains(beginning),
            "no page has `{beginning}`: take it off the list"
        );
        let row = format!("| `{beginning}` | {reason} |");
        ensure!(page.contains(&row), "{INSTALL} lacks the row {row}");
    }
    Ok(())
}

/// What is to be run of a page.
pub(super) fn to_run(page: &str) -> Vec<String> {
    let mut commands = blocks(page);
    commands.retain(|line| matches!(fate(line), Ok(Fate::Run)));
    commands
}

fn fate(line: &str) -> Result<Fate> {
    let begins = |beginning: &&str| line.starts_with(*beginning);
    if RUN.iter().any(begins) {
        return Ok(Fate::Run);
    }
    if READ.iter().any(begins) {
        return Ok(Fate::Read);
    }
    let listed = NOT_RUN.iter().find(|(beginning, _)| begins(beginning));
    let (beginning, _) = listed.context(
        "no check runs it, and it isn't listed as one that isn't run: add it to NOT_RUN",
    )?;
    Ok(Fate::NotRun(beginning))
}

/// The program takes the command's options.
fn known(parts: &Parts, line: &str) -> Result<()> {
    let words = line.split_whitespace();
    let words: Vec<&str> = words.take_while(|word| *word != ">").collect();
    if let ["heliograph", ref arguments @ ..] = words[..] {
        let help = arguments.iter().copied().chain(["--help"]);
        shell::read(shell::relay(&parts.program).args(help))?;
    } else {
        Arguments::try_parse_from(&words[1..])?;
    }
    Ok(())
}

/// The commands, with continued lines joined and comments left out.
fn blocks(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut command = String::new();
    for line in page.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            command.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                commands.push(std::mem::take(&mut command));
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_runs_has_to_be_listed() {
        assert!(matches!(
            fate("sudo install -m 755 a b").unwrap(),
            Fate::Run
        ));
        assert!(matches!(fate("heliograph health").unwrap(), Fate::Read));
        let not_run = fate("sudo systemctl restart heliograph").unwrap();
        assert!(matches!(not_run, Fate::NotRun("sudo systemctl")));
        assert!(fate("sudo rm -r /").is_err());
    }

    #[test]
    fn the_page_shows_what_is_not_run() {
        let rows = NOT_RUN.map(|(beginning, reason)| format!("| `{beginning}` | {reason} |\n"));
        let all = BTreeSet::from(NOT_RUN.map(|(beginning, _)| beginning));
        shown(&rows.concat(), &all).unwrap();
        assert!(shown(&rows[1..].concat(), &all).is_err());
        assert!(shown(&rows.concat(), &BTreeSet::new()).is_err());
    }

    #[test]
    fn commands_are_the_lines_of_sh_blocks() {
        let page = "a\n```sh\n# b\nc \\\n  d\ne\n```\n```text\nf\n```\ng\n";
        assert_eq!(blocks(page), ["c d", "e"]);
    }
}
