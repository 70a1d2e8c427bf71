//! The server killed at every step of creating and of rotating a key, and in the middle of its work. What follows is the
//! state before or after, never half; nothing acknowledged is lost; no object is left over, and none destroyed that the
//! server does not know.

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use hsm::{ObjectClass, ObjectId};
use keyward_tests::{Backend, SIGKILL, StoppedKms, TestKms, from, host_command};
use kms_client::{
    client::{self, Client},
    format::record::Outcome,
    id::RecordId,
    wire::{
        audit::AuditSearch,
        change::ChangeQuery,
        data_key::{GenerateDataKey, UnwrapDataKey},
        key::{KeyChanged, KeyState},
        name::KeyName,
        problem::Code,
    },
};
use kms_server::store::{HsmObjectState, Store};
use serde_json::json;

/// The steps, in their order, and whether the change has happened when the server dies there.
const STEPS: [(&str, bool); 5] = [
    ("object.row", false),
    ("object.made", false),
    ("change.before_commit", false),
    ("change.committed", true),
    ("change.remembered", true),
];

/// An object in the token that no installation made.
const FOREIGN: ObjectId = ObjectId::new([0xf0; ObjectId::LEN]);

/// An installation with a key in use, and an object in its token that is somebody else's.
pub(crate) async fn installation(backend: Backend) -> (StoppedKms, KeyName) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    stopped.hsm().await.create_key(FOREIGN, "somebody else's").await.unwrap();
    (stopped, key)
}

async fn create(ada: &Client, alias: &str) -> client::Result<KeyChanged> {
    ada.create_key(&from(json!({ "alias": alias, "data_class": "clinical" }))).await
}

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key, "context": { "patient": "4711" } }))
}

/// Runs the real server until `change` kills it at `step`. Answers what it acknowledged before.
async fn killed(
    stopped: &StoppedKms,
    step: &str,
    key: &KeyName,
    change: impl AsyncFnOnce(&Client) -> client::Result<KeyChanged>,
) -> (UnwrapDataKey, RecordId) {
    let mut server = stopped.process(Some(step)).await.unwrap();
    let made = server.client(&stopped.token("storage")).generate_data_key(&generate(key)).await.unwrap();
    let lost = change(&server.client(&stopped.token("ada"))).await.unwrap_err();
    assert!(matches!(lost, client::Error::Transport { .. }), "{step}: {lost:?}\n{}", server.log());
    assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}: is it built with the feature `crash-points`?");
    (UnwrapDataKey { wrapped: made.wrapped, context: from(json!({ "patient": "4711" })) }, made.record)
}

/// Verifies the log from outside.
pub(crate) async fn whole(stopped_or_running: &std::path::Path, when: &str) {
    let verified = host_command("verify-audit", stopped_or_running, &[]).await;
    assert!(verified.status.success(), "{when}: {verified:?}");
    assert!(verified.out.lines().count() > 0, "{when}: {verified:?}");
    assert!(verified.out.lines().all(|line| line.ends_with("whole")), "{when}: {verified:?}");
}

/// How many records say that this was allowed.
pub(crate) async fn allowed(kms: &TestKms, action: &str) -> usize {
    let search = AuditSearch {
        action: Some(action.parse().unwrap()),
        outcome: Some(Outcome::Allowed),
        limit: Some(1000),
        ..AuditSearch::default()
    };
    let found = kms.client("audrey").search_audit(&search).await.unwrap();
    let changes: BTreeSet<_> = found.records.iter().map(|view| view.record.change.unwrap()).collect();
    assert_eq!(changes.len(), found.records.len(), "a change has more than one record");
    found.records.len()
}

/// The token holds what the database says is in use, what the installation stands on, and the stranger's object.
pub(crate) async fn nothing_left_over(stopped: &StoppedKms, step: &str) {
    let store = Store::open_to_read(&stopped.config.database.database().unwrap()).await.unwrap();
    let mut tx = store.read().await.unwrap();
    let roots = tx.roots().await.unwrap().unwrap();
    let mut expected = BTreeSet::from([roots.system_object, roots.audit_object, FOREIGN]);
    expected.extend(tx.objects_in(HsmObjectState::Live).await.unwrap().iter().map(|live| live.object));
    assert_eq!(tx.objects_in(HsmObjectState::Creating).await.unwrap(), [], "{step}");
    assert_eq!(tx.objects_in(HsmObjectState::Abandoned).await.unwrap(), [], "{step}");
    drop(tx);
    store.close().await;
    assert_eq!(held(stopped).await, expected, "{step}");
}

/// The keys that the token holds, whoever made them.
pub(crate) async fn held(stopped: &StoppedKms) -> BTreeSet<ObjectId> {
    let held = stopped.hsm().await.objects().await.unwrap();
    held.iter().filter(|object| object.class != ObjectClass::Data).map(|object| object.id.unwrap()).collect()
}

