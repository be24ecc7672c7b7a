//! What failed tests said, told again at the end of a run that prints thousands of lines.

/// Lines of one test's output that are told again; of a panic the first ones say what happened.
const LINES_MAX: usize = 12;

/// Picks the failed tests out of what `cargo test` prints.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    tests: Vec<Failure>,
    /// Whether lines belong to the last of `tests`.
    open: bool,
}

/// One failed test.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    name: String,
    /// From its first panic on.
    lines: Vec<String>,
}

impl Failures {
    /// Looks at one line of output, without its end.
    pub(crate) fn line(&mut self, line: &str) {
        let name = line.strip_prefix("---- ");
        if let Some(name) = name.and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.open = true;
            self.tests.push(Failure {
                name: name.to_owned(),
                lines: Vec::new(),
            });
        } else if line == "failures:" || line.starts_with("test result:") {
            self.open = false;
        } else if let Some(failure) = self.tests.last_mut().filter(|_| self.open) {
            let begun = !failure.lines.is_empty() || line.contains(" panicked at ");
            if begun && line != "stack backtrace:" {
                failure.lines.push(line.to_owned());
            }
            self.open = line != "stack backtrace:" && failure.lines.len() < LINES_MAX;
        }
    }

    /// All of them, one after another; empty if none failed.
    pub(crate) fn text(&self) -> String {
        let tests = self.tests.iter();
        let text = tests.map(|test| format!("failed: {}\n{}\n", test.name, test.lines.join("\n")));
        text.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> String {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.line(line));
        failures.text()
    }

    #[test]
    fn a_failure_is_told_from_its_panic_to_its_backtrace() {
        let output = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nset up\n\n\
            thread 'a' (1) panicked at src/a.rs:1:1:\nassertion failed\nstack backtrace:\n   0: x\n\
            \n---- m::b stdout ----\nthread 'm::b' (2) panicked at src/b.rs:2:2:\nno\n\n\n\
            failures:\n    a\n    m::b\n\ntest result: FAILED. 0 passed; 2 failed\n";
        assert_eq!(
            of(output),
            "failed: a\nthread 'a' (1) panicked at src/a.rs:1:1:\nassertion failed\n\
             failed: m::b\nthread 'm::b' (2) panicked at src/b.rs:2:2:\nno\n\n\n"
        );
    }

    #[test]
    fn long_output_is_cut() {
        let long = "more\n".repeat(100);
        let output = format!("---- a stdout ----\nthread 'a' (1) panicked at x\n{long}");
        assert_eq!(of(&output).lines().count(), 1 + LINES_MAX);
    }

    #[test]
    fn nothing_is_told_of_tests_that_passed() {
        assert_eq!(of("test a ... ok\n\ntest result: ok. 1 passed\n"), "");
    }
}
