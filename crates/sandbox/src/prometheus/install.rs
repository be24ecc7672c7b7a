//! Prometheus and promtool: those on the path, else Debian's package in the directory of tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, install,
    tools::{self, is_stamped, once},
};

/// The package, and the directory that it is unpacked in.
const PACKAGE: &str = "prometheus";

/// What the stamp says. Another number has it unpacked again.
const LAYOUT: &str = "1";

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
    let on_path = Programs {
        prometheus: "prometheus".into(),
        promtool: "promtool".into(),
    };
    if on_path.run() {
        return Ok(on_path);
    }
    let tools = tools::directory()?;
    let home = tools.join(PACKAGE);
    let unpacked = Programs {
        prometheus: home.join("usr/bin/prometheus"),
        promtool: home.join("usr/bin/promtool"),
    };
    let stamp = home.join("layout.version");
    let installed = || is_stamped(&stamp, LAYOUT) && unpacked.prometheus.exists();
    once(&tools, PACKAGE, installed, || {
        let missing = || Error::Missing {
            program: "Prometheus".to_owned(),
            hint: HINT.to_owned(),
        };
        for program in ["apt-get", "dpkg"] {
            if !install::succeeds(Command::new(program).arg("--version")) {
                return Err(missing());
            }
        }
        // Nothing of an attempt that was cut off, and nothing of another layout.
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home).map_err(Error::path("can't create", &home))?;
        let package = download(&home)?;
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("-x").arg(&package).arg(&home);
        install::run(PACKAGE, &mut dpkg)?;
        if !unpacked.run() {
            return Err(missing());
        }
        // It only takes room.
        drop(fs::remove_file(&package));
        fs::write(&stamp, LAYOUT).map_err(Error::path("can't write", &stamp))
    })?;
    Ok(unpacked)
}

impl Programs {
    /// Whether both do.
    fn run(&self) -> bool {
        [&self.prometheus, &self.promtool]
            .into_iter()
            .all(|program| install::succeeds(Command::new(program).arg("--version")))
    }
}

/// Fetches the package into a directory, after its lists if there are none yet.
fn download(to: &Path) -> Result<PathBuf, Error> {
    let is_root = rustix::process::geteuid().is_root();
    let fetch = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "download", PACKAGE]).current_dir(to);
        if is_root {
            // The account that apt would change to can't write here.
            apt.args(["-o", "APT::Sandbox::User=root"]);
        }
        apt
    };
    if install::run(PACKAGE, &mut fetch()).is_err() {
        if is_root {
            install::run(PACKAGE, Command::new("apt-get").args(["-q", "update"]))?;
        }
        tools::download(PACKAGE, fetch)?;
    }
    let entries = fs::read_dir(to).map_err(Error::path("can't read", to))?;
    let package = entries.flatten().map(|entry| entry.path());
    let package = package.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    package.last().ok_or_else(|| Error::Install {
        what: PACKAGE.to_owned(),
        why: format!("apt-get left no package in {}", to.display()),
    })
}
