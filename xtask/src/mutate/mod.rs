//! `cargo xtask mutate`: breaks a promise on purpose, in a copy of the tree, and wants a test to fail.
//!
//! A mutation replaces a few lines of product code, each found by its exact text, and names the tests
//! that hold the promise. What always holds: only the copy under `target/mutate/` is changed; the
//! tests pass there first without a mutation; a mutation counts as caught only if one of its tests
//! ran and failed. One that doesn't compile, hangs, or ends its test program says nothing of the
//! tests, and is an error of the mutation.

mod cluster;
mod run;
mod single;
mod tree;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use self::{
    run::{Ran, Runner},
    tree::Tree,
};
use crate::{servers, shell};

/// One way to break a promise, and who has to notice.
#[derive(Debug)]
struct Mutation {
    /// In the words of the promise, for `--only`.
    name: &'static str,
    /// What no longer holds.
    breaks: &'static str,
    edits: &'static [Edit],
    /// One of these has to fail.
    caught_by: &'static [Tests],
}

/// A piece of text to replace.
#[derive(Debug)]
struct Edit {
    /// From the root.
    file: &'static str,
    /// What stands there, exactly once.
    old: &'static str,
    new: &'static str,
}

/// Tests of one program.
#[derive(Debug)]
struct Tests {
    package: &'static str,
    program: Program,
    /// The last parts of their paths. A name may stand for several tests of that name.
    names: &'static [&'static str],
    needs: Needs,
}

/// Which of a package's test programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    /// The unit tests of its library.
    Lib,
    /// One under `tests/`.
    Test(&'static str),
}

/// What has to run beside a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Nats,
    Cql,
}

/// What became of one mutation.
enum Verdict {
    /// These tests failed.
    Caught(Vec<String>),
    Survived,
    /// It couldn't be tried; why.
    Broken(String),
    /// A server isn't to be had here.
    Skipped(&'static str),
}

/// What to do with the mutations.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// This mutation alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Show them all and run none.
    #[arg(long)]
    list: bool,
    /// Only see whether each still applies and its tests still exist.
    #[arg(long, conflicts_with = "list")]
    check: bool,
}

/// All mutations.
fn all() -> impl Iterator<Item = &'static Mutation> {
    single::MUTATIONS.iter().chain(cluster::MUTATIONS)
}

/// Does what the options say.
///
/// # Errors
///
/// A mutation survived, doesn't apply, doesn't compile or hangs; or its tests fail without it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        for mutation in all() {
            println!("{:44} {}", mutation.name, mutation.breaks);
        }
        return Ok(());
    }
    if options.check {
        return check();
    }
    let mutations = chosen(&options.only)?;
    check_these(&mutations)?;
    let records = try_all(&mutations)?;
    println!();
    for (mutation, verdict, took) in &records {
        println!("{}", line(mutation, verdict, *took));
    }
    let bad = records.iter().filter(|(_, verdict, _)| !is_good(verdict));
    let bad = bad.count();
    ensure!(
        bad == 0,
        "{bad} of {} mutations were not caught",
        records.len()
    );
    Ok(())
}

/// Checks that every mutation applies to the sources as they are, exactly once, and that its tests
/// exist. Builds nothing.
///
/// # Errors
///
/// One doesn't; all that don't are named.
pub(crate) fn check() -> Result<()> {
    check_these(&all().collect::<Vec<_>>())
}

