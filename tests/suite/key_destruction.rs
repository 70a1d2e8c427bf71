//! The server killed at every step of a key's destruction, when its waiting period is over. What follows is the key that
//! still waits or the key that is destroyed, never half; and nothing else is gone.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _};

use hsm::ObjectId;
use keyward_tests::{Backend, Clocks, FakeTime, SIGKILL, Sql, StoppedKms, from, until};
use kms_client::wire::{
    data_key::{GenerateDataKey, UnwrapDataKey},
    key::{KeyState, VersionState},
    lifecycle::ScheduleDeletion,
    name::KeyName,
    problem::Code,
};
use kms_server::{
    model::{Clock as _, SystemClock},
    store::{HsmObjectState, Store},
};
use serde_json::json;

use crate::crash::{allowed, held, installation, nothing_left_over, whole};

/// The steps in their order, whether the destruction has happened when the server dies there, and how many of the key's two
/// objects the token then holds.
const STEPS: [(&str, bool, usize); 4] = [
    ("change.before_commit", false, 2),
    ("change.committed", true, 2),
    ("change.remembered", true, 2),
    ("object.destroyed", true, 1),
];

const WEEK_AND_A_DAY: i64 = 8 * 86_400;
/// Longer than another node's watch over a wait is respected.
const PAST_THE_WATCH: i64 = 600;

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

async fn live_objects(stopped: &StoppedKms) -> BTreeSet<ObjectId> {
    let store = Store::open_to_read(&stopped.config.database.database().unwrap()).await.unwrap();
    let live = store.read().await.unwrap().objects_in(HsmObjectState::Live).await.unwrap();
    store.close().await;
    live.into_iter().map(|live| live.object).collect()
}

/// Runs the real server until the wait is over by its clocks and the destruction kills it at `step`.
async fn killed(stopped: &StoppedKms, step: &str) {
    const SEEN: &str = "SELECT COALESCE(MAX(seen_at), 0) FROM deletion_watches";
    let ahead = stopped.clock.now().duration_since(SystemClock.now()).as_secs() + PAST_THE_WATCH;
    let time = FakeTime::new(stopped.folder(), Clocks::All);
    time.ahead_of_real(ahead);
    let mut sql = Sql::connect(&stopped.config).await;
    sql.database_ahead(ahead).await;
    let before = sql.number(SEEN).await;
    let mut command = stopped.command();
    command.env("KEYWARD_CRASH_AT", step);
    let mut server = time.start(stopped, command).await.unwrap();
    // From here on this server has seen the wait begin, and sees the rest of it pass.
    until(async || (sql.number(SEEN).await > before).then_some(())).await;
    sql.database_ahead(ahead + WEEK_AND_A_DAY).await;
    time.ahead_of_real(ahead + WEEK_AND_A_DAY);
    assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}: {}", server.log());
    // The clock of a server in this process is moved otherwise.
    sql.database_ahead(0).await;
    sql.close().await;
    let passed = u64::try_from(PAST_THE_WATCH + WEEK_AND_A_DAY).unwrap() + 60;
    stopped.clock.advance(std::time::Duration::from_secs(passed));
}

async fn every_step_of_destroy(backend: Backend) {
    let (mut stopped, kept) = installation(backend).await;
    for (index, (step, happened, left)) in STEPS.into_iter().enumerate() {
        let others = live_objects(&stopped).await;
        let kms = stopped.start_again().await.unwrap();
        let key = kms.usable_key(step, "clinical").await;
        let (ada, storage) = (kms.client("ada"), kms.client("storage"));
        let made = storage.generate_data_key(&generate(&key)).await.unwrap();
        let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
        ada.rotate_key(&key).await.unwrap();
        let reason = "past its retention".parse().unwrap();
        ada.schedule_key_deletion(&key, &ScheduleDeletion { reason, waiting_days: 7 }).await.unwrap();
        stopped = kms.stop().await;
        let objects: BTreeSet<_> = live_objects(&stopped).await.difference(&others).copied().collect();
        assert_eq!(objects.len(), 2, "{step}");

        killed(&stopped, step).await;
        whole(&stopped.config_file(), step).await;
        let holds = held(&stopped).await;
        assert_eq!(objects.intersection(&holds).count(), left, "{step}");
        assert!(others.is_subset(&holds), "{step}: another key's object is gone");

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        let (ada, storage) = (kms.client("ada"), kms.client("storage"));
        let found = ada.key(&key).await.unwrap().key;
        let refused = storage.unwrap_data_key(&unwrap).await.unwrap_err();
        if happened {
            assert_eq!((found.state, refused.code()), (KeyState::Destroyed, Some(Code::KeyDestroyed)), "{step}");
            assert!(found.versions.iter().all(|version| version.state == VersionState::Destroyed), "{step}");
            assert_eq!(allowed(&kms, "destroy_key").await, index, "{step}");
        } else {
            let waits = (KeyState::PendingDeletion, Some(Code::KeyPendingDeletion));
            assert_eq!((found.state, refused.code()), waits, "{step}");
            assert!(found.versions.iter().all(|version| version.state == VersionState::Enabled), "{step}");
            assert_eq!(allowed(&kms, "destroy_key").await, index, "{step}");
            // It was not destroyed, so it can be had back, and works.
            ada.cancel_key_deletion(&key).await.unwrap();
            ada.enable_key(&key).await.unwrap();
            storage.unwrap_data_key(&unwrap).await.unwrap();
        }
        let mut sql = Sql::connect(&kms.config).await;
        let rows = if happened { others.len() } else { others.len() + 2 };
        until(async || {
            (sql.number("SELECT COUNT(*) FROM hsm_objects").await == i64::try_from(rows).unwrap()).then_some(())
        })
        .await;
        sql.close().await;
        storage.generate_data_key(&generate(&kept)).await.unwrap();
        whole(&kms.folder().join("kms.toml"), step).await;
        stopped = kms.stop().await;
        nothing_left_over(&stopped, step).await;
        assert_eq!(objects.is_subset(&held(&stopped).await), !happened, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_destroy_on_sqlite() {
    every_step_of_destroy(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_destroy_on_postgres() {
    every_step_of_destroy(Backend::Postgres).await;
}
