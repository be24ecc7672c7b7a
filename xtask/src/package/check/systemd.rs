//! The units as systemd reads them, and against the program and the configurations that they name.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    super::{put, tools},
    Products,
    deb::System,
    make_runnable,
};
use crate::shell;

const UNITS: &str = "usr/lib/systemd/system";

/// The highest exposure that is taken, in tenths: systemd calls up to 2.0 safe. A unit without any
/// hardening has 96.
const EXPOSURE_MAX: u32 = 20;

/// Where a role's unit finds the configuration of a cluster, which the package doesn't bring.
const CLUSTER: &str = "etc/heliograph/cluster.toml";

/// Each unit with the roles that it is for; none is the one without a role.
const ROLES: [(&str, &[&str]); 2] = [
    ("heliograph.service", &[""]),
    (
        "heliograph@.service",
        &["gateway", "ingest", "matcher", "canary"],
    ),
];

/// All that can be said of them without a running systemd.
pub(super) fn units(products: &Products) -> Result<()> {
    tools::program("systemd-analyze", "--version", "systemd")?;
    let system = System::with(&products.package)?;
    let example = fs::read(shell::root().join("deploy/config/cluster.toml"))?;
    put(&system.path(CLUSTER), &example)?;
    // Programs and units of the system that theirs name.
    for path in ["bin/kill", "usr/lib/systemd/system/sysinit.target"] {
        put(&system.path(path), b"")?;
    }
    make_runnable(&system.path("bin/kill"))?;
    for (unit, roles) in ROLES {
        let path = system.path(&format!("{UNITS}/{unit}"));
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {unit}"))?;
        for role in roles {
            let name = unit.replace('@', &format!("@{role}"));
            verify(&system, &name)?;
            start_line(&system, &text, role).context(name)?;
        }
        let mut security = shell::command("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager"]);
        security
            .arg(format!("--threshold={EXPOSURE_MAX}"))
            .arg(&path);
        shell::read(&mut security)
            .with_context(|| format!("{unit} is exposed more than {EXPOSURE_MAX}"))?;
    }
    Ok(())
}

/// systemd takes it without a word.
fn verify(system: &System, name: &str) -> Result<()> {
    let mut verify = shell::command("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify
        .arg(format!("--root={}", system.root().display()))
        .arg(name);
    let output = verify.output().context("can't start systemd-analyze")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "{name}: {said}"
    );
    Ok(())
}

/// The program takes the command line and the file that it names, and the unit leaves it time and
/// files enough for that configuration.
fn start_line(system: &System, unit: &str, role: &str) -> Result<()> {
    let values = values(unit);
    let value = |key: &str| {
        let value = values.get(key).copied();
        value.with_context(|| format!("no {key}= in the unit"))
    };
    let line = value("ExecStart")?.replace("%i", role);
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().context("an empty ExecStart=")?;
    let program = system.path(program);
    shell::read(shell::relay(&program).args(arguments).arg("--help"))?;
    let config = arguments
        .iter()
        .skip_while(|word| **word != "--config")
        .nth(1);
    let config = system.path(config.context("no --config in ExecStart=")?);
    ensure!(config.is_file(), "no {}", config.display());
    let run = |tool: &str| -> Result<String> {
        let mut relay: Command = shell::relay(&program);
        shell::read(relay.args(["config", tool, "--config"]).arg(&config))
    };
    run("check")?;
    let settings = run("print")?;
    for (own, key) in [
        ("TimeoutStopSec", "grace_secs"),
        ("LimitNOFILE", "connections_max"),
    ] {
        let (has, needs) = (number(value(own)?)?, setting(&settings, key)?);
        ensure!(has > needs, "{own}={has}, but {key} is {needs}");
    }
    let user = fs::read_to_string(system.path("usr/lib/sysusers.d/heliograph.conf"))?;
    ensure!(
        user.contains(&format!("u {} ", value("User")?)),
        "another user: {user}"
    );
    Ok(())
}

/// The last value of each key.
fn values(unit: &str) -> BTreeMap<&str, &str> {
    let lines = unit.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// `connections_max = 50_000`
fn setting(settings: &str, key: &str) -> Result<u64> {
    let value = settings.lines().find_map(|line| {
        let (found, value) = line.split_once(" = ")?;
        (found == key).then_some(value)
    });
    number(value.with_context(|| format!("the program prints no {key}"))?)
}

fn number(text: &str) -> Result<u64> {
    text.replace('_', "")
        .parse()
        .with_context(|| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_comments_do_not() {
        let values = values("[Service]\n# A=0\nA=1\nB=x=y\nA=2\n");
        assert_eq!(values, BTreeMap::from([("A", "2"), ("B", "x=y")]));
    }

    #[test]
    fn a_setting_is_a_number() {
        let settings = "# grace_secs = 1\ngrace_secs = 2_000\n";
        assert_eq!(setting(settings, "grace_secs").unwrap(), 2_000);
        assert!(setting(settings, "other").is_err());
    }
}
