//! Building and running tests in the copy, and telling how that ended.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use heliograph_sandbox::{cql, nats};

use super::{Needs, Program, Tests, Tree};
use crate::shell;

/// A build may begin with nothing built, on a slow machine.
const BUILD_PATIENCE: Duration = Duration::from_secs(45 * 60);

/// Tests have deadlines of their own; this is for a mutation that takes them away.
const TEST_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Tests of one program, without repetitions.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) package: &'static str,
    pub(super) program: Program,
    pub(super) names: Vec<&'static str>,
    needs: Needs,
}

/// How some tests ended.
#[derive(Debug)]
pub(super) enum Ran {
    /// All of them passed; their paths.
    Passed(Vec<String>),
    /// These failed.
    Failed(Vec<String>),
    /// They said nothing: "doesn't compile", "hangs".
    Not(String),
}

/// Runs tests of the copy.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    tree: &'a Tree,
    variables: Vec<(&'static str, String)>,
}

/// Puts tests of one program together.
pub(super) fn merged<'a>(all: impl Iterator<Item = &'a Tests>) -> Vec<Merged> {
    let mut merged: Vec<Merged> = Vec::new();
    for tests in all {
        let same = |other: &&mut Merged| {
            (other.package, other.program, other.needs)
                == (tests.package, tests.program, tests.needs)
        };
        if let Some(same) = merged.iter_mut().find(same) {
            same.names.extend(tests.names);
        } else {
            merged.push(Merged {
                package: tests.package,
                program: tests.program,
                names: tests.names.to_vec(),
                needs: tests.needs,
            });
        }
    }
    for tests in &mut merged {
        tests.names.sort_unstable();
        tests.names.dedup();
    }
    merged
}

/// Whether the test at `path` has this name.
pub(super) fn is_called(path: &str, name: &str) -> bool {
    path == name
        || path
            .strip_suffix(name)
            .is_some_and(|modules| modules.ends_with("::"))
}

impl<'a> Runner<'a> {
    /// `variables` tell the tests where servers are.
    pub(super) fn new(tree: &'a Tree, variables: Vec<(&'static str, String)>) -> Self {
        Self { tree, variables }
    }

    /// The server that these tests need and that isn't here.
    pub(super) fn missing(&self, tests: &Merged) -> Option<&'static str> {
        let (variable, server) = match tests.needs {
            Needs::Nothing => return None,
            Needs::Nats => (nats::SHARED_VARIABLE, "NATS server"),
            Needs::Cql => (cql::SHARED_VARIABLE, "CQL database"),
        };
        let started = self.variables.iter().any(|(name, _)| *name == variable);
        (!started && shell::variable(variable).is_none()).then_some(server)
    }

    /// Builds and runs some tests.
    ///
    /// # Errors
    ///
    /// Cargo can't be started.
    pub(super) fn run(&self, tests: &Merged) -> Result<Ran> {
        let mut build = self.cargo(tests);
        build.arg("--no-run");
        match self.wait(build, BUILD_PATIENCE)? {
            None => return Ok(Ran::Not(self.not("takes too long to build"))),
            Some(status) if !status.success() => {
                return Ok(Ran::Not(self.not("doesn't compile")));
            }
            Some(_) => {}
        }
        let mut test = self.cargo(tests);
        test.arg("--").args(&tests.names);
        let Some(status) = self.wait(test, TEST_PATIENCE)? else {
            return Ok(Ran::Not(self.not("hangs")));
        };
        let output = fs::read(self.tree.log())?;
        let output = String::from_utf8_lossy(&output);
        let ran = outcome(&output, &tests.names, status.success());
        Ok(ran.unwrap_or_else(|| Ran::Not(self.not("ends the test program"))))
    }

    fn not(&self, what: &str) -> String {
        format!("{what}, see {}", self.tree.log().display())
    }

    fn cargo(&self, tests: &Merged) -> Command {
        let mut cargo = shell::cargo("test");
        cargo.current_dir(self.tree.root());
        cargo.env("CARGO_TARGET_DIR", self.tree.target());
        cargo.envs(self.variables.iter().map(|(name, value)| (name, value)));
        cargo.args(["--color", "never", "--package", tests.package]);
        match tests.program {
            Program::Lib => cargo.arg("--lib"),
            Program::Test(name) => cargo.args(["--test", name]),
        };
        cargo
    }

    /// Runs a command with its output in the log. `None` if it took too long; then it and all that it
    /// started are ended.
    fn wait(&self, mut command: Command, patience: Duration) -> Result<Option<ExitStatus>> {
        let log = File::create(self.tree.log())?;
        command
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .process_group(0);
        let mut child: Child = command.spawn().context("can't start cargo")?;
        let group = child.id();
        let (ended, end) = mpsc::sync_channel(1);
        let waiter = thread::spawn(move || drop(ended.send(child.wait())));
        let status = match end.recv_timeout(patience) {
            Ok(status) => Some(status?),
            Err(_late) => {
                let target = format!("-{group}");
                shell::run(shell::command("kill").args(["-KILL", "--", &target]))?;
                None
            }
        };
        drop(waiter.join());
        Ok(status)
    }
}

/// What a test program has printed; `None` if that doesn't explain how it ended.
fn outcome(output: &str, names: &[&str], success: bool) -> Option<Ran> {
    let ended = |how: &str| -> Vec<String> {
        let tests = output.lines().filter_map(|line| {
            let path = line.strip_prefix("test ")?.strip_suffix(how)?;
            let path = path.strip_suffix(" - should panic").unwrap_or(path);
            let known = names.iter().any(|name| is_called(path, name));
            known.then(|| path.to_owned())
        });
        tests.collect()
    };
    let failed = ended(" ... FAILED");
    if !failed.is_empty() {
        return Some(Ran::Failed(failed));
    }
    success.then(|| Ran::Passed(ended(" ... ok")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests\n\
        test suite::one::a_note ... ok\n\
        test suite::two::a_note ... FAILED\n\
        test suite::another_note ... FAILED\n";

    #[track_caller]
    fn check(names: &[&str], success: bool, expected: &str) {
        let ran = outcome(OUTPUT, names, success);
        assert_eq!(format!("{ran:?}"), expected);
    }

    #[test]
    fn only_tests_that_are_named_count() {
        check(
            &["a_note"],
            false,
            r#"Some(Failed(["suite::two::a_note"]))"#,
        );
        check(&["note"], true, "Some(Passed([]))");
    }

    #[test]
    fn an_end_without_a_failed_test_is_no_catch() {
        check(&["no_such"], false, "None");
    }

    #[test]
    fn tests_of_one_program_run_together_and_once() {
        const TESTS: [Tests; 3] = [
            tests("a", &["x", "y"]),
            tests("b", &["x"]),
            tests("a", &["y", "z"]),
        ];
        const fn tests(package: &'static str, names: &'static [&'static str]) -> Tests {
            Tests {
                package,
                program: Program::Lib,
                names,
                needs: Needs::Nothing,
            }
        }
        let merged = merged(TESTS.iter());
        let names: Vec<_> = merged.iter().map(|tests| tests.names.as_slice()).collect();
        assert_eq!(names, [&["x", "y", "z"][..], &["x"]]);
    }
}
