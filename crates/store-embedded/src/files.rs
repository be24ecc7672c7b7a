//! Files and directories: what has to be on the disk, and where there must be room.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use rustix::{
    fs::FallocateFlags,
    process::{Resource, getrlimit},
};

use crate::error::OpenError;

/// Bytes of LMDB's lock file: room for its readers, in whole pages of 4 KiB.
const LOCK_FILE_BYTES: u64 = 36 << 10;
/// Two pages of the smallest size: a database file below that holds nothing.
pub(crate) const DATABASE_BYTES_MIN: u64 = 8 << 10;
/// With less than this left there is no room: what LMDB writes at once may not fit.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// Makes a directory if it is absent, and its name durable if it was.
///
/// # Errors
///
/// [`OpenError::Io`], among others if something else has that name.
pub(crate) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    fs::create_dir_all(dir).map_err(|error| {
        let is_other = error.kind() == io::ErrorKind::AlreadyExists;
        let not_a_directory = || io::ErrorKind::NotADirectory.into();
        OpenError::io(dir)(if is_other { not_a_directory() } else { error })
    })?;
    for dir in missing {
        let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        sync_dir(parent).map_err(OpenError::io(parent))?;
    }
    Ok(())
}

/// Makes file names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a directory with all that is in it; none is fine.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the room for LMDB's lock file. LMDB writes to it through a map: without room on the device
/// that would end the process (SIGBUS), where this is an error.
pub(crate) fn reserve_lock_file(dir: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock.mdb"))?;
    // One that is there keeps its size: other processes may have mapped it.
    let bytes = match file.metadata()?.len() {
        0 => LOCK_FILE_BYTES,
        bytes => bytes,
    };
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // The file system can't; then LMDB takes it as it comes.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether there is next to no room for `file` to grow: on its device, or below the limit of this
/// process for the size of a file.
pub(crate) fn has_no_room(file: &Path) -> bool {
    let left_on_device = rustix::fs::statvfs(file)
        .map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize));
    let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    let bytes = fs::metadata(file).map_or(0, |meta| meta.len());
    left_on_device.min(limit.saturating_sub(bytes)) < ROOM_BYTES_MIN
}
