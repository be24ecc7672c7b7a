//! The Debian package as dpkg, lintian and an administrator take it, in a root of its own.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    super::{Parts, deb, put, release, tools, version},
    Products,
    room::{self, Room},
    scripts,
};
use crate::shell;

/// Where the package has its data.
const DATA: &str = "/var/lib/heliograph";

/// The configuration that the unit names.
pub(super) const CONFIG: &str = "etc/heliograph/heliograph.toml";

/// What dpkg keeps of its own.
const DPKG: &str = "var/lib/dpkg";

/// A built package.
pub(super) struct Package {
    directory: TempDir,
}

impl Package {
    pub(super) fn build(parts: &Parts) -> Result<Self> {
        let directory = room::scratch()?;
        deb::write(parts, &directory.path().join(release::deb_name()))?;
        Ok(Self { directory })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join(release::deb_name())
    }

    fn dpkg_deb(&self, option: &str) -> Result<String> {
        shell::read(shell::command("dpkg-deb").arg(option).arg(self.path()))
    }
}

/// A system with nothing but a user list, into which packages are installed.
pub(super) struct System {
    root: TempDir,
}

impl System {
    pub(super) fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "dpkg installs for root only: run it as root, or in a container"
        );
        let root = room::scratch()?;
        put(
            &root.path().join("etc/passwd"),
            b"root:x:0:0:root:/root:/bin/sh\n",
        )?;
        put(&root.path().join("etc/group"), b"root:x:0:\n")?;
        for file in ["status", "available"] {
            put(&root.path().join(DPKG).join(file), b"")?;
        }
        for directory in ["info", "updates", "triggers"] {
            fs::create_dir_all(root.path().join(DPKG).join(directory))
                .context("dpkg's directories")?;
        }
        Ok(Self { root })
    }

    /// With the package installed.
    pub(super) fn with(package: &Package) -> Result<Self> {
        let system = Self::new()?;
        system.dpkg("--install", &package.path())?;
        Ok(system)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Scripts of the package run on this machine's programs, and know the root by `DPKG_ROOT`.
    fn dpkg(&self, action: &str, what: &Path) -> Result<()> {
        shell::run(
            self.command(action)
                .arg("--force-script-chrootless")
                .arg(what),
        )
    }

    /// Scripts of the package run on the root's own programs, and know of no other system.
    pub(super) fn dpkg_inside(&self, action: &str, what: &Path) -> Result<()> {
        let mut dpkg = self.command(action);
        // Also where root's own has no sbin.
        dpkg.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        shell::run(dpkg.arg(what))
    }

    fn command(&self, action: &str) -> Command {
        let mut dpkg = shell::command("dpkg");
        dpkg.arg(format!("--root={}", self.root.path().display()));
        dpkg.args(["--force-depends", "--force-confold"]);
        dpkg.args(["--log=/dev/null", action]);
        dpkg
    }

    pub(super) fn user(&self) -> Result<(u32, u32)> {
        let users = fs::read_to_string(self.path("etc/passwd"))?;
        let user = users
            .lines()
            .find_map(|line| line.strip_prefix("heliograph:"));
        let user = user.with_context(|| format!("no user heliograph in {users}"))?;
        let mut ids = user.split(':').skip(1).map(str::parse);
        let mut id = || ids.next().context("a user without ids")?.context("an id");
        Ok((id()?, id()?))
    }
}

/// dpkg-deb reads it, md5 sums and all, and lintian has no errors to report.
pub(super) fn tools(products: &Products) -> Result<()> {
    let package = &products.package;
    let info = package.dpkg_deb("--info")?;
    for line in [
        "Package: heliograph",
        "conffiles",
        "postinst",
        "prerm",
        "postrm",
    ] {
        ensure!(info.contains(line), "no `{line}` in {info}");
    }
    ensure!(
        info.contains(&format!("Version: {}\n", version())),
        "another version: {info}"
    );
    let contents = package.dpkg_deb("--contents")?;
    for line in contents.lines() {
        ensure!(line.contains(" root/root "), "not root's: {line}");
    }
    for path in [
        "./usr/bin/heliograph",
        "./etc/heliograph/heliograph.toml",
        "./usr/lib/systemd/system/heliograph.service",
        "./usr/lib/systemd/system/heliograph@.service",
        "./usr/lib/sysusers.d/heliograph.conf",
        "./usr/share/man/man1/heliograph.1.gz",
        "./usr/share/doc/heliograph/copyright",
        "./usr/share/doc/heliograph/sbom.cdx.json.gz",
    ] {
        ensure!(contents.contains(path), "no {path} in {contents}");
    }
    tools::program("lintian", "--version", "lintian")?;
    let mut lintian = shell::command("lintian");
    lintian.args([
        "--fail-on",
        "error,warning",
        "--tag-display-limit",
        "0",
        "--allow-root",
    ]);
    shell::run(lintian.arg(package.path()))
}

