//! Finding in the log who did what: by everything a record says, page by page, for auditors alone, itself on record.

use std::collections::BTreeSet;

use keyward_tests::{Backend, Sql, TestKms, from, sqlite_files};
use kms_client::{
    client::{self, Client},
    format::record::Outcome,
    id::RecordId,
    wire::{
        audit::{AuditSearch, RecordView},
        change::ChangeQuery,
        data_key::{GenerateDataKey, UnwrapDataKey},
        name::KeyName,
        problem::Code,
    },
};
use kms_server::config::Config;
use serde_json::{Value, json};

const PATIENT: &str = "patient-82736455-of-ward-7";

async fn find(audrey: &Client, search: Value) -> Vec<RecordView> {
    audrey.search_audit(&from(search)).await.unwrap().records
}

async fn ids(audrey: &Client, search: Value) -> BTreeSet<RecordId> {
    find(audrey, search).await.iter().map(|view| view.id).collect()
}

fn code<T>(result: client::Result<T>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

async fn everything_is_found(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let (one, other) = (kms.usable_key("one", "clinical").await, kms.usable_key("other", "imaging").await);
    let (storage, audrey) = (kms.client("storage"), kms.client("audrey"));
    let generate = |key: &KeyName, context: Value| from::<GenerateDataKey>(json!({ "key": key, "context": context }));
    let context = json!({ "patient": PATIENT, "object": "scan-1" });
    let first = storage.generate_data_key(&generate(&one, context.clone())).await.unwrap();
    let second = storage.generate_data_key(&generate(&other, json!({ "object": "scan-2" }))).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: first.wrapped.clone(), context: from(context.clone()) };
    let opened = storage.unwrap_data_key(&unwrap).await.unwrap();
    let denied = kms.client("stranger").unwrap_data_key(&unwrap).await.unwrap_err();
    let denied = denied.problem().unwrap().clone();
    let wrong = UnwrapDataKey { context: from(json!({ "patient": "another" })), ..unwrap.clone() };
    let failed = storage.unwrap_data_key(&wrong).await.unwrap_err().problem().unwrap().clone();

    let storage_id = audrey.whoami().await.map(|_| ()).and(storage.whoami().await).unwrap();
    let all_of_storage =
        BTreeSet::from([first.record, second.record, opened.record, failed.record.unwrap(), storage_id.record]);
    assert_eq!(ids(&audrey, json!({ "principal": "storage" })).await, all_of_storage);
    assert_eq!(ids(&audrey, json!({ "principal": storage_id.principal.id })).await, all_of_storage);
    assert_eq!(ids(&audrey, json!({ "principal": "stranger" })).await, BTreeSet::from([denied.record.unwrap()]));
    assert_eq!(ids(&audrey, json!({ "principal": "nobody" })).await, BTreeSet::new());

    let on_other = json!({ "key": other, "principal": "storage" });
    assert_eq!(ids(&audrey, on_other).await, BTreeSet::from([second.record]));
    let by_alias = json!({ "key": "alias/other", "principal": "storage" });
    assert_eq!(ids(&audrey, by_alias).await, BTreeSet::from([second.record]));
    let all_of_first = BTreeSet::from([first.record, opened.record, failed.record.unwrap(), denied.record.unwrap()]);
    assert_eq!(ids(&audrey, json!({ "data_key": first.data_key })).await, all_of_first);
    let unwraps = BTreeSet::from([opened.record, failed.record.unwrap(), denied.record.unwrap()]);
    assert_eq!(ids(&audrey, json!({ "action": "unwrap" })).await, unwraps);
    assert_eq!(
        ids(&audrey, json!({ "action": "unwrap", "outcome": "denied" })).await,
        BTreeSet::from([denied.record.unwrap()])
    );
    assert_eq!(
        ids(&audrey, json!({ "action": "unwrap", "outcome": "failed" })).await,
        BTreeSet::from([failed.record.unwrap()])
    );
    assert_eq!(ids(&audrey, json!({ "request": denied.request_id })).await, BTreeSet::from([denied.record.unwrap()]));

    // One who knows the context, all of it, finds what was done with it; in whatever order the pairs are named.
    let with_context = BTreeSet::from([first.record, opened.record, denied.record.unwrap()]);
    assert_eq!(ids(&audrey, json!({ "context": context })).await, with_context);
    assert_eq!(ids(&audrey, json!({ "context": { "object": "scan-1", "patient": PATIENT } })).await, with_context);
    assert_eq!(ids(&audrey, json!({ "context": { "patient": PATIENT } })).await, BTreeSet::new());

    // From a record's own time on, and before it.
    let at = |found: &[RecordView]| found[0].time;
    let (begun, ended) = (
        at(&find(&audrey, json!({ "principal": "storage", "key": one, "action": "generate" })).await),
        at(&find(&audrey, json!({ "principal": "storage", "action": "unwrap", "outcome": "allowed" })).await),
    );
    let within = ids(&audrey, json!({ "principal": "storage", "from": begun, "until": ended })).await;
    assert!(within.contains(&first.record) && !within.contains(&opened.record), "{within:?}");
    assert!(ids(&audrey, json!({ "principal": "storage", "from": ended })).await.contains(&opened.record));
    assert_eq!(ids(&audrey, json!({ "principal": "storage", "until": begun })).await, BTreeSet::new());
    assert_eq!(code(audrey.search_audit(&from(json!({ "action": "unwarp" }))).await), Some(Code::InvalidRequest));

    let view = audrey.audit_record(denied.record.unwrap()).await.unwrap().found;
    let record = &view.record;
    assert_eq!((record.outcome, record.action.as_str(), record.bytes_out), (Outcome::Denied, "unwrap", 0));
    assert_eq!(view.principal_name.as_ref().unwrap().as_str(), "stranger");
    assert_eq!((record.data_key, record.key_class.as_deref()), (Some(first.data_key), Some("clinical")));
    assert_eq!((record.region.as_str(), record.source.unwrap().is_loopback()), ("eu-test-1", true));
    assert!(record.context_digest.is_some() && record.credential.is_some());
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_on_sqlite() {
    everything_is_found(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_found_on_postgres() {
    everything_is_found(Backend::Postgres).await;
}

fn written(config: &Config) -> Vec<Vec<u8>> {
    sqlite_files(config).iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_never_reaches_the_disk() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let (storage, audrey) = (kms.client("storage"), kms.client("audrey"));
    let context = json!({ "patient": PATIENT });
    let generate: GenerateDataKey = from(json!({ "key": key, "context": context }));
    let made = storage.generate_data_key(&generate).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(context.clone()) };
    storage.unwrap_data_key(&unwrap).await.unwrap();
    kms.client("stranger").unwrap_data_key(&unwrap).await.unwrap_err();
    let wrong = UnwrapDataKey { context: from(json!({ "patient": PATIENT, "and": "more" })), ..unwrap };
    storage.unwrap_data_key(&wrong).await.unwrap_err();
    assert_eq!(find(&audrey, json!({ "context": context })).await.len(), 3);

    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let files = written(&kms.config);
    assert!(files.iter().any(|file| holds(file, "records")), "the alias is there, so what was read is the database");
    assert!(!files.iter().any(|file| holds(file, PATIENT)), "the log, while the server runs");
    let stopped = kms.stop().await;
    assert!(!written(&stopped.config).iter().any(|file| holds(file, PATIENT)), "the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let (storage, audrey) = (kms.client("storage"), kms.client("audrey"));
    let mut made = BTreeSet::new();
    for _ in 0..23 {
        made.insert(storage.generate_data_key(&from(json!({ "key": key }))).await.unwrap().record);
    }
    let filter = |cursor| AuditSearch { limit: Some(5), cursor, ..from(json!({ "principal": "storage" })) };
    let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = audrey.search_audit(&filter(cursor)).await.unwrap();
        assert!(page.records.len() <= 5);
        found.extend(page.records);
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, found.len()), (5, 23));
    assert!(
        found.is_sorted_by(|newer, older| (newer.time, newer.record.sequence) > (older.time, older.record.sequence))
    );
    assert_eq!(found.iter().map(|view| view.id).collect::<BTreeSet<_>>(), made);

    // A cursor is good for its caller and its filter alone, and as it was given.
    let next = audrey.search_audit(&filter(None)).await.unwrap().next_cursor.unwrap();
    audrey.search_audit(&filter(Some(next.clone()))).await.unwrap();
    let others = AuditSearch { principal: Some("ada".parse().unwrap()), ..filter(Some(next.clone())) };
    assert_eq!(code(audrey.search_audit(&others).await), Some(Code::InvalidRequest));
    let mut text = next.to_string();
    text.replace_range(0..1, if text.starts_with('A') { "B" } else { "A" });
    let forged = filter(Some(text.parse().unwrap()));
    assert_eq!(code(audrey.search_audit(&forged).await), Some(Code::InvalidRequest));
    let ada = kms.client("ada");
    let auditor = json!({ "principal": "olaf", "role": "auditor", "scope": "all" });
    ada.create_binding(&from(auditor)).await.unwrap();
    assert_eq!(code(kms.client("olaf").search_audit(&filter(Some(next))).await), Some(Code::InvalidRequest));
    for limit in [0, 1001] {
        let search = AuditSearch { limit: Some(limit), ..AuditSearch::default() };
        assert_eq!(code(audrey.search_audit(&search).await), Some(Code::InvalidRequest), "{limit}");
    }
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_auditors_search_and_searching_is_on_record() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let made = kms.client("storage").generate_data_key(&from(json!({ "key": key }))).await.unwrap();
    let audrey = kms.client("audrey");
    let searched = audrey.search_audit(&from(json!({ "principal": "storage" }))).await.unwrap();
    let looked = audrey.audit_record(made.record).await.unwrap();
    let mut refused = Vec::new();
    for name in ["ada", "olaf", "storage", "stranger"] {
        let client = kms.client(name);
        let error = client.search_audit(&AuditSearch::default()).await.unwrap_err();
        assert!(matches!(error.code(), Some(Code::NotPermitted | Code::NotFound)), "{name}: {error:?}");
        refused.push(error.problem().unwrap().record.unwrap());
        let error = client.audit_record(made.record).await.unwrap_err();
        assert!(matches!(error.code(), Some(Code::NotPermitted | Code::NotFound)), "{name}: {error:?}");
    }
    let found = find(&audrey, json!({ "action": "search_audit" })).await;
    let outcome = |record| found.iter().find(|view| view.id == record).unwrap().record.outcome;
    assert_eq!(outcome(searched.record), Outcome::Allowed);
    assert_eq!(outcome(looked.record), Outcome::Allowed);
    assert!(refused.into_iter().all(|record| outcome(record) == Outcome::Denied));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_on_record_with_before_and_after() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    let rotated = ada.rotate_key(&key).await.unwrap();
    let disabled = ada.disable_key(&key, "looking into it".parse().unwrap()).await.unwrap();

    let detail = |view: RecordView| serde_json::from_str::<Value>(view.record.detail.as_deref().unwrap()).unwrap();
    let found = audrey.audit_record(rotated.record).await.unwrap().found;
    assert_eq!(found.record.change, Some(rotated.receipt.change_id));
    assert_eq!(found.record.revision, rotated.receipt.revision.number());
    assert_eq!(found.principal_name.as_ref().unwrap().as_str(), "ada");
    let rotation = detail(found);
    let text = rotation.to_string();
    let versions = |rows: &Value| rows[0].to_string().matches("\"canary\"").count();
    assert_eq!((versions(&rotation["before"]), versions(&rotation["after"])), (1, 2), "{text}");
    let disabling = detail(audrey.audit_record(disabled.record).await.unwrap().found);
    assert!(disabling["before"].to_string().contains("\"enabled\""), "{disabling}");
    assert!(disabling["after"].to_string().contains("\"disabled\""), "{disabling}");
    assert!(disabling.to_string().contains("looking into it"), "{disabling}");

    // Whoever asks again gets the same receipt, after a restart too.
    let kms = kms.restart().await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    for client in [&ada, &audrey] {
        let again = client.change(disabled.receipt.change_id).await.unwrap().change;
        assert_eq!(again.receipt, disabled.receipt);
        assert_eq!(again.kind, "disable_key");
        let (before, after) = (again.before.unwrap().to_string(), again.after.unwrap().to_string());
        assert!(before.contains("\"enabled\"") && !before.contains("looking into it"), "{before}");
        assert!(after.contains("looking into it"), "{after}");
        let list = client.list_changes(&ChangeQuery { limit: Some(2), cursor: None }).await.unwrap();
        let receipts: Vec<_> = list.changes.iter().map(|change| change.receipt.clone()).collect();
        assert_eq!(receipts, [disabled.receipt.clone(), rotated.receipt.clone()]);
        assert!(list.next_cursor.is_some());
    }
    // A creation had nothing before it, and lists leave it out.
    let created = find(&audrey, json!({ "action": "create_key" })).await[0].record.change.unwrap();
    assert_eq!(audrey.change(created).await.unwrap().change.before, None);
    // A change's record is found by the change, and the records of nodes, the founding one included, by their action.
    let of_change = find(&audrey, json!({ "change": rotated.receipt.change_id })).await;
    assert_eq!(of_change.iter().map(|view| view.id).collect::<Vec<_>>(), [rotated.record]);
    assert_eq!(find(&audrey, json!({ "action": "node_start" })).await.len(), 3);
    assert_eq!(find(&audrey, json!({ "action": "node_stop" })).await.len(), 2);
    let mut sql = Sql::connect(&kms.config).await;
    let chained = "SELECT count(*) FROM control_changes c JOIN control_changes p ON p.revision = c.revision - 1 \
                   WHERE c.previous <> p.hash";
    assert_eq!(sql.number(chained).await, 0);
    sql.close().await;
    kms.stop().await;
}
