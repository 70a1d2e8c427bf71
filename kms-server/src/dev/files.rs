//! The folder of a development installation. Everything in it is for its owner's eyes only.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{DevError, Options};
use crate::config::Config;

/// Marks a folder as one that may be cleared.
const MARK: &str = ".keyward-dev";
const FOLDERS: [&str; 4] = ["database", "anchor", "tls", "issuer"];

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn make(&self) -> Result<(), DevError> {
        for folder in std::iter::once(self.0.clone()).chain(FOLDERS.map(|name| self.join(name))) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|source| DevError::File { path: folder, source })?;
        }
        if self.exists() {
            return Ok(());
        }
        self.write_secret(MARK, b"made by `kms-server dev`; `--fresh` empties this folder\n").map(drop)
    }

    pub(super) fn exists(&self) -> bool {
        self.join(MARK).exists()
    }

    /// Takes the folder for this process.
    pub(super) fn lock(&self) -> Result<fs::File, DevError> {
        let path = self.join(MARK);
        let file = fs::File::open(&path).map_err(|source| DevError::File { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(DevError::InUse(self.0.clone())),
            Err(fs::TryLockError::Error(source)) => Err(DevError::File { path, source }),
        }
    }

    /// Removes what an earlier run made, and nothing that it did not make.
    pub(super) fn clear(&self) -> Result<(), DevError> {
        if !self.0.exists() {
            return Ok(());
        }
        let empty = fs::read_dir(&self.0).is_ok_and(|mut entries| entries.next().is_none());
        if !empty && !self.join(MARK).exists() {
            return Err(DevError::Foreign(self.0.clone()));
        }
        for name in FOLDERS.into_iter().chain(["tokens"]) {
            self.removed(name, fs::remove_dir_all(self.join(name)))?;
        }
        for name in ["softhsm2.conf", "pin", "kms.toml", "dev.env"] {
            self.remove(name)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DevError> {
        self.removed(name, fs::remove_file(self.join(name)))
    }

    fn removed(&self, name: &str, removed: io::Result<()>) -> Result<(), DevError> {
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DevError::File { path: self.join(name), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The old file or the new one, whole, and only its owner reads it.
    pub(super) fn write_secret(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, DevError> {
        let path = self.join(name);
        let new = self.join(&format!("{name}.new"));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| DevError::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// Writes `kms.toml` as the options of this start say, and reads it back.
    pub(super) fn write_config(
        &self,
        options: &Options,
        module: &Path,
        softhsm_conf: &Path,
    ) -> Result<Config, DevError> {
        let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let text = format!(
            "# Written by `kms-server dev` at each start; it is a configuration like any other.\n\
             region = \"local\"\n\n\
             [listen]\napi = \"{}\"\noperations = \"{}\"\n\n\
             [tls]\ncertificate = \"tls/server.pem\"\nkey = \"tls/server.key\"\n\n\
             [database]\nsqlite = \"database/keyward.sqlite\"\n\n\
             [key_store]\nmodule = {}\ntoken_label = \"keyward-dev\"\npin_file = \"pin\"\nsofthsm_conf = {}\n\n\
             [anchor]\nfile = \"anchor/anchor.json\"\n\n\
             [log]\nformat = \"text\"\nfilter = \"info\"\n",
            options.listen,
            options.operations,
            quoted(module),
            quoted(softhsm_conf),
        );
        let path = self.write_secret("kms.toml", text.as_bytes())?;
        Ok(Config::read(&path)?)
    }
}
