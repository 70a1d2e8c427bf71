//! Opening a database, and what is refused there.

use std::os::unix::fs::PermissionsExt as _;

use kms_server::store::{Database, Error, SqliteLock, Store};

use super::{database::TestDatabase, on_both};

on_both!(
    a_reader_beside_a_server_reads_only,
    migrating_again_changes_nothing,
    a_newer_database_is_refused,
    a_closed_store_is_unavailable,
);

async fn a_reader_beside_a_server_reads_only(database: &TestDatabase) {
    let reader = Store::open_to_read(&database.database).await.unwrap();
    assert!(matches!(reader.begin().await, Err(Error::ReadOnly)));
    assert!(matches!(reader.migrate().await, Err(Error::ReadOnly)));
    assert!(matches!(reader.writer().begin().await, Err(Error::ReadOnly)));
    let mut tx = reader.read().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
    drop(tx);
    reader.close().await;
}

async fn migrating_again_changes_nothing(database: &TestDatabase) {
    const STEPS: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM _sqlx_migrations";
    let steps = database.ask(STEPS).await;
    assert_ne!(steps, "0");
    database.store.migrate().await.unwrap();
    database.store.migrate().await.unwrap();
    assert_eq!(database.ask(STEPS).await, steps);
}

async fn a_newer_database_is_refused(database: &TestDatabase) {
    database
        .meddle(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'from the future', success, checksum, execution_time FROM _sqlx_migrations \
             WHERE version = 1",
        )
        .await;
    assert!(matches!(database.store.migrate().await, Err(Error::Migration(_))));
}

async fn a_closed_store_is_unavailable(database: &TestDatabase) {
    let store = database.store.clone();
    store.close().await;
    assert!(matches!(store.begin().await, Err(Error::Unavailable(_))));
    assert!(matches!(store.read().await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone() {
    let TestDatabase { store, database, .. } = TestDatabase::sqlite().await;
    let second = Store::open(&database).await.unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    assert!(second.to_string().contains("in use by another process"));
    drop(store);
    Store::open(&database).await.unwrap();
}

#[tokio::test]
async fn a_lock_is_for_one() {
    let path = std::env::temp_dir().join(format!("keyward-lock-{}", std::process::id()));
    let lock = SqliteLock::take(&path).unwrap();
    assert!(matches!(SqliteLock::take(&path), Err(Error::InUse { .. })));
    drop(lock);
    SqliteLock::take(&path).unwrap();
    std::fs::remove_file(path.with_extension("lock")).unwrap();
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    let database = TestDatabase::sqlite().await;
    let path = database.path().unwrap();
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let modes: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.len() >= 2 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
    database.drop().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let path = std::env::temp_dir().join("keyward-no-such-folder").join("keyward.db");
    let error = Store::open(&Database::Sqlite { path: path.clone() }).await.unwrap_err();
    assert!(matches!(&error, Error::File { .. }), "{error}");
    assert!(Store::open_to_read(&Database::Sqlite { path: path.clone() }).await.is_err());
    assert!(!path.exists());

    let url = "not a url with a p4ssword".to_owned();
    let error = Store::open(&Database::Postgres { url: url.into(), connections: 1 }).await.unwrap_err();
    assert!(matches!(error, Error::InvalidUrl) && !format!("{error:?}").contains("p4ssword"));
}

#[tokio::test]
async fn commits_wait_for_the_disk_whatever_the_servers_default() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let name = database.ask("SELECT current_database()::TEXT").await;
    database.meddle(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    assert_eq!(database.ask("SHOW synchronous_commit").await, "off");
    let store = Store::open(&database.database).await.unwrap();
    store.close().await;
    database.drop().await;
}
