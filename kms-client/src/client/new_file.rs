//! Files that appear whole or not at all: written under another name in the same folder, then renamed.

use std::{
    fs::Permissions,
    io,
    path::{Path, PathBuf},
};

use tokio::fs::{self, File, OpenOptions};

use super::error::{Error, Result};

/// What happens when there is a file of that name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the new file is not made.
    Keep,
    /// The new file takes its place, in one step.
    Replace,
}

/// A file on its way. Dropped before [`NewFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    temporary: Temporary,
    file: File,
    existing: Existing,
}

impl NewFile {
    /// Begins a file. Until it is committed only its owner can read what is written.
    ///
    /// # Errors
    /// When the folder cannot be written to, or there is such a file and it is to be kept.
    pub async fn create(target: &Path, existing: Existing) -> Result<Self> {
        let failed = |source| Error::File { action: "write", path: target.to_owned(), source };
        if existing == Existing::Keep && fs::symlink_metadata(target).await.is_ok() {
            return Err(Error::Exists(target.to_owned()));
        }
        let path = temporary_path(target).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(&path).await.map_err(failed)?;
        Ok(Self { target: target.to_owned(), temporary: Temporary(Some(path)), file, existing })
    }

    /// Where to write to.
    pub fn writer(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the file and gives it its name. A power loss afterwards takes nothing away.
    ///
    /// # Errors
    /// When the disk does not take it, or a file of that name has appeared that is to be kept.
    pub async fn commit(self, permissions: Option<Permissions>) -> Result<()> {
        let Self { target, mut temporary, file, existing } = self;
        let failed = |source| Error::File { action: "write", path: target.clone(), source };
        if let Some(permissions) = permissions {
            file.set_permissions(permissions).await.map_err(failed)?;
        }
        file.sync_all().await.map_err(failed)?;
        drop(file);
        let Some(path) = &temporary.0 else { return Ok(()) };
        match existing {
            Existing::Replace => fs::rename(path, &target).await.map_err(failed)?,
            Existing::Keep => place(path, &target).await?,
        }
        temporary.0 = None;
        File::open(folder(&target)).await.map_err(failed)?.sync_all().await.map_err(failed)
    }
}

/// The file under its other name; removed when dropped.
#[derive(Debug)]
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing more can be done, and the error that led here is the one to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Renames without ever replacing: a link fails where there is something, a rename does not.
async fn place(from: &Path, to: &Path) -> Result<()> {
    let placed = match fs::hard_link(from, to).await {
        Ok(()) => fs::remove_file(from).await,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists(to.to_owned())),
        // Some file systems have no links. Then a file that appears at this very moment is replaced.
        Err(_) if fs::symlink_metadata(to).await.is_err() => fs::rename(from, to).await,
        Err(_) => return Err(Error::Exists(to.to_owned())),
    };
    placed.map_err(|source| Error::File { action: "write", path: to.to_owned(), source })
}

fn temporary_path(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    // A long name would become too long.
    let name: String = name.to_string_lossy().chars().take(40).collect();
    Ok(folder(target).join(format!(".{name}.{}.kms-part", hex::encode(random))))
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn folder_of(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kms-new-file-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_file_appears_whole_or_not_at_all() {
        let folder = folder_of("whole");
        let target = folder.join("a");
        let mut file = NewFile::create(&target, Existing::Keep).await.unwrap();
        file.writer().write_all(b"half").await.unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);

        let mut file = NewFile::create(&target, Existing::Keep).await.unwrap();
        file.writer().write_all(b"whole").await.unwrap();
        file.writer().flush().await.unwrap();
        file.commit(None).await.unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_kept() {
        let folder = folder_of("kept");
        let target = folder.join("a");
        let late = NewFile::create(&target, Existing::Keep).await.unwrap();
        std::fs::write(&target, b"old").unwrap();
        assert!(NewFile::create(&target, Existing::Keep).await.is_err());
        assert!(late.commit(None).await.is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"old");

        let file = NewFile::create(&target, Existing::Replace).await.unwrap();
        file.commit(None).await.unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"");
    }
}
