//! The real server told to stop in the middle of changes: what it has begun it ends and answers, what it answered stays,
//! and it leaves in order.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use keyward_tests::{Backend, from, until};
use kms_client::wire::{change::ChangeQuery, data_key::GenerateDataKey};
use serde_json::json;

use crate::crash::{allowed, installation, nothing_left_over, whole};

async fn told_to_stop(backend: Backend) {
    let (stopped, key) = installation(backend).await;
    let mut server = stopped.process(None).await.unwrap();
    let (receipts, made) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let admins: Vec<_> = ["ada", "ben"].map(|name| server.client(&stopped.token(name))).into();
    let rotations = join_all(admins.iter().map(async |admin| {
        while let Ok(changed) = admin.rotate_key(&key).await {
            receipts.lock().unwrap().push(changed.receipt);
        }
    }));
    let storage = server.client(&stopped.token("storage"));
    let generate: GenerateDataKey = from(json!({ "key": key }));
    let work = async {
        while storage.generate_data_key(&generate).await.is_ok() {
            made.fetch_add(1, Ordering::SeqCst);
        }
    };
    let stop = async {
        until(async || (receipts.lock().unwrap().len() >= 5 && made.load(Ordering::SeqCst) >= 5).then_some(())).await;
        server.terminate().await;
    };
    tokio::join!(rotations, work, stop);
    assert!(server.ended().await.success(), "{}", server.log());
    whole(&stopped.config_file(), "told to stop").await;

    let kms = stopped.start_again().await.unwrap();
    let receipts = receipts.into_inner().unwrap();
    let changes = kms.client("audrey").list_changes(&ChangeQuery { limit: Some(1000), cursor: None }).await.unwrap();
    for receipt in &receipts {
        assert!(changes.changes.iter().any(|change| change.receipt == *receipt), "{receipt:?}");
    }
    let versions = kms.client("ada").key(&key).await.unwrap().key.versions.len();
    assert!(versions > receipts.len());
    assert_eq!(allowed(&kms, "rotate_key").await, versions - 1);
    let stopped = kms.stop().await;
    nothing_left_over(&stopped, "told to stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_in_the_middle_of_changes_on_sqlite() {
    told_to_stop(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_in_the_middle_of_changes_on_postgres() {
    told_to_stop(Backend::Postgres).await;
}
