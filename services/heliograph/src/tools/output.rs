//! Where tools write: results to the standard output, notes to the standard error stream.

use std::io::{self, BufWriter, StdoutLock, Write};

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
