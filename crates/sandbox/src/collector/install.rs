//! The collector, built with Go from its own modules.
//!
//! There is no program to fetch, as its makers have everybody choose the parts: ours are named in
//! `crates/sandbox/collector`, with the checksums of all that they need.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    Error, install,
    tools::{self, download, is_stamped, once},
};

const NAME: &str = "otel-collector";

/// What it is built from.
const SOURCES: [(&str, &str); 3] = [
    ("go.mod", include_str!("../../collector/go.mod")),
    ("go.sum", include_str!("../../collector/go.sum")),
    ("main.go", include_str!("../../collector/main.go")),
];

/// The program, built on first use (about a minute).
///
/// # Errors
///
/// There is no Go, or the build fails.
pub fn install() -> Result<PathBuf, Error> {
    let tools = tools::directory()?;
    let program = tools.join("bin").join(NAME);
    let stamp = tools.join(format!("{NAME}.version"));
    // Other sources make another program.
    let version = SOURCES.map(|(_, text)| text).concat();
    let version = version.trim();
    let installed = || is_stamped(&stamp, version) && program.exists();
    once(&tools, NAME, installed, || {
        install::program(
            "Go",
            || install::succeeds(Command::new("go").arg("version")),
            "golang-go",
            "install Go 1.25 or later (https://go.dev/dl)",
        )?;
        let module = tools.join(NAME);
        fs::create_dir_all(&module).map_err(Error::path("can't create", &module))?;
        for (name, text) in SOURCES {
            let file = module.join(name);
            fs::write(&file, text).map_err(Error::path("can't write", &file))?;
        }
        download(NAME, || {
            let mut go = Command::new("go");
            go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
                .arg(&program)
                .env("CGO_ENABLED", "0")
                .current_dir(&module);
            go
        })?;
        fs::write(&stamp, version).map_err(Error::path("can't write", &stamp))
    })?;
    Ok(program)
}
