//! Where tools write: results to the standard output, notes to the standard error stream.

use std::{
    fs::{self, File},
    io::{self, BufWriter, StdoutLock, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1_024;

/// The standard output, buffered.
pub(crate) struct Stdout(BufWriter<StdoutLock<'static>>);

impl Stdout {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()))
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// The output failed; [`io::ErrorKind::BrokenPipe`] if its reader closed it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a line for the person. Nobody is told if even that fails.
pub(crate) fn note(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// A table of names and numbers, numbers to the right.
pub(crate) fn table(out: &mut impl Write, rows: &[(&str, u64)]) -> io::Result<()> {
    let wide = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, number) in rows {
        writeln!(out, "{name:wide$}  {number:>14}")?;
    }
    Ok(())
}

/// Puts a file in place of the one that is there, whole and on the disk.
///
/// # Errors
///
/// It can't be written; the old one is as it was.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_dir(dir.unwrap_or(Path::new(".")))
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// Makes the names of files in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
