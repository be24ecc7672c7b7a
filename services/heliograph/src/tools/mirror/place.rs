//! How far a mirror is with each relay, in a file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::tools::output::replace_file;

/// How far one relay is mirrored: everything with a `created_at` from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Covered {
    /// In Unix seconds; absent before the first page.
    pub(super) high: Option<u64>,
    /// The second that is to be read next, in Unix seconds.
    pub(super) low: Option<u64>,
    /// Whether there is nothing below.
    pub(super) complete: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Places {
    to: String,
    filter: String,
    relays: BTreeMap<String, Covered>,
}

/// The file.
#[derive(Debug)]
pub(super) struct PlaceFile {
    path: PathBuf,
    places: Places,
}

impl PlaceFile {
    /// Reads it, if it is there.
    ///
    /// # Errors
    ///
    /// It can't be read, or is that of another mirror.
    pub(super) fn open(path: &Path, to: &str, filter: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let places = match fs::read_to_string(path) {
            Ok(text) => {
                let places: Places = serde_json::from_str(&text).with_context(|| {
                    format!("{shown} is no place to go on from: remove it to begin anew")
                })?;
                ensure!(
                    places.to == to && places.filter == filter,
                    "{shown} is the place of a mirror to {} with the filter {}: name another file \
                     with --cursor",
                    places.to,
                    places.filter
                );
                places
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Places {
                to: to.to_owned(),
                filter: filter.to_owned(),
                relays: BTreeMap::new(),
            },
            Err(error) => return Err(error).with_context(|| format!("can't read {shown}")),
        };
        Ok(Self {
            path: path.to_owned(),
            places,
        })
    }

    pub(super) fn get(&self, relay: &str) -> Covered {
        self.places.relays.get(relay).copied().unwrap_or_default()
    }

    /// Notes how far a relay is.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub(super) fn set(&mut self, relay: &str, covered: Covered) -> anyhow::Result<()> {
        if self.get(relay) == covered {
            return Ok(());
        }
        self.places.relays.insert(relay.to_owned(), covered);
        let text = serde_json::to_string_pretty(&self.places)?;
        replace_file(&self.path, text.as_bytes())
    }
}