/// From the installation to the purge.
pub(super) fn life(products: &Products) -> Result<()> {
    let package = &products.package;
    let system = System::new()?;
    system.dpkg("--install", &package.path())?;
    let data = fs::metadata(system.path(DATA)).context("the data directory")?;
    ensure!(
        (data.uid(), data.gid()) == system.user()?,
        "the data isn't its user's"
    );
    ensure!(
        data.mode() & 0o777 == 0o750,
        "the data has mode {:o}",
        data.mode()
    );
    let wants = system.path(scripts::WANTS).join("heliograph.service");
    ensure!(
        fs::symlink_metadata(&wants).is_ok(),
        "the unit isn't enabled"
    );

    let (listen, admin) = Room::addresses();
    let arguments = [
        format!("--config=/{CONFIG}"),
        format!("--listen={listen}"),
        format!("--set=admin.listen={admin}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Room::new(system.root(), DATA)?.serve("/usr/bin/heliograph", &arguments)?;

    // What an administrator has changed stays through an upgrade.
    let event = system.path(DATA).join("event");
    put(&event, b"kept")?;
    put(&system.path(CONFIG), b"# ours\n")?;
    let role = wants.with_file_name("heliograph@gateway.service");
    std::os::unix::fs::symlink("/usr/lib/systemd/system/heliograph@.service", &role)?;
    system.dpkg("--install", &package.path())?;
    let config = fs::read_to_string(system.path(CONFIG))?;
    ensure!(config == "# ours\n", "the upgrade has written {config}");

    system.dpkg("--remove", Path::new("heliograph"))?;
    ensure!(
        !system.path("usr/bin/heliograph").exists(),
        "the program is still there"
    );
    ensure!(
        system.path(CONFIG).exists(),
        "a removal takes the configuration"
    );
    system.dpkg("--purge", Path::new("heliograph"))?;
    ensure!(
        !system.path("etc/heliograph").exists(),
        "a purge leaves the configuration"
    );
    ensure!(event.exists(), "a purge takes the data");
    for unit in [wants, role] {
        ensure!(
            fs::symlink_metadata(&unit).is_err(),
            "a purge leaves {} enabled",
            unit.display()
        );
    }
    without_systemd(package)
}

/// The same where there is neither systemd nor its tools: scripts find `useradd` alone.
fn without_systemd(package: &Package) -> Result<()> {
    let system = System::new()?;
    let programs = room::scratch()?;
    for name in [
        "sh", "grep", "sed", "mkdir", "chown", "chmod", "rm", "rmdir", "useradd",
    ] {
        let found =
            ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|place| Path::new(place).join(name));
        let found = found.iter().find(|path| path.exists());
        let found = found.with_context(|| format!("{name} is missing"))?;
        std::os::unix::fs::symlink(found, programs.path().join(name)).context("a link")?;
    }
    put(&system.path("etc/login.defs"), b"")?;
    let control = programs.path().join("control");
    shell::run(
        shell::command("dpkg-deb")
            .arg("--control")
            .arg(package.path())
            .arg(&control),
    )?;
    let script = |name: &str, action: &[&str]| {
        let mut script = Command::new(control.join(name));
        script.args(action).env_clear().env("PATH", programs.path());
        shell::run(
            script
                .env("DPKG_ROOT", system.root())
                .current_dir(system.root()),
        )
    };
    script("postinst", &["configure"])?;
    let data = fs::metadata(system.path(DATA)).context("the data directory")?;
    ensure!(
        (data.uid(), data.gid()) == system.user()?,
        "the data isn't its user's"
    );
    script("postinst", &["configure", version()])?;
    script("prerm", &["remove"])?;
    script("postrm", &["remove"])?;
    script("postrm", &["purge"])
}
