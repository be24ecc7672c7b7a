//! Prometheus and promtool: those on the path, else Debian's package in the directory of tools.

use std::path::PathBuf;

use crate::{Error, install};

const PACKAGE: &str = "prometheus";

const HINT: &str = "install Prometheus (https://prometheus.io/download, or the package prometheus), so that \
     prometheus and promtool are on the path";

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The server.
    pub prometheus: PathBuf,
    /// What checks and tests rules.
    pub promtool: PathBuf,
}

/// The two programs, from Debian's package on first use (20 MB) if they aren't on the path.
///
/// # Errors
///
/// [`Error::Missing`] where there is neither apt nor dpkg, [`Error::Install`] if the package can't
/// be had.
pub fn install() -> Result<Programs, Error> {
    Ok(Programs {
        prometheus: install::debian(PACKAGE, "prometheus", HINT)?,
        promtool: install::debian(PACKAGE, "promtool", HINT)?,
    })
}
