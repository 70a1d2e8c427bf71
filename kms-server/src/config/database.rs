//! `[database]`: one SQLite file, or PostgreSQL.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, read};
use crate::store::Database;

/// Exactly one of `sqlite` and `postgres_url_file`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// The file of the embedded database.
    pub sqlite: Option<PathBuf>,
    /// A file that holds the URL of a PostgreSQL database; the URL holds a password.
    pub postgres_url_file: Option<PathBuf>,
    /// PostgreSQL only: whether no other server ever takes its place, so that it needs no synchronous standby.
    #[serde(default)]
    pub single: bool,
    /// The most connections to PostgreSQL, besides the audit writer's own, three for the lease and two for control changes.
    #[serde(default = "default_connections")]
    pub connections: u32,
    /// SQLite only: below so many MiB of free disk keys are not used, so that control changes can still be made.
    #[serde(default = "default_reserve")]
    pub reserve_mib: u64,
}

impl DatabaseSection {
    /// The database it names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn database(&self) -> Result<Database, ConfigError> {
        self.check()?;
        if let Some(path) = &self.sqlite {
            return Ok(Database::Sqlite { path: path.clone() });
        }
        let path = self.postgres_url_file.as_deref().unwrap_or(Path::new(""));
        let url = SecretString::from(read(path)?.trim().to_owned());
        Ok(Database::Postgres { url, connections: self.connections })
    }

    pub(super) fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.sqlite, &mut self.postgres_url_file].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match (&self.sqlite, &self.postgres_url_file) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) | (Some(_), Some(_)) => Err(ConfigError::Section {
                section: "database",
                detail: "name one of `sqlite` and `postgres_url_file`".to_owned(),
            }),
        }
    }
}

const fn default_reserve() -> u64 {
    256
}

const fn default_connections() -> u32 {
    8
}
