//! Many at once: 64 clients with keys rotated under them, and administrators in each other's way. Every answer is right and
//! has its one record; of changes that exclude each other one wins; revisions follow one another without a gap.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use hsm::ObjectClass;
use keyward_tests::{Backend, StoppedKms, TestKms, from, host_command};
use kms_client::{
    client::Client,
    format::record::Outcome,
    id::RecordId,
    wire::{
        audit::{AuditSearch, RecordView},
        change::{Change, ChangeQuery},
        data_key::{GenerateDataKey, RewrapDataKey, UnwrapDataKey},
        key::{KeyChanged, UpdateKey},
        name::KeyName,
        problem::Code,
    },
};
use serde_json::json;

const CLIENTS: usize = 64;

/// Generates a data key, unwraps it, has it wrapped again, unwraps that. Answers the records of it all.
async fn round(storage: &Client, key: &KeyName, patient: &str) -> [RecordId; 4] {
    let context = json!({ "patient": patient });
    let generate: GenerateDataKey = from(json!({ "key": key, "context": context }));
    let made = storage.generate_data_key(&generate).await.unwrap();
    let plaintext = made.plaintext.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped.clone(), context: from(context.clone()) };
    let opened = storage.unwrap_data_key(&unwrap).await.unwrap();
    assert_eq!(opened.plaintext.expose(), plaintext.expose());
    let rewrap = RewrapDataKey { wrapped: made.wrapped, context: from(context.clone()) };
    let rewrapped = storage.rewrap_data_key(&rewrap).await.unwrap();
    assert!(rewrapped.version >= made.version);
    assert_eq!((rewrapped.data_key, rewrapped.previous_version), (made.data_key, made.version));
    let unwrap = UnwrapDataKey { wrapped: rewrapped.wrapped, context: from(context) };
    let again = storage.unwrap_data_key(&unwrap).await.unwrap();
    assert_eq!((again.plaintext.expose(), again.data_key), (plaintext.expose(), made.data_key));
    [made.record, opened.record, rewrapped.record, again.record]
}

async fn all_records(audrey: &Client) -> Vec<RecordView> {
    let (mut records, mut cursor) = (Vec::new(), None);
    loop {
        let search = AuditSearch { limit: Some(1000), cursor, ..AuditSearch::default() };
        let page = audrey.search_audit(&search).await.unwrap();
        records.extend(page.records);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return records;
        }
    }
}

async fn changes(audrey: &Client) -> Vec<Change> {
    audrey.list_changes(&ChangeQuery { limit: Some(1000), cursor: None }).await.unwrap().changes
}

/// From the first revision to the newest without a gap, none twice.
fn assert_consecutive(changes: &[Change]) {
    let revisions: Vec<_> = changes.iter().rev().map(|change| change.revision.number()).collect();
    assert_eq!(revisions, (1..=changes.len() as u64).collect::<Vec<_>>());
}

