//! Members of different builds in one cluster, as while it is upgraded.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use super::{Cluster, HIDDEN_VARIABLES, Role};
use crate::{Error, process::hide_variables};

impl Cluster {
    /// From its next start on a member is this build of the program.
    ///
    /// # Errors
    ///
    /// Members have network namespaces: what starts them there isn't the program itself.
    ///
    /// # Panics
    ///
    /// If there is no such member.
    pub fn set_build(&self, role: Role, number: usize, binary: &Path) -> Result<(), Error> {
        if self.has_namespaces() {
            let refused = "a member in a namespace stays the build it is";
            return Err(Error::Options(refused.to_owned()));
        }
        self.role(role)[number].program.set_build(binary);
        Ok(())
    }

    /// As [`tool`](Self::tool), of another build of the program.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub fn tool_of(&self, binary: &Path, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = Command::new(binary);
        hide_variables(&mut command, HIDDEN_VARIABLES);
        command
            .args(arguments)
            .args(self.set_arguments(&[]))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .map_err(Error::path("can't start", binary))
    }
}
