//! k6, built with Go from its own module: as its makers have it, and with an extension that signs.
//!
//! Both come out of one Go module that names k6 and what the extension needs, with their checksums,
//! so that everything is compiled once and linked twice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, install,
    tools::{self, download, is_stamped, once},
};

/// The version that the module names.
pub const VERSION: &str = "v1.8.1";

/// k6's own main package, which the module requires.
const STOCK: &str = "go.k6.io/k6";

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// k6 without extensions.
    pub stock: PathBuf,
    /// k6 with the main package of the module.
    pub signing: PathBuf,
}

/// The two programs, built on first use (some minutes) from the Go module in `sources`, and again
/// when that changes.
///
/// # Errors
///
/// There is no such module, no Go that is new enough for it, or a build fails.
pub fn install(sources: &Path) -> Result<Programs, Error> {
    let tools = tools::directory()?;
    let programs = Programs {
        stock: tools.join("bin/k6"),
        signing: tools.join("bin/k6-signing"),
    };
    let stamp = tools.join("k6.version");
    let version = version(sources)?;
    let built = || programs.stock.exists() && programs.signing.exists();
    let installed = || is_stamped(&stamp, &version) && built();
    once(&tools, "k6", installed, || {
        go(sources)?;
        build(sources, ".", &programs.signing)?;
        build(sources, STOCK, &programs.stock)?;
        fs::write(&stamp, &version).map_err(Error::path("can't write", &stamp))
    })?;
    Ok(programs)
}

/// Makes sure that there is a Go that is as new as the module asks for.
fn go(sources: &Path) -> Result<(), Error> {
    let needed = needed_go(sources)?;
    let is_there = || installed_go().is_some_and(|found| is_as_new(&found, &needed));
    let hint = hint(&needed, installed_go().as_deref());
    install::program("Go", is_there, "golang-go", &hint)
}

/// The version of Go that the module asks for; empty if it asks for none.
fn needed_go(sources: &Path) -> Result<String, Error> {
    let manifest = sources.join("go.mod");
    let text = fs::read_to_string(&manifest).map_err(Error::path("can't read", &manifest))?;
    let needed = text.lines().find_map(|line| line.strip_prefix("go "));
    Ok(needed.unwrap_or_default().trim().to_owned())
}

fn hint(needed: &str, found: Option<&str>) -> String {
    let found = found.map_or_else(String::new, |found| format!(", as Go {found} is too old"));
    format!("install Go {needed} or later (https://go.dev/dl){found}")
}

/// The version of the Go on the path, such as 1.26.8.
fn installed_go() -> Option<String> {
    let mut go = Command::new("go");
    let output = go.arg("version").env("GOTOOLCHAIN", "local").output();
    let output = output.ok().filter(|output| output.status.success())?;
    parse_go_version(&String::from_utf8_lossy(&output.stdout))
}

/// As in `go version go1.26.8 linux/amd64`.
fn parse_go_version(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let version = words.find_map(|word| word.strip_prefix("go1."))?;
    Some(format!("1.{version}"))
}

/// Whether a version of Go isn't before another; what stands behind a number, as in 1.26rc1, counts for
/// nothing.
fn is_as_new(version: &str, needed: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        let parts = version.split('.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit());
            part[..end.unwrap_or(part.len())].parse().unwrap_or(0)
        });
        let mut numbers: Vec<u32> = parts.collect();
        numbers.resize(3, 0);
        numbers
    };
    numbers(version) >= numbers(needed)
}

/// Builds a package of the module.
fn build(sources: &Path, package: &str, program: &Path) -> Result<(), Error> {
    download("k6", || {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(program)
            .arg(package)
            .env("CGO_ENABLED", "0")
            // A newer Go would be a download of its own.
            .env("GOTOOLCHAIN", "local")
            .current_dir(sources);
        go
    })
}

/// Everything that decides what is built: other sources make other programs.
fn version(sources: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    collect(sources, &mut files)?;
    files.sort_unstable();
    let mut version = String::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(Error::path("can't read", &file))?;
        version.push_str(&text);
    }
    Ok(version.trim().to_owned())
}

/// Every source in a directory and below it.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(Error::path("can't read", directory))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_source(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a file of the module is compiled or says what is.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        let is_go = name.ends_with(".go") && !name.ends_with("_test.go");
        is_go || ["go.mod", "go.sum"].contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, decides: bool) {
        assert_eq!(is_source(&Path::new("/module").join(name)), decides);
    }

    #[test]
    fn sources_and_versions_decide_what_is_built() {
        check("main.go", true);
        check("go.mod", true);
        check("go.sum", true);
    }

    #[test]
    fn a_go_that_is_too_old_is_told_from_one_that_is_not() {
        let said = "go version go1.26.8 linux/amd64\n";
        assert_eq!(parse_go_version(said).as_deref(), Some("1.26.8"));
        assert_eq!(parse_go_version("command not found"), None);
        for version in ["1.25.0", "1.25", "1.25.3", "1.26rc1", "1.100.0", "2.0"] {
            assert!(is_as_new(version, "1.25.0"), "{version}");
        }
        for version in ["1.24.13", "1.9", "0.99.99", ""] {
            assert!(!is_as_new(version, "1.25.0"), "{version}");
        }
    }

    #[test]
    fn a_module_for_a_later_go_says_what_is_missing() {
        let module = tempfile::tempdir().unwrap();
        let manifest = "module x\n\ngo 1.0\n";
        fs::write(module.path().join("go.mod"), manifest).unwrap();
        assert_eq!(needed_go(module.path()).unwrap(), "1.0");
        fs::write(module.path().join("go.mod"), "module x\n").unwrap();
        assert_eq!(needed_go(module.path()).unwrap(), "", "any will do");
        assert!(needed_go(&module.path().join("none")).is_err());
        let hint = hint("1.99.0", Some("1.24.4"));
        assert!(hint.contains("1.24.4") && hint.contains("1.99.0"), "{hint}");
    }

    #[test]
    fn tests_and_texts_do_not() {
        check("event_test.go", false);
        check("README.md", false);
    }
}
