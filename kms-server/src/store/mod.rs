//! The database: control state and its history, what the HSM holds, and the audit log. One SQL text serves SQLite and
//! PostgreSQL; each table has a file here with the methods of [`Tx`] that touch it.
//!
//! The store never decides anything. It holds what it is given, compares and sets, and says plainly whether a commit is
//! durable, was refused, or is not known.

mod audit_chains;
mod audit_intents;
mod audit_records;
mod audit_search;
mod audit_usage;
mod column;
mod control_changes;
mod control_head;
mod control_rows;
mod deletion_watches;
mod disk;
mod error;
mod examine;
mod hints;
mod hsm_objects;
mod hsm_roots;
mod idempotency_keys;
mod lock;
mod members;
mod operations;
mod postgres;
mod sqlite;
mod system_secrets;
mod tx;
mod wrap_counts;
mod writer;

use std::path::PathBuf;

use secrecy::SecretString;

pub use self::{
    audit_chains::{AuditChain, NewAuditChain},
    audit_intents::AuditIntent,
    audit_records::{AuditRow, StoredLeaf},
    audit_search::{AuditCursor, AuditFilter},
    audit_usage::KeyUse,
    control_changes::ControlChange,
    control_head::Head,
    control_rows::StoredRow,
    deletion_watches::DeletionWatch,
    disk::{free_bytes, is_of_others},
    error::{CommitError, Error},
    examine::{Examined, ExaminedKind, Schema},
    hints::{Hint, Hints},
    hsm_objects::{HsmObject, HsmObjectState},
    hsm_roots::HsmRoots,
    idempotency_keys::IdempotencyKey,
    lock::SqliteLock,
    members::{Agreement, Member, MemberKind, Newest},
    operations::{OperationState, StoredOperation},
    postgres::Postgres,
    sqlite::Sqlite,
    system_secrets::SystemSecret,
    tx::Tx,
    wrap_counts::WrapCount,
    writer::Writer,
};

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Database {
    /// One file on this host, for one server process.
    Sqlite {
        /// The file; made if it is not there.
        path: PathBuf,
    },
    /// A PostgreSQL database, for any number of nodes.
    Postgres {
        /// `postgres://user:password@host/database?sslmode=verify-full`.
        url: SecretString,
        /// The most connections this node opens, besides the audit writer's own and two for control changes.
        connections: u32,
    },
}

impl Database {
    /// Whether it can be understood, without opening it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { url, .. } => Postgres::check_url(url),
        }
    }
}

/// For whom a process takes a database that others could have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// For itself: it makes the installation. Programs that know nothing of other nodes ask for this as well.
    Alone,
    /// For itself and other nodes.
    Together,
}

/// An open database. Clones share its connections, and on SQLite the lock on its file.
#[derive(Debug, Clone)]
pub enum Store {
    /// One file on this host.
    Sqlite(Sqlite),
    /// A PostgreSQL database.
    Postgres(Postgres),
}

impl Store {
    /// Opens the database to read and write. On SQLite the file is made if need be, and is this process's alone for as
    /// long as a clone of the store lives.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process has the file, [`Error::NotDurable`] if the server does not promise what a commit
    /// must, [`Error::InvalidUrl`], [`Error::File`], [`Error::Unavailable`].
    pub async fn open(database: &Database) -> Result<Self, Error> {
        match database {
            Database::Sqlite { path } => Sqlite::open(path).await.map(Self::Sqlite),
            Database::Postgres { url, connections } => Postgres::open(url, *connections).await.map(Self::Postgres),
        }
    }

    /// Opens the database to read only, beside a server that has it open: nothing is locked, made or migrated.
    ///
    /// # Errors
    ///
    /// As [`Store::open`], but never [`Error::InUse`].
    pub async fn open_to_read(database: &Database) -> Result<Self, Error> {
        match database {
            Database::Sqlite { path } => Sqlite::open_to_read(path).await.map(Self::Sqlite),
            Database::Postgres { url, connections } => {
                Postgres::open_to_read(url, *connections).await.map(Self::Postgres)
            }
        }
    }

    /// Takes the database for this process until the store is closed. On SQLite it has the file already.
    ///
    /// # Errors
    ///
    /// [`Error::Claimed`] if another process has it; [`Error::Unavailable`].
    pub async fn claim(&self, claim: Claim) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(postgres) => postgres.claim(claim).await,
        }
    }

    /// Brings the tables to what this program needs.
    ///
    /// # Errors
    ///
    /// [`Error::Migration`] if the database was made by a newer program or a step fails; then no step of it was done.
    pub async fn migrate(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.migrate().await,
            Self::Postgres(postgres) => postgres.migrate().await,
        }
    }

    /// Begins a transaction that may write. On SQLite it waits for its turn: there is one such transaction at a time, the
    /// audit writer's included, so it is kept short and never waits for a record to be written.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::ReadOnly`].
    pub async fn begin(&self) -> Result<Tx<'static>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.begin().await,
            Self::Postgres(postgres) => postgres.begin().await,
        }
    }

    /// Begins a transaction that reads: everything it sees is of one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn read(&self) -> Result<Tx<'static>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read().await,
            Self::Postgres(postgres) => postgres.read().await,
        }
    }

    /// Whether other processes may have the database too.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The same database by connections of their own, for a runtime of its own; on SQLite there are no others.
    #[must_use]
    pub fn apart(&self) -> Self {
        match self {
            Self::Sqlite(sqlite) => Self::Sqlite(sqlite.clone()),
            Self::Postgres(postgres) => Self::Postgres(postgres.apart()),
        }
    }

    /// What other nodes tell of.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn hints(&self) -> Result<Hints, Error> {
        Hints::open(self).await
    }

    /// A connection of its own, for the audit writer.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(self.clone())
    }

    /// Closes every connection once what runs on it has ended. Later calls answer [`Error::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}
