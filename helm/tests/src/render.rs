//! Running helm on the chart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result};
use heliograph_sandbox::kubernetes::{self, Tools};

use crate::Manifest;

/// The release that everything is rendered as.
pub const RELEASE: &str = "relay";

/// The namespace that it is rendered for.
pub const NAMESPACE: &str = "nostr";

/// What files of values in `ci/` end with.
pub const CI_SUFFIX: &str = "-values.yaml";

/// The oldest Kubernetes that the chart is for isn't the helm of today's default: say which.
const KUBE_VERSION: &str = "1.36.0";

/// The chart and the helm that renders it.
#[derive(Debug, Clone)]
pub struct Chart {
    tools: Tools,
}

impl Chart {
    /// Installs helm and the schemas if need be.
    ///
    /// # Errors
    ///
    /// They can't be had.
    pub fn new() -> Result<Self> {
        let tools = kubernetes::install()?;
        Ok(Self { tools })
    }

    /// helm and the schemas.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// `helm` with arguments, in the directory of the repository and without the user's settings.
    #[must_use]
    pub fn helm(&self, arguments: &[&str]) -> Command {
        let mut helm = Command::new(&self.tools.helm);
        helm.args(arguments)
            .current_dir(root())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("HELM_") || name == "KUBECONFIG" {
                helm.env_remove(name.as_ref());
            }
        }
        helm
    }

    /// What the chart makes of files of values and of single ones, as in `gateway.replicas=3`: its
    /// text, or what helm says against it.
    ///
    /// # Errors
    ///
    /// helm can't be started.
    pub fn render(&self, files: &[&Path], set: &[&str]) -> Result<Result<String, String>> {
        self.render_with(&[], files, set)
    }

    /// [`render`](Self::render) with further arguments of helm.
    ///
    /// # Errors
    ///
    /// helm can't be started.
    pub fn render_with(
        &self,
        arguments: &[&str],
        files: &[&Path],
        set: &[&str],
    ) -> Result<Result<String, String>> {
        let mut helm = self.helm(&["template", RELEASE, "--namespace", NAMESPACE]);
        helm.args(["--kube-version", KUBE_VERSION]).args(arguments);
        helm.arg(directory());
        for file in files {
            helm.arg("--values").arg(file);
        }
        for set in set {
            helm.args(["--set", set]);
        }
        let output = helm.output().context("can't start helm")?;
        Ok(outcome(&output))
    }

    /// The objects that a file of values in `ci/` gives.
    ///
    /// # Errors
    ///
    /// helm refuses it, or what comes isn't YAML.
    pub fn manifest(&self, file: &Path) -> Result<Manifest> {
        let text = self.render(&[file], &[])?;
        let text = text
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{} doesn't render", file.display()))?;
        Manifest::parse(&text)
    }
}

/// Standard output if it went well, else what it said.
fn outcome(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// The repository's root directory.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2);
    root.expect("helm/tests lies in the root").to_owned()
}

/// The directory of the chart.
#[must_use]
pub fn directory() -> PathBuf {
    root().join("helm/heliograph")
}

/// Every file of values in `ci/`, by name.
///
/// # Errors
///
/// The directory can't be read.
pub fn ci_files() -> Result<Vec<PathBuf>> {
    let directory = directory().join("ci");
    let entries =
        fs::read_dir(&directory).with_context(|| format!("can't read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(CI_SUFFIX))
        .collect();
    files.sort();
    Ok(files)
}

/// What a file of values in `ci/` is called: `cluster-hpa` for `ci/cluster-hpa-values.yaml`.
#[must_use]
pub fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(CI_SUFFIX).to_owned()
}
