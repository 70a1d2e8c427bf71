//! One record that the database refuses, among others in the same commit: who asked for it is refused, nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use keyward_tests::{Backend, Sql, TestKms, from, host_command, until};
use kms_client::wire::{data_key::GenerateDataKey, name::KeyName, problem::Code};
use serde_json::json;

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

/// Makes the database refuse every record of this key.
async fn refuse(backend: Backend, sql: &mut Sql, key: &KeyName) {
    let KeyName::Id(id) = key else { panic!("an id") };
    let id = id.uuid().simple();
    let trigger = match backend {
        Backend::Sqlite => format!(
            "CREATE TRIGGER poison BEFORE INSERT ON audit_records WHEN NEW.key_id = x'{id}'
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        ),
        Backend::Postgres => format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
             CREATE TRIGGER poison BEFORE INSERT ON audit_records FOR EACH ROW WHEN (NEW.key_id = '{id}')
             EXECUTE FUNCTION poison()"
        ),
    };
    sql.execute(&trigger).await;
}

async fn poison(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let poisoned = kms.usable_key("poisoned", "clinical").await;
    let mut sql = Sql::connect(&kms.config).await;
    refuse(backend, &mut sql, &poisoned).await;

    // Until both kinds have been asked for often, so that they share commits.
    let (good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let enough = || good.load(Ordering::SeqCst) >= 200 && bad.load(Ordering::SeqCst) >= 50;
    let clients: Vec<_> = (0..12).map(|_| kms.client("storage")).collect();
    let work = clients.iter().enumerate().map(async |(index, storage)| {
        while !enough() {
            if index % 4 == 0 {
                let refused = storage.generate_data_key(&generate(&poisoned)).await.unwrap_err();
                assert_eq!(refused.code(), Some(Code::AuditUnavailable), "{refused:?}");
                bad.fetch_add(1, Ordering::SeqCst);
            } else {
                storage.generate_data_key(&generate(&key)).await.expect("refused for somebody else's record");
                good.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    join_all(work).await;

    let gone = if backend == Backend::Sqlite { "DROP TRIGGER poison" } else { "DROP TRIGGER poison ON audit_records" };
    sql.execute(gone).await;
    sql.close().await;
    let storage = kms.client("storage");
    until(async || storage.generate_data_key(&generate(&poisoned)).await.ok()).await;
    let verified = host_command("verify-audit", &kms.folder().join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_is_refused_fails_alone_on_sqlite() {
    poison(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_is_refused_fails_alone_on_postgres() {
    poison(Backend::Postgres).await;
}