async fn every_step_of_create(backend: Backend) {
    let (mut stopped, key) = installation(backend).await;
    let mut created = 1;
    for (step, happened) in STEPS {
        let (unwrap, record) = killed(&stopped, step, &key, async |ada| create(ada, step).await).await;
        whole(&stopped.config_file(), step).await;

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        whole(&kms.folder().join("kms.toml"), step).await;
        let (ada, storage, audrey) = (kms.client("ada"), kms.client("storage"), kms.client("audrey"));
        assert_eq!(audrey.audit_record(record).await.unwrap().found.id, record, "{step}");
        storage.unwrap_data_key(&unwrap).await.unwrap();

        created += usize::from(happened);
        assert_eq!(allowed(&kms, "create_key").await, created, "{step}");
        let name = format!("alias/{step}").parse().unwrap();
        if happened {
            let found = ada.key(&name).await.unwrap().key;
            assert_eq!((found.state, found.versions.len()), (KeyState::Enabled, 1), "{step}");
            let again = create(&ada, step).await.unwrap_err();
            assert_eq!(again.code(), Some(Code::AlreadyExists), "{step}");
        } else {
            assert_eq!(ada.key(&name).await.unwrap_err().code(), Some(Code::NotFound), "{step}");
            create(&ada, step).await.unwrap();
            created += 1;
        }
        let wrapper = json!({ "principal": "storage", "role": "wrapper", "scope": { "key": name } });
        ada.create_binding(&from(wrapper)).await.unwrap();
        let made = storage.generate_data_key(&generate(&name)).await.unwrap();
        assert_eq!(made.version.number(), 1, "{step}");

        stopped = kms.stop().await;
        nothing_left_over(&stopped, step).await;
    }
}

async fn every_step_of_rotate(backend: Backend) {
    let (mut stopped, key) = installation(backend).await;
    let mut newest = 1;
    for (step, happened) in STEPS {
        let (unwrap, record) = killed(&stopped, step, &key, async |ada| ada.rotate_key(&key).await).await;
        whole(&stopped.config_file(), step).await;

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        whole(&kms.folder().join("kms.toml"), step).await;
        let (ada, storage, audrey) = (kms.client("ada"), kms.client("storage"), kms.client("audrey"));
        assert_eq!(audrey.audit_record(record).await.unwrap().found.id, record, "{step}");
        assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap().version.number(), newest, "{step}");

        newest += u32::from(happened);
        let found = ada.key(&key).await.unwrap().key;
        assert_eq!(found.primary_version.number(), newest, "{step}");
        assert_eq!(found.versions.len(), newest as usize, "{step}");
        assert_eq!(allowed(&kms, "rotate_key").await, newest as usize - 1, "{step}");
        let newer = storage.generate_data_key(&generate(&key)).await.unwrap();
        assert_eq!(newer.version.number(), newest, "{step}");
        if !happened {
            newest += 1;
            assert_eq!(ada.rotate_key(&key).await.unwrap().key.primary_version.number(), newest, "{step}");
        }
        assert_eq!(storage.generate_data_key(&generate(&key)).await.unwrap().version.number(), newest, "{step}");

        stopped = kms.stop().await;
        nothing_left_over(&stopped, step).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_create_on_sqlite() {
    every_step_of_create(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_create_on_postgres() {
    every_step_of_create(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_rotate_on_sqlite() {
    every_step_of_rotate(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_of_rotate_on_postgres() {
    every_step_of_rotate(Backend::Postgres).await;
}

/// `kill -9` while many clients work: each answer that any of them got has its record, and each change its revision.
async fn killed_at_work(backend: Backend) {
    const ENOUGH: usize = 300;
    let (stopped, key) = installation(backend).await;
    let mut server = Some(stopped.process(None).await.unwrap());
    let running = server.as_ref().unwrap();
    let answered = AtomicUsize::new(0);
    let acknowledged: Arc<Mutex<BTreeSet<RecordId>>> = Arc::default();
    let receipts = Mutex::new(Vec::new());

    let ada = running.client(&stopped.token("ada"));
    let rotations = async {
        while let Ok(changed) = ada.rotate_key(&key).await {
            acknowledged.lock().unwrap().insert(changed.record);
            receipts.lock().unwrap().push(changed.receipt);
        }
    };
    let clients: Vec<_> = (0..16).map(|_| running.client(&stopped.token("storage"))).collect();
    let (enough, mut reached) = tokio::sync::watch::channel(false);
    let work = clients.iter().map(async |storage| {
        while let Ok(made) = storage.generate_data_key(&generate(&key)).await {
            acknowledged.lock().unwrap().insert(made.record);
            if answered.fetch_add(1, Ordering::SeqCst) == ENOUGH {
                enough.send_replace(true);
            }
        }
    });
    let killer = async {
        reached.wait_for(|reached| *reached).await.unwrap();
        server.take().unwrap().kill().await;
    };
    tokio::join!(join_all(work), rotations, killer);

    whole(&stopped.config_file(), "killed").await;
    let kms = stopped.start_again().await.unwrap();
    kms.until_settled().await;
    whole(&kms.folder().join("kms.toml"), "started again").await;
    let audrey = kms.client("audrey");
    let mut missing = acknowledged.lock().unwrap().clone();
    assert!(missing.len() > ENOUGH);
    let mut cursor = None;
    loop {
        let search = AuditSearch { limit: Some(1000), cursor, ..AuditSearch::default() };
        let page = audrey.search_audit(&search).await.unwrap();
        page.records.iter().filter(|view| view.record.outcome == Outcome::Allowed).for_each(|view| {
            missing.remove(&view.id);
        });
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(missing, BTreeSet::new(), "acknowledged, and not in the log");
    let changes = audrey.list_changes(&ChangeQuery { limit: Some(1000), cursor: None }).await.unwrap().changes;
    let receipts = receipts.into_inner().unwrap();
    assert!(!receipts.is_empty());
    for receipt in receipts {
        assert!(changes.iter().any(|change| change.receipt == receipt), "{receipt:?}");
    }
    let stopped = kms.stop().await;
    nothing_left_over(&stopped, "at work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_work_on_sqlite() {
    killed_at_work(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_work_on_postgres() {
    killed_at_work(Backend::Postgres).await;
}