fn check_these(mutations: &[&'static Mutation]) -> Result<()> {
    let findings = tree::findings(shell::root(), mutations)?;
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(
        findings.is_empty(),
        "{} mutations or tests of theirs are out of date",
        findings.len()
    );
    println!("{} mutations apply", mutations.len());
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static Mutation>> {
    for name in only {
        if !all().any(|mutation| mutation.name == name) {
            bail!("no mutation is called {name}, see --list");
        }
    }
    let wanted = |mutation: &&Mutation| only.is_empty() || only.iter().any(|n| n == mutation.name);
    Ok(all().filter(wanted).collect())
}

/// Each mutation in its turn, after their tests have passed without any.
fn try_all(mutations: &[&'static Mutation]) -> Result<Vec<(&'static Mutation, Verdict, Duration)>> {
    let tests = || mutations.iter().flat_map(|mutation| mutation.caught_by);
    let servers = match tests().any(|tests| tests.needs != Needs::Nothing) {
        true => Some(servers::Shared::start()?),
        false => None,
    };
    let variables = servers.as_ref().map(servers::Shared::variables);
    let tree = Tree::sync(shell::root())?;
    let runner = Runner::new(&tree, variables.unwrap_or_default());
    println!("\n== without a mutation");
    let began = Instant::now();
    for tests in run::merged(tests()) {
        if let Some(missing) = runner.missing(&tests) {
            println!("{missing} is not here: {} is skipped", tests.package);
            continue;
        }
        expect_passed(&runner, &tests)?;
    }
    println!("== passed in {:.0} s", began.elapsed().as_secs_f64());
    let mut records = Vec::new();
    for mutation in mutations {
        println!("\n== {}", mutation.name);
        let began = Instant::now();
        let verdict = try_one(&tree, &runner, mutation)?;
        let took = began.elapsed();
        println!("== {}", line(mutation, &verdict, took));
        records.push((*mutation, verdict, took));
    }
    Ok(records)
}

fn expect_passed(runner: &Runner<'_>, tests: &run::Merged) -> Result<()> {
    match runner.run(tests)? {
        Ran::Passed(passed) => {
            for name in &tests.names {
                let ran = passed.iter().any(|path| run::is_called(path, name));
                ensure!(ran, "{}: no test {name} ran", tests.package);
            }
            Ok(())
        }
        Ran::Failed(failed) => bail!(
            "{}: failed without a mutation: {}",
            tests.package,
            failed.join(", ")
        ),
        Ran::Not(why) => bail!("{}: without a mutation it {why}", tests.package),
    }
}

/// Changes the copy, runs the tests until one fails, and changes the copy back.
fn try_one(tree: &Tree, runner: &Runner<'_>, mutation: &Mutation) -> Result<Verdict> {
    let changed = tree.apply(mutation)?;
    let mut verdict = Verdict::Survived;
    for tests in run::merged(mutation.caught_by.iter()) {
        if let Some(missing) = runner.missing(&tests) {
            verdict = Verdict::Skipped(missing);
            continue;
        }
        match runner.run(&tests)? {
            Ran::Passed(_) => {}
            Ran::Failed(failed) => {
                verdict = Verdict::Caught(failed);
                break;
            }
            Ran::Not(why) => {
                verdict = Verdict::Broken(why);
                break;
            }
        }
    }
    changed.restore()?;
    Ok(verdict)
}

fn is_good(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Caught(_) => true,
        Verdict::Survived | Verdict::Broken(_) => false,
        Verdict::Skipped(_) => !shell::in_ci(),
    }
}

fn line(mutation: &Mutation, verdict: &Verdict, took: Duration) -> String {
    let result = match verdict {
        Verdict::Caught(failed) => format!("caught by {}", failed.join(", ")),
        Verdict::Survived => "SURVIVED".to_owned(),
        Verdict::Broken(why) => format!("NOT TRIED: it {why}"),
        Verdict::Skipped(missing) => format!("SKIPPED: no {missing} here"),
    };
    format!(
        "{:44} {:6.1} s  {result}",
        mutation.name,
        took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_has_a_name_of_its_own_and_a_test() {
        let mut names: Vec<_> = all().map(|mutation| mutation.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for mutation in all() {
            assert!(!mutation.edits.is_empty(), "{}", mutation.name);
            assert!(!mutation.caught_by.is_empty(), "{}", mutation.name);
        }
    }

    #[test]
    fn a_survivor_fails_the_run_and_so_does_what_could_not_be_tried() {
        assert!(is_good(&Verdict::Caught(Vec::new())));
        assert!(!is_good(&Verdict::Survived));
        assert!(!is_good(&Verdict::Broken(String::new())));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(chosen(&["fsync-removed-by-mistake".to_owned()]).is_err());
        assert_eq!(chosen(&[]).ok().map(|all| all.len()), Some(all().count()));
    }
}
