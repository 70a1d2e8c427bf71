//! A connection of the test's own to the database, past the server: for looking, and for tampering.

use std::path::{Path, PathBuf};

use kms_server::config::Config;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, SqliteConnection,
    postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

/// A connection to either database.
#[derive(Debug)]
pub enum Sql {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

impl Sql {
    /// Connects to the database that a configuration names.
    pub async fn connect(config: &Config) -> Self {
        match (&config.database.sqlite, &config.database.postgres_url_file) {
            (Some(path), None) => Self::Sqlite(SqliteConnectOptions::new().filename(path).connect().await.unwrap()),
            (None, Some(file)) => {
                let url = std::fs::read_to_string(file).unwrap();
                Self::Postgres(PgConnection::connect(url.trim()).await.unwrap())
            }
            database => panic!("not one database: {database:?}"),
        }
    }

    /// Runs statements, and answers how many rows they touched.
    pub async fn execute(&mut self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.unwrap().rows_affected(),
            Self::Postgres(connection) => connection.execute(sql).await.unwrap().rows_affected(),
        }
    }

    /// Moves the clock of a PostgreSQL database, as new connections see it, by so many seconds ahead of the server's. SQLite
    /// has no clock.
    pub async fn database_ahead(&mut self, seconds: i64) {
        let Self::Postgres(connection) = self else { return };
        let name: String =
            sqlx::query_scalar("SELECT current_database()::TEXT").fetch_one(&mut *connection).await.unwrap();
        // Found before the catalogue's own by whoever looks there.
        for statement in [
            "CREATE SCHEMA IF NOT EXISTS moved".to_owned(),
            "CREATE TABLE IF NOT EXISTS moved.ahead (seconds BIGINT NOT NULL)".to_owned(),
            "CREATE OR REPLACE FUNCTION moved.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE AS \
             'SELECT pg_catalog.clock_timestamp() + make_interval(secs => (SELECT COALESCE(MAX(seconds), 0) FROM moved.ahead))'"
                .to_owned(),
            "DELETE FROM moved.ahead".to_owned(),
            format!("INSERT INTO moved.ahead VALUES ({seconds})"),
            format!("ALTER DATABASE {name} SET search_path = public, moved, pg_catalog"),
        ] {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
    }

    /// The number that a statement answers.
    pub async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await.unwrap(),
        }
    }

    /// The bytes that a statement answers, a row each.
    pub async fn bytes(&mut self, sql: &str) -> Vec<Vec<u8>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_all(connection).await.unwrap(),
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_all(connection).await.unwrap(),
        }
    }

    /// Closes the connection; on SQLite the last to close moves what the log holds into the file.
    pub async fn close(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

/// The files of an SQLite database: itself, its log and the index of that.
pub fn sqlite_files(config: &Config) -> Vec<PathBuf> {
    let path = config.database.sqlite.as_deref().unwrap();
    ["", "-wal", "-shm"].iter().map(|end| with_end(path, end)).filter(|path| path.exists()).collect()
}

/// Copies an SQLite database that nobody has open into a folder.
pub fn copy_sqlite(config: &Config, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for file in sqlite_files(config) {
        std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
}

/// Puts such a copy in place of the database.
pub fn put_back_sqlite(config: &Config, folder: &Path) {
    let files = sqlite_files(config);
    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    let place = config.database.sqlite.as_deref().unwrap().parent().unwrap();
    for copy in std::fs::read_dir(folder).unwrap() {
        let copy = copy.unwrap();
        std::fs::copy(copy.path(), place.join(copy.file_name())).unwrap();
    }
}

/// Copies a database that nobody has open: into a folder, or on its server.
pub async fn copy_database(config: &Config, folder: &Path) {
    if config.database.sqlite.is_some() {
        return copy_sqlite(config, folder);
    }
    let (mut server, name) = beside(config).await;
    server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}_copy TEMPLATE {name}"))).await.unwrap();
    server.close().await.unwrap();
}

/// Puts such a copy in place of the database.
pub async fn put_back_database(config: &Config, folder: &Path) {
    if config.database.sqlite.is_some() {
        return put_back_sqlite(config, folder);
    }
    let (mut server, name) = beside(config).await;
    server.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await.unwrap();
    server.execute(AssertSqlSafe(format!("ALTER DATABASE {name}_copy RENAME TO {name}"))).await.unwrap();
    server.close().await.unwrap();
}

/// A connection to the server that is none to the configuration's database, and that one's name.
async fn beside(config: &Config) -> (PgConnection, String) {
    let url = std::fs::read_to_string(config.database.postgres_url_file.as_deref().unwrap()).unwrap();
    let options: PgConnectOptions = url.trim().parse().unwrap();
    let name = options.get_database().unwrap().to_owned();
    (options.database("postgres").connect().await.unwrap(), name)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}
