//! Keys that get new versions by themselves, and keys that come to their end: no earlier than a waiting period that was
//! really observed, and then for ever.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use hsm::ObjectClass;
use keyward_tests::{Backend, Sql, TestKms, copy_sqlite, from, host_command, put_back_sqlite, until};
use kms_client::{
    format::record::{Outcome, Record, Surface},
    id::KeyId,
    wire::{
        audit::AuditSearch,
        data_key::{GenerateDataKey, UnwrapDataKey},
        key::{Key, KeyState, VersionState},
        lifecycle::{KeyUsageQuery, ScheduleDeletion},
        name::{KeyName, Reason},
        problem::Code,
    },
};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_hours(24);

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

fn reason() -> Reason {
    "past its retention".parse().unwrap()
}

async fn described(kms: &TestKms, key: &KeyName) -> Key {
    kms.client("ada").key(key).await.unwrap().key
}

async fn set_rotation(kms: &TestKms, key: &KeyName, rotation: Value) {
    kms.client("ada").update_key(key, &from(json!({ "rotation": rotation }))).await.unwrap();
}

/// Waits until the key has this primary version.
async fn rotated(kms: &TestKms, key: &KeyName, version: u32) -> Key {
    until(async || Some(described(kms, key).await).filter(|key| key.primary_version.number() == version)).await
}

/// The records of what the server did by itself.
async fn own_records(kms: &TestKms, action: &str) -> Vec<Record> {
    let search = AuditSearch { action: Some(action.parse().unwrap()), limit: Some(1000), ..AuditSearch::default() };
    let found = kms.client("audrey").search_audit(&search).await.unwrap().records;
    found.into_iter().map(|view| view.record).filter(|record| record.surface == Surface::System).collect()
}

fn id(key: &KeyName) -> KeyId {
    match key {
        KeyName::Id(id) => *id,
        KeyName::Alias(alias) => panic!("{alias} is no id"),
    }
}

async fn rotation_by_age(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let untouched = kms.usable_key("others", "clinical").await;
    let old = kms.client("storage").generate_data_key(&generate(&key)).await.unwrap();
    set_rotation(&kms, &key, json!({ "period_days": 30 })).await;
    let due = described(&kms, &key).await.rotates_at.unwrap();

    kms.advance(29 * DAY).await;
    kms.server.service.rotate_due().await.unwrap();
    assert_eq!(described(&kms, &key).await.primary_version.number(), 1);

    kms.advance(2 * DAY).await;
    let now = rotated(&kms, &key, 2).await;
    assert!(now.rotates_at.unwrap() > due);
    assert_eq!(described(&kms, &untouched).await.primary_version.number(), 1);
    let storage = kms.client("storage");
    assert_eq!(storage.generate_data_key(&generate(&key)).await.unwrap().version.number(), 2);
    let unwrap = UnwrapDataKey { wrapped: old.wrapped, context: from(json!({})) };
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap().version.number(), 1);

    let records = own_records(&kms, "rotate_key").await;
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    assert_eq!((record.principal, record.key, record.key_version), (None, Some(id(&key)), Some(now.primary_version)));
    assert_eq!(record.outcome, Outcome::Allowed);
    let detail: Value = serde_json::from_str(record.detail.as_ref().unwrap()).unwrap();
    assert_eq!(detail["operation"]["cause"], "age", "{detail}");

    // What is not in use is not rotated until it is.
    kms.client("ada").disable_key(&key, reason()).await.unwrap();
    kms.advance(31 * DAY).await;
    kms.server.service.rotate_due().await.unwrap();
    assert_eq!(described(&kms, &key).await.primary_version.number(), 2);
    kms.client("ada").enable_key(&key).await.unwrap();
    kms.advance(Duration::from_mins(2)).await;
    rotated(&kms, &key, 3).await;
    kms.stop().await;
}

