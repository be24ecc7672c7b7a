//! What the program consists of, as `CycloneDX` 1.6: every crate that cargo compiles into the static
//! program (scope `required`) or needs to compile it (`excluded`), Rust's library, and musl.
//!
//! Written from what cargo knows: `cargo tree` says which crates, for the program alone and not for
//! the whole workspace; `cargo metadata` says what they are; `Cargo.lock` has their checksums. The
//! check compares it with what a build compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{clock, image, program, read, version};
use crate::shell;

/// A crate: its name and version.
type Key = (String, String);

/// The list, the same each time for the same tree and time.
///
/// # Errors
///
/// Cargo refuses the manifests, or a crate has no licence.
pub(super) fn text() -> Result<String> {
    let all = tree("normal,build")?;
    let linked = tree("normal,no-proc-macro")?;
    let lock = String::from_utf8(read("Cargo.lock")?).context("Cargo.lock")?;
    let checksums = checksums(&lock);
    let metadata = metadata()?;
    let packages = packages(&metadata)?;
    let mut components = Vec::new();
    for key in all.iter().filter(|key| key.0 != "heliograph") {
        let package = packages
            .get(key)
            .with_context(|| format!("{key:?} is unknown"))?;
        let checksum = checksums.get(key).map(String::as_str);
        components.push(component(package, linked.contains(key), checksum)?);
    }
    components.extend(bundled()?);
    let own = ("heliograph".to_owned(), version().to_owned());
    let own = packages.get(&own).context("no package heliograph")?;
    let mut list = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&lock),
        "version": 1,
        "metadata": {
            "timestamp": clock::rfc3339(clock::epoch()?),
            "tools": {"components": [{"type": "application", "name": "cargo xtask package sbom", "version": version()}]},
            "component": component(own, true, None)?,
        },
        "components": components,
        "dependencies": dependencies(&metadata, &packages, &all)?,
    });
    list["metadata"]["component"]["type"] = json!("application");
    Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
}

/// The crates that cargo compiles for the program along these kinds of edges.
fn tree(edges: &str) -> Result<BTreeSet<Key>> {
    let printed = shell::read(shell::cargo("tree").args([
        "--locked",
        "--package",
        "heliograph",
        "--target",
        &program::target(),
        "--edges",
        edges,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let keys: Option<BTreeSet<Key>> = printed.lines().map(key).collect();
    let keys = keys.context("can't read cargo tree")?;
    ensure!(keys.len() > 1, "cargo tree names no dependencies");
    Ok(keys)
}

/// `libc v0.2.191`, with a path, `(proc-macro)` or `(*)` behind.
fn key(line: &str) -> Option<Key> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    Some((name.to_owned(), version.to_owned()))
}

fn metadata() -> Result<Value> {
    let text = shell::read(shell::cargo("metadata").args([
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &program::target(),
    ]))?;
    Ok(serde_json::from_str(&text)?)
}

fn packages(metadata: &Value) -> Result<BTreeMap<Key, &Value>> {
    let packages = metadata["packages"]
        .as_array()
        .context("no packages in metadata")?;
    let keyed = packages
        .iter()
        .map(|package| Some((key_of(package)?, package)));
    keyed
        .collect::<Option<_>>()
        .context("a package without a name or a version")
}

fn key_of(package: &Value) -> Option<Key> {
    let text = |member: &str| package[member].as_str().map(str::to_owned);
    Some((text("name")?, text("version")?))
}

fn component(package: &Value, linked: bool, checksum: Option<&str>) -> Result<Value> {
    let (name, version) = key_of(package).context("a package without a name")?;
    let licence = package["license"].as_str();
    let licence = licence.with_context(|| format!("{name} {version} has no licence"))?;
    let from_registry = !package["source"].is_null();
    let purl = purl(&name, &version);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": if linked { "required" } else { "excluded" },
        "licenses": [{"expression": expression(licence)}],
        "purl": purl,
    });
    if from_registry {
        let checksum = checksum.with_context(|| format!("{name} {version} has no checksum"))?;
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    Ok(component)
}

/// A package URL; `+` would be a space in it.
fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// The SPDX expression: older manifests write `/` for OR.
fn expression(licence: &str) -> String {
    let parts: Vec<&str> = licence.split('/').map(str::trim).collect();
    parts.join(" OR ")
}

/// Of each crate of the registry: `checksum` in the lock file.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_matches(['=', ' ', '"']).to_owned())
        };
        let key = value("name =").zip(value("version ="));
        if let Some((key, checksum)) = key.zip(value("checksum =")) {
            checksums.insert(key, checksum);
        }
    }
    checksums
}

