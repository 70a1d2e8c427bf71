//! How much room is left on the disk that a folder is on.

use std::{io, path::Path};

use nix::sys::statvfs::statvfs;

/// The bytes that this process may still write where `folder` is.
///
/// # Errors
///
/// That of the file system.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = statvfs(folder)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}
