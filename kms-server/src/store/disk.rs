//! The disk that a folder is on: how much room is left, and whether it is this host's own.

use std::{io, path::Path};

use nix::sys::{
    statfs::{FsType, statfs},
    statvfs::statvfs,
};

/// File systems that other hosts serve or share, by the numbers of Linux's `magic.h`: NFS, SMB, CIFS, SMB2, Ceph, 9P, Lustre,
/// AFS, GFS2, OCFS2.
const OF_OTHERS: [u64; 10] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x0102_1997,
    0x0bd0_0bd0,
    0x5346_414f,
    0x0116_1970,
    0x7461_636f,
];

/// The bytes that this process may still write where `folder` is.
///
/// # Errors
///
/// That of the file system.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = statvfs(folder)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Whether `folder` is on a file system that other hosts serve or share: locks and syncs mean little there.
///
/// # Errors
///
/// That of the file system.
pub fn is_of_others(folder: &Path) -> io::Result<bool> {
    Ok(are_of_others(statfs(folder)?.filesystem_type()))
}

fn are_of_others(file_system: FsType) -> bool {
    OF_OTHERS.iter().any(|known| u64::try_from(file_system.0).is_ok_and(|number| number == *known))
}

#[cfg(test)]
mod tests {
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC};

    use super::*;

    /// There is no such disk to be had in a test.
    #[test]
    fn a_network_file_system_is_known_by_its_number() {
        for theirs in [NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, FsType(0xff53_4d42), FsType(0x00c3_6400), FsType(0x0102_1997)]
        {
            assert!(are_of_others(theirs), "{theirs:?}");
        }
        for own in [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC, FsType(0x9123_683e), FsType(0x2fc1_2fc1)] {
            assert!(!are_of_others(own), "{own:?}");
        }
    }
}
