//! The embedded database: one file, one process. A commit is on disk before it is acknowledged (WAL, `synchronous=FULL`).

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Error, SqliteLock, Tx, is_of_others};

/// An open SQLite database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    reads: SqlitePool,
    /// `None` when the database was opened to read.
    writes: Option<Arc<Writes>>,
}

#[derive(Debug)]
struct Writes {
    options: SqliteConnectOptions,
    pool: SqlitePool,
    /// SQLite lets whoever waits for its lock poll for it, in no order. Here writers queue instead.
    turn: Arc<Mutex<()>>,
    #[expect(dead_code, reason = "held for as long as the database is open")]
    lock: SqliteLock,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if is_of_others(folder).map_err(|source| Error::File { path: path.to_owned(), source })? {
            return Err(Error::OnNetwork { path: path.to_owned() });
        }
        let lock = SqliteLock::take(path)?;
        make_private(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = pool(1).connect_with(options.clone()).await?;
        let reads = pool_to_read(&options).await?;
        let writes = Writes { options, pool, turn: Arc::default(), lock };
        Ok(Self { reads, writes: Some(Arc::new(writes)) })
    }

    pub(super) async fn open_to_read(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
        Ok(Self { reads: pool_to_read(&options).await?, writes: None })
    }

    pub(super) fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    pub(super) async fn migrate(&self) -> Result<(), Error> {
        let writes = self.writes()?;
        let _turn = writes.take_turn().await?;
        MIGRATIONS.run(&writes.pool).await.map_err(|error| Error::Migration(Box::new(error)))
    }

    pub(super) async fn begin(&self) -> Result<Tx<'static>, Error> {
        let writes = self.writes()?;
        let turn = writes.take_turn().await?;
        let transaction = writes.pool.begin_with(BEGIN_TO_WRITE).await?;
        Ok(Tx::sqlite(transaction, Some(turn)))
    }

    pub(super) async fn read(&self) -> Result<Tx<'static>, Error> {
        Ok(Tx::sqlite(self.reads.begin().await?, None))
    }

    pub(super) async fn connect(&self) -> Result<SqliteConnection, Error> {
        Ok(SqliteConnection::connect_with(&self.writes()?.options).await?)
    }

    /// As [`Sqlite::begin`], on a connection of the caller's.
    pub(super) async fn begin_on<'c>(&self, connection: &'c mut SqliteConnection) -> Result<Tx<'c>, Error> {
        let turn = self.writes()?.take_turn().await?;
        Ok(Tx::sqlite(connection.begin_with(BEGIN_TO_WRITE).await?, Some(turn)))
    }

    pub(super) async fn close(&self) {
        self.reads.close().await;
        if let Some(writes) = &self.writes {
            writes.pool.close().await;
        }
    }

    fn writes(&self) -> Result<&Arc<Writes>, Error> {
        self.writes.as_ref().ok_or(Error::ReadOnly)
    }
}

impl Writes {
    async fn take_turn(&self) -> Result<OwnedMutexGuard<()>, Error> {
        let turn = Arc::clone(&self.turn).lock_owned();
        tokio::time::timeout(TURN_TIMEOUT, turn).await.map_err(|_| Error::TimedOut)
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // Connections to a file of this host do not go stale.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TURN_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(is_fresh(connection)))
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Whether a transaction may begin. After some faults, a full disk among them, SQLite has rolled back by itself
/// (<https://sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction"). The driver's own ROLLBACK then
/// fails, and it believes for ever after that a transaction is open: such a connection is closed, and another takes its place.
async fn is_fresh(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may still be under way; this waits its turn.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

async fn pool_to_read(options: &SqliteConnectOptions) -> Result<SqlitePool, Error> {
    Ok(pool(READERS).connect_with(options.clone().pragma("query_only", "on")).await?)
}

/// Makes the file if it is not there, for its owner's eyes only; SQLite gives the files beside it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    // A file survives a power loss only once its folder is on disk too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

const BEGIN_TO_WRITE: &str = "BEGIN IMMEDIATE";
const READERS: u32 = 4;
/// How long a write waits for the one before it in this process.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement waits for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
