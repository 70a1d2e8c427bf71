//! A SQLite database belongs to one process: two would each believe to be the only node.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::Error;

/// Holds `PATH.lock` for as long as it lives. The file stays behind; only the lock on it means something, and it ends with
/// the process, however that ends.
#[derive(Debug)]
pub struct SqliteLock {
    #[expect(dead_code, reason = "the lock ends when the file is closed")]
    file: File,
}

impl SqliteLock {
    /// Takes the lock of the database at `path`, or fails at once.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process holds it, [`Error::File`] if the lock's file cannot be made.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let beside = lock_path(path);
        let failed = |source| Error::File { path: beside.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&beside).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}
