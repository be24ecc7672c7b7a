//! The image read back as an engine would: index, manifest, configuration, layer; then its entry point
//! started from what was in the layer.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::{image, put, read},
    Products,
    room::{self, Room},
};
use crate::{shell, tidy::dockerfile};

/// An unpacked layout.
pub(super) struct Layout {
    directory: TempDir,
}

impl Layout {
    /// Of the tar file.
    pub(super) fn unpack(archive: &[u8]) -> Result<Self> {
        let directory = room::scratch()?;
        put(&directory.path().join("image.tar"), archive)?;
        shell::run(
            shell::command("tar")
                .args(["-xf", "image.tar"])
                .current_dir(directory.path()),
        )?;
        Ok(Self { directory })
    }

    fn blob(&self, descriptor: &Value) -> Result<Vec<u8>> {
        let digest = descriptor["digest"]
            .as_str()
            .context("a descriptor without a digest")?;
        let path = self.path(digest)?;
        let blob = fs::read(&path).with_context(|| format!("can't read {digest}"))?;
        let said = shell::read(shell::command("sha256sum").arg(&path))?;
        ensure!(
            digest == format!("sha256:{}", &said[..64]),
            "{digest} is {said}"
        );
        ensure!(
            descriptor["size"] == blob.len(),
            "{digest} has {} bytes",
            blob.len()
        );
        Ok(blob)
    }

    fn path(&self, digest: &str) -> Result<PathBuf> {
        let name = digest
            .strip_prefix("sha256:")
            .context("another kind of digest")?;
        Ok(self.directory.path().join("blobs/sha256").join(name))
    }

    fn manifest(&self) -> Result<Value> {
        let index = fs::read(self.directory.path().join("index.json")).context("no index.json")?;
        let index: Value = serde_json::from_slice(&index)?;
        Ok(serde_json::from_slice(&self.blob(&index["manifests"][0])?)?)
    }

    fn config(&self) -> Result<Value> {
        Ok(serde_json::from_slice(
            &self.blob(&self.manifest()?["config"])?,
        )?)
    }
}

/// Digests, sizes, the layer's identity and the labels.
pub(super) fn blobs(products: &Products) -> Result<()> {
    let layout = &products.layout;
    let version = fs::read_to_string(layout.directory.path().join("oci-layout"))?;
    ensure!(
        version == r#"{"imageLayoutVersion":"1.0.0"}"#,
        "oci-layout: {version}"
    );
    let (manifest, config) = (layout.manifest()?, layout.config()?);
    let layers = manifest["layers"].as_array().context("no layers")?;
    ensure!(layers.len() == 1, "{} layers", layers.len());
    let mut layer = Vec::new();
    GzDecoder::new(&layout.blob(&layers[0])?[..]).read_to_end(&mut layer)?;
    let identity = &config["rootfs"]["diff_ids"][0];
    ensure!(
        identity == &format!("sha256:{}", image::hex(&layer)),
        "the layer isn't {identity}"
    );
    for label in ["version", "licenses", "source", "created", "title"] {
        let name = format!("org.opencontainers.image.{label}");
        ensure!(
            config["config"]["Labels"][&name].is_string(),
            "no label {name}"
        );
    }
    Ok(())
}

/// The entry point with the image's variables and user, on the unpacked layer as its whole system.
pub(super) fn serves(products: &Products) -> Result<()> {
    let layout = &products.layout;
    let config = layout.config()?;
    let config = &config["config"];
    ensure!(
        config["User"] == format!("{0}:{0}", room::USER),
        "user {}",
        config["User"]
    );
    let root = room::scratch()?;
    let layer = layout.manifest()?;
    let layer = layout.path(layer["layers"][0]["digest"].as_str().unwrap_or_default())?;
    let mut tar = shell::command("tar");
    tar.args(["-xpzf"]).arg(&layer).arg("-C").arg(root.path());
    shell::run(tar.arg("--no-same-owner"))?;
    for file in ["sbom.cdx.json", "LICENSE-MIT", "LICENSE-APACHE"] {
        let path = Path::new("usr/share/doc/heliograph").join(file);
        ensure!(root.path().join(&path).is_file(), "no {}", path.display());
    }
    let (listen, admin) = Room::addresses();
    let mut variables = strings(&config["Env"]);
    // All addresses would be those of whatever else runs on this machine.
    variables.push(format!("HELIOGRAPH_GATEWAY_LISTEN={listen}"));
    variables.push(format!("HELIOGRAPH_ADMIN_LISTEN={admin}"));
    let entrypoint = strings(&config["Entrypoint"]);
    let entrypoint = entrypoint.first().context("no entry point")?;
    Room::new(root.path(), image::DATA)?
        .with(&variables)
        .serve(entrypoint, &[])
}

