//! The disks under the database and the anchor: what is free, and whether they are this host's own.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Report;
use crate::{config::Config, store::is_of_others};

const LITTLE: u64 = 1 << 30;
const TOO_LITTLE: u64 = 100 << 20;

pub(super) fn look(config: &Config, report: &mut Report) {
    if let Some(file) = &config.database.sqlite {
        free("disk.database", file, report);
        local(file, report);
    }
    free("disk.anchor", &config.anchor.file, report);
}

fn free(check: &'static str, file: &Path, report: &mut Report) {
    let folder = existing(file);
    match statvfs(folder) {
        Ok(disk) => {
            let free = disk.blocks_available().saturating_mul(disk.fragment_size());
            let detail = format!("{} MiB are free", free >> 20);
            if free < TOO_LITTLE {
                report.error(
                    check,
                    detail,
                    "make room: without it nothing can be recorded, and what is not recorded is refused",
                );
            } else if free < LITTLE {
                report.warning(check, detail, "make room");
            } else {
                report.ok(check, detail);
            }
        }
        Err(error) => {
            report.error(check, format!("it cannot be asked: {}", error.desc()), "see that the folder is there");
        }
    }
    report.of(folder.display());
}

/// SQLite's locks and syncs mean nothing on a file system that others serve.
fn local(file: &Path, report: &mut Report) {
    const CHECK: &str = "disk.local";
    let folder = existing(file);
    let Ok(of_others) = is_of_others(folder) else { return };
    if of_others {
        let detail = "the SQLite database is on a network file system, where commits and locks do not hold";
        report.error(CHECK, detail, "move it to a disk of this host, or use PostgreSQL");
    } else {
        report.ok(CHECK, "the file system is this host's");
    }
    report.of(folder.display());
}

/// The folder of a file, or the one that it would be made in.
fn existing(file: &Path) -> &Path {
    let folder = file.ancestors().skip(1).find(|folder| folder.is_dir());
    folder.unwrap_or(Path::new("."))
}
