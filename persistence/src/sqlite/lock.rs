//! Whose directory it is, and how it was left: `gavel.lock` and the marker `running`.
//!
//! Nothing here knows what the directory holds.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const LOCK: &str = "gavel.lock";
const MARKER: &str = "running";

/// The directory is ours while this lives.
#[derive(Debug)]
pub(super) struct DirLock {
    dir: PathBuf,
    /// Held open: the kernel gives the lock up when the process ends, however it ends.
    _file: File,
}

/// Why the directory is not ours.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it.
    Taken,
    /// It can't be made or written.
    Io(PathBuf, io::Error),
}

impl DirLock {
    /// Makes the directory (for this user only) where it is missing, and takes it.
    pub(super) fn take(dir: &Path) -> Result<Self, LockError> {
        make_dir(dir).map_err(|e| LockError::Io(dir.into(), e))?;
        let path = dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| LockError::Io(path.clone(), e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken),
            Err(TryLockError::Error(e)) => Err(LockError::Io(path, e)),
        }
    }

    /// Whether the last process that had it did not clean up.
    pub(super) fn was_left_running(&self) -> bool {
        self.dir.join(MARKER).exists()
    }

    /// From here on, not cleaning up is seen by the next start.
    pub(super) fn mark_running(&self) -> io::Result<()> {
        File::create(self.dir.join(MARKER))?.sync_all()?;
        sync_dir(&self.dir)
    }

    /// All is written and in its place.
    pub(super) fn mark_clean(&self) -> io::Result<()> {
        match fs::remove_file(self.dir.join(MARKER)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => sync_dir(&self.dir),
        }
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    // So that the directory itself outlives a power cut.
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
