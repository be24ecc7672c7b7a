//! What packaging needs beside Rust, from Debian's packages where that is the system's way.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Makes sure that a program is there: `package` is installed by apt-get if it isn't and we may.
///
/// # Errors
///
/// It can't be had; says what to install.
pub(super) fn program(program: &str, argument: &str, package: &str) -> Result<()> {
    let present = || shell::succeeds(shell::command(program).arg(argument));
    if present() {
        return Ok(());
    }
    let missing = || format!("{program} is missing: install the package {package}");
    if !rustix::process::geteuid().is_root()
        || !shell::succeeds(shell::command("apt-get").arg("--version"))
    {
        bail!(missing());
    }
    let apt = |arguments: &[&str]| {
        let mut apt = shell::command("apt-get");
        apt.args(["-y", "-qq"]).args(arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        shell::run(&mut apt).with_context(missing)
    };
    apt(&["update"])?;
    apt(&["install", "--no-install-recommends", package])?;
    if !present() {
        bail!(missing());
    }
    Ok(())
}
