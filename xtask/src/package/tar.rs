//! Tar archives that are the same each time (POSIX.1-1988 ustar): names in order, one time, no names of
//! this machine's users.

use anyhow::{Result, ensure};

const BLOCK: usize = 512;

/// One member. Directories are those whose content is `None`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Without a leading `/`, 100 bytes at most.
    pub(super) path: String,
    pub(super) mode: u32,
    /// Of the user and of the group.
    pub(super) owner: u32,
    pub(super) content: Option<Vec<u8>>,
}

impl Entry {
    /// A directory of root's.
    pub(super) fn directory(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            mode: 0o755,
            owner: 0,
            content: None,
        }
    }

    /// A file of root's.
    pub(super) fn file(path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            owner: 0,
            content: Some(content.into()),
        }
    }
}

/// The archive of the entries, sorted by path, so that a directory comes before what is in it.
///
/// # Errors
///
/// A path is too long for the format.
pub(super) fn archive(mut entries: Vec<Entry>, epoch: u64) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut archive = Vec::new();
    for entry in &entries {
        archive.extend_from_slice(&header(entry, epoch)?);
        let content = entry.content.as_deref().unwrap_or_default();
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks are the end.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

fn header(entry: &Entry, epoch: u64) -> Result<[u8; BLOCK]> {
    let (kind, name) = match entry.content {
        Some(_) => (b'0', entry.path.clone()),
        None => (b'5', format!("{}/", entry.path)),
    };
    ensure!(name.len() <= 100, "{name}: longer than 100 bytes");
    let length = entry.content.as_ref().map_or(0, Vec::len);
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &name);
    put(100, &format!("{:07o}", entry.mode));
    put(108, &format!("{:07o}", entry.owner));
    put(116, &format!("{:07o}", entry.owner));
    put(124, &format!("{length:011o}"));
    put(136, &format!("{epoch:011o}"));
    // The sum counts itself as spaces.
    put(148, "        ");
    put(257, "ustar\u{0}00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::file("etc/name", 0o640, "text\n"),
            Entry::directory("etc"),
            Entry::file("empty", 0o755, ""),
        ]
    }

    #[test]
    fn tar_itself_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        fs::write(&path, archive(entries(), 1_000).unwrap()).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xpf", "a.tar", "--no-same-owner"])
            .current_dir(directory.path());
        assert!(tar.status().unwrap().success());
        let file = directory.path().join("etc/name");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text\n");
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        let since = metadata
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH);
        assert_eq!(since.unwrap().as_secs(), 1_000);
        assert_eq!(fs::read(directory.path().join("empty")).unwrap(), b"");
    }

    #[test]
    fn the_order_of_entries_makes_no_difference() {
        let backwards = entries().into_iter().rev().collect();
        assert_eq!(
            archive(entries(), 0).unwrap(),
            archive(backwards, 0).unwrap()
        );
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let long = vec![Entry::directory(&"x".repeat(100))];
        assert!(archive(long, 0).is_err());
    }
}
