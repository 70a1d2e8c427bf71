//! A transaction on either database, and `on!`, which runs one statement on whichever it is.

use jiff::Timestamp;
use sqlx::{Postgres, Sqlite, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::{CommitError, Error, column::to_time};

/// A transaction. Dropped without [`Tx::commit`], nothing of it happened.
///
/// After a statement that failed, was refused or was given up halfway, every further one answers [`Error::Broken`] and the
/// commit is refused: PostgreSQL would turn it into a rollback without a word, and SQLite sometimes has rolled back already.
#[derive(Debug)]
pub struct Tx<'c> {
    // INVARIANT: `inner` stands before `turn`, so that its rollback is under way before the next writer has its turn.
    inner: Inner<'c>,
    #[expect(dead_code, reason = "SQLite's writers take turns; held until the transaction ends")]
    turn: Option<OwnedMutexGuard<()>>,
    broken: bool,
}

#[derive(Debug)]
pub(super) enum Inner<'c> {
    Sqlite(Transaction<'c, Sqlite>),
    Postgres(Transaction<'c, Postgres>),
}

impl<'c> Tx<'c> {
    pub(super) fn sqlite(transaction: Transaction<'c, Sqlite>, turn: Option<OwnedMutexGuard<()>>) -> Self {
        Self { inner: Inner::Sqlite(transaction), turn, broken: false }
    }

    pub(super) fn postgres(transaction: Transaction<'c, Postgres>) -> Self {
        Self { inner: Inner::Postgres(transaction), turn: None, broken: false }
    }

    /// Makes everything of the transaction durable, or nothing.
    ///
    /// # Errors
    ///
    /// [`CommitError::Refused`] if nothing happened; [`CommitError::Unknown`] if the answer was lost.
    pub async fn commit(self) -> Result<(), CommitError> {
        if self.broken {
            return Err(CommitError::Refused(Error::Broken));
        }
        let committed = match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await,
            // A warning here, such as that the wait for a standby was given up, would mean "not durable"; sqlx only logs
            // notices, so looking for one belongs here once standbys are required.
            Inner::Postgres(transaction) => transaction.commit().await,
        };
        committed.map_err(CommitError::from_commit)
    }

    /// Ends the transaction without a trace.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]; nothing of the transaction happened all the same.
    pub async fn rollback(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(transaction) => transaction.rollback().await?,
            Inner::Postgres(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }

    /// Gives out the transaction for one statement, which leaves it broken unless [`Tx::mend`] hears of its success.
    pub(super) fn enter(&mut self) -> Result<&mut Inner<'c>, Error> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(Error::Broken);
        }
        Ok(&mut self.inner)
    }

    /// The time by the database server's clock; `None` where the database has no clock but this host's.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn time(&mut self) -> Result<Option<Timestamp>, Error> {
        const SQL: &str = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";
        let read = match self.enter()? {
            Inner::Sqlite(_) => Ok(None),
            Inner::Postgres(connection) => sqlx::query_scalar(SQL).fetch_one(&mut **connection).await.map(Some),
        };
        self.mend(read)?.map(|micros| to_time("clock_timestamp", micros)).transpose()
    }

    pub(super) fn mend<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.broken = result.is_err();
        result.map_err(Error::from)
    }
}

/// Runs one statement on either database: `on!(tx, all SQL, binds…)`. `execute` answers how many rows it touched, `all`,
/// `optional` and `one` answer rows of the type that is expected, `scalar` the first column of the one row.
macro_rules! on {
    ($tx:expr, execute $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::tx::on!(@run $tx, connection =>
            sqlx::query($sql)$(.bind($bind))*.execute(&mut **connection).await.map(|done| done.rows_affected()))
    };
    ($tx:expr, all $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::tx::on!(@run $tx, connection => sqlx::query_as($sql)$(.bind($bind))*.fetch_all(&mut **connection).await)
    };
    ($tx:expr, optional $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::tx::on!(@run $tx, connection =>
            sqlx::query_as($sql)$(.bind($bind))*.fetch_optional(&mut **connection).await)
    };
    ($tx:expr, scalar $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::tx::on!(@run $tx, connection =>
            sqlx::query_scalar($sql)$(.bind($bind))*.fetch_one(&mut **connection).await)
    };
    (@run $tx:expr, $connection:ident => $statement:expr) => {{
        let result = match $tx.enter()? {
            $crate::store::tx::Inner::Sqlite($connection) => $statement,
            $crate::store::tx::Inner::Postgres($connection) => $statement,
        };
        $tx.mend(result)
    }};
}
pub(super) use on;
