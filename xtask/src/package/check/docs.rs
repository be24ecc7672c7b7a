//! Commands of the pages: each is run by a check or a test as it stands there, or read by the program
//! that it starts, or stands with its reason in the list of those that aren't run. That list is printed,
//! and a page shows it.

mod list;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;

use super::{super::read, Products, systemd};
use crate::{Arguments, shell};
use list::{NOT_RUN, RUNNERS, Runner};

/// Where the list of commands that aren't run is shown.
pub(super) const INSTALL: &str = "docs/operate/install.md";

/// Pages whose commands are looked at: all of a directory, and these.
const DIRECTORY: &str = "docs/operate/";
const PAGES: [&str; 7] = [
    "README.md",
    "SECURITY.md",
    "deploy/compose/README.md",
    "docs/release.md",
    "helm/heliograph/README.md",
    "helm/heliograph/UPGRADING.md",
    "loadtest/README.md",
];

/// The tests that read each `heliograph …` line of every page, and know a test of each subcommand.
const READERS: [(&str, &str); 2] = [
    (
        "services/heliograph/src/documented.rs",
        "every_command_in_the_documentation_is_taken",
    ),
    (
        "services/heliograph/src/documented/tried.rs",
        "a_test_runs_every_command_that_the_pages_for_operators_name",
    ),
];

/// Names of a shell that some give to a block of commands: here it has to be `sh`.
const OTHER_SHELLS: [&str; 4] = ["bash", "console", "shell", "zsh"];

/// What becomes of a command.
enum Fate {
    /// By which of the runners, and by its beginning.
    Run(&'static Runner, &'static str),
    Read,
    /// By its beginning.
    NotRun(&'static str),
}

/// The check, which needs no package.
pub(super) fn commands(_products: &Products) -> Result<()> {
    all()
}

/// Each line in a block of `sh` of each page; and each entry of the lists is needed.
fn all() -> Result<()> {
    let (mut run, mut read_only) = (0, 0);
    let (mut runners, mut not_run) = (BTreeSet::new(), BTreeSet::new());
    for page in pages()? {
        for line in blocks(&text(&page)?).with_context(|| page.clone())? {
            match fate(&page, &line).with_context(|| format!("{page}: `{line}`"))? {
                Fate::Run(runner, beginning) => {
                    runners.insert((runner.page, beginning));
                    run += 1;
                }
                Fate::Read => read_only += 1,
                Fate::NotRun(beginning) => {
                    println!("not run: {page}: {line}");
                    not_run.insert(beginning);
                }
            }
        }
    }
    println!("{run} commands are run as they stand there; of {read_only} the options are read");
    ensure!(run > 30 && read_only > 60, "pages have lost their commands");
    for (file, function) in READERS {
        exists(file, function)?;
    }
    for runner in RUNNERS {
        needed(runner, &runners)?;
    }
    shown(&text(INSTALL)?, &not_run)
}

/// The pages, by their paths.
fn pages() -> Result<Vec<String>> {
    let mut pages = PAGES.map(str::to_owned).to_vec();
    let operate = |path: &String| path.starts_with(DIRECTORY) && path.ends_with(".md");
    pages.extend(shell::files()?.into_iter().filter(operate));
    ensure!(pages.len() > 40, "only {} pages", pages.len());
    Ok(pages)
}

fn text(page: &str) -> Result<String> {
    String::from_utf8(read(page)?).with_context(|| page.to_owned())
}

/// The runner is there, reads the page, and finds each of its commands on it.
fn needed(runner: &Runner, found: &BTreeSet<(&str, &str)>) -> Result<()> {
    let Runner {
        file,
        function,
        page,
        beginnings,
    } = runner;
    exists(file, function)?;
    // A check has the path of the page from here.
    let names = text(file)?.contains(page) || [INSTALL, systemd::RUN].contains(page);
    ensure!(names, "{file} doesn't read {page}");
    for beginning in *beginnings {
        ensure!(
            found.contains(&(page, beginning)),
            "{page} has no `{beginning}`: take it off the list of {function}"
        );
    }
    Ok(())
}

fn exists(file: &str, function: &str) -> Result<()> {
    let there = text(file)?.contains(&format!("fn {function}("));
    ensure!(there, "{file} has no function {function}");
    Ok(())
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
    let (_, table) = page
        .split_once("| command | why |\n")
        .with_context(|| format!("{INSTALL} has lost its table"))?;
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    ensure!(
        rows.count() == NOT_RUN.len(),
        "{INSTALL} shows what isn't on the list"
    );
    Ok(())
}

/// What checks of this program run of a page.
pub(super) fn to_run(page: &str) -> Result<Vec<String>> {
    let mut commands = blocks(&text(page)?)?;
    commands.retain(|line| {
        let fate = fate(page, line);
        matches!(fate, Ok(Fate::Run(runner, _)) if runner.file.starts_with("xtask/"))
    });
    Ok(commands)
}

fn fate(page: &str, line: &str) -> Result<Fate> {
    for runner in RUNNERS.iter().filter(|runner| runner.page == page) {
        let mut beginnings = runner.beginnings.iter();
        if let Some(beginning) = beginnings.find(|beginning| line.starts_with(**beginning)) {
            return Ok(Fate::Run(runner, beginning));
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_variable = |word: &&str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.starts_with("HELIOGRAPH_"))
    };
    let variables = words.iter().take_while(|word| is_variable(word)).count();
    match words[variables..] {
        ["heliograph", ..] => return Ok(Fate::Read),
        ["cargo", "xtask", ref arguments @ ..] => {
            Arguments::try_parse_from(std::iter::once(&"xtask").chain(arguments))?;
            return Ok(Fate::Read);
        }
        _ => {}
    }
    let mut listed = NOT_RUN.iter().map(|(beginning, _)| *beginning);
    let listed = listed.find(|beginning| line.starts_with(beginning));
    listed.map(Fate::NotRun).context(
        "nothing runs it, and it isn't listed as one that isn't run: add it to RUNNERS or NOT_RUN",
    )
}

/// The commands, with continued lines joined, here documents with the command that reads them, and
/// comments left out.
fn blocks(page: &str) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut command = String::new();
    let mut end: Option<String> = None;
    for line in page.lines().map(str::trim) {
        if let Some(word) = &end {
            if line == word {
                end = None;
            }
        } else if let Some(language) = line.strip_prefix("```") {
            ensure!(
                !OTHER_SHELLS.contains(&language),
                "a block of `{language}`: call it `sh`"
            );
            inside = language == "sh";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            command.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                end = here_document(&command);
                commands.push(std::mem::take(&mut command));
            }
        }
    }
    if let Some(word) = end {
        bail!("nothing ends the document before {word}");
    }
    Ok(commands)
}

