//! The file system as the write-ahead log uses it: each step that has to reach the disk is a call here.
//!
//! There is nothing to a [`Disk`] but the calls. In tests a tape stands beside it, which records every
//! step, so that the states that a power cut may leave after each of them can be made, and which lets
//! any step fail.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

#[cfg(test)]
use crate::tests::tape::{Step, Tape};

/// Where the log's files are made and removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) tape: std::sync::Arc<Tape>,
}

/// A file that is written to.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    #[cfg(test)]
    tape: std::sync::Arc<Tape>,
    #[cfg(test)]
    path: std::path::PathBuf,
    #[cfg(test)]
    at: u64,
}

impl Disk {
    /// Makes a file that must not exist. Its name isn't durable until the directory is synced.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        #[cfg(test)]
        self.tape.step(Step::Create(path.to_owned()))?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(self.wrap(file, path))
    }

    /// Opens a file that exists, at its beginning.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(self.wrap(file, path))
    }

    /// Removes a file. It may come back until the directory is synced.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.tape.step(Step::Remove(path.to_owned()))?;
        fs::remove_file(path)
    }

    /// Gives a file another name, instead of the file that has it. Either holds until the directory
    /// is synced.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.tape
            .step(Step::Rename(from.to_owned(), to.to_owned()))?;
        fs::rename(from, to)
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.tape.step(Step::SyncDir)?;
        File::open(dir)?.sync_all()
    }

    #[cfg_attr(
        not(test),
        expect(
            clippy::unused_self,
            reason = "the tape is all that there is to a disk"
        )
    )]
    fn wrap(&self, file: File, path: &Path) -> DiskFile {
        #[cfg(not(test))]
        let _ = path;
        DiskFile {
            file,
            #[cfg(test)]
            tape: std::sync::Arc::clone(&self.tape),
            #[cfg(test)]
            path: path.to_owned(),
            #[cfg(test)]
            at: 0,
        }
    }
}

impl DiskFile {
    /// Writes all of `bytes` where the last write or cut ended. After an error some of it may be there.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        {
            let (at, path) = (self.at, self.path.clone());
            if let Err((written, error)) = self.tape.write(path, at, bytes) {
                self.at += written as u64;
                self.file.write_all(&bytes[..written])?;
                return Err(error);
            }
            self.at += bytes.len() as u64;
        }
        self.file.write_all(bytes)
    }

    /// Cuts the file; the next write goes to its new end.
    pub(crate) fn cut(&mut self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        {
            self.tape.step(Step::Cut(self.path.clone(), len))?;
            self.at = len;
        }
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        Ok(())
    }

    /// Makes the contents durable. If this fails, nobody knows which of the writes since the last
    /// success are on the disk, and a later success says nothing of them: the system forgets pages
    /// that it couldn't write.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.tape.step(Step::Sync(self.path.clone()))?;
        self.file.sync_data()
    }
}
