//! Control state, its head and its history.

use kms_client::id::{ChangeId, PrincipalId};
use kms_server::{
    model::{Revision, RowKind},
    store::{AuditIntent, ControlChange, Error, Head, Store, StoredRow, SystemSecret},
};
use uuid::Uuid;

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(
    the_head_moves_only_from_where_it_is,
    of_many_at_once_one_moves_the_head,
    rows_are_replaced_whole,
    the_history_is_found_every_way,
    a_change_id_and_a_revision_are_taken_once,
    a_receipt_is_kept_once,
    secrets_are_added_never_replaced,
    changes_without_a_record_are_named,
);

async fn the_head_moves_only_from_where_it_is(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), None);
    assert!(!tx.advance_head(Revision(1), &head(2)).await.unwrap(), "there is none to move");
    assert!(tx.advance_head(Revision(0), &head(1)).await.unwrap());
    assert!(!tx.advance_head(Revision(0), &head(1)).await.unwrap(), "there is one already");
    tx.commit().await.unwrap();

    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.head().await.unwrap(), Some(head(1)));
    assert!(tx.advance_head(Revision(1), &head(2)).await.unwrap());
    assert!(!tx.advance_head(Revision(1), &head(2)).await.unwrap());
    assert_eq!(tx.head().await.unwrap(), Some(head(2)));
}

async fn of_many_at_once_one_moves_the_head(database: &TestDatabase) {
    let moved = futures_util::future::join_all((0..8).map(|_| async {
        let mut tx = database.store.begin().await.unwrap();
        let moved = tx.advance_head(Revision(0), &head(1)).await.unwrap();
        tx.commit().await.unwrap();
        moved
    }));
    assert_eq!(moved.await.into_iter().filter(|moved| *moved).count(), 1);
}

async fn rows_are_replaced_whole(database: &TestDatabase) {
    let (key, principal) = (row(RowKind::Key, 1, 1), row(RowKind::Principal, 1, 2));
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.rows().await.unwrap(), []);
    tx.put_row(&key).await.unwrap();
    tx.put_row(&principal).await.unwrap();
    let mut newer = StoredRow { body: "{\"é\":\"\\u0000\"}".to_owned(), mac: [9; 32], ..key.clone() };
    newer.revision = Revision(3);
    tx.put_row(&newer).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.rows().await.unwrap(), [newer.clone(), principal.clone()]);
    assert_eq!(tx.rows_after(Revision(0)).await.unwrap(), [principal, newer.clone()]);
    assert_eq!(tx.rows_after(Revision(2)).await.unwrap(), [newer]);
    assert_eq!(tx.rows_after(Revision(3)).await.unwrap(), []);
}

async fn the_history_is_found_every_way(database: &TestDatabase) {
    let changes = put_changes(&database.store, 5).await;
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.newest_change().await.unwrap().as_ref(), changes.last());
    assert_eq!(tx.change(changes[1].change).await.unwrap().as_ref(), Some(&changes[1]));
    assert_eq!(tx.change(ChangeId::from_bytes([99; 16])).await.unwrap(), None);
    assert_eq!(tx.change_at(Revision(3)).await.unwrap().as_ref(), Some(&changes[2]));
    assert_eq!(tx.change_at(Revision(6)).await.unwrap(), None);
    assert_eq!(tx.changes_after(Revision(2), 2).await.unwrap(), changes[2..4]);
    assert_eq!(tx.changes_after(Revision(5), 2).await.unwrap(), []);

    let newest_first: Vec<_> = changes.iter().rev().cloned().collect();
    assert_eq!(tx.changes_before(None, 2).await.unwrap(), newest_first[..2]);
    assert_eq!(tx.changes_before(Some(Revision(4)), 9).await.unwrap(), newest_first[2..]);
    assert_eq!(tx.changes_before(Some(Revision(1)), 9).await.unwrap(), []);
}

