//! SIGHUP: load again, take what may change while running, name what needs a restart.

use crate::{Config, ConfigErrors, KEYS, Loaded};

/// What a reload changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reload {
    /// The configuration now in force.
    pub loaded: Loaded,
    /// Keys whose new value is in force.
    pub changed: Vec<&'static str>,
    /// Keys whose new value waits for a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Loaded {
    /// Takes from a newer load the keys that reload, and leaves the others as they are.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the mixture breaks a rule between two keys; then nothing is taken.
    pub fn reload(&self, newer: &Self) -> Result<Reload, ConfigErrors> {
        let mut written = self.written.clone();
        let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
        for key in KEYS {
            let (new_value, new_source) = newer.written.effective(key);
            let differs = self.written.effective(key).0 != new_value;
            match (differs, key.reload) {
                (true, true) => changed.push(key.name),
                (true, false) => needs_restart.push(key.name),
                (false, _) => {}
            }
            if key.reload || !differs {
                written.set(key, new_value, new_source);
            }
        }
        let loaded = written.check(Vec::new())?;
        Ok(Reload {
            loaded,
            changed,
            needs_restart,
        })
    }

    /// The checked values.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
