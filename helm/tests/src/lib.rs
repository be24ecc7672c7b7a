//! The Helm chart rendered, for its tests in `tests/chart` and for `cargo xtask chart`.
//!
//! Nothing here needs a cluster or the network once helm is installed, and the same files give the
//! same text.

pub mod golden;
mod manifest;
mod render;
pub mod values;

pub use manifest::{Manifest, Workload};
pub use render::{CI_SUFFIX, Chart, NAMESPACE, RELEASE, ci_files, directory, name_of, root};