async fn assert_whole(kms: &TestKms) {
    let verified = host_command("verify-audit", &kms.folder().join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
}

async fn keys_in_token(stopped: &StoppedKms) -> usize {
    let objects = stopped.hsm().await.objects().await.unwrap();
    objects.iter().filter(|object| object.class == ObjectClass::SecretKey).count()
}

async fn sixty_four_clients(backend: Backend) {
    const ROUNDS: usize = 4;
    const ROTATIONS: usize = 6;
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    let clients: Vec<_> = (0..CLIENTS).map(|_| kms.client("storage")).collect();
    let work = clients.iter().enumerate().map(async |(number, storage)| {
        let mut records = Vec::new();
        for turn in 0..ROUNDS {
            records.extend(round(storage, &key, &format!("{number}-{turn}")).await);
        }
        records
    });
    let rotations = async {
        let mut records = Vec::new();
        for turn in 0..ROTATIONS {
            let rotated = ada.rotate_key(&key).await.unwrap();
            assert_eq!(rotated.key.primary_version.number() as usize, turn + 2);
            records.push(rotated.record);
        }
        records
    };
    let (worked, rotated) = tokio::join!(join_all(work), rotations);

    let answered: Vec<RecordId> = worked.into_iter().flatten().chain(rotated).collect();
    assert_eq!(answered.len(), CLIENTS * ROUNDS * 4 + ROTATIONS);
    assert_eq!(answered.iter().collect::<BTreeSet<_>>().len(), answered.len(), "two answers name one record");
    let mut found: BTreeMap<RecordId, Vec<RecordView>> = BTreeMap::new();
    for view in all_records(&audrey).await {
        found.entry(view.id).or_default().push(view);
    }
    for record in &answered {
        let [view] = found[record].as_slice() else { panic!("{:?}", found[record]) };
        assert_eq!(view.record.outcome, Outcome::Allowed);
    }
    let counts = |action: &str| {
        found.values().flatten().filter(|view| view.record.action == action && view.principal_name.is_some()).count()
    };
    assert_eq!(counts("generate"), CLIENTS * ROUNDS);
    assert_eq!(counts("unwrap"), CLIENTS * ROUNDS * 2);
    assert_eq!(counts("rewrap"), CLIENTS * ROUNDS);
    assert_eq!(counts("rotate_key"), ROTATIONS);
    assert_consecutive(&changes(&audrey).await);
    assert_whole(&kms).await;
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_while_keys_rotate_on_sqlite() {
    sixty_four_clients(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_while_keys_rotate_on_postgres() {
    sixty_four_clients(Backend::Postgres).await;
}

/// Sorts the results of changes that were made at once; whatever was refused was refused with this code.
fn wins(results: Vec<kms_client::client::Result<KeyChanged>>, code: Code) -> Vec<KeyChanged> {
    let refused = |error: kms_client::client::Error| assert_eq!(error.code(), Some(code), "{error:?}");
    results.into_iter().filter_map(|result| result.map_err(refused).ok()).collect()
}

async fn administrators_at_once(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let (audrey, storage) = (kms.client("audrey"), kms.client("storage"));
    let admins: Vec<_> = (0..8).map(|turn| kms.client(if turn % 2 == 0 { "ada" } else { "ben" })).collect();

    // Eight rotations of one key: each that was acknowledged made a version of its own.
    let rotated = join_all(admins.iter().map(|admin| admin.rotate_key(&key))).await;
    let rotated = wins(rotated, Code::Conflict);
    assert!(!rotated.is_empty());
    let made: BTreeSet<_> = rotated.iter().map(|changed| changed.key.primary_version.number() as usize).collect();
    assert_eq!(made, (2..=rotated.len() + 1).collect());
    let versions = audrey.key(&key).await.unwrap().key.versions.len();
    assert_eq!(versions, rotated.len() + 1);

    // Eight creations under one name: one wins.
    let create = from(json!({ "alias": "wanted", "data_class": "clinical" }));
    let created = join_all(admins.iter().map(|admin| admin.create_key(&create))).await;
    let created = wins(created, Code::AlreadyExists);
    let [created] = created.as_slice() else { panic!("{created:?}") };
    let named = audrey.key(&"alias/wanted".parse().unwrap()).await.unwrap().key;
    assert_eq!(named.id, created.key.id);

    // Eight updates that expect the same revision: one finds it.
    let update = |turn: usize| UpdateKey {
        description: Some(format!("the update of {turn}").parse().unwrap()),
        ..UpdateKey::default()
    };
    let updates: Vec<_> = (0..admins.len()).map(update).collect();
    let wanted = KeyName::Id(named.id);
    let at_once: Vec<_> = admins.iter().map(|admin| admin.if_revision(named.revision)).collect();
    let results = join_all(at_once.iter().zip(&updates).map(|(admin, update)| admin.update_key(&wanted, update))).await;
    let winners = wins(results, Code::RevisionMismatch);
    let [winner] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!(audrey.key(&wanted).await.unwrap().key, winner.key);
    let stale = at_once[0].update_key(&wanted, &updates[0]).await.unwrap_err();
    assert_eq!(stale.code(), Some(Code::RevisionMismatch));
    assert_eq!(stale.problem().unwrap().revision, Some(winner.key.revision));

    // Thirty-two changes that have nothing to do with each other: all of them, in one order.
    let principals = (0..32).map(async |turn| {
        let request = from(json!({ "name": format!("service-{turn}"), "kind": "service" }));
        admins[turn % admins.len()].create_principal(&request).await.unwrap().receipt
    });
    let receipts = join_all(principals).await;
    let changes = changes(&audrey).await;
    assert_consecutive(&changes);
    for receipt in &receipts {
        let found: Vec<_> = changes.iter().filter(|change| change.receipt == *receipt).collect();
        assert_eq!(found.len(), 1, "{receipt:?}");
    }
    let without = changes.iter().find(|change| change.kind != "initialise" && change.receipt.nodes.len() != 1);
    assert!(without.is_none(), "{without:?}");

    storage.generate_data_key(&from(json!({ "key": key }))).await.unwrap();
    assert_whole(&kms).await;
    let stopped = kms.stop().await;
    // The system key, `records` with its versions, and `wanted`: those who lost left nothing.
    assert_eq!(keys_in_token(&stopped).await, 1 + versions + 1);
    stopped.start_again().await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_in_each_others_way_on_sqlite() {
    administrators_at_once(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_in_each_others_way_on_postgres() {
    administrators_at_once(Backend::Postgres).await;
}
