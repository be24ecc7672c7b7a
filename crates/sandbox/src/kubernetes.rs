//! Kubernetes without a cluster: helm, the schemas of all objects, and a real API server.
//!
//! The server has etcd behind it and no nodes: it stores and checks what it is given, as that of any
//! cluster does, and no pod ever runs.

mod install;
mod server;

use std::path::PathBuf;

pub use install::{HELM_VERSION, install_definitions, install_helm, install_validator};
pub use server::{ApiServer, install as install_server};

/// Everything that the tests of a chart need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// The program `helm`.
    pub helm: PathBuf,
    /// A Python with the package `kubernetes_validate`, which holds the schemas.
    pub python: PathBuf,
    /// A directory with one file for each custom resource definition.
    pub definitions: PathBuf,
}

/// Installs helm, the schemas and the custom resource definitions; the server has an installation of
/// its own.
///
/// # Errors
///
/// As those of the three.
pub fn install() -> Result<Tools, crate::Error> {
    Ok(Tools {
        helm: install_helm()?,
        python: install_validator()?,
        definitions: install_definitions()?,
    })
}
