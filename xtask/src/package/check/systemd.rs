//! The units as systemd reads them, and against the program and the configurations that they name.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    super::{put, tools},
    Products,
    deb::{CONFIG, System},
    docs::{self, INSTALL},
    make_runnable, scripts,
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

/// How an administrator gives each role of a machine an address of its own for operators.
pub(super) const RUN: &str = "docs/operate/run.md";

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
    together(&system)
}

/// All roles run on one machine once the commands of the page are run: no two listen at one address.
fn together(system: &System) -> Result<()> {
    follow(RUN, system, &system.path("usr/bin/heliograph"))?;
    let mut enabled: Vec<String> = Vec::new();
    for link in fs::read_dir(system.path(scripts::WANTS)).context("no unit is enabled")? {
        enabled.push(link?.file_name().to_string_lossy().into_owned());
    }
    enabled.sort();
    let roles = ["canary", "gateway", "ingest", "matcher"];
    let all = roles.map(|role| format!("heliograph@{role}.service"));
    ensure!(enabled == all, "after {RUN}, enabled are {enabled:?}");
    let mut taken = BTreeMap::new();
    let unit = fs::read_to_string(system.path(&format!("{UNITS}/heliograph@.service")))?;
    let values = values(&unit);
    let environment = values.get("EnvironmentFile");
    let environment = environment.context("no EnvironmentFile= in the unit")?;
    for role in roles {
        let file = environment.trim_start_matches('-').replace("%i", role);
        // Which need not be there.
        let file = fs::read_to_string(system.path(&file)).unwrap_or_default();
        let mut relay: Command = shell::relay(&system.path("usr/bin/heliograph"));
        relay.args(["config", "print", "--config"]);
        relay.arg(system.path(CLUSTER));
        relay.envs(file.lines().filter_map(|line| line.split_once('=')));
        let settings = shell::read(&mut relay)?;
        for section in ["admin", role] {
            let Some(address) = listens(&settings, section) else {
                continue;
            };
            if let Some(other) = taken.insert(address.to_owned(), role) {
                bail!("{role} and {other} both listen on {address}");
            }
        }
    }
    let expected = [("gateway", 2), ("ingest", 1), ("matcher", 2), ("canary", 1)];
    for (role, addresses) in expected {
        let has = taken.values().filter(|taken| **taken == role).count();
        ensure!(has == addresses, "{role} has {has} addresses: {taken:?}");
    }
    Ok(())
}

/// What the page on installing says to run without the package, run in a root of its own, leaves the
/// files, the user and the enabled unit that the package leaves.
pub(super) fn by_hand(products: &Products) -> Result<()> {
    let system = System::new()?;
    for place in ["usr/bin", "usr/local/bin"] {
        fs::create_dir_all(system.path(place)).context("a place for the program")?;
    }
    follow(INSTALL, &system, &products.parts.program)?;
    let packaged = System::with(&products.package)?;
    for file in [
        "usr/bin/heliograph",
        "usr/lib/sysusers.d/heliograph.conf",
        "usr/lib/systemd/system/heliograph.service",
        "usr/lib/systemd/system/heliograph@.service",
        CONFIG,
    ] {
        let bytes = |system: &System| {
            fs::read(system.path(file)).with_context(|| format!("can't read {file}"))
        };
        ensure!(
            bytes(&system)? == bytes(&packaged)?,
            "{file} is not the package's"
        );
    }
    system.user()?;
    let link = |system: &System| {
        let path = system.path(scripts::WANTS).join("heliograph.service");
        fs::read_link(path).context("the unit isn't enabled")
    };
    ensure!(
        link(&system)? == link(&packaged)?,
        "another unit is enabled than the package's"
    );
    Ok(())
}

/// Runs what is to be run of a page, with `program` for the one that the page has built.
fn follow(page: &str, system: &System, program: &Path) -> Result<()> {
    for line in docs::to_run(page)? {
        step(system, program, &line).with_context(|| format!("{page}: `{line}`"))?;
    }
    Ok(())
}

/// One command, as root of `system` instead of this machine.
fn step(system: &System, program: &Path, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let root = format!("--root={}", system.root().display());
    match words[..] {
        ["sudo", "install", ref arguments @ ..] => {
            let place = |word: &&str| match *word {
                "target/dist/heliograph" => program.to_owned(),
                word if word.starts_with('/') => system.path(word),
                word => PathBuf::from(word),
            };
            shell::run(shell::command("install").args(arguments.iter().map(place)))
        }
        ["sudo", "systemd-sysusers", ref arguments @ ..] => {
            shell::run(shell::command("systemd-sysusers").arg(root).args(arguments))
        }
        // What is now is for a running systemd.
        ["sudo", "systemctl", verb, "--now", ref units @ ..] => {
            let mut systemctl = shell::command("systemctl");
            shell::run(systemctl.args([&root, verb]).args(units))
        }
        ["echo", variable, "|", "sudo", "tee", "--append", path] => {
            put(&system.path(path), format!("{variable}\n").as_bytes())
        }
        _ => bail!("the check doesn't know this command"),
    }
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
    // By default it gives up after five failures within ten seconds.
    ensure!(
        value("StartLimitIntervalSec")? == "0",
        "systemd gives up starting it"
    );
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

/// `listen` of `[section]`, unless it is off or absent.
fn listens<'a>(settings: &'a str, section: &str) -> Option<&'a str> {
    let head = format!("[{section}]");
    let lines = settings.lines().skip_while(|line| *line != head).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let address = lines.find_map(|line| line.strip_prefix("listen = "))?;
    Some(address.trim_matches('"')).filter(|address| !address.is_empty())
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
    fn an_address_is_that_of_its_section() {
        let settings = "[a]\nx = 1\n[b]\nlisten = \"b:1\"\n[c]\nlisten = \"\"\n";
        assert_eq!(listens(settings, "a"), None);
        assert_eq!(listens(settings, "b"), Some("b:1"));
        assert_eq!(listens(settings, "c"), None);
    }

    #[test]
    fn a_setting_is_a_number() {
        let settings = "# grace_secs = 1\ngrace_secs = 2_000\n";
        assert_eq!(setting(settings, "grace_secs").unwrap(), 2_000);
        assert!(setting(settings, "other").is_err());
    }
}