/// What an engine makes of the Dockerfile has the same user, entry point, variables and ports; and the
/// build has all members of the workspace in its context.
pub(super) fn dockerfile(products: &Products) -> Result<()> {
    let config = products.layout.config()?;
    let config = &config["config"];
    let text = String::from_utf8(read(dockerfile::PATH)?)?;
    let last = dockerfile::last_stage(&text);
    let one = |name: &str| {
        let found = last.iter().find(|instruction| instruction.name == name);
        found
            .map(|instruction| instruction.text.as_str())
            .unwrap_or_default()
    };
    ensure!(config["User"] == one("USER"), "USER {}", one("USER"));
    ensure!(
        config["WorkingDir"] == one("WORKDIR"),
        "WORKDIR {}",
        one("WORKDIR")
    );
    ensure!(
        !config["Volumes"][one("VOLUME")].is_null(),
        "VOLUME {}",
        one("VOLUME")
    );
    let entrypoint: Value = serde_json::from_str(one("ENTRYPOINT")).context("ENTRYPOINT")?;
    ensure!(
        config["Entrypoint"] == entrypoint,
        "ENTRYPOINT {entrypoint}"
    );
    let sorted = |mut words: Vec<String>| {
        words.sort();
        words
    };
    let variables = sorted(strings(&config["Env"]));
    let written = sorted(one("ENV").split_whitespace().map(str::to_owned).collect());
    ensure!(variables == written, "ENV {written:?}");
    let ports: BTreeMap<String, Value> = serde_json::from_value(config["ExposedPorts"].clone())?;
    let written = sorted(
        one("EXPOSE")
            .split_whitespace()
            .map(|port| format!("{port}/tcp"))
            .collect(),
    );
    ensure!(
        ports.into_keys().collect::<Vec<_>>() == written,
        "EXPOSE {written:?}"
    );
    for label in config["Labels"].as_object().context("no labels")?.keys() {
        // The engine knows it better.
        let is_time = label == "org.opencontainers.image.created";
        ensure!(
            is_time || one("LABEL").contains(&format!("{label}=")),
            "no LABEL {label}"
        );
    }
    let health: Value = serde_json::from_str(
        one("HEALTHCHECK")
            .split_once("CMD ")
            .context("HEALTHCHECK")?
            .1,
    )?;
    ensure!(
        strings(&health) == [image::ENTRYPOINT, "health", "--ready"],
        "HEALTHCHECK {health}"
    );
    context()
}

/// The files that the Dockerfile's build sees are enough for cargo.
fn context() -> Result<()> {
    let context = room::scratch()?;
    let ignored = String::from_utf8(read(dockerfile::IGNORE)?)?;
    for path in shell::files()? {
        if dockerfile::is_in_context(&ignored, &path) {
            put(
                &context.path().join(&path),
                &fs::read(shell::root().join(&path))?,
            )?;
        }
    }
    let mut cargo = shell::cargo("metadata");
    cargo
        .args(["--locked", "--format-version", "1"])
        .current_dir(context.path());
    let metadata: Value = serde_json::from_str(&shell::read(&mut cargo)?)?;
    let members = |metadata: &Value| metadata["workspace_members"].as_array().map_or(0, Vec::len);
    let (inside, all) = (members(&metadata), members(&shell::metadata()?));
    ensure!(
        inside == all,
        "{inside} of {all} members are in the Dockerfile's context"
    );
    Ok(())
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_owned()))
        .collect()
}
