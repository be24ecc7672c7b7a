//! An OCI image layout (image-spec 1.1) in a tar file, made without a container engine: one layer with
//! the program, certificate authorities, licences and the list of components. Nothing else is in it.
//!
//! `deploy/docker/Dockerfile` makes the same with an engine; the check compares both.

use std::{fs, io::Write};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Parts, clock, read, release,
    tar::{self, Entry},
    version,
};

/// Where the program is.
pub(super) const ENTRYPOINT: &str = "/usr/local/bin/heliograph";

/// Nobody in particular; a number, so that Kubernetes can see that it isn't root.
pub(super) const USER: &str = "65532:65532";
const USER_ID: u32 = 65_532;

/// Where certificate authorities are looked for; absent on a machine that has none.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The directory of the data, the only one that is written to.
pub(super) const DATA: &str = "/data";

/// What the program is told of its place.
pub(super) const VARIABLES: [&str; 4] = [
    "HELIOGRAPH_STORE_DIR=/data",
    "HELIOGRAPH_GATEWAY_LISTEN=0.0.0.0:7777",
    "HELIOGRAPH_ADMIN_LISTEN=0.0.0.0:7778",
    "HELIOGRAPH_MATCHER_LISTEN=0.0.0.0:7779",
];

const PORTS: [&str; 3] = ["7777/tcp", "7778/tcp", "7779/tcp"];

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The tar file: `oci-layout`, `index.json` and `blobs/`.
///
/// # Errors
///
/// A part can't be read, or there are no images of this architecture.
pub(super) fn archive(parts: &Parts) -> Result<Vec<u8>> {
    let layer = tar::archive(contents(parts)?, parts.epoch)?;
    let packed = compress(&layer, parts.compression)?;
    let config = serde_json::to_vec(&config(parts.epoch, &digest(&layer))?)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &packed)],
        "annotations": labels(parts.epoch),
    }))?;
    let mut named = descriptor(MANIFEST, &manifest);
    named["platform"] = json!({"architecture": release::architecture()?, "os": "linux"});
    named["annotations"] = json!({"org.opencontainers.image.ref.name": version()});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]});
    let mut entries = vec![
        Entry::directory("blobs"),
        Entry::directory("blobs/sha256"),
        Entry::file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#),
        Entry::file("index.json", 0o644, serde_json::to_vec(&index)?),
    ];
    for blob in [config, manifest, packed] {
        let path = format!("blobs/sha256/{}", hex(&blob));
        entries.push(Entry::file(&path, 0o644, blob));
    }
    tar::archive(entries, parts.epoch)
}

/// What is in the one layer.
fn contents(parts: &Parts) -> Result<Vec<Entry>> {
    let program = fs::read(&parts.program)
        .with_context(|| format!("can't read {}", parts.program.display()))?;
    let users = format!("nonroot:x:{USER_ID}:{USER_ID}:nonroot:{DATA}:/sbin/nologin\n");
    let groups = format!("nonroot:x:{USER_ID}:\n");
    let doc = |name: &str| format!("usr/share/doc/heliograph/{name}");
    let mut entries = vec![
        Entry::file("etc/passwd", 0o644, users),
        Entry::file("etc/group", 0o644, groups),
        Entry::file(ENTRYPOINT.trim_start_matches('/'), 0o755, program),
        Entry::file(&doc("LICENSE-MIT"), 0o644, read("LICENSE-MIT")?),
        Entry::file(&doc("LICENSE-APACHE"), 0o644, read("LICENSE-APACHE")?),
        Entry::file(&doc("sbom.cdx.json"), 0o644, parts.sbom.clone()),
        Entry {
            owner: USER_ID,
            mode: 0o750,
            ..Entry::directory(DATA.trim_start_matches('/'))
        },
    ];
    if let Ok(authorities) = fs::read(format!("/{AUTHORITIES}")) {
        entries.push(Entry::file(AUTHORITIES, 0o644, authorities));
    } else {
        println!("without certificate authorities: this machine has no /{AUTHORITIES}");
    }
    let mut directories: Vec<String> = Vec::new();
    for entry in &entries {
        let parents = entry
            .path
            .match_indices('/')
            .map(|(end, _)| &entry.path[..end]);
        directories.extend(parents.map(str::to_owned));
    }
    directories.sort();
    directories.dedup();
    entries.extend(directories.iter().map(|path| Entry::directory(path)));
    Ok(entries)
}

fn config(epoch: u64, layer: &str) -> Result<Value> {
    let ports: Value = PORTS
        .iter()
        .map(|port| ((*port).to_owned(), json!({})))
        .collect();
    let created = clock::rfc3339(epoch);
    Ok(json!({
        "created": created,
        "architecture": release::architecture()?,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": ports,
            "Env": VARIABLES,
            "Entrypoint": [ENTRYPOINT],
            "Volumes": {DATA: {}},
            "WorkingDir": DATA,
            "Labels": labels(epoch),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created": created, "created_by": "cargo xtask package image"}],
    }))
}

/// Labels of the image, and annotations of its manifest.
fn labels(epoch: u64) -> Value {
    json!({
        "org.opencontainers.image.title": "Heliograph",
        "org.opencontainers.image.description": "A Nostr relay, from one process to a cluster",
        "org.opencontainers.image.version": version(),
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        "org.opencontainers.image.source": release::REPOSITORY,
        "org.opencontainers.image.created": clock::rfc3339(epoch),
    })
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(blob), "size": blob.len()})
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", hex(blob))
}

/// SHA-256 in hex.
pub(super) fn hex(blob: &[u8]) -> String {
    let hash = Sha256::digest(blob);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without a name and a time, so that the bytes depend on the content alone.
pub(super) fn compress(bytes: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut packer = GzBuilder::new().write(Vec::new(), Compression::new(level));
    packer.write_all(bytes)?;
    Ok(packer.finish()?)
}
