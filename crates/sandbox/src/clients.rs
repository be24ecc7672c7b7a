//! Clients that others wrote, for tests that a relay is understood: a browser, and a package for Python.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    Error, install,
    tools::{self, download, is_stamped, once},
};

/// Debian's name for the part of Chromium that shows nothing, and for the program in it.
const CHROMIUM: &str = "chromium-headless-shell";

/// Names that the browser has elsewhere.
const CHROMIUM_NAMES: [&str; 4] = [
    CHROMIUM,
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
];

const CHROMIUM_HINT: &str = "install Chromium (the package chromium-headless-shell, or chromium)";

/// The version of Python's `websockets`.
const WEBSOCKETS_VERSION: &str = "17.4";

const PIP_HINT: &str = "install Python 3 with pip (the package python3-pip)";

/// Chromium, from Debian's package on first use (about 80 MB with what it needs) if there is none.
///
/// # Errors
///
/// [`Error::Missing`] where it can't be installed, [`Error::Install`] if the package can't be had.
pub fn chromium() -> Result<PathBuf, Error> {
    let runs = |name: &&str| install::succeeds(Command::new(name).arg("--version"));
    let found = || CHROMIUM_NAMES.iter().find(|name| runs(name));
    let tools = tools::directory()?;
    once(
        &tools,
        CHROMIUM,
        || found().is_some(),
        || install::program("Chromium", || found().is_some(), CHROMIUM, CHROMIUM_HINT),
    )?;
    found()
        .map(PathBuf::from)
        .ok_or_else(|| missing("Chromium", CHROMIUM_HINT))
}

/// The directory with Python's `websockets`, for `PYTHONPATH`; fetched with pip on first use.
///
/// # Errors
///
/// [`Error::Missing`] where there is no Python with pip, [`Error::Install`] if the package can't be had.
pub fn python_websockets() -> Result<PathBuf, Error> {
    let tools = tools::directory()?;
    let home = tools.join(format!("python-websockets-{WEBSOCKETS_VERSION}"));
    let stamp = home.join("websockets.version");
    let has_pip = || install::succeeds(Command::new("python3").args(["-m", "pip", "--version"]));
    let installed = || is_stamped(&stamp, WEBSOCKETS_VERSION);
    once(&tools, "python-websockets", installed, || {
        install::program("pip", has_pip, "python3-pip", PIP_HINT)?;
        // Nothing of an attempt that was cut off.
        drop(fs::remove_dir_all(&home));
        download("websockets", || {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
            pip.arg(&home);
            pip.arg(format!("websockets=={WEBSOCKETS_VERSION}"));
            pip
        })?;
        fs::write(&stamp, WEBSOCKETS_VERSION).map_err(Error::path("can't write", &stamp))
    })?;
    Ok(home)
}

fn missing(program: &str, hint: &str) -> Error {
    Error::Missing {
        program: program.to_owned(),
        hint: hint.to_owned(),
    }
}