/// Wraps by many clients at once, across restarts: no version wraps more often than it may, and nothing else is refused.
async fn rotation_by_wraps(backend: Backend) {
    const MOST: u32 = 50;
    let mut kms = TestKms::start_with(backend, false, "").await.stop().await;
    kms.config.key_store.wrap_block = 7.try_into().unwrap();
    let mut kms = kms.start_again().await.unwrap();
    let key = kms.usable_key("records", "clinical").await;
    set_rotation(&kms, &key, json!({ "max_wraps": MOST })).await;
    let mut wraps: BTreeMap<u32, u32> = BTreeMap::new();
    for _ in 0..3 {
        let clients: Vec<_> = (0..8).map(|_| kms.client("storage")).collect();
        let work = clients.iter().map(async |storage| {
            let mut made = Vec::new();
            while made.len() < 20 {
                match storage.generate_data_key(&generate(&key)).await {
                    Ok(generated) => made.push((generated.version.number(), generated.wrapped)),
                    Err(refused) => assert_eq!(refused.code(), Some(Code::RotationPending), "{refused:?}"),
                }
            }
            made
        });
        for (version, wrapped) in join_all(work).await.into_iter().flatten() {
            *wraps.entry(version).or_default() += 1;
            if wraps[&version] == 1 {
                let unwrap = UnwrapDataKey { wrapped, context: from(json!({})) };
                assert_eq!(kms.client("storage").unwrap_data_key(&unwrap).await.unwrap().version.number(), version);
            }
        }
        kms = kms.restart().await;
    }
    assert_eq!(wraps.values().sum::<u32>(), 3 * 8 * 20);
    assert!(wraps.len() > 9, "{wraps:?}");
    assert!(wraps.values().all(|wraps| *wraps <= MOST), "{wraps:?}");
    let usage = kms.client("ada").key_usage(&key, KeyUsageQuery::default()).await.unwrap();
    for version in &usage.versions {
        let made = wraps.get(&version.version.number()).copied().unwrap_or(0);
        assert!((made..=MOST).contains(&version.wraps_reserved), "{version:?}, {made} made");
    }
    let records = own_records(&kms, "rotate_key").await;
    assert!(records.iter().all(|record| record.detail.as_ref().unwrap().contains(r#""cause":"wraps""#)));
    assert_eq!(records.len() + 1, described(&kms, &key).await.versions.len());
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_that_cannot_be_are_refused() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let ada = kms.client("ada");
    for rotation in [
        json!({ "period_days": 0 }),
        json!({ "period_days": 3651 }),
        json!({ "max_wraps": 0 }),
        json!({ "max_wraps": 2_147_483_649_u64 }),
    ] {
        let refused =
            ada.create_key(&from(json!({ "data_class": "clinical", "rotation": rotation }))).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::InvalidRequest), "{rotation}: {refused:?}");
    }
    kms.stop().await;
}

/// After an older database was accepted nobody knows how often its versions have wrapped, so each gets a successor first.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_database_rotates_what_it_has_lost_count_of() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let old = kms.client("storage").generate_data_key(&generate(&key)).await.unwrap();
    let stopped = kms.stop().await;
    let copy = stopped.folder().join("copy");
    copy_sqlite(&stopped.config, &copy);
    let kms = stopped.start_again().await.unwrap();
    kms.usable_key("later", "clinical").await;
    let stopped = kms.stop().await;
    put_back_sqlite(&stopped.config, &copy);
    let accepted = host_command("accept-database", &stopped.config_file(), &["--reason", "restored"]).await;
    assert!(accepted.status.success(), "{accepted:?}");

    let kms = stopped.start_again().await.unwrap();
    let storage = kms.client("storage");
    let version = until(async || match storage.generate_data_key(&generate(&key)).await {
        Ok(generated) => Some(generated.version.number()),
        Err(refused) => {
            assert_eq!(refused.code(), Some(Code::RotationPending), "{refused:?}");
            None
        }
    });
    assert_eq!(version.await, 2, "the first version must not wrap any more");
    let unwrap = UnwrapDataKey { wrapped: old.wrapped, context: from(json!({})) };
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap().version.number(), 1);
    let records = own_records(&kms, "rotate_key").await;
    assert!(records.iter().all(|record| record.detail.as_ref().unwrap().contains(r#""cause":"restored""#)));
    kms.stop().await;
}

/// A key on its way to its destruction, and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_can_be_cancelled() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    for days in [0, 6, 31, 65_535] {
        let refused = ada
            .schedule_key_deletion(&key, &ScheduleDeletion { reason: reason(), waiting_days: days })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some(Code::InvalidRequest), "{days}: {refused:?}");
    }
    let not_scheduled = ada.cancel_key_deletion(&key).await.unwrap_err();
    assert_eq!(not_scheduled.code(), Some(Code::InvalidState));

    let scheduled = ada.schedule_key_deletion(&key, &ScheduleDeletion::new(reason())).await.unwrap().key;
    assert_eq!((scheduled.state, scheduled.reason), (KeyState::PendingDeletion, Some(reason())));
    let deletion = scheduled.deletion.unwrap();
    assert_eq!(deletion.waiting_days, 30);
    assert_eq!(deletion.due_at.duration_since(deletion.scheduled_at).as_hours(), 30 * 24);
    for refused in [
        storage.unwrap_data_key(&unwrap).await.map(drop).unwrap_err(),
        storage.generate_data_key(&generate(&key)).await.map(drop).unwrap_err(),
        ada.rotate_key(&key).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.code(), Some(Code::KeyPendingDeletion), "{refused:?}");
    }
    let twice = ada.schedule_key_deletion(&key, &ScheduleDeletion::new(reason())).await.unwrap_err();
    assert_eq!(twice.code(), Some(Code::InvalidState));

    let kept = ada.cancel_key_deletion(&key).await.unwrap().key;
    assert_eq!((kept.state, kept.deletion, kept.reason), (KeyState::Disabled, None, None));
    ada.enable_key(&key).await.unwrap();
    storage.unwrap_data_key(&unwrap).await.unwrap();

    // What was revoked is no more after the detour than before.
    ada.revoke_key(&key, "stolen".parse().unwrap()).await.unwrap();
    ada.schedule_key_deletion(&key, &ScheduleDeletion::new(reason())).await.unwrap();
    let kept = ada.cancel_key_deletion(&key).await.unwrap().key;
    assert_eq!(kept.state, KeyState::Revoked);
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap_err().code(), Some(Code::KeyRevoked));
    kms.stop().await;
}

