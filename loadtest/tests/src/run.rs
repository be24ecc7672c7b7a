//! One run of k6.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use heliograph_sandbox::{
    Error, k6,
    process::{Launch, Process},
};
use tempfile::TempDir;

use crate::{Summary, suite};

/// The exit code of k6 where a threshold wasn't kept to.
pub const BREACH: i32 = 99;

/// What to run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Which k6.
    pub program: PathBuf,
    /// The script, a file of `loadtest/`.
    pub script: &'static str,
    /// Options of the script, as `-e NAME=VALUE`.
    pub options: Vec<(String, String)>,
    /// Further arguments of k6.
    pub arguments: Vec<String>,
    /// Variables of k6 itself.
    pub variables: Vec<(String, String)>,
}

/// A run under way; killed on drop.
#[derive(Debug)]
pub struct Running {
    process: Process,
    directory: TempDir,
    start: Instant,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What k6 and the script printed.
    pub output: String,
    /// How long it took.
    pub took: Duration,
    directory: TempDir,
}

impl Run {
    /// The smoke profile of a script against these URLs, with a corpus.
    #[must_use]
    pub fn new(program: &Path, script: &'static str, urls: &[String], corpus: &Path) -> Self {
        let run = Self {
            program: program.to_owned(),
            script,
            options: Vec::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
        };
        let urls = match urls {
            [url] => ("URL", url.clone()),
            several => ("URLS", several.join(",")),
        };
        run.option("CORPUS", &corpus.to_string_lossy())
            .option(urls.0, &urls.1)
            // Scripts of stock k6 can't know it.
            .option("K6_VERSION", k6::VERSION)
    }

    /// With this option of the script.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What k6 is called with; the result goes to the directory `out`.
    #[must_use]
    pub fn arguments(&self, out: &Path) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            // Several runs at a time would want the same port.
            "--address=".to_owned(),
            "--no-color".to_owned(),
            "--quiet".to_owned(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        let options = self.options.iter();
        let options = options.map(|(name, value)| format!("-e{name}={value}"));
        arguments.extend(options.chain([format!("-eOUT={}", out.display())]));
        arguments.push(suite().join(self.script).display().to_string());
        arguments
    }

    /// Variables of k6: it neither reports home nor looks for programs with extensions.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let own = [
            ("K6_NO_USAGE_REPORT", "true"),
            ("K6_AUTO_EXTENSION_RESOLUTION", "false"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.into_iter().chain(self.variables.clone()).collect()
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// There is no such program.
    pub fn start(&self) -> Result<Running> {
        let directory = tempfile::tempdir().context("a temporary directory")?;
        let arguments = self.arguments(directory.path());
        let process = Process::start(&Launch {
            name: "k6".to_owned(),
            program: self.program.clone(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: self.variables(),
            hide_variables: "K6_",
            directory: directory.path().to_owned(),
            log: directory.path().join("log"),
        })?;
        Ok(Running {
            process,
            directory,
            start: Instant::now(),
        })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// There is no such program, or it runs on after `patience`.
    pub fn finish(&self, patience: Duration) -> Result<Ended> {
        self.start()?.finish(patience)
    }
}

impl Running {
    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits until what it has printed satisfies `look`.
    ///
    /// # Errors
    ///
    /// It ends first, or `patience` is over.
    pub fn wait_for_output(
        &self,
        what: &str,
        patience: Duration,
        look: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        self.process
            .wait_until(what, patience, |process| look(&process.output()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It runs on after `patience`.
    pub fn finish(self, patience: Duration) -> Result<Ended> {
        let status = self.process.wait_for_end(patience)?;
        Ok(Ended {
            status,
            output: self.process.output(),
            took: self.start.elapsed(),
            directory: self.directory,
        })
    }
}

impl Ended {
    /// Its result.
    ///
    /// # Errors
    ///
    /// It left none, or one of another form; with what it printed.
    pub fn summary(&self) -> Result<Summary> {
        Summary::read(&self.file("summary.json")).with_context(|| self.output.clone())
    }

    /// The text of a file that it wrote.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn read(&self, name: &str) -> Result<String> {
        let file = self.file(name);
        fs::read_to_string(&file).with_context(|| format!("{}: {}", file.display(), self.output))
    }

    /// Where a file is that it wrote.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
