//! Writes the Rust types of the wire forms.

use std::fs;

use anyhow::{Context, Result};
use protox::prost_reflect::prost_types::FileDescriptorSet;

const HEAD: &str =
    "//! Generated from proto/heliograph/v1; don't edit. `cargo xtask proto` writes it.\n\n";

/// The source of the types and of client and server. All `bytes` are shared slices of what came in.
///
/// # Errors
///
/// The generator's own.
pub(super) fn types(descriptors: FileDescriptorSet) -> Result<String> {
    let directory = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .out_dir(directory.path())
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .context("the generator refused proto/")?;
    let text = fs::read_to_string(directory.path().join("heliograph.v1.rs"))
        .context("the generator wrote another file")?;
    Ok(format!("{HEAD}{text}"))
}
