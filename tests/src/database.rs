//! A database for each test.

use std::{env, path::Path};

use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::kms::write_secret;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded one.
    Sqlite,
    /// The server of `KEYWARD_TEST_POSTGRES`.
    Postgres,
}

impl Backend {
    /// The `[database]` section for a fresh database; what it needs lies in `folder`.
    pub async fn section(self, folder: &Path) -> String {
        match self {
            Self::Sqlite => "sqlite = \"database/keyward.sqlite\"".to_owned(),
            Self::Postgres => {
                let file = folder.join("postgres-url");
                write_secret(&file, &create_postgres().await);
                "postgres_url_file = \"postgres-url\"\nsingle = true".to_owned()
            }
        }
    }
}

/// Makes a database and answers its URL. It goes when the server of the test run goes.
async fn create_postgres() -> String {
    let server = env::var("KEYWARD_TEST_POSTGRES").expect("KEYWARD_TEST_POSTGRES: run the tests by tests/run.sh");
    let name = format!("keyward_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    connection.close().await.unwrap();
    let (address, parameters) = server.split_once('?').map_or((server.as_str(), ""), |(a, p)| (a, p));
    let base = match address.strip_prefix("postgres://").and_then(|rest| rest.split_once('/')) {
        Some((host, _)) => format!("postgres://{host}"),
        None => address.to_owned(),
    };
    if parameters.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{parameters}") }
}
