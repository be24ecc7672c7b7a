//! `config check` and `config print`. A configuration that is wrong doesn't come this far.

use std::io::{self, Write};

use heliograph_config::Loaded;

use crate::cli::ConfigTool;

pub(crate) fn run(tool: ConfigTool, loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    match tool {
        ConfigTool::Check => writeln!(out, "the configuration is valid"),
        ConfigTool::Print => out.write_all(loaded.to_annotated_toml().as_bytes()),
    }
}
