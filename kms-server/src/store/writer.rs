//! The audit writer's own connection. It is kept from batch to batch, so that no batch waits for a pool, and made anew after
//! a fault.

use std::fmt;

use sqlx::{PgConnection, SqliteConnection};

use super::{Error, Postgres, Store, Tx};

/// One connection, opened when it is needed.
pub struct Writer {
    store: Store,
    connection: Option<Connection>,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Writer {
    pub(super) fn new(store: Store) -> Self {
        Self { store, connection: None }
    }

    /// Begins a transaction that may write, as [`Store::begin`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::TimedOut`], [`Error::ReadOnly`].
    pub async fn begin(&mut self) -> Result<Tx<'_>, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.store).await?,
        };
        match (&self.store, self.connection.insert(connection)) {
            (Store::Sqlite(sqlite), Connection::Sqlite(connection)) => sqlite.begin_on(connection).await,
            (Store::Postgres(_), Connection::Postgres(connection)) => Postgres::begin_on(connection).await,
            (Store::Sqlite(_), Connection::Postgres(_)) | (Store::Postgres(_), Connection::Sqlite(_)) => {
                Err(Error::Broken)
            }
        }
    }

    /// Gives the connection up after a fault; the next transaction opens another.
    pub fn discard(&mut self) {
        self.connection = None;
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}

async fn connect(store: &Store) -> Result<Connection, Error> {
    match store {
        Store::Sqlite(sqlite) => sqlite.connect().await.map(Connection::Sqlite),
        Store::Postgres(postgres) => postgres.connect().await.map(Connection::Postgres),
    }
}
