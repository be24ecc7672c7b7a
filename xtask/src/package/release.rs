//! Everything that a release publishes, with checksums, in `target/dist`.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{Parts, deb, image, program::Profile, sbom, version};
use crate::shell;

/// Where the sources are.
pub(super) const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The file with the checksums, in the form of sha256sum.
pub(super) const CHECKSUMS: &str = "SHA256SUMS";

/// Makes all of it.
///
/// # Errors
///
/// A part can't be made or written.
pub(super) fn run() -> Result<()> {
    let directory = directory()?;
    let files = write(&Parts::build(Profile::Release)?, &directory)?;
    for file in files {
        println!("{}", directory.join(file).display());
    }
    Ok(())
}

/// Writes every file of a release and the list of their checksums; returns their names.
///
/// # Errors
///
/// As [`run`].
pub(super) fn write(parts: &Parts, directory: &Path) -> Result<Vec<String>> {
    let program = format!("heliograph-{}-{ARCH}-linux", version());
    let files = vec![program.clone(), image_name(), deb_name(), sbom_name()];
    let say = || format!("can't write to {}", directory.display());
    fs::copy(&parts.program, directory.join(program)).with_context(say)?;
    fs::write(directory.join(image_name()), image::archive(parts)?).with_context(say)?;
    deb::write(parts, &directory.join(deb_name()))?;
    fs::write(directory.join(sbom_name()), sbom::text()?).with_context(say)?;
    let mut checksums = String::new();
    for file in &files {
        let bytes = fs::read(directory.join(file)).with_context(|| format!("can't read {file}"))?;
        checksums = format!("{checksums}{}  {file}\n", image::hex(&bytes));
    }
    fs::write(directory.join(CHECKSUMS), checksums).with_context(say)?;
    Ok(files)
}

/// `target/dist`, which is made if it isn't there.
pub(super) fn directory() -> Result<PathBuf> {
    let metadata = shell::metadata()?;
    let target = metadata["target_directory"]
        .as_str()
        .context("no target_directory in metadata")?;
    let directory = Path::new(target).join("dist");
    fs::create_dir_all(&directory)
        .with_context(|| format!("can't create {}", directory.display()))?;
    Ok(directory)
}

pub(super) fn image_name() -> String {
    format!("heliograph-{}-{ARCH}-image.tar", version())
}

/// `heliograph_0.1.0_amd64.deb`, as Debian's tools want it.
pub(super) fn deb_name() -> String {
    let architecture = architecture().unwrap_or(ARCH);
    format!("heliograph_{}_{architecture}.deb", version())
}

pub(super) fn sbom_name() -> String {
    format!("heliograph-{}.cdx.json", version())
}

/// As Debian and container images call this machine's.
///
/// # Errors
///
/// There are no packages for it.
pub(super) fn architecture() -> Result<&'static str> {
    match ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no packages are made for {other}"),
    }
}
