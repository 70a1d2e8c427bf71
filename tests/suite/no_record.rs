//! No answer leaves without its record: while none can be written nothing is done, and what was done is on record in the end.

use keyward_tests::{Backend, Sql, TestKms, from, host_command};
use kms_client::{
    client,
    format::record::Outcome,
    wire::{audit::AuditSearch, batch::Batch, data_key::GenerateDataKey, key::KeyState, problem::Code},
};
use serde_json::json;

use crate::gate::{reason, wrapped};

/// The database takes no records, as if its disk were full for that table alone.
async fn close(sql: &mut Sql, table: &str) {
    match sql {
        Sql::Sqlite(_) => {
            let trigger = format!(
                "CREATE TRIGGER closed_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'closed'); END"
            );
            sql.execute(&trigger).await;
        }
        Sql::Postgres(_) => {
            sql.execute(&format!("ALTER TABLE {table} ADD CONSTRAINT closed_{table} CHECK (false) NOT VALID")).await;
        }
    }
}

async fn open(sql: &mut Sql, table: &str) {
    match sql {
        Sql::Sqlite(_) => sql.execute(&format!("DROP TRIGGER closed_{table}")).await,
        Sql::Postgres(_) => sql.execute(&format!("ALTER TABLE {table} DROP CONSTRAINT closed_{table}")).await,
    };
}

async fn no_record_no_answer(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, storage, audrey) = (kms.client("ada"), kms.client("storage"), kms.client("audrey"));
    let unwrap = wrapped(&storage, &key, 32).await;
    let generate: GenerateDataKey = from(json!({ "key": key }));
    let mut sql = Sql::connect(&kms.config).await;

    close(&mut sql, "audit_records").await;
    let refused = |result: client::Result<()>| result.unwrap_err().code();
    let unavailable = Some(Code::AuditUnavailable);
    assert_eq!(refused(storage.unwrap_data_key(&unwrap).await.map(drop)), unavailable);
    assert_eq!(refused(storage.generate_data_key(&generate).await.map(drop)), unavailable);
    assert_eq!(
        refused(storage.unwrap_data_keys(&Batch { items: vec![unwrap.clone(); 3] }).await.map(drop)),
        unavailable
    );
    assert_eq!(refused(ada.key(&key).await.map(drop)), unavailable);
    assert_eq!(refused(audrey.search_audit(&AuditSearch::default()).await.map(drop)), unavailable);
    // What is refused, or not even authenticated, says nothing either.
    assert_eq!(refused(kms.client("stranger").unwrap_data_key(&unwrap).await.map(drop)), unavailable);
    assert_eq!(refused(kms.client_with_token("no.real.token").whoami().await.map(drop)), unavailable);
    open(&mut sql, "audit_records").await;
    storage.unwrap_data_key(&unwrap).await.unwrap();

    // A change whose record cannot even be left as an intent does not happen.
    close(&mut sql, "audit_intents").await;
    let before = ada.key(&key).await.unwrap().key;
    let revision = kms.server.service.cluster().snapshot().revision;
    let error = ada.disable_key(&key, reason()).await.unwrap_err();
    assert!(error.code().is_some() && error.code() != Some(Code::OutcomeUnknown), "{error:?}");
    let error = ada.rotate_key(&key).await.unwrap_err();
    assert!(error.code().is_some() && error.code() != Some(Code::OutcomeUnknown), "{error:?}");
    assert_eq!(ada.key(&key).await.unwrap().key, before);
    assert_eq!(kms.server.service.cluster().snapshot().revision, revision);
    assert_eq!(sql.number("SELECT count(*) FROM hsm_objects WHERE state <> 'live'").await, 0);
    storage.unwrap_data_key(&unwrap).await.unwrap();
    open(&mut sql, "audit_intents").await;

    // One whose intent is durable did happen, and its record follows as soon as it can be written.
    close(&mut sql, "audit_records").await;
    let error = ada.disable_key(&key, reason()).await.unwrap_err();
    let change = error.unknown_change().unwrap_or_else(|| panic!("{error:?}"));
    open(&mut sql, "audit_records").await;
    let refused = storage.unwrap_data_key(&unwrap).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::KeyDisabled));
    assert_eq!(ada.key(&key).await.unwrap().key.state, KeyState::Disabled);
    let looked_up = ada.change(change).await.unwrap().change;
    assert_eq!(looked_up.kind, "disable_key");
    let disabled = AuditSearch { action: Some("disable_key".parse().unwrap()), ..AuditSearch::default() };
    let allowed = loop {
        // The writer comes back to it by itself, within a second.
        let found = audrey.search_audit(&disabled).await.unwrap().records;
        let allowed: Vec<_> = found.into_iter().filter(|view| view.record.outcome == Outcome::Allowed).collect();
        if !allowed.is_empty() {
            break allowed;
        }
    };
    assert_eq!(allowed.len(), 1);
    assert_eq!(allowed[0].record.change, Some(change));
    assert_eq!(sql.number("SELECT count(*) FROM audit_intents").await, 0);
    ada.enable_key(&key).await.unwrap();
    storage.unwrap_data_key(&unwrap).await.unwrap();
    sql.close().await;
    let verified = host_command("verify-audit", &kms.folder().join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    kms.stop().await.start_again().await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_there_is_no_answer_on_sqlite() {
    no_record_no_answer(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_there_is_no_answer_on_postgres() {
    no_record_no_answer(Backend::Postgres).await;
}
