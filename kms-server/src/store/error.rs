//! What can go wrong with the database. Errors of the drivers are told apart by kind, never by text.

use std::{io, path::PathBuf};

use sqlx::error::ErrorKind;

use crate::model;

/// Why the database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the SQLite file.
    #[error("the database `{}` is in use by another process; stop that server first", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The SQLite file is on a file system that other hosts serve or share.
    #[error("the database file `{}` is on a network file system, where locks and commits do not hold", path.display())]
    OnNetwork {
        /// The database.
        path: PathBuf,
    },
    /// Another process has the PostgreSQL database.
    #[error("the database is in use by another process; stop that server first")]
    Claimed,
    /// The SQLite file or the lock beside it cannot be opened or made.
    #[error("the database file `{}` cannot be opened", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The PostgreSQL URL cannot be understood. Its text may hold a password, so it is not repeated.
    #[error("the URL of the database is not valid")]
    InvalidUrl,
    /// The database server does not let this program in, or is not there.
    #[error("the database cannot be connected to")]
    Connect(#[source] sqlx::Error),
    /// The server may lose what it acknowledged.
    #[error("the database server has `{setting}` = `{value}`: a commit there may be lost; set it to `on`")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: String,
    },
    /// The tables cannot be brought to what this program needs.
    #[error("the database's tables cannot be brought up to date")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// The store was opened to read.
    #[error("the database was opened to read only")]
    ReadOnly,
    /// The database cannot be reached or cannot do this now; later it may.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// A row with this identity is there already.
    #[error("the row exists already")]
    AlreadyExists(#[source] sqlx::Error),
    /// The database refused a statement.
    #[error("the database refused a statement")]
    Statement(#[source] sqlx::Error),
    /// An earlier statement of this transaction failed or was given up, so nothing more happens in it.
    #[error("an earlier statement of the transaction failed")]
    Broken,
    /// A column holds what this program never wrote there.
    #[error("the column `{0}` holds what was never written there")]
    Corrupt(&'static str),
    /// A number is larger than the database can hold.
    #[error("the number {0} is too large for the database")]
    TooLarge(u64),
}

/// Why a commit was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the transaction happened.
    #[error("the transaction was refused")]
    Refused(#[source] Error),
    /// The transaction happened, or did not, or is still under way.
    #[error("the outcome of the transaction is not known")]
    Unknown(#[source] sqlx::Error),
}

impl Error {
    /// Whether the same may succeed later, without anything being changed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Unavailable(_) | Self::TimedOut => true,
            Self::InUse { .. }
            | Self::OnNetwork { .. }
            | Self::Claimed
            | Self::File { .. }
            | Self::InvalidUrl
            | Self::NotDurable { .. }
            | Self::Migration(_)
            | Self::ReadOnly
            | Self::AlreadyExists(_)
            | Self::Statement(_)
            | Self::Broken
            | Self::Corrupt(_)
            | Self::TooLarge(_) => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                    Self::Statement(error)
                }
                _ => Self::Unavailable(error),
            };
        };
        if matches!(database.kind(), ErrorKind::UniqueViolation) {
            return Self::AlreadyExists(error);
        }
        if database.code().is_some_and(|code| is_transient(&code)) {
            Self::Unavailable(error)
        } else {
            Self::Statement(error)
        }
    }
}

impl From<Error> for model::Error {
    fn from(error: Error) -> Self {
        if error.is_transient() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database is not available");
            return Self::unavailable(model::Refusal::StoreUnavailable, error.to_string());
        }
        Self::internal(error)
    }
}

impl From<CommitError> for model::Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(error) => error.into(),
            CommitError::Unknown(_) => Self::unavailable(model::Refusal::StoreUnavailable, error.to_string()),
        }
    }
}

impl CommitError {
    /// Sorts the failure of a COMMIT: only an answer that names a refusal is one.
    pub(super) fn from_commit(error: sqlx::Error) -> Self {
        let refused = match &error {
            sqlx::Error::Database(database) => database.code().is_some_and(|code| refuses_commit(&code)),
            _ => false,
        };
        if refused { Self::Refused(error.into()) } else { Self::Unknown(error) }
    }
}

/// Whether a code tells of a fault that passes: of SQLite a result code (<https://sqlite.org/rescode.html>), of PostgreSQL
/// five characters (its manual, appendix A).
fn is_transient(code: &str) -> bool {
    if let Some(primary) = sqlite_primary(code) {
        return matches!(
            primary,
            SQLITE_BUSY | SQLITE_LOCKED | SQLITE_NOMEM | SQLITE_READONLY | SQLITE_IOERR | SQLITE_FULL | SQLITE_CANTOPEN
        );
    }
    // Connection; transaction rolled back (serialisation, deadlock); resources, disk included; the operator; input or output.
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == READ_ONLY_TRANSACTION
}

/// Whether the code of a failed COMMIT says that nothing happened. A fault while the log is synced says nothing of the sort:
/// its bytes may be on the disk. Nor does a server that is shut down while the commit waits for a standby.
fn refuses_commit(code: &str) -> bool {
    if let Some(primary) = sqlite_primary(code) {
        return matches!(primary, SQLITE_ERROR | SQLITE_BUSY | SQLITE_FULL | SQLITE_CONSTRAINT);
    }
    let unknown = ["08", "57", "58"].iter().any(|class| code.starts_with(class)) || code == COMPLETION_UNKNOWN;
    !unknown
}

/// The primary result code: "the least significant 8 bits" (<https://sqlite.org/rescode.html>); `None` for PostgreSQL's.
fn sqlite_primary(code: &str) -> Option<u32> {
    // PostgreSQL's codes have five characters, SQLite's extended codes at most four digits.
    (code.len() < 5).then(|| code.parse::<u32>().ok()).flatten().map(|code| code & 0xff)
}

const SQLITE_ERROR: u32 = 1;
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_NOMEM: u32 = 7;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_CONSTRAINT: u32 = 19;
const COMPLETION_UNKNOWN: &str = "40003";
const READ_ONLY_TRANSACTION: &str = "25006";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_refusal_is_one() {
        for (code, refused) in [
            ("13", true),    // SQLITE_FULL
            ("787", true),   // SQLITE_CONSTRAINT_FOREIGNKEY
            ("5", true),     // SQLITE_BUSY
            ("1034", false), // SQLITE_IOERR_FSYNC
            ("23503", true), // foreign_key_violation
            ("40001", true), // serialization_failure
            ("40003", false),
            ("57P01", false), // admin_shutdown
            ("08006", false), // connection_failure
        ] {
            assert_eq!(refuses_commit(code), refused, "{code}");
        }
    }

    #[test]
    fn a_fault_that_passes_is_told_apart() {
        for (code, transient) in [
            ("1034", true),
            ("13", true),
            ("8", true),
            ("1811", false),
            ("57P03", true),
            ("53100", true),
            ("42P01", false),
        ] {
            assert_eq!(is_transient(code), transient, "{code}");
        }
    }
}
