//! Cutting the input into batches of lines, bounded in bytes whatever the input holds.

use std::{
    io::{self, BufRead},
    ops::Range,
};

/// Bytes of one line; a longer one is no event that anyone would store, and is skipped.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// A batch is full at so many bytes or lines, whichever comes first. 256 lines are 10 ms of
/// signature checks: threads stay busy, and progress is smooth.
const BATCH_BYTES: usize = 1_024 * 1_024;
const BATCH_LINES: usize = 256;

/// Some lines of the input that aren't blank.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    text: Vec<u8>,
    lines: Vec<(u64, Range<usize>)>,
    /// Numbers of lines that are longer than [`LINE_BYTES_MAX`].
    pub(crate) too_long: Vec<u64>,
}

/// Reads batches.
pub(crate) struct Lines<R> {
    reader: R,
    number: u64,
}

impl Batch {
    /// The lines with their numbers, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.lines
            .iter()
            .map(|(number, range)| (*number, &self.text[range.clone()]))
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.too_long.is_empty()
    }

    fn is_full(&self) -> bool {
        self.text.len() >= BATCH_BYTES || self.lines.len() + self.too_long.len() >= BATCH_LINES
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// The next lines; `None` at the end.
    ///
    /// # Errors
    ///
    /// The input can't be read on, with the lines before that place.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>, (Batch, io::Error)> {
        let mut batch = Batch::default();
        while !batch.is_full() {
            match self.read_line(&mut batch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err((batch, error)),
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Reads one line; whether there was one.
    fn read_line(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let start = batch.text.len();
        let mut too_long = false;
        let mut found = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // What came of this line isn't the line.
                    batch.text.truncate(start);
                    return Err(error);
                }
            };
            if buffer.is_empty() {
                break;
            }
            found = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(buffer.len());
            too_long |= batch.text.len() - start + length > LINE_BYTES_MAX;
            if too_long {
                batch.text.truncate(start);
            } else {
                batch.text.extend_from_slice(&buffer[..length]);
            }
            self.reader.consume(length + usize::from(end.is_some()));
            if end.is_some() {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
        self.number += 1;
        if too_long {
            batch.too_long.push(self.number);
        } else if batch.text[start..].trim_ascii().is_empty() {
            batch.text.truncate(start);
        } else {
            batch.lines.push((self.number, start..batch.text.len()));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(text: &[u8]) -> (Vec<(u64, String)>, Vec<u64>) {
        let mut lines = Lines::new(text);
        let (mut all, mut too_long) = (Vec::new(), Vec::new());
        while let Some(batch) = lines.next_batch().unwrap() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            all.extend(batch.lines().map(|(number, line)| (number, text(line))));
            too_long.extend(&batch.too_long);
        }
        (all, too_long)
    }

    #[test]
    fn blank_lines_count_but_are_not_returned() {
        let (lines, _) = numbered(b"a\n\n \r\nb\nlast");
        let expected = [(1, "a"), (4, "b"), (5, "last")];
        assert_eq!(
            lines,
            expected.map(|(number, line)| (number, line.to_owned()))
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_not_kept() {
        let mut text = b"first\n".to_vec();
        text.resize(text.len() + LINE_BYTES_MAX + 1, b'x');
        text.extend_from_slice(b"\nthird\n");
        let (lines, too_long) = numbered(&text);
        assert_eq!(lines, [(1, "first".to_owned()), (3, "third".to_owned())]);
        assert_eq!(too_long, [2]);
    }

    #[test]
    fn batches_are_bounded_in_lines() {
        let text = b"x\n".repeat(BATCH_LINES + 1);
        let mut lines = Lines::new(&text[..]);
        assert_eq!(
            lines.next_batch().unwrap().unwrap().lines().count(),
            BATCH_LINES
        );
        assert_eq!(lines.next_batch().unwrap().unwrap().lines().count(), 1);
        assert!(lines.next_batch().unwrap().is_none());
    }
}