/// Who used a key is shown before it is destroyed.
async fn usage(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let other = kms.usable_key("others", "clinical").await;
    let storage = kms.client("storage");
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    storage.generate_data_key(&generate(&other)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    for _ in 0..3 {
        storage.unwrap_data_key(&unwrap).await.unwrap();
    }
    kms.client("stranger").unwrap_data_key(&unwrap).await.unwrap_err();
    let uses = |days| {
        let ada = kms.client("ada");
        let key = key.clone();
        async move {
            let usage = ada.key_usage(&key, KeyUsageQuery { days }).await.unwrap();
            let versions: Vec<_> = usage.versions.iter().map(|version| version.version.number()).collect();
            assert_eq!(versions, [1]);
            usage
                .uses
                .iter()
                .map(|used| (used.name.clone().unwrap().to_string(), used.action.to_string(), used.count))
                .collect::<Vec<_>>()
        }
    };
    let expected = |action: &str, count| ("storage".to_owned(), action.to_owned(), count);
    assert_eq!(uses(None).await, [expected("unwrap", 3), expected("generate", 1)]);
    kms.advance(10 * DAY).await;
    assert_eq!(uses(Some(9)).await, []);
    assert_eq!(uses(Some(11)).await.len(), 2);
    kms.stop().await;
}

/// Lets time pass, and the server take note of it.
async fn wait(kms: &TestKms, time: Duration) {
    kms.server.service.destroy_due().await.unwrap();
    kms.advance(time).await;
    kms.server.service.destroy_due().await.unwrap();
}

async fn destroyed_after_the_wait(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let storage = kms.client("storage");
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    kms.client("ada").rotate_key(&key).await.unwrap();
    let week = ScheduleDeletion { reason: reason(), waiting_days: 7 };
    kms.client("ada").schedule_key_deletion(&key, &week).await.unwrap();

    // A clock that jumps is no time that passes, also across a restart.
    wait(&kms, DAY).await;
    kms.clock.jump(30 * 86_400_000);
    let kms = kms.restart().await;
    wait(&kms, DAY).await;
    assert_eq!(described(&kms, &key).await.state, KeyState::PendingDeletion);
    // Nor is time in which no server ran.
    let stopped = kms.stop().await;
    stopped.clock.advance(20 * DAY);
    let kms = stopped.start_again().await.unwrap();
    wait(&kms, DAY).await;
    wait(&kms, 3 * DAY).await;
    assert_eq!(described(&kms, &key).await.state, KeyState::PendingDeletion);

    // The rest of it is waited for, and the server acts by itself.
    kms.advance(2 * DAY).await;
    let gone = until(async || Some(described(&kms, &key).await).filter(|key| key.state == KeyState::Destroyed)).await;
    assert!(
        gone.destroyed_at.is_some() && gone.versions.iter().all(|version| version.state == VersionState::Destroyed)
    );
    let refused = kms.client("storage").unwrap_data_key(&unwrap).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::KeyDestroyed));
    for refused in [
        kms.client("ada").cancel_key_deletion(&key).await.unwrap_err(),
        kms.client("ada").enable_key(&key).await.unwrap_err(),
        kms.client("ada").revoke_key(&key, reason()).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Some(Code::InvalidState), "{refused:?}");
    }
    let again = from(json!({ "data_class": "clinical", "alias": "records" }));
    let twice = kms.client("ada").create_key(&again).await.unwrap_err();
    assert_eq!(twice.code(), Some(Code::AlreadyExists), "names are never used again");
    let records = own_records(&kms, "destroy_key").await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((records[0].key, records[0].outcome), (Some(id(&key)), Outcome::Allowed));

    // Two system objects are left; the key's two are gone.
    let mut sql = Sql::connect(&kms.config).await;
    until(async || (sql.number("SELECT COUNT(*) FROM hsm_objects").await == 0).then_some(())).await;
    assert_eq!(sql.number("SELECT COUNT(*) FROM deletion_watches").await, 0);
    sql.close().await;
    let stopped = kms.stop().await;
    let held = stopped.hsm().await.objects().await.unwrap();
    assert_eq!(held.iter().filter(|object| object.class == ObjectClass::SecretKey).count(), 1, "{held:?}");
    stopped.start_again().await.unwrap().stop().await;
}

