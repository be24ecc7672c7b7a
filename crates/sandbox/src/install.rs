//! Running installers: ordinary package clients, with their output in the error if they fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Error,
    tools::{self, is_stamped, once},
};

/// What the stamp of an unpacked package says. Another number has all of them unpacked again.
const LAYOUT: &str = "1";

/// Whether the command runs and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a step of the installation of `what`.
///
/// # Errors
///
/// [`Error::Install`] with what it printed.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<(), Error> {
    let refuse = |why: String| Error::Install {
        what: what.to_owned(),
        why,
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refuse(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(refuse(format!(
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )))
}

/// Makes sure that a program is there: by `apt-get` where that is the system's way and we are root.
///
/// # Errors
///
/// [`Error::Missing`] with `hint`, [`Error::Install`] if the package can't be had.
pub(crate) fn program(
    program: &str,
    is_there: impl Fn() -> bool,
    package: &str,
    hint: &str,
) -> Result<(), Error> {
    if is_there() {
        return Ok(());
    }
    let missing = || Error::Missing {
        program: program.to_owned(),
        hint: hint.to_owned(),
    };
    if !rustix::process::geteuid().is_root() || !succeeds(Command::new("apt-get").arg("--version"))
    {
        return Err(missing());
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-y", "-qq"]).args(arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        run(package, &mut apt)
    };
    apt(&["update"])?;
    apt(&["install", "--no-install-recommends", package])?;
    if is_there() { Ok(()) } else { Err(missing()) }
}

/// A program: that on the path, else that of Debian's package, unpacked in the directory of tools
/// without being installed.
///
/// # Errors
///
/// [`Error::Missing`] with `hint` where there is neither apt nor dpkg, [`Error::Install`] if the
/// package can't be had.
pub(crate) fn debian(package: &str, program: &str, hint: &str) -> Result<PathBuf, Error> {
    let runs = |program: &Path| succeeds(Command::new(program).arg("--version"));
    if runs(Path::new(program)) {
        return Ok(program.into());
    }
    let tools = tools::directory()?;
    let home = tools.join(package);
    let unpacked = home.join("usr/bin").join(program);
    let stamp = home.join("layout.version");
    let installed = || is_stamped(&stamp, LAYOUT) && unpacked.exists();
    once(&tools, package, installed, || {
        let missing = || Error::Missing {
            program: program.to_owned(),
            hint: hint.to_owned(),
        };
        for client in ["apt-get", "dpkg"] {
            if !succeeds(Command::new(client).arg("--version")) {
                return Err(missing());
            }
        }
        // Nothing of an attempt that was cut off, and nothing of another layout.
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home).map_err(Error::path("can't create", &home))?;
        let file = download_debian(package, &home)?;
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("-x").arg(&file).arg(&home);
        run(package, &mut dpkg)?;
        if !runs(&unpacked) {
            return Err(missing());
        }
        // It only takes room.
        drop(fs::remove_file(&file));
        fs::write(&stamp, LAYOUT).map_err(Error::path("can't write", &stamp))
    })?;
    Ok(unpacked)
}

/// Fetches a package into a directory, after the lists of packages if there are none yet.
fn download_debian(package: &str, to: &Path) -> Result<PathBuf, Error> {
    let is_root = rustix::process::geteuid().is_root();
    let fetch = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "download", package]).current_dir(to);
        if is_root {
            // The account that apt would change to can't write here.
            apt.args(["-o", "APT::Sandbox::User=root"]);
        }
        apt
    };
    if run(package, &mut fetch()).is_err() {
        if is_root {
            run(package, Command::new("apt-get").args(["-q", "update"]))?;
        }
        tools::download(package, fetch)?;
    }
    let entries = fs::read_dir(to).map_err(Error::path("can't read", to))?;
    let files = entries.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    files.last().ok_or_else(|| Error::Install {
        what: package.to_owned(),
        why: format!("apt-get left no package in {}", to.display()),
    })
}
