//! The database goes away, and comes back; or the answer to a COMMIT is lost on the way. What was acknowledged stays; what
//! is not known is said to be so, and can be looked up; and the server comes back by itself.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use keyward_tests::{Backend, Lost, Proxy, TestKms, Transaction, from, host_command, until};
use kms_client::{
    client::{self, Client},
    format::record::Outcome,
    id::RecordId,
    wire::{
        audit::AuditSearch,
        change::ChangeQuery,
        data_key::{GenerateDataKey, UnwrapDataKey},
        key::KeyState,
        name::KeyName,
        problem::Code,
    },
};
use serde_json::json;

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

/// A server whose database is behind a network that the test can cut.
async fn behind_a_proxy() -> (TestKms, Proxy, KeyName) {
    let kms = TestKms::start(Backend::Postgres).await;
    let key = kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    let proxy = Proxy::between(&stopped.config).await;
    (stopped.start_again().await.unwrap(), proxy, key)
}

/// What callers may be told while the database is away.
pub(crate) fn is_outage(refused: &client::Error) -> bool {
    matches!(
        refused.code(),
        Some(Code::AuditUnavailable | Code::LeaseLost | Code::StoreUnavailable | Code::OutcomeUnknown)
    )
}

async fn whole(kms: &TestKms) {
    let verified = host_command("verify-audit", &kms.folder().join("kms.toml"), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    assert!(verified.out.lines().all(|line| line.ends_with("whole")), "{verified:?}");
}

async fn ready(kms: &TestKms) -> u16 {
    reqwest::get(format!("http://{}/readyz", kms.server.operations)).await.unwrap().status().as_u16()
}

/// Every record of an allowed operation.
pub(crate) async fn allowed(audrey: &Client) -> BTreeSet<RecordId> {
    let (mut found, mut cursor) = (BTreeSet::new(), None);
    loop {
        let search = AuditSearch { limit: Some(1000), cursor, ..AuditSearch::default() };
        let page = audrey.search_audit(&search).await.unwrap();
        let records = page.records.into_iter().filter(|view| view.record.outcome == Outcome::Allowed);
        found.extend(records.map(|view| view.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_goes_away_under_load_and_comes_back() {
    let (kms, proxy, key) = behind_a_proxy().await;
    let clients: Vec<_> = (0..8).map(|_| kms.client("storage")).collect();
    let (during, acknowledged) = (std::sync::atomic::AtomicU32::new(0), std::sync::Mutex::new(BTreeSet::new()));
    let over = tokio::sync::watch::Sender::new(false);
    let work = clients.iter().map(async |storage: &Client| {
        let over = over.subscribe();
        while !*over.borrow() {
            match storage.generate_data_key(&generate(&key)).await {
                Ok(made) => {
                    acknowledged.lock().unwrap().insert(made.record);
                }
                Err(refused) => {
                    assert!(is_outage(&refused), "{refused:?}");
                    during.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        }
    });
    let answered = || acknowledged.lock().unwrap().len();
    let refused = || during.load(std::sync::atomic::Ordering::SeqCst);
    let outages = async {
        for _ in 0..3 {
            let (before, earlier) = (answered(), refused());
            until(async || (answered() > before + 50).then_some(())).await;
            proxy.cut();
            until(async || (refused() > earlier + 20).then_some(())).await;
            let change = kms.client("ada").disable_key(&key, "test".parse().unwrap()).await.unwrap_err();
            assert!(is_outage(&change), "{change:?}");
            proxy.mend();
        }
        let before = answered();
        until(async || (answered() > before + 50).then_some(())).await;
        over.send_replace(true);
    };
    tokio::join!(join_all(work), outages);
    assert_eq!(ready(&kms).await, 200);
    let (acknowledged, recorded) = (acknowledged.into_inner().unwrap(), allowed(&kms.client("audrey")).await);
    assert_eq!(acknowledged.difference(&recorded).collect::<Vec<_>>(), Vec::<&RecordId>::new());
    whole(&kms).await;
    kms.stop().await;
}

/// The answer to the commit of a revocation is lost: it holds, and who asks by its change id learns so.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_is_lost_is_in_force_and_found() {
    let (kms, proxy, key) = behind_a_proxy().await;
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    let made = storage.generate_data_key(&generate(&key)).await.unwrap();
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
    let lost = proxy.lose(Transaction::Change, Lost::Answer);
    let unknown = ada.revoke_key(&key, "stolen".parse().unwrap()).await.unwrap_err();
    lost.await;
    assert_eq!(unknown.code(), Some(Code::OutcomeUnknown), "{unknown:?}");
    let id = unknown.problem().unwrap().change_id.expect("it names the change");

    // From here on nothing leaves under the older rule, whatever the server knows.
    let refused = until(async || match storage.unwrap_data_key(&unwrap).await {
        Err(refused) if refused.code() == Some(Code::KeyRevoked) => Some(refused),
        Err(refused) if is_outage(&refused) => None,
        other => panic!("{other:?}"),
    });
    refused.await;
    let change = kms.client("audrey").change(id).await.unwrap().change;
    assert_eq!(change.receipt.change_id, id);
    assert_eq!(ada.key(&key).await.unwrap().key.state, KeyState::Revoked);
    // Its record is chained too, by the server itself.
    let search = AuditSearch { action: Some("revoke_key".parse().unwrap()), ..AuditSearch::default() };
    let record = until(async || {
        let found = kms.client("audrey").search_audit(&search).await.unwrap().records;
        found.into_iter().find(|view| view.record.change == Some(id))
    });
    assert_eq!(record.await.record.outcome, Outcome::Allowed);
    whole(&kms).await;
    kms.stop().await;
}

/// The COMMIT itself is lost: the caller cannot be told more, but nothing happened, and the next try succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_commit_is_lost_did_not_happen() {
    let (kms, proxy, key) = behind_a_proxy().await;
    let ada = kms.client("ada");
    let lost = proxy.lose(Transaction::Change, Lost::Commit);
    let unknown = ada.rotate_key(&key).await.unwrap_err();
    lost.await;
    assert_eq!(unknown.code(), Some(Code::OutcomeUnknown), "{unknown:?}");
    let id = unknown.problem().unwrap().change_id.unwrap();
    let key_now = until(async || ada.key(&key).await.ok()).await.key;
    assert_eq!(key_now.primary_version.number(), 1);
    assert_eq!(kms.client("audrey").change(id).await.unwrap_err().code(), Some(Code::NotFound));
    assert_eq!(ada.rotate_key(&key).await.unwrap().key.primary_version.number(), 2);
    let changes = kms.client("audrey").list_changes(&ChangeQuery::default()).await.unwrap().changes;
    assert!(changes.iter().all(|change| change.receipt.change_id != id));
    whole(&kms).await;
    let stopped = kms.stop().await;
    // The object of the rotation that did not happen is taken back at the next start.
    stopped.start_again().await.unwrap().stop().await;
}

/// The answer to the commit of records is lost, or the COMMIT: whoever is answered has exactly one record.
#[tokio::test(flavor = "multi_thread")]
async fn records_whose_commit_is_in_doubt_are_there_once() {
    let (kms, proxy, key) = behind_a_proxy().await;
    let storage = kms.client("storage");
    for lost in [Lost::Answer, Lost::Commit, Lost::Answer] {
        let sprung = proxy.lose(Transaction::Records, lost);
        let answer = storage.generate_data_key(&generate(&key)).await;
        sprung.await;
        match answer {
            Ok(made) => assert!(allowed(&kms.client("audrey")).await.contains(&made.record), "{lost:?}"),
            Err(refused) => assert!(is_outage(&refused), "{lost:?}: {refused:?}"),
        }
        until(async || storage.generate_data_key(&generate(&key)).await.ok()).await;
    }
    whole(&kms).await;
    kms.stop().await;
}
