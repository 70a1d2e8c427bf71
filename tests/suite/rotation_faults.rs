//! An HSM that fails while a key must be rotated or destroyed: no version wraps more often than it may, a destroyed key is
//! destroyed for its callers at once, and what is left is done when the HSM is back.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use hsm::ObjectClass;
use keyward_tests::{Ask, Backend, Faults, Sql, TestKms, from, rv, until};
use kms_client::{
    format::record::Outcome,
    wire::{
        audit::AuditSearch,
        data_key::{GenerateDataKey, UnwrapDataKey},
        key::KeyState,
        lifecycle::ScheduleDeletion,
        name::KeyName,
        problem::Code,
    },
};
use serde_json::json;

use crate::hsm_faults::metric;

const MOST: u32 = 40;
/// Longer than any pause between two attempts, at the HSM or at a key that is due.
const A_WHILE: Duration = Duration::from_mins(2);

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

async fn installation() -> (TestKms, Faults, KeyName) {
    let (kms, faults) = TestKms::start_with_faults(Backend::Sqlite).await;
    let mut stopped = kms.stop().await;
    stopped.config.key_store.wrap_block = 7.try_into().unwrap();
    let kms = stopped.start_again().await.unwrap();
    let key = kms.usable_key("records", "clinical").await;
    (kms, faults, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_fails_under_load_holds_wraps_up_and_nothing_else() {
    let (kms, mut faults, key) = installation().await;
    let (ada, storage, audrey) = (kms.client("ada"), kms.client("storage"), kms.client("audrey"));
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    ada.update_key(&key, &from(json!({ "rotation": { "max_wraps": MOST } }))).await.unwrap();
    faults.fail("C_GenerateKey", rv::DEVICE_MEMORY);

    let wraps = Mutex::new(BTreeMap::from([(1, 1_u32)]));
    let (over, pending, unwrapped) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let clients: Vec<_> = (0..8).map(|_| kms.client("storage")).collect();
    let load = join_all(clients.iter().enumerate().map(async |(index, storage)| {
        while !over.load(Ordering::SeqCst) {
            if index % 2 == 0 {
                storage.unwrap_data_key(&unwrap).await.expect("unwraps are not concerned");
                unwrapped.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            match storage.generate_data_key(&generate(&key)).await {
                Ok(made) => *wraps.lock().unwrap().entry(made.version.number()).or_default() += 1,
                Err(refused) => {
                    assert_eq!(refused.code(), Some(Code::RotationPending), "{refused:?}");
                    pending.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }));
    let trouble = async {
        until(async || (pending.load(Ordering::SeqCst) >= 20).then_some(())).await;
        let before = unwrapped.load(Ordering::SeqCst);
        until(async || (unwrapped.load(Ordering::SeqCst) >= before + 50).then_some(())).await;
        let ask = Ask::new("POST", "/v1/data-keys/generate").token(&kms.token("storage")).json(json!({ "key": key }));
        let reply = kms.ask(&ask).await;
        assert_eq!((reply.status, reply.code().as_deref()), (503, Some("rotation_pending")));
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
        // What the server could not do by itself stands in the log, and in the metrics.
        let search = AuditSearch {
            action: Some("rotate_key".parse().unwrap()),
            outcome: Some(Outcome::Failed),
            ..AuditSearch::default()
        };
        let failed = until(async || audrey.search_audit(&search).await.unwrap().records.into_iter().next()).await;
        assert_eq!(failed.record.reason, "hsm_unavailable");
        assert!(metric(&kms, "keyward_rotations_failed_total{cause=\"wraps\"}").await >= 1.0);
        assert_eq!(ada.key(&key).await.unwrap().key.primary_version.number(), 1);

        faults.clear();
        kms.advance(A_WHILE).await;
        let beyond = || wraps.lock().unwrap().keys().last().copied() >= Some(3);
        until(async || beyond().then_some(())).await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, trouble);
    let wraps = wraps.into_inner().unwrap();
    assert!(wraps.values().all(|wraps| *wraps <= MOST), "{wraps:?}");
    let usage = ada.key_usage(&key, from(json!({}))).await.unwrap();
    assert!(usage.versions.iter().all(|version| version.wraps_reserved <= MOST), "{usage:?}");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_is_destroyed_while_its_objects_cannot_be() {
    let (kms, mut faults, key) = installation().await;
    let kept = kms.usable_key("kept", "clinical").await;
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    ada.rotate_key(&key).await.unwrap();
    let reason = "past its retention".parse().unwrap();
    ada.schedule_key_deletion(&key, &ScheduleDeletion { reason, waiting_days: 7 }).await.unwrap();
    kms.server.service.destroy_due().await.unwrap();
    faults.fail("C_DestroyObject", rv::DEVICE_ERROR);
    kms.advance(Duration::from_hours(8 * 24)).await;

    // The token of before is too old now, so everybody shows a new one.
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    until(async || (ada.key(&key).await.unwrap().key.state == KeyState::Destroyed).then_some(())).await;
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap_err().code(), Some(Code::KeyDestroyed));
    until(async || (faults.calls("C_DestroyObject") > 0).then_some(())).await;
    let mut sql = Sql::connect(&kms.config).await;
    assert_eq!(sql.number("SELECT COUNT(*) FROM hsm_objects").await, 3, "what the token still holds is noted");
    sql.close().await;

    // The HSM is back after a restart, and the rest is done by itself.
    let stopped = kms.stop().await;
    faults.clear();
    let kms = stopped.start_again().await.unwrap();
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    assert_eq!(ada.key(&key).await.unwrap().key.state, KeyState::Destroyed);
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap_err().code(), Some(Code::KeyDestroyed));
    until_noted(&kms, 1).await;

    // So it is without one.
    let another = kms.usable_key("another", "clinical").await;
    let ada = kms.client("ada");
    let week = ScheduleDeletion { reason: "past its retention".parse().unwrap(), waiting_days: 7 };
    ada.schedule_key_deletion(&another, &week).await.unwrap();
    kms.server.service.destroy_due().await.unwrap();
    faults.fail("C_DestroyObject", rv::DEVICE_ERROR);
    kms.advance(Duration::from_hours(8 * 24)).await;
    let ada = kms.client("ada");
    until(async || (ada.key(&another).await.unwrap().key.state == KeyState::Destroyed).then_some(())).await;
    faults.clear();
    kms.advance(A_WHILE).await;
    until_noted(&kms, 1).await;
    kms.client("storage").generate_data_key(&generate(&kept)).await.unwrap();
    let stopped = kms.stop().await;
    let held = stopped.hsm().await.objects().await.unwrap();
    let keys = held.iter().filter(|object| object.class == ObjectClass::SecretKey).count();
    assert_eq!(keys, 2, "the system key and the key that is kept");
}

/// Waits until so many objects of keys are noted.
async fn until_noted(kms: &TestKms, objects: i64) {
    let mut sql = Sql::connect(&kms.config).await;
    until(async || (sql.number("SELECT COUNT(*) FROM hsm_objects").await == objects).then_some(())).await;
    sql.close().await;
}
