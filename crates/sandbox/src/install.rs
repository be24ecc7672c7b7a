//! Running installers: ordinary package clients, with their output in the error if they fail.

use std::process::{Command, Stdio};

use crate::Error;

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
