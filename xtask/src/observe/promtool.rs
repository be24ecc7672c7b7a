//! promtool: whether every expression is one, and whether the rules do what their tests say. Beside
//! it, whether the commands in runbooks are commands of the program.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use heliograph_sandbox::{Error, prometheus};
use serde_json::{Value, json};

use super::{
    input::{Input, RULES, SCRAPE, TESTS},
    lint,
};
use crate::shell;

/// Runs all of it. Returns what is missing on this machine, if so.
///
/// # Errors
///
/// promtool can't be installed, or finds something; a runbook names a command that there isn't.
pub(super) fn check(input: &Input) -> Result<Option<String>> {
    let promtool = match prometheus::install() {
        Ok(programs) => programs.promtool,
        Err(error @ Error::Missing { .. }) => return Ok(Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    shell::run(shell::command(&promtool).args(["check", "rules", RULES]))?;
    shell::run(shell::command(&promtool).args(["check", "config", SCRAPE]))?;
    check_queries(input, &promtool)?;
    shell::run(
        shell::command(&promtool)
            .args(["test", "rules"])
            .args(input.tests.iter().map(|(path, _)| path))
            .current_dir(shell::root()),
    )
    .with_context(|| format!("the tests in {TESTS} fail"))?;
    check_commands(input)?;
    Ok(None)
}

/// Has the queries of boards and runbooks parsed, as rules of a file that is thrown away.
fn check_queries(input: &Input, promtool: &Path) -> Result<()> {
    let queries = queries(input);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("queries.json");
    // JSON is YAML.
    fs::write(&file, as_rules(&queries).to_string())?;
    shell::run(
        shell::command(promtool)
            .args(["check", "rules", "--lint=none"])
            .arg(&file),
    )
    .context("a board or a runbook has a query that is none; group and rule count from 0")?;
    println!("{} queries of boards and runbooks parse", queries.len());
    Ok(())
}

/// Queries with where they stand.
fn queries(input: &Input) -> Vec<(String, String)> {
    let mut queries = input.board_expressions();
    for (path, text) in &input.runbooks {
        queries.extend(
            lint::queries(text)
                .into_iter()
                .map(|query| (path.clone(), query)),
        );
    }
    queries
}

/// One group for each place, which promtool names in its complaints.
fn as_rules(queries: &[(String, String)]) -> Value {
    let groups: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, (place, query))| {
            let record = format!("query:{index}");
            json!({ "name": format!("{index} {place}"), "rules": [{ "record": record, "expr": query }] })
        })
        .collect();
    json!({ "groups": groups })
}

/// Asks the program for help on each of its commands that a runbook names.
fn check_commands(input: &Input) -> Result<()> {
    let relay = shell::build_relay()?;
    let mut commands: Vec<(String, &str)> = Vec::new();
    for (path, text) in &input.runbooks {
        let inline = lint::inline(text).map(str::to_owned);
        for code in lint::blocks(text, "sh").into_iter().chain(inline) {
            for command in subcommands(&code) {
                if !commands.iter().any(|(known, _)| *known == command) {
                    commands.push((command, path));
                }
            }
        }
    }
    for (command, path) in &commands {
        let known = shell::succeeds(shell::relay(&relay).args(command.split(' ')).arg("--help"));
        ensure!(known, "{path}: there is no `heliograph {command}`");
    }
    println!("{} commands of runbooks exist", commands.len());
    Ok(())
}

/// What follows `heliograph` on each line, up to the first word that is no subcommand.
fn subcommands(block: &str) -> Vec<String> {
    let lines = block.lines().filter_map(|line| {
        let (before, rest) = line.split_once("heliograph ")?;
        let starts = before.is_empty() || before.ends_with("-- ");
        starts.then_some(rest)
    });
    let name = |word: &&str| {
        let letters = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        letters && !word.starts_with('-')
    };
    lines
        .map(|rest| {
            rest.split(' ')
                .take_while(name)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .filter(|command| !command.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_end_where_arguments_begin() {
        let block = "heliograph dead-letters list --config c.toml\nheliograph dead-letters replay 17\n\
            kubectl exec gateway-0 -- heliograph config check\nnats stream info heliograph_events\n\
            journalctl -u heliograph -n 10\nheliograph --version\n";
        assert_eq!(
            subcommands(block),
            ["dead-letters list", "dead-letters replay", "config check"]
        );
    }

    #[test]
    fn every_query_is_a_rule_of_a_group_named_after_its_place() {
        let queries = [("a.json: P".to_owned(), "up".to_owned())];
        let rules = as_rules(&queries);
        assert_eq!(rules["groups"][0]["name"], "0 a.json: P");
        assert_eq!(
            rules["groups"][0]["rules"][0],
            json!({ "record": "query:0", "expr": "up" })
        );
    }
}