fn dependencies(
    metadata: &Value,
    packages: &BTreeMap<Key, &Value>,
    all: &BTreeSet<Key>,
) -> Result<Vec<Value>> {
    let by_id: BTreeMap<&str, &Key> = packages
        .iter()
        .filter_map(|(key, package)| Some((package["id"].as_str()?, key)))
        .collect();
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("no graph in metadata")?;
    let mut dependencies = BTreeMap::new();
    for node in nodes {
        let own = by_id.get(node["id"].as_str().unwrap_or_default());
        let Some(own) = own.filter(|key| all.contains(**key)) else {
            continue;
        };
        let on = node["deps"].as_array().into_iter().flatten();
        // What is for tests only is no dependency of the program.
        let on = on.filter(|dependency| {
            let kinds = dependency["dep_kinds"].as_array();
            kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
        });
        let on = on.filter_map(|dependency| by_id.get(dependency["pkg"].as_str()?).copied());
        let on: BTreeSet<String> = on
            .filter(|key| all.contains(*key))
            .map(|(name, version)| purl(name, version))
            .collect();
        dependencies.insert(purl(&own.0, &own.1), on);
    }
    let dependencies = dependencies.into_iter();
    Ok(dependencies
        .map(|(own, on)| json!({"ref": own, "dependsOn": on}))
        .collect())
}

/// What is linked in and comes with the compiler.
fn bundled() -> Result<[Value; 2]> {
    let rustc = shell::variable("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let mut directory = shell::command(&rustc);
    directory.args(["--print", "target-libdir", "--target", &program::target()]);
    let directory = shell::read(&mut directory)?;
    let library = Path::new(directory.trim()).join("self-contained/libc.a");
    let library =
        fs::read(&library).with_context(|| format!("can't read {}", library.display()))?;
    let musl = musl_version(&library).context("no version in musl's libc.a")?;
    let rust = shell::read(shell::command(rustc).arg("--version"))?;
    let rust = rust
        .split(' ')
        .nth(1)
        .context("rustc --version says no version")?
        .to_owned();
    let component = |name: &str, version: &str, licence: &str, purl: String, url: &str| {
        json!({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "scope": "required",
            "licenses": [{"expression": licence}],
            "purl": purl,
            "externalReferences": [{"type": "vcs", "url": url}],
        })
    };
    let rust_url = "https://github.com/rust-lang/rust";
    Ok([
        component(
            "rust-std",
            &rust,
            "MIT OR Apache-2.0",
            format!("pkg:github/rust-lang/rust@{rust}"),
            rust_url,
        ),
        component(
            "musl",
            &musl,
            "MIT",
            format!("pkg:generic/musl@{musl}"),
            "https://git.musl-libc.org/cgit/musl",
        ),
    ])
}

/// `1.2.5`: the text of `__libc_version`, alone between zeros in one of the archive's members.
fn musl_version(library: &[u8]) -> Option<String> {
    let texts = library
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok());
    let mut texts = texts.filter(|text| {
        let parts: Vec<&str> = text.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok())
    });
    texts.next().map(str::to_owned)
}

/// The same for the same dependencies: a UUID of version 8 (RFC 9562) from the lock file's hash.
fn serial(lock: &str) -> String {
    let hash = image::hex(lock.as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_is_a_name_and_a_version() {
        let expected = Some(("libc".to_owned(), "0.2.1+x".to_owned()));
        assert_eq!(key("libc v0.2.1+x (*)"), expected);
        assert_eq!(key("libc v0.2.1+x (proc-macro)"), expected);
        assert_eq!(key("libc v0.2.1+x"), expected);
        assert_eq!(key("libc"), None);
    }

    #[test]
    fn a_version_with_a_plus_can_stand_in_a_url() {
        assert_eq!(
            purl("zstd-sys", "2.0.16+zstd.1.5.7"),
            "pkg:cargo/zstd-sys@2.0.16%2Bzstd.1.5.7"
        );
    }

    #[test]
    fn a_licence_is_an_expression_of_spdx() {
        assert_eq!(expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(expression("Apache-2.0 / MIT"), "Apache-2.0 OR MIT");
        assert_eq!(expression("MIT AND BSD-3-Clause"), "MIT AND BSD-3-Clause");
    }

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"ab\"\n";
        let expected = BTreeMap::from([(("b".to_owned(), "2.0.0".to_owned()), "ab".to_owned())]);
        assert_eq!(checksums(lock), expected);
    }

    #[test]
    fn the_version_of_musl_stands_between_zeros() {
        let library = b"!<arch>\n/1.2\x00\x001.2.5\x00.rodata\x00";
        assert_eq!(musl_version(library).as_deref(), Some("1.2.5"));
        assert_eq!(musl_version(b"\0a1.2.5\0"), None);
    }

    #[test]
    fn the_serial_number_is_a_uuid() {
        let serial = serial("lock");
        let parts: Vec<usize> = serial["urn:uuid:".len()..]
            .split('-')
            .map(str::len)
            .collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
    }
}
