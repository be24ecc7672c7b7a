//! A program that can be started again as it was, or as another build of itself.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    Error,
    process::{Launch, Process},
};

/// How it is started, and its process of the moment, which may have ended.
#[derive(Debug)]
pub(crate) struct Program {
    launch: Launch,
    /// What is started from now on instead of the launch's own.
    build: Mutex<Option<PathBuf>>,
    process: Mutex<Arc<Process>>,
}

impl Program {
    /// Starts it for the first time.
    ///
    /// # Errors
    ///
    /// As [`Process::start`].
    pub(crate) fn start(launch: Launch) -> Result<Self, Error> {
        Ok(Self {
            process: Mutex::new(Arc::new(Process::start(&launch)?)),
            build: Mutex::default(),
            launch,
        })
    }

    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    pub(crate) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.lock())
    }

    /// From the next start on it is this build.
    pub(crate) fn set_build(&self, binary: &Path) {
        *self.build.lock().unwrap_or_else(PoisonError::into_inner) = Some(binary.to_owned());
    }

    /// Starts it again; if it runs it is killed first.
    ///
    /// # Errors
    ///
    /// As [`Process::start`].
    pub(crate) fn restart(&self) -> Result<(), Error> {
        self.restart_with(&[])
    }

    /// The same with further variables, for this run alone.
    ///
    /// # Errors
    ///
    /// As [`Process::start`].
    pub(crate) fn restart_with(&self, variables: &[(&str, &str)]) -> Result<(), Error> {
        let mut launch = self.launch.clone();
        let build = self.build.lock().unwrap_or_else(PoisonError::into_inner);
        launch.program = build.clone().unwrap_or(launch.program);
        drop(build);
        let more = variables.iter();
        let more = more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        launch.variables.extend(more);
        let mut process = self.lock();
        process.kill();
        *process = Arc::new(Process::start(&launch)?);
        Ok(())
    }

    /// Held for a moment only, so that it can be killed while another thread waits for it.
    fn lock(&self) -> MutexGuard<'_, Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
