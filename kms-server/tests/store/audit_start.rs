//! The beginning of a chain.

use std::sync::Arc;

use kms_client::id::ChangeId;
use kms_server::{
    audit::{Draft, Error},
    model::{Revision, SystemClock},
    store::{AuditFilter, AuditIntent},
};

use super::{
    audit::leave_intent,
    database::TestDatabase,
    on_both,
    softhsm::{AuditKey, draft},
};

on_both!(
    a_chain_follows_the_one_before,
    intents_of_nodes_that_are_gone_are_chained_first,
    a_damaged_intent_is_not_passed_over,
    another_audit_key_is_refused,
    the_end_of_the_supervisor_is_an_orderly_end,
);

async fn a_chain_follows_the_one_before(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let first = key.start(&database.store).await;
    first.audit.seal(vec![draft("unwrap")]).await.unwrap();
    let (first_id, end) = (first.id, {
        let audit = first.audit.clone();
        first.stop().await;
        audit.head()
    });
    let second = key.start(&database.store).await;
    let mut tx = database.store.read().await.unwrap();
    let chains = tx.chains().await.unwrap();
    let predecessor = chains[1].chain.predecessor.unwrap();
    assert_eq!((predecessor.node, predecessor.head), (first_id, end.hash));
    assert_eq!(chains[0].chain.predecessor, None);
    drop(tx);
    key.assert_intact(&database.store).await;
    second.stop().await;
}

async fn intents_of_nodes_that_are_gone_are_chained_first(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let mut left = Vec::new();
    for revision in 1..=3 {
        left.push(leave_intent(database, revision).await);
    }
    let node = key.start(&database.store).await;
    // Nothing was waited for: they are durable once the node has started.
    assert_eq!(node.audit.head().sequence, 3);
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.intents(9).await.unwrap(), []);
    for (change, record) in left {
        let filter = AuditFilter { change: Some(change), ..AuditFilter::default() };
        let (found, _) = tx.search(&filter, 9, None).await.unwrap();
        assert_eq!(found.into_iter().map(Draft::from).collect::<Vec<_>>(), [record]);
    }
    drop(tx);
    key.assert_intact(&database.store).await;
    node.stop().await;
}

async fn a_damaged_intent_is_not_passed_over(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let change = ChangeId::from_bytes([9; 16]);
    let node = kms_client::id::NodeId::from_bytes([1; 16]);
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_intent(&AuditIntent { change, node, revision: Revision(1), record: vec![1, 2, 3] }).await.unwrap();
    tx.commit().await.unwrap();
    let started = key.try_start(&database.store, Arc::new(SystemClock)).await;
    assert!(matches!(started, Err(Error::DamagedIntent { change: named, .. }) if named == change));
}

async fn another_audit_key_is_refused(database: &TestDatabase) {
    let (key, other) = (AuditKey::create().await, AuditKey::create().await);
    let mixed = AuditKey { public: other.public, ..key };
    assert!(matches!(mixed.try_start(&database.store, Arc::new(SystemClock)).await, Err(Error::OtherAuditKey)));
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.chains().await.unwrap(), []);
}

async fn the_end_of_the_supervisor_is_an_orderly_end(database: &TestDatabase) {
    let key = AuditKey::create().await;
    let node = key.start(&database.store).await;
    node.audit.seal(vec![draft("unwrap")]).await.unwrap();
    // Nobody holds the writer any more, so it need not wait for anybody.
    drop(node.audit);
    node.supervisor.stop().await;
    let report = key.assert_intact(&database.store).await;
    assert!(report.chains[0].closed);
    assert_eq!(report.chains[0].records, 3);
}
