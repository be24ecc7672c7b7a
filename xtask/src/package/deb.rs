//! A Debian package: the program, its units, a configuration, a manual page. Built by dpkg-deb.
//!
//! `deploy/debian` has the control files and `deploy/systemd` the units; nothing here is Debian's own
//! machinery, since there is nothing to compile that cargo hasn't compiled.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context, Result};

use super::{Parts, clock, image, man, put, read, release, tar::Entry, tools, version};
use crate::shell;

/// Files of `deploy/debian` that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package.
///
/// # Errors
///
/// dpkg-deb can't be had or refuses it, or a part can't be read.
pub(super) fn write(parts: &Parts, output: &Path) -> Result<()> {
    tools::program("dpkg-deb", "--version", "dpkg")?;
    let stage = tempfile::tempdir().context("a directory for the package")?;
    let content = content(parts)?;
    for entry in content.iter().chain(&control(&content)?) {
        lay(stage.path(), entry)?;
    }
    let mut dpkg = shell::command("dpkg-deb");
    // One thread: the number of them shows in what xz writes.
    dpkg.args(["--root-owner-group", "-Zxz", "--threads-max=1"])
        .arg(format!("-z{}", parts.compression))
        .arg("--build")
        .arg(stage.path())
        .arg(output)
        .env(clock::VARIABLE, parts.epoch.to_string());
    shell::run(&mut dpkg)
}

fn content(parts: &Parts) -> Result<Vec<Entry>> {
    let program = fs::read(&parts.program)
        .with_context(|| format!("can't read {}", parts.program.display()))?;
    let manual = man::page(&parts.program, parts.epoch)?;
    let doc = |name: &str| format!("usr/share/doc/heliograph/{name}");
    let unit = |name: &str| format!("usr/lib/systemd/system/{name}");
    let text =
        |path: &str, file: &str| Ok::<_, anyhow::Error>(Entry::file(path, 0o644, read(file)?));
    let packed = |path: &str, bytes: &[u8]| {
        Ok::<_, anyhow::Error>(Entry::file(path, 0o644, image::compress(bytes, 9)?))
    };
    Ok(vec![
        Entry::file("usr/bin/heliograph", 0o755, program),
        text(
            "etc/heliograph/heliograph.toml",
            "deploy/debian/heliograph.toml",
        )?,
        text(
            &unit("heliograph.service"),
            "deploy/systemd/heliograph.service",
        )?,
        text(
            &unit("heliograph@.service"),
            "deploy/systemd/heliograph@.service",
        )?,
        text(
            "usr/lib/sysusers.d/heliograph.conf",
            "deploy/systemd/heliograph.sysusers",
        )?,
        text(
            "usr/share/lintian/overrides/heliograph",
            "deploy/debian/lintian-overrides",
        )?,
        text(&doc("examples/cluster.toml"), "deploy/config/cluster.toml")?,
        packed("usr/share/man/man1/heliograph.1.gz", manual.as_bytes())?,
        packed(&doc("changelog.gz"), changelog(parts.epoch).as_bytes())?,
        packed(&doc("NEWS.md.gz"), &read("CHANGELOG.md")?)?,
        packed(&doc("sbom.cdx.json.gz"), parts.sbom.as_bytes())?,
        Entry::file(&doc("copyright"), 0o644, copyright()?),
    ])
}

fn control(content: &[Entry]) -> Result<Vec<Entry>> {
    let bytes: usize = content
        .iter()
        .filter_map(|entry| Some(entry.content.as_ref()?.len()))
        .sum();
    let control =
        String::from_utf8(read("deploy/debian/control")?).context("deploy/debian/control")?;
    let control = control
        .replace("{version}", version())
        .replace("{architecture}", release::architecture()?)
        .replace("{size}", &bytes.div_ceil(1_024).to_string());
    let mut entries = vec![
        Entry::file("DEBIAN/control", 0o644, control),
        Entry::file("DEBIAN/conffiles", 0o644, read("deploy/debian/conffiles")?),
    ];
    for script in SCRIPTS {
        let text = read(&format!("deploy/debian/{script}"))?;
        entries.push(Entry::file(&format!("DEBIAN/{script}"), 0o755, text));
    }
    Ok(entries)
}

/// In the form that Debian's tools read; what has changed is in the file beside it.
fn changelog(epoch: u64) -> String {
    format!(
        "heliograph ({}) unstable; urgency=medium\n\n  * What is new stands in NEWS.md.gz.\n\n \
         -- The Heliograph authors <heliograph-relay@users.noreply.github.com>  {}\n",
        version(),
        clock::rfc5322(epoch)
    )
}

fn copyright() -> Result<String> {
    let copyright =
        String::from_utf8(read("deploy/debian/copyright")?).context("deploy/debian/copyright")?;
    let mit = String::from_utf8(read("LICENSE-MIT")?).context("LICENSE-MIT")?;
    // The field's form: one space before each line, a dot for an empty one.
    let lines = mit.trim_end().lines().skip(2);
    let lines = lines.map(|line| {
        if line.is_empty() {
            " .".to_owned()
        } else {
            format!(" {line}")
        }
    });
    Ok(copyright.replace("{mit}", &lines.collect::<Vec<_>>().join("\n")))
}

/// Writes one file of the package, readable for all whatever the umask.
fn lay(stage: &Path, entry: &Entry) -> Result<()> {
    let path = stage.join(&entry.path);
    put(&path, entry.content.as_deref().unwrap_or_default())?;
    let say = || format!("mode of {}", path.display());
    fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).with_context(say)?;
    for parent in path
        .ancestors()
        .skip(1)
        .take_while(|parent| parent.starts_with(stage))
    {
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).with_context(say)?;
    }
    Ok(())
}