async fn a_change_id_and_a_revision_are_taken_once(database: &TestDatabase) {
    put_changes(&database.store, 1).await;
    let same_revision = ControlChange { change: ChangeId::from_bytes([50; 16]), ..change(1) };
    let same_change = ControlChange { revision: Revision(2), ..change(1) };
    for taken in [same_revision, same_change] {
        let mut tx = database.store.begin().await.unwrap();
        assert!(matches!(tx.insert_change(&taken).await, Err(Error::AlreadyExists(_))));
    }
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.changes_after(Revision(0), 9).await.unwrap().len(), 1);
}

async fn a_receipt_is_kept_once(database: &TestDatabase) {
    let changes = put_changes(&database.store, 1).await;
    let mut tx = database.store.begin().await.unwrap();
    assert!(!tx.set_receipt(ChangeId::from_bytes([99; 16]), "{}").await.unwrap());
    assert!(tx.set_receipt(changes[0].change, "{\"n\":1}").await.unwrap());
    assert!(!tx.set_receipt(changes[0].change, "{\"n\":2}").await.unwrap());
    let kept = tx.change_at(Revision(1)).await.unwrap().unwrap();
    assert_eq!(kept, ControlChange { receipt: Some("{\"n\":1}".to_owned()), ..change(1) });
}

async fn secrets_are_added_never_replaced(database: &TestDatabase) {
    let secret = |label: &str, version: u32| SystemSecret {
        label: label.to_owned(),
        version,
        wrapped: vec![7; 60],
        created_at: at(-1),
    };
    let mut tx = database.store.begin().await.unwrap();
    for (label, version) in [("row-mac", 2), ("context", 1), ("row-mac", 1)] {
        tx.insert_secret(&secret(label, version)).await.unwrap();
    }
    assert_eq!(tx.secrets().await.unwrap(), [secret("context", 1), secret("row-mac", 1), secret("row-mac", 2)]);
    assert!(matches!(tx.insert_secret(&secret("context", 1)).await, Err(Error::AlreadyExists(_))));
}

async fn changes_without_a_record_are_named(database: &TestDatabase) {
    let changes = put_changes(&database.store, 3).await;
    let mut tx = database.store.begin().await.unwrap();
    let intent = AuditIntent {
        change: changes[1].change,
        node: kms_client::id::NodeId::from_bytes([1; 16]),
        revision: Revision(2),
        record: vec![1],
    };
    tx.insert_intent(&intent).await.unwrap();
    assert_eq!(tx.unrecorded_changes(9).await.unwrap(), [Revision(1), Revision(3)]);
    assert_eq!(tx.unrecorded_changes(1).await.unwrap(), [Revision(1)]);
}

async fn put_changes(store: &Store, count: u64) -> Vec<ControlChange> {
    let changes: Vec<_> = (1..=count).map(change).collect();
    let mut tx = store.begin().await.unwrap();
    for change in &changes {
        tx.insert_change(change).await.unwrap();
    }
    tx.commit().await.unwrap();
    changes
}

fn change(revision: u64) -> ControlChange {
    let byte = u8::try_from(revision).unwrap();
    ControlChange {
        revision: Revision(revision),
        change: ChangeId::from_bytes([byte; 16]),
        digest: [byte; 32],
        body: "{\"b\":1, \"a\":2}".to_owned(),
        principal: revision.is_multiple_of(2).then(|| PrincipalId::from_bytes([byte; 16])),
        committed_at: at(1_700_000_000_000_001),
        previous: [byte - 1; 32],
        hash: [byte; 32],
        state_digest: [3; 32],
        mac: [4; 32],
        rows: "[]".to_owned(),
        receipt: None,
    }
}

fn head(revision: u64) -> Head {
    Head {
        revision: Revision(revision),
        hash: [1; 32],
        state_digest: [2; 32],
        mac: [u8::try_from(revision).unwrap(); 32],
    }
}

fn row(kind: RowKind, id: u8, revision: u64) -> StoredRow {
    let id = Uuid::from_bytes([id; 16]);
    StoredRow { kind, id, revision: Revision(revision), body: "{}".to_owned(), mac: [5; 32] }
}
