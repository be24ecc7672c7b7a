//! The configuration from outside: a file, an environment and flags go in.

mod canary;
mod cluster;
mod load;
mod traces;

use std::io::Write as _;

use heliograph_config::{ConfigErrors, Loaded, load};

fn try_load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let mut written = tempfile::NamedTempFile::new().expect("a temporary file");
    written.write_all(file.as_bytes()).expect("room for it");
    let environment = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let flags: Vec<_> = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    load(Some(written.path()), environment, &flags)
}
