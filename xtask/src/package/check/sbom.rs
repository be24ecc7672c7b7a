//! The list of components against what cargo compiles, which it says of each build.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    super::{
        program::{self, Profile},
        sbom,
    },
    Products,
};
use crate::shell;

/// Every package of a build is a component, and every component was built; each says what it is.
pub(super) fn complete(products: &Products) -> Result<()> {
    let parts = &products.parts;
    let list: Value = serde_json::from_str(&parts.sbom).context("not JSON")?;
    ensure!(
        list["bomFormat"] == "CycloneDX" && list["specVersion"] == "1.6",
        "another format"
    );
    let components = list["components"].as_array().context("no components")?;
    let mut listed = BTreeSet::new();
    for component in components {
        let text = |member: &str| component[member].as_str().unwrap_or_default();
        let (name, version, purl) = (text("name"), text("version"), text("purl"));
        let licence = component["licenses"][0]["expression"]
            .as_str()
            .unwrap_or_default();
        ensure!(
            !name.is_empty()
                && !version.is_empty()
                && !licence.is_empty()
                && purl.starts_with("pkg:"),
            "incomplete: {component}"
        );
        if purl.starts_with("pkg:cargo/") {
            ensure!(
                listed.insert(format!("{name} {version}")),
                "{name} {version} is there twice"
            );
        }
    }
    let built = built()?;
    let lacks: Vec<_> = built.difference(&listed).collect();
    ensure!(lacks.is_empty(), "compiled, but not listed: {lacks:?}");
    let extra: Vec<_> = listed.difference(&built).collect();
    ensure!(extra.is_empty(), "listed, but not compiled: {extra:?}");
    ensure!(
        built.len() > 100,
        "only {} packages are compiled",
        built.len()
    );
    for name in ["musl", "rust-std"] {
        let found = components.iter().any(|component| component["name"] == name);
        ensure!(found, "{name} is not listed");
    }
    ensure!(
        sbom::text()? == parts.sbom,
        "another list in the second run"
    );
    Ok(())
}

/// The packages of which cargo has made something for the program, but the program itself.
fn built() -> Result<BTreeSet<String>> {
    let mut cargo = program::cargo(Profile::Check)?;
    cargo.args(["--message-format", "json"]);
    let messages = shell::read(&mut cargo)?;
    let mut packages = BTreeSet::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("cargo's messages")?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let id = message["package_id"]
            .as_str()
            .context("a package without an id")?;
        packages.insert(name_and_version(id).with_context(|| format!("package {id}"))?);
    }
    packages.remove(&format!("heliograph {}", super::super::version()));
    Ok(packages)
}

/// `registry+https://…#libc@0.2.1` or `path+file:///…/crates/bus#0.1.0`, whose name is that of the
/// directory unless it stands before the version.
fn name_and_version(id: &str) -> Option<String> {
    let (place, end) = id.rsplit_once('#')?;
    match end.split_once('@') {
        Some((name, version)) => Some(format!("{name} {version}")),
        None => Some(format!("{} {end}", place.rsplit('/').next()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_name_and_version() {
        let check =
            |id: &str, expected| assert_eq!(name_and_version(id).as_deref(), Some(expected));
        check("registry+https://x#libc@0.2.1+a", "libc 0.2.1+a");
        check(
            "path+file:///w/crates/bus#heliograph-bus@0.1.0",
            "heliograph-bus 0.1.0",
        );
        check(
            "path+file:///w/services/heliograph#0.1.0",
            "heliograph 0.1.0",
        );
    }
}