/// Whoever writes into the database cannot make a key wait any shorter.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_watch_makes_the_wait_longer() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let week = ScheduleDeletion { reason: reason(), waiting_days: 7 };
    kms.client("ada").schedule_key_deletion(&key, &week).await.unwrap();
    wait(&kms, 6 * DAY).await;
    let mut sql = Sql::connect(&kms.config).await;
    let edited = format!("UPDATE deletion_watches SET observed = {}", 30 * DAY.as_micros());
    assert_eq!(sql.execute(&edited).await, 1);
    wait(&kms, 6 * DAY).await;
    assert_eq!(described(&kms, &key).await.state, KeyState::PendingDeletion, "the edit was believed");
    assert!(sql.number("SELECT observed FROM deletion_watches").await < i64::try_from((7 * DAY).as_micros()).unwrap());
    wait(&kms, 2 * DAY).await;
    until(async || (described(&kms, &key).await.state == KeyState::Destroyed).then_some(())).await;
    kms.stop().await;
}

on_both! {
    rotation_by_age: rotation_by_age_on_sqlite, rotation_by_age_on_postgres;
    rotation_by_wraps: rotation_by_wraps_on_sqlite, rotation_by_wraps_on_postgres;
    usage: usage_on_sqlite, usage_on_postgres;
    destroyed_after_the_wait: destroyed_after_the_wait_on_sqlite, destroyed_after_the_wait_on_postgres;
}
