//! What is wrong with a configuration: everything at once, a line each.

use std::fmt;

/// One thing that is wrong: `key: what, what is allowed, where it was read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, the variable or the file that is at fault.
    pub key: String,
    /// What is wrong and what is allowed.
    pub problem: String,
    /// Where it was read.
    pub source: String,
}

/// Everything that is wrong with a configuration; never empty. Shown one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigError {
    pub(crate) fn new(
        key: impl Into<String>,
        problem: impl Into<String>,
        source: impl fmt::Display,
    ) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
            source: source.to_string(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line each, whatever the value or the file name holds.
        let line = format!("{}: {} ({})", self.key, self.problem, self.source);
        f.write_str(&line.replace(char::is_control, " "))
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
