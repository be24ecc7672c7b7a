//! The directory of an instance: its configuration, data and logs, gone when the instance is.
//!
//! A process that is killed can't clean up, so whoever makes a directory also removes those whose
//! owners are dead: each owner holds a lock on a file in its directory.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::Error;

/// A file system in memory on most Linux machines.
const TMPFS: &str = "/dev/shm";

/// What must be free on it: a Cassandra node takes about 200 MiB, a JetStream test less.
const TMPFS_FREE_BYTES_MIN: u64 = 2 << 30;

/// Bytes in a block of `stat`(2).
const BLOCK: u64 = 512;

/// The directory for temporary files that every account may write to.
const TMP: &str = "/tmp";

/// What every directory of this crate lies in.
const BASE: &str = "heliograph-sandbox";

/// The locked file in each directory.
const LOCK: &str = ".lock";

/// Where an instance keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// In memory if there is a tmpfs with room, which makes syncs free; else as [`Self::Disk`].
    #[default]
    Memory,
    /// In the directory for temporary files, for measurements in which syncs have to count.
    Disk,
}

/// A directory that is removed on drop, or after this process has died.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Directory {
    /// Makes a directory whose name begins with `name`, and removes what dead processes left.
    ///
    /// # Errors
    ///
    /// It can't be made.
    pub(crate) fn create(name: &str, storage: Storage) -> Result<Self, Error> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let base = base(storage);
        fs::create_dir_all(&base).map_err(Error::path("can't create", &base))?;
        // Nobody sweeps between a directory's creation and its lock.
        let _turn = lock(&base.join("turn"))?;
        sweep(&base);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{name}-{}-{number}", process::id()));
        fs::create_dir_all(&path).map_err(Error::path("can't create", &path))?;
        let lock = lock(&path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The directory that all of an account's instances share.
pub(crate) fn base(storage: Storage) -> PathBuf {
    let parent = match storage {
        Storage::Memory if has_room(Path::new(TMPFS)) => PathBuf::from(TMPFS),
        Storage::Memory | Storage::Disk => env::temp_dir(),
    };
    parent.join(own_name())
}

/// Bytes on the disk of everything in a directory, holes not counted.
#[must_use]
pub fn disk_usage(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
        Ok(metadata) => metadata.blocks() * BLOCK,
        Err(_gone) => 0,
    });
    sizes.sum()
}

/// Where locks of this kind lie: of what the machine has once, so the same for everybody, wherever each has
/// its temporary files.
pub(crate) fn locks(kind: &str) -> PathBuf {
    let everybody = Path::new(TMP);
    let parent = if everybody.is_dir() {
        everybody.to_owned()
    } else {
        env::temp_dir()
    };
    parent.join(own_name()).join(kind)
}

/// What a directory is called that all of an account's instances share.
fn own_name() -> String {
    format!("{BASE}-{}", rustix::process::getuid().as_raw())
}

/// Waits for its turn and holds the lock until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::path("can't create", path))?;
    file.lock().map_err(Error::path("can't lock", path))?;
    Ok(file)
}

fn has_room(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) >= TMPFS_FREE_BYTES_MIN)
}

/// Removes the directories that nobody holds.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let orphaned =
            File::open(entry.path().join(LOCK)).is_ok_and(|file| file.try_lock().is_ok());
        if orphaned {
            remove(&entry.path());
        }
    }
}

/// What can't be removed now is found by the next sweep.
fn remove(path: &Path) {
    drop(fs::remove_dir_all(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lives_as_long_as_its_value() {
        let directory = Directory::create("test", Storage::Disk).unwrap();
        let path = directory.path().to_owned();
        let other = Directory::create("test", Storage::Disk).unwrap();
        assert!(path.join(LOCK).exists());
        assert_ne!(path, other.path());
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let left = base(Storage::Disk).join("test-left");
        fs::create_dir_all(&left).unwrap();
        File::create(left.join(LOCK)).unwrap();
        let _directory = Directory::create("test", Storage::Disk).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_directory_takes_what_its_files_take() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner/file"), vec![1; 100_000]).unwrap();
        assert!((100_000..140_000).contains(&disk_usage(dir.path())));
        assert_eq!(disk_usage(&dir.path().join("none")), 0);
    }
}
