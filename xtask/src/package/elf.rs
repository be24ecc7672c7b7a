//! Whether a program needs anything of the system that it runs on, read from its ELF headers.

use anyhow::{Context, Result, bail, ensure};

/// Kinds of program headers (System V ABI, chapter 5).
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

/// The tag of a shared library that is needed.
const DT_NEEDED: u64 = 1;

/// Checks that a program is complete: no interpreter, no shared library.
///
/// # Errors
///
/// It isn't a 64-bit little-endian ELF file, or it needs something; says what.
pub(super) fn ensure_static(file: &[u8]) -> Result<()> {
    ensure!(
        file.starts_with(b"\x7fELF\x02\x01"),
        "not a 64-bit little-endian ELF file"
    );
    let offset = at(file, 32, 8)?;
    let (size, count) = (at(file, 54, 2)?, at(file, 56, 2)?);
    for number in 0..count {
        let header = offset + number * size;
        let (from, length) = (at(file, header + 8, 8)?, at(file, header + 32, 8)?);
        match u32::try_from(at(file, header, 4)?)? {
            PT_INTERP => {
                let name = slice(file, from, length)?;
                bail!(
                    "needs the interpreter {}",
                    String::from_utf8_lossy(name).trim_end_matches('\0')
                );
            }
            PT_DYNAMIC => {
                for entry in (from..from + length).step_by(16) {
                    ensure!(at(file, entry, 8)? != DT_NEEDED, "needs a shared library");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A number of `length` bytes.
fn at(file: &[u8], offset: u64, length: u64) -> Result<u64> {
    let mut number = [0; 8];
    let bytes = slice(file, offset, length)?;
    number[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(number))
}

fn slice(file: &[u8], offset: u64, length: u64) -> Result<&[u8]> {
    let (start, length) = (usize::try_from(offset)?, usize::try_from(length)?);
    let end = start.checked_add(length).context("a cut ELF file")?;
    file.get(start..end).context("a cut ELF file")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one program header, whose content is behind it.
    fn file(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
        file.extend_from_slice(content);
        file
    }

    #[track_caller]
    fn check(file: &[u8], refused: Option<&str>) {
        let found = ensure_static(file).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), refused);
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        check(
            &file(PT_INTERP, b"/lib/ld.so\0"),
            Some("needs the interpreter /lib/ld.so"),
        );
    }

    #[test]
    fn a_program_with_a_shared_library_is_not_static() {
        let mut dynamic = [0; 32];
        dynamic[16] = 1;
        check(&file(PT_DYNAMIC, &dynamic), Some("needs a shared library"));
    }

    #[test]
    fn a_program_that_only_moves_itself_is_static() {
        check(&file(PT_DYNAMIC, &[0; 32]), None);
    }

    #[test]
    fn what_is_no_program_or_cut_is_refused() {
        check(b"#!/bin/sh", Some("not a 64-bit little-endian ELF file"));
        check(
            &file(PT_INTERP, b"/lib/ld.so\0")[..90],
            Some("a cut ELF file"),
        );
    }

    #[test]
    fn this_very_test_needs_the_system_that_it_runs_on() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = ensure_static(&own).unwrap_err().to_string();
        assert!(error.starts_with("needs the interpreter /"), "{error}");
    }
}
