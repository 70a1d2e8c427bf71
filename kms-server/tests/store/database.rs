//! A database for each test, migrated, and a way into it that is not the store's.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;
use kms_server::store::{Database, Store};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};

pub(crate) struct TestDatabase {
    pub(crate) store: Store,
    pub(crate) database: Database,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Postgres { server: String, name: String },
}

impl TestDatabase {
    pub(crate) async fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(fresh_name());
        fs::create_dir(&folder).unwrap();
        let database = Database::Sqlite { path: folder.join("keyward.db") };
        Self::open(database, Place::Folder(folder)).await
    }

    /// `None` where the run is declared to be without PostgreSQL.
    pub(crate) async fn postgres() -> Option<Self> {
        let Some(server) = variable("KEYWARD_TEST_POSTGRES") else {
            assert!(
                variable("KEYWARD_TEST_SQLITE_ONLY").as_deref() == Some("1"),
                "set KEYWARD_TEST_POSTGRES to the URL of a server where databases may be made (`tests/run.sh` does), or \
                 KEYWARD_TEST_SQLITE_ONLY=1 to test on SQLite alone"
            );
            return None;
        };
        let name = fresh_name();
        command(&server, &format!("CREATE DATABASE {name}")).await;
        let database = Database::Postgres { url: url(&server, &name).into(), connections: 8 };
        Some(Self::open(database, Place::Postgres { server, name }).await)
    }

    async fn open(database: Database, place: Place) -> Self {
        let store = Store::open(&database).await.unwrap();
        store.migrate().await.unwrap();
        Self { store, database, place }
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn meddle(&self, sql: &str) -> u64 {
        match &self.place {
            Place::Folder(_) => self.meddle_with_sqlite(sql).await,
            Place::Postgres { server, name } => command(&url(server, name), sql).await,
        }
    }

    async fn meddle_with_sqlite(&self, sql: &str) -> u64 {
        let options = SqliteConnectOptions::new().filename(self.path().unwrap());
        let mut connection = options.connect().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }

    /// The first column of the first row.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let sql = AssertSqlSafe(sql);
        match &self.place {
            Place::Folder(_) => {
                let options = SqliteConnectOptions::new().filename(self.path().unwrap());
                let mut connection: SqliteConnection = options.connect().await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
            Place::Postgres { server, name } => {
                let mut connection = PgConnection::connect(&url(server, name)).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Postgres { .. })
    }

    /// The SQLite file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.join("keyward.db")),
            Place::Postgres { .. } => None,
        }
    }

    /// Only after success: what a failed test leaves can be looked at.
    pub(crate) async fn drop(self) {
        self.store.close().await;
        match self.place {
            Place::Folder(folder) => fs::remove_dir_all(folder).unwrap(),
            Place::Postgres { server, name } => {
                command(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
        }
    }
}

/// A moment as databases keep it, to the microsecond.
pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("keyward_store_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn command(url: &str, sql: &str) -> u64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// The URL of another database of the same server.
fn url(server: &str, name: &str) -> String {
    let (address, options) = server.split_once('?').unwrap_or((server, ""));
    let (host, _) = address.rsplit_once('/').unwrap();
    format!("{host}/{name}?{options}")
}

#[expect(clippy::disallowed_methods, reason = "where the test's server is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