/// The word that ends the document that a command reads.
fn here_document(command: &str) -> Option<String> {
    let (_, word) = command.split_once("<<'")?;
    word.split('\'').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_pages_is_run_or_read_or_listed() {
        all().unwrap();
    }

    #[test]
    fn what_nothing_runs_has_to_be_listed() {
        let fate = |line| fate(INSTALL, line);
        assert!(matches!(
            fate("sudo install -m 755 a b").unwrap(),
            Fate::Run(..)
        ));
        assert!(matches!(fate("heliograph health").unwrap(), Fate::Read));
        assert!(matches!(
            fate("HELIOGRAPH_A=1 heliograph").unwrap(),
            Fate::Read
        ));
        let not_run = fate("sudo systemctl restart heliograph").unwrap();
        assert!(matches!(not_run, Fate::NotRun("sudo systemctl")));
        assert!(fate("sudo rm -r /").is_err());
        // It is run on another page.
        assert!(fate("psql -At").is_err());
        assert!(fate("cargo xtask no-such-task").is_err());
    }

    #[test]
    fn the_page_shows_what_is_not_run() {
        let rows: Vec<String> = NOT_RUN
            .iter()
            .map(|(beginning, reason)| format!("| `{beginning}` | {reason} |\n"))
            .collect();
        let page = |rows: &[String]| format!("| command | why |\n| --- | --- |\n{}", rows.concat());
        let all: BTreeSet<&str> = NOT_RUN.iter().map(|(beginning, _)| *beginning).collect();
        shown(&page(&rows), &all).unwrap();
        assert!(shown(&page(&rows[1..]), &all).is_err());
        assert!(shown(&page(&rows), &BTreeSet::new()).is_err());
        let more = [&rows[..], &["| `more` | why |\n".to_owned()]].concat();
        assert!(shown(&page(&more), &all).is_err());
    }

    #[test]
    fn a_runner_has_to_be_there_and_needed() {
        let runner = |function, beginnings| Runner {
            file: "xtask/src/package/check/systemd.rs",
            function,
            page: INSTALL,
            beginnings,
        };
        let found = BTreeSet::from([(INSTALL, "a ")]);
        needed(&runner("by_hand", &["a "]), &found).unwrap();
        assert!(needed(&runner("by_hand", &["a ", "b "]), &found).is_err());
        assert!(needed(&runner("by_foot", &["a "]), &found).is_err());
    }

    #[test]
    fn commands_are_the_lines_of_sh_blocks() {
        let page = "a\n```sh\n# b\nc \\\n  d\ne <<'E'\nx\nE\n```\n```text\nf\n```\ng\n";
        assert_eq!(blocks(page).unwrap(), ["c d", "e <<'E'"]);
        assert!(blocks("```bash\na\n```\n").is_err());
        assert!(blocks("```sh\na <<'E'\n```\n").is_err());
    }
}
