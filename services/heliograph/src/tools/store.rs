//! Opening the store, with messages that say what to do.

use std::path::PathBuf;

use anyhow::bail;
use heliograph_config::{Config, SyncMode};
use heliograph_policy::RelayUrls;
use heliograph_store_embedded::{EmbeddedReader, EmbeddedStore, OpenError, Options, Repaired};

use crate::settings;

/// Where the store is and which relay it belongs to.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    sync: bool,
    pub(crate) relay_urls: RelayUrls,
    /// For tools that work on a cluster.
    pub(crate) config: Config,
}

impl Place {
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            dir: config.store.dir.clone(),
            sync: config.store.sync == SyncMode::Fsync,
            relay_urls: settings::relay_urls(config, config.gateway.listen)?,
            config: config.clone(),
        })
    }

    /// The URLs of the relay: of this process, or of the cluster.
    pub(crate) fn urls(&self, of_cluster: bool) -> anyhow::Result<RelayUrls> {
        match of_cluster {
            true => settings::cluster::relay_urls(&self.config),
            false => Ok(self.relay_urls.clone()),
        }
    }

    /// Opens the store for reading, also beside a running relay.
    pub(crate) fn read(&self) -> anyhow::Result<EmbeddedReader> {
        EmbeddedReader::open(&self.dir, self.relay_urls.clone())
            .map_err(|error| self.explain(error))
    }

    /// Opens the store for writing, which one process at a time can; makes it if it is absent.
    pub(crate) fn write(&self) -> anyhow::Result<EmbeddedStore> {
        let mut options = Options::new(&self.dir);
        options.relay_urls = self.relay_urls.clone();
        options.sync = self.sync;
        EmbeddedStore::open(options).map_err(|error| self.explain(error))
    }

    /// Opens a store that has to exist for writing.
    pub(crate) fn change(&self) -> anyhow::Result<EmbeddedStore> {
        // A look first: a mistyped directory shouldn't become an empty store.
        drop(self.read()?);
        self.write()
    }

    /// A file of this name beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Mends a damaged log.
    pub(crate) fn repair(&self) -> anyhow::Result<Vec<Repaired>> {
        EmbeddedStore::repair(&self.dir).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: OpenError) -> anyhow::Error {
        let dir = self.dir.display();
        match error {
            OpenError::Locked { pid } => {
                let holder = match pid {
                    0 => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                anyhow::anyhow!(
                    "the store in {dir} is in use by {holder}, most likely a running relay: only \
                     one process can write to a store. Stop it first, or send the events to the \
                     relay instead"
                )
            }
            OpenError::Absent(_) => anyhow::anyhow!(
                "there is no store in {dir}: name its directory with --data DIR or store.dir"
            ),
            error => anyhow::Error::new(error).context(format!("can't open the store in {dir}")),
        }
    }

    /// # Errors
    ///
    /// The path to be replaced is inside the store.
    pub(crate) fn refuse_inside(&self, path: &std::path::Path) -> anyhow::Result<()> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => std::path::Path::new("."),
        };
        let (Ok(parent), Ok(dir)) = (parent.canonicalize(), self.dir.canonicalize()) else {
            return Ok(());
        };
        if parent.starts_with(&dir) {
            bail!(
                "{} lies inside of the store, choose another place",
                path.display()
            );
        }
        Ok(())
    }
}
