//! What the database says of itself: its settings, its integrity, and how far its tables are. It reads only.

use std::collections::BTreeMap;

use sqlx::migrate::Migrator;

use super::{Error, Postgres, Sqlite, Store, tx::on};

/// What the database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Its kind, and what is to be known of that.
    pub kind: ExaminedKind,
    /// How its tables compare with what this program needs.
    pub schema: Schema,
}

/// What is to be known of one kind of database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExaminedKind {
    /// SQLite.
    Sqlite {
        /// `wal`, if the server has opened it.
        journal_mode: String,
        /// `ok`, or what `PRAGMA quick_check` found first.
        integrity: String,
    },
    /// PostgreSQL.
    Postgres {
        /// The number of its version, such as 150004.
        version: i64,
        /// The settings of the server by name.
        settings: BTreeMap<&'static str, String>,
        /// Whether this connection is encrypted.
        tls: bool,
        /// Whether this connection never leaves the host.
        local: bool,
        /// Standbys that are connected and have every commit before it is acknowledged.
        synchronous_standbys: i64,
    },
}

/// How a database's tables compare with what this program needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Steps that are not yet done.
    pub pending: Vec<i64>,
    /// Steps that this program does not know: a newer one did them.
    pub unknown: Vec<i64>,
    /// Steps that were done otherwise than this program would.
    pub altered: Vec<i64>,
}

impl Store {
    /// Asks the database about itself.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn examine(&self) -> Result<Examined, Error> {
        match self {
            Self::Sqlite(_) => {
                Ok(Examined { schema: self.schema(Sqlite::migrations()).await?, kind: self.examine_sqlite().await? })
            }
            Self::Postgres(_) => Ok(Examined {
                schema: self.schema(Postgres::migrations()).await?,
                kind: self.examine_postgres().await?,
            }),
        }
    }

    async fn examine_sqlite(&self) -> Result<ExaminedKind, Error> {
        let mut tx = self.read().await?;
        let journal_mode: String = on!(tx, scalar "PRAGMA journal_mode")?;
        let integrity: Vec<(String,)> = on!(tx, all "PRAGMA quick_check(1)")?;
        let integrity = integrity.into_iter().next().map_or_else(|| "no answer".to_owned(), |(text,)| text);
        Ok(ExaminedKind::Sqlite { journal_mode, integrity })
    }

    async fn examine_postgres(&self) -> Result<ExaminedKind, Error> {
        const VERSION: &str = "SELECT current_setting('server_version_num')::BIGINT";
        const TLS: &str = "SELECT COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE)";
        const LOCAL: &str = "SELECT COALESCE(host(inet_server_addr()) IN ('127.0.0.1', '::1'), TRUE)";
        const STANDBYS: &str = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        let mut tx = self.read().await?;
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            settings.insert(*name, on!(tx, scalar "SELECT current_setting($1)", *name)?);
        }
        Ok(ExaminedKind::Postgres {
            version: on!(tx, scalar VERSION)?,
            settings,
            tls: on!(tx, scalar TLS)?,
            local: on!(tx, scalar LOCAL)?,
            synchronous_standbys: on!(tx, scalar STANDBYS)?,
        })
    }

    async fn schema(&self, known: &Migrator) -> Result<Schema, Error> {
        let mut tx = self.read().await?;
        let done: Vec<(i64, Vec<u8>)> = on!(tx, all "SELECT version, checksum FROM _sqlx_migrations ORDER BY version")?;
        let done: BTreeMap<i64, Vec<u8>> = done.into_iter().collect();
        let mut schema = Schema::default();
        for step in known.iter() {
            match done.get(&step.version) {
                None => schema.pending.push(step.version),
                Some(checksum) if checksum[..] != step.checksum[..] => schema.altered.push(step.version),
                Some(_) => {}
            }
        }
        schema.unknown = done.into_keys().filter(|version| !known.version_exists(*version)).collect();
        Ok(schema)
    }
}

const SETTINGS: &[&str] = &["fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"];
