//! The servers themselves: installed once for a version, by Go's and Maven's own clients.
//!
//! `HELIOGRAPH_TOOLS_DIR` or `XTASK_TOOLS_DIR` says where to; `~/.cache/heliograph/tools` if neither
//! does. Two processes don't install at once: the second waits and finds it done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, directory, environment, install};

/// The NATS server that the cluster is made for.
pub const NATS_VERSION: &str = "v2.15.2";

/// The CQL server of the tests, which speaks what ScyllaDB speaks.
pub const CASSANDRA_VERSION: &str = "5.0.9";

/// Downloads fail now and then; a third failure is a reason.
const DOWNLOAD_TRIES: u32 = 3;

/// The Maven plugin that puts an artifact and all it needs into a directory.
const COPY_DEPENDENCIES: &str =
    "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Jars with machine code for other systems, by parts of their names.
const FOREIGN_JARS: [&str; 4] = ["-windows", "-osx-", "-aarch_64.jar", "-riscv64.jar"];

/// Where tools are kept.
///
/// # Errors
///
/// Neither the variables nor `HOME` are set.
pub fn directory() -> Result<PathBuf, Error> {
    let named = ["HELIOGRAPH_TOOLS_DIR", "XTASK_TOOLS_DIR"];
    if let Some(named) = named.into_iter().find_map(environment::variable) {
        return Ok(PathBuf::from(named));
    }
    let home = environment::variable("HOME")
        .ok_or_else(|| Error::Options("neither HELIOGRAPH_TOOLS_DIR nor HOME is set".to_owned()))?;
    Ok(PathBuf::from(home).join(".cache/heliograph/tools"))
}

/// The program `nats-server`, built with Go on first use (about a minute).
///
/// # Errors
///
/// There is no Go, or the build fails.
pub fn install_nats() -> Result<PathBuf, Error> {
    let tools = directory()?;
    let program = tools.join("bin/nats-server");
    let stamp = tools.join("nats-server.version");
    let installed = || is_stamped(&stamp, NATS_VERSION) && program.exists();
    once(&tools, "nats-server", installed, || {
        install::program(
            "Go",
            || install::succeeds(Command::new("go").arg("version")),
            "golang-go",
            "install Go 1.21 or later (https://go.dev/dl, or the package golang-go)",
        )?;
        let module = format!("github.com/nats-io/nats-server/v2@{NATS_VERSION}");
        download("nats-server", || {
            let mut go = Command::new("go");
            go.args(["install", "-trimpath", "-ldflags", "-s -w", &module])
                .env("GOBIN", tools.join("bin"))
                .env("CGO_ENABLED", "0")
                // Not inside anybody's module.
                .current_dir(&tools);
            go
        })?;
        write(&stamp, NATS_VERSION)
    })?;
    Ok(program)
}

/// The directory with Cassandra's jars, fetched with Maven on first use (about 70 MB).
///
/// # Errors
///
/// There is no Java 17 or no Maven, or the download fails.
pub fn install_cassandra() -> Result<PathBuf, Error> {
    let tools = directory()?;
    let home = tools.join(format!("cassandra-{CASSANDRA_VERSION}"));
    let jars = home.join("lib");
    let stamp = home.join("cassandra.version");
    let installed = || is_stamped(&stamp, CASSANDRA_VERSION);
    java()?;
    once(&tools, "cassandra", installed, || {
        install::program(
            "Maven",
            || install::succeeds(Command::new("mvn").arg("--version")),
            "maven",
            "install Maven (the package maven) to fetch Apache Cassandra",
        )?;
        // Nothing of an attempt that was cut off, and nothing of another version.
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home).map_err(Error::path("can't create", &home))?;
        let project = home.join("pom.xml");
        write(&project, &project_text())?;
        download("cassandra", || {
            let mut maven = Command::new("mvn");
            maven.args(["-B", "-q", "-f"]).arg(&project);
            maven.arg(COPY_DEPENDENCIES).arg("-DincludeScope=runtime");
            maven.arg(format!("-DoutputDirectory={}", jars.display()));
            maven
        })?;
        remove_foreign(&jars)?;
        write(&stamp, CASSANDRA_VERSION)
    })?;
    Ok(jars)
}

/// Makes sure that there is a Java that Cassandra 5 runs on.
fn java() -> Result<(), Error> {
    let hint =
        "install Java 17 or 11 (the package openjdk-17-jre-headless) to run Apache Cassandra";
    install::program("Java 17", has_java, "openjdk-17-jre-headless", hint)
}

fn has_java() -> bool {
    let Ok(output) = Command::new("java").arg("-version").output() else {
        return false;
    };
    // `openjdk version "17.0.15" 2025-04-15`, on the error stream.
    let text = String::from_utf8_lossy(&output.stderr);
    let version = text.split('"').nth(1).unwrap_or_default();
    ["11", "17"].contains(&version.split('.').next().unwrap_or_default())
}

fn project_text() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>heliograph.tools</groupId><artifactId>cassandra</artifactId>\
         <version>1</version><packaging>pom</packaging>\n  \
         <dependencies><dependency>\
         <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId>\
         <version>{CASSANDRA_VERSION}</version>\
         </dependency></dependencies>\n</project>\n"
    )
}

fn remove_foreign(jars: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(jars).map_err(Error::path("can't read", jars))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // They only take room; one that stays does no harm.
        if FOREIGN_JARS.iter().any(|part| name.contains(part)) {
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// Runs `install` unless it is done, one process at a time.
///
/// # Errors
///
/// What `install` returns, or there is no directory to install to.
pub(crate) fn once(
    tools: &Path,
    name: &str,
    installed: impl Fn() -> bool,
    install: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    if installed() {
        return Ok(());
    }
    fs::create_dir_all(tools).map_err(Error::path("can't create", tools))?;
    let _turn = directory::lock(&tools.join(format!("{name}.lock")))?;
    if installed() { Ok(()) } else { install() }
}

/// Runs a download, again if it fails.
///
/// # Errors
///
/// As [`install::run`], the last time.
pub(crate) fn download(what: &str, command: impl Fn() -> Command) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        match install::run(what, &mut command()) {
            Err(_failed) if tries < DOWNLOAD_TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Whether a stamp names this version.
pub(crate) fn is_stamped(stamp: &Path, version: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed.trim() == version)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::path("can't write", path))
}
