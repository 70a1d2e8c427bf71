//! The server killed inside a commit of its log. No answer is left for a record that is not there; the chain is whole
//! afterwards, and the next node's follows it.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _, sync::Mutex};

use futures_util::future::join_all;
use keyward_tests::{Backend, SIGKILL, TestKms, from};
use kms_client::{
    client,
    format::record::Outcome,
    id::RecordId,
    wire::{audit::AuditSearch, data_key::GenerateDataKey, name::KeyName},
};
use serde_json::json;

use crate::crash::{allowed, installation, nothing_left_over, whole};

/// The steps, and whether the batch is in the log when the server dies there.
const STEPS: [(&str, bool); 2] = [("audit.before_commit", false), ("audit.committed", true)];

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

/// The records that say that data keys were generated.
async fn generated(kms: &TestKms) -> BTreeSet<RecordId> {
    let (audrey, mut found, mut cursor) = (kms.client("audrey"), BTreeSet::new(), None);
    loop {
        let action = Some("generate".parse().unwrap());
        let search = AuditSearch { action, limit: Some(1000), cursor, ..AuditSearch::default() };
        let page = audrey.search_audit(&search).await.unwrap();
        let records = page.records.iter().filter(|view| view.record.outcome == Outcome::Allowed);
        found.extend(records.map(|view| view.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

fn is_lost<T: std::fmt::Debug>(answer: client::Result<T>) -> bool {
    matches!(answer, Err(client::Error::Transport { .. }))
}

/// One operation, one batch: it is in the log or it is not, and has no answer either way.
async fn in_the_commit_of_one(backend: Backend) {
    let (mut stopped, key) = installation(backend).await;
    let (mut made, mut rotated) = (0, 0);
    for (step, written) in STEPS {
        let mut server = stopped.process(Some(step)).await.unwrap();
        let storage = server.client(&stopped.token("storage"));
        assert!(is_lost(storage.generate_data_key(&generate(&key)).await), "{step}");
        assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}: {}", server.log());
        whole(&stopped.config_file(), step).await;
        made += usize::from(written);

        // A change is a fact before its record is in the chain: the next node puts it there.
        let mut server = stopped.process(Some(step)).await.unwrap();
        assert!(is_lost(server.client(&stopped.token("ada")).rotate_key(&key).await), "{step}");
        assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}: {}", server.log());
        whole(&stopped.config_file(), step).await;
        rotated += 1;

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        whole(&kms.folder().join("kms.toml"), step).await;
        assert_eq!(generated(&kms).await.len(), made, "{step}");
        assert_eq!(allowed(&kms, "rotate_key").await, rotated, "{step}");
        let versions = kms.client("ada").key(&key).await.unwrap().key.versions.len();
        assert_eq!(versions, rotated + 1, "{step}");
        stopped = kms.stop().await;
        nothing_left_over(&stopped, step).await;
    }
}

/// Many operations at once, and the server dies in one of many batches: whoever got an answer has its record.
async fn in_the_commit_of_many(backend: Backend) {
    const CLIENTS: usize = 16;
    let (mut stopped, key) = installation(backend).await;
    let mut before = BTreeSet::new();
    for (step, _) in STEPS {
        let mut server = stopped.process(Some(&format!("{step}:20"))).await.unwrap();
        let acknowledged = Mutex::new(before);
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.client(&stopped.token("storage"))).collect();
        let work = clients.iter().map(async |storage| {
            loop {
                match storage.generate_data_key(&generate(&key)).await {
                    Ok(made) => acknowledged.lock().unwrap().insert(made.record),
                    lost => return assert!(is_lost(lost), "{step}"),
                };
            }
        });
        join_all(work).await;
        assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}: {}", server.log());
        whole(&stopped.config_file(), step).await;

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        whole(&kms.folder().join("kms.toml"), step).await;
        let (acknowledged, found) = (acknowledged.into_inner().unwrap(), generated(&kms).await);
        let missing: Vec<_> = acknowledged.difference(&found).collect();
        assert!(missing.is_empty(), "{step}: answered, and not in the log: {missing:?}");
        // What died with its answer was in flight.
        assert!(found.len() <= acknowledged.len() + CLIENTS, "{step}");
        before = found;
        stopped = kms.stop().await;
    }
}

on_both! {
    in_the_commit_of_one: killed_in_the_commit_of_one_on_sqlite, killed_in_the_commit_of_one_on_postgres;
    in_the_commit_of_many: killed_in_the_commit_of_many_on_sqlite, killed_in_the_commit_of_many_on_postgres;
}
