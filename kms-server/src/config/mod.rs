//! What a node must know before it can read the database: where it listens, its own TLS key, its database, token and
//! limits. Everything that decides access is control state and not here. One TOML file; unknown fields are refused.

mod check;
mod cluster;
mod database;
mod key_store;
mod limits;
mod listen;
mod permissions;
mod problem;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::{
    cluster::ClusterSection,
    database::DatabaseSection,
    key_store::KeyStoreSection,
    limits::LimitsSection,
    listen::{ListenSection, TlsSection, TlsVersion},
    permissions::{Shared, permissions},
    problem::{Problem, Severity},
};
use crate::{
    model::Region,
    telemetry::{LogSection, TracesSection},
};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where this node runs; keys of other regions are not used here.
    pub region: Region,
    /// The addresses.
    pub listen: ListenSection,
    /// The server's own certificate.
    pub tls: TlsSection,
    /// The database.
    pub database: DatabaseSection,
    /// The PKCS#11 token.
    pub key_store: KeyStoreSection,
    /// What is remembered outside the database.
    pub anchor: AnchorSection,
    /// What all nodes agree on.
    #[serde(default)]
    pub cluster: ClusterSection,
    /// Limits of number, size and time.
    #[serde(default)]
    pub limits: LimitsSection,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogSection,
    /// Where traces go, if anywhere.
    #[serde(default)]
    pub traces: Option<TracesSection>,
}

/// What is remembered outside the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorSection {
    /// The file, in another folder than the database's.
    pub file: PathBuf,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that it names, or it itself, cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{}`: {detail}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A section names nothing, or too much.
    #[error("[{section}]: {detail}")]
    Section {
        /// The section.
        section: &'static str,
        /// What is wrong.
        detail: String,
    },
}

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "see that the file is there and that the server's user may read it",
            Self::Invalid { .. } | Self::Section { .. } => {
                "mend it; `kms-server check-config --config FILE` says everything that is wrong"
            }
        }
    }
}

impl Config {
    /// Reads the file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config = Self::parse(path)?;
        config.check().map_err(|error| ConfigError::Invalid { path: path.to_owned(), detail: error.to_string() })?;
        Ok(config)
    }

    /// Reads the file without asking whether its parts fit together, for those who want to hear of everything at once.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot be read or understood.
    pub fn parse(path: &Path) -> Result<Self, ConfigError> {
        Self::parse_text(path, &read(path)?)
    }

    /// The same of a file that was read, with this path.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot be understood.
    pub fn parse_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let number = before.split('\n').count();
            // No secret can stand there: all of them are in files of their own.
            let line = text.lines().nth(number - 1).unwrap_or_default().trim();
            let detail = format!("line {number} `{line}`: {}", error.message().replace('\n', " "));
            ConfigError::Invalid { path: path.to_owned(), detail }
        })?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.tls.certificate, &mut self.tls.key, &mut self.anchor.file] {
            *path = folder.join(&*path);
        }
        self.database.resolve(folder);
        self.key_store.resolve(folder);
        self.traces.take_if(|traces| traces.endpoint.is_empty());
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.database.check()?;
        self.key_store.check()?;
        self.cluster.check()?;
        self.limits.check()?;
        if let Some((field, detail)) = self.traces.as_ref().and_then(|traces| traces.check().err()) {
            return Err(ConfigError::Section { section: "traces", detail: format!("`{field}`: {detail}") });
        }
        self.check_places()
    }

    fn check_places(&self) -> Result<(), ConfigError> {
        if let Some(database) = &self.database.sqlite
            && database.parent() == self.anchor.file.parent()
        {
            return Err(ConfigError::Section {
                section: "anchor",
                detail: "the file stands in the database's folder, so that both would be restored together; \
                         name another folder"
                    .to_owned(),
            });
        }
        Ok(())
    }
}

/// Reads a file that the configuration names.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        region = "eu-1"
        [listen]
        api = "127.0.0.1:7443"
        operations = "127.0.0.1:7444"
        [tls]
        certificate = "tls/server.pem"
        key = "tls/server.key"
        [database]
        sqlite = "db/keyward.sqlite"
        [key_store]
        module = "/usr/lib/softhsm/libsofthsm2.so"
        token_label = "keyward"
        pin_file = "pin"
        [anchor]
        file = "anchor/anchor.json"
    "#;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.limits.connections, LimitsSection::default().connections);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(parse(&GOOD.replace("[anchor]", "[anchor]\nfiel = \"x\"")).unwrap_err().contains("fiel"));
    }

    #[test]
    fn the_anchor_is_kept_away_from_the_database() {
        assert!(parse(&GOOD.replace("anchor/anchor.json", "db/anchor.json")).unwrap_err().contains("another folder"));
    }
}
