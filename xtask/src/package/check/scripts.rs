//! The package's scripts where systemd runs: dpkg runs them inside a root with a shell, Debian's own
//! helpers and a `systemctl` that writes down what it is told.
//!
//! With `DPKG_ROOT`, as in the other checks, scripts leave alone what runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{
    super::{put, tools},
    Products,
    deb::System,
    make_runnable,
};
use crate::shell;

/// What scripts and Debian's helpers start.
const PROGRAMS: [&str; 13] = [
    "sh",
    "grep",
    "sed",
    "ln",
    "mkdir",
    "chown",
    "chmod",
    "rm",
    "rmdir",
    "perl",
    "systemd-sysusers",
    "deb-systemd-helper",
    "deb-systemd-invoke",
];

/// Where an enabled unit has its link.
pub(super) const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// What it is told is in `/told`; units are enabled as the real one does, and active if `/active` is there.
const SYSTEMCTL: &str = r#"#!/bin/sh
wants=/etc/systemd/system/multi-user.target.wants
echo "$*" >>/told
case " $* " in
*" is-enabled "*) [ ! -L $wants/heliograph.service ] || echo enabled ;;
*" is-active "*) [ -e /active ] || exit 3 ;;
*" preset heliograph.service "*)
    mkdir -p $wants
    ln -s /usr/lib/systemd/system/heliograph.service $wants
    ;;
esac
"#;

/// What changes what runs.
const ACTIONS: [&str; 6] = [
    "daemon-reload",
    "reload",
    "restart",
    "start",
    "stop",
    "try-restart",
];

/// A root in which systemd seems to run.
struct Machine {
    system: System,
}

impl Machine {
    fn new() -> Result<Self> {
        tools::program("systemd-sysusers", "--version", "systemd")?;
        let machine = Self {
            system: System::new()?,
        };
        for program in PROGRAMS {
            machine.bring(program)?;
        }
        // What the helpers use is in Debian's smallest Perl.
        let library = shell::read(
            shell::command("perl").args(["-e", r"print grep { m{/perl-base$} } @INC"]),
        )?;
        ensure!(!library.is_empty(), "install the package perl-base");
        let place = machine.system.path(&library);
        fs::create_dir_all(&place).context("a place for Perl's library")?;
        let all = format!("{library}/.");
        shell::run(shell::command("cp").args(["-r", &all]).arg(place))?;
        put(&machine.system.path("dev/null"), b"")?;
        put(
            &machine.system.path("usr/bin/systemctl"),
            SYSTEMCTL.as_bytes(),
        )?;
        make_runnable(&machine.system.path("usr/bin/systemctl"))?;
        fs::create_dir_all(machine.running()).context("systemd's directory")?;
        Ok(machine)
    }

    /// Copies a program of this machine with its libraries; `/bin/sh` is what scripts begin with.
    fn bring(&self, name: &str) -> Result<()> {
        let found = ["/bin", "/usr/bin", "/usr/sbin"].map(|place| Path::new(place).join(name));
        let found = found.iter().find(|path| path.exists());
        let found = found.with_context(|| format!("{name} is missing"))?;
        self.copy(found)?;
        self.copy_as(found, &Path::new("/usr/bin").join(name))?;
        // Ends with an error for what isn't linked: two of them are in Perl.
        let libraries = shell::command("ldd").arg(found).output().context("ldd")?;
        let libraries = String::from_utf8(libraries.stdout).context("output of ldd")?;
        for library in libraries.split_whitespace() {
            if library.starts_with('/') && Path::new(library).is_file() {
                self.copy(Path::new(library))?;
            }
        }
        Ok(())
    }

    fn copy(&self, file: &Path) -> Result<()> {
        self.copy_as(file, file)
    }

    fn copy_as(&self, file: &Path, place: &Path) -> Result<()> {
        let place = self.system.path(&place.to_string_lossy());
        if place.exists() {
            return Ok(());
        }
        put(&place, b"")?;
        fs::copy(file, &place).with_context(|| format!("a copy of {}", file.display()))?;
        Ok(())
    }

    /// There as long as systemd runs.
    fn running(&self) -> PathBuf {
        self.system.path("run/systemd/system")
    }

    fn is_enabled(&self, unit: &str) -> bool {
        fs::symlink_metadata(self.system.path(WANTS).join(unit)).is_ok()
    }

    /// Has dpkg do something; what the package's scripts want of systemd meanwhile is `told`.
    #[track_caller]
    fn check(&self, action: &str, what: &Path, told: &[&str]) -> Result<()> {
        put(&self.system.path("told"), b"")?;
        self.system.dpkg_inside(action, what)?;
        let heard = actions(&fs::read_to_string(self.system.path("told"))?);
        ensure!(
            heard == told,
            "{action}: systemd is told {heard:?}, not {told:?}"
        );
        Ok(())
    }
}

/// Started when installed, restarted by an upgrade if it runs or is to run, stopped with all roles of a
/// cluster by a removal; nothing of it where systemd doesn't run.
pub(super) fn running(products: &Products) -> Result<()> {
    let machine = Machine::new()?;
    let package = products.package.path();
    let name = Path::new("heliograph");
    let restarted = ["daemon-reload", "restart heliograph.service"];

    let started = ["daemon-reload", "start heliograph.service"];
    machine.check("--install", &package, &started)?;
    ensure!(machine.is_enabled("heliograph.service"), "it isn't enabled");
    machine.check("--install", &package, &restarted)?;

    // An administrator makes it a gateway: an upgrade neither starts the relay in one process nor
    // touches the gateway.
    let wants = machine.system.path(WANTS);
    fs::remove_file(wants.join("heliograph.service")).context("the link of the unit")?;
    let unit = "/usr/lib/systemd/system/heliograph@.service";
    symlink(unit, wants.join("heliograph@gateway.service")).context("a link")?;
    machine.check("--install", &package, &["daemon-reload"])?;
    ensure!(
        !machine.is_enabled("heliograph.service"),
        "an upgrade enables what was disabled"
    );
    // Started by hand though disabled, it gets the new program.
    put(&machine.system.path("active"), b"")?;
    machine.check("--install", &package, &restarted)?;

    let stopped = [
        "stop heliograph.service heliograph@*.service",
        "daemon-reload",
    ];
    machine.check("--remove", name, &stopped)?;
    ensure!(
        machine.is_enabled("heliograph@gateway.service"),
        "a removal disables a role: it would be missing after the next installation"
    );

    fs::remove_dir(machine.running()).context("systemd's directory")?;
    machine.check("--install", &package, &[])?;
    machine.check("--remove", name, &[])?;
    machine.system.dpkg_inside("--purge", name)?;
    ensure!(
        !machine.is_enabled("heliograph@gateway.service"),
        "a purge leaves a role enabled"
    );
    Ok(())
}

/// Without options, and each once in a row: helpers reload too.
fn actions(told: &str) -> Vec<String> {
    let mut actions: Vec<String> = Vec::new();
    for line in told.lines() {
        let words = line.split(' ').filter(|word| !word.starts_with('-'));
        let words: Vec<&str> = words.collect();
        if words.first().is_some_and(|verb| ACTIONS.contains(verb)) {
            actions.push(words.join(" "));
        }
    }
    actions.dedup();
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_to_systemctl_are_no_actions_and_options_do_not_count() {
        let told = "--system daemon-reload\ndaemon-reload\n--system is-enabled -- a.service\n\
                    --quiet --system restart a.service\n";
        assert_eq!(actions(told), ["daemon-reload", "restart a.service"]);
    }
}
