//! Audit records: appended in any number, read back to the byte.

use kms_client::{
    format::{
        chain::Signature,
        record::{ContextDigest, Outcome, PrincipalKind, Record, Surface},
    },
    id::{ChangeId, CredentialId, DataKeyId, KeyId, KeyVersion, NodeId, PrincipalId, RecordId, RequestId},
};
use kms_server::store::{AuditRow, Error, Store};

use super::{chains::chain, database::TestDatabase, on_both};

on_both!(any_number_is_appended_and_read_back, a_place_is_taken_once, a_record_is_found_by_its_id);

async fn any_number_is_appended_and_read_back(database: &TestDatabase) {
    let mut sequence = 0;
    for count in [1, 3, 4, 15, 63, 64, 341, 1_024] {
        let rows: Vec<_> = (sequence..sequence + count).map(|sequence| row(record(sequence))).collect();
        append(&database.store, &rows).await;
        let mut tx = database.store.read().await.unwrap();
        let read = tx.leaves(1, sequence, 2_000).await.unwrap();
        assert_eq!(read.len(), rows.len());
        for (read, row) in read.iter().zip(&rows) {
            assert_eq!((read.sequence, &read.leaf), (row.record.sequence, &row.leaf));
            assert_eq!(read.head_signature, row.head_signature);
            assert!(read.is_indexed_as(&row.record), "{:?}", row.record);
            assert!(!read.is_indexed_as(&Record { outcome: Outcome::Withheld, ..row.record.clone() }));
        }
        sequence += count;
    }
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.leaves(1, 2, 2).await.unwrap().iter().map(|leaf| leaf.sequence).collect::<Vec<_>>(), [2, 3]);
    assert!(tx.leaves(2, 0, 9).await.unwrap().is_empty());
}

async fn a_place_is_taken_once(database: &TestDatabase) {
    append(&database.store, &[row(record(0))]).await;
    let mut tx = database.store.begin().await.unwrap();
    let again = row(record(0));
    assert!(matches!(tx.append_records(1, &[&again]).await, Err(Error::AlreadyExists(_))));
}

async fn a_record_is_found_by_its_id(database: &TestDatabase) {
    append(&database.store, &[row(record(0)), row(record(1))]).await;
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_chain(&chain(NODE)).await.unwrap();
    let node = NodeId::from_bytes([NODE; 16]);
    assert_eq!(tx.record(RecordId { node, sequence: 1 }).await.unwrap(), Some(record(1)));
    assert_eq!(tx.record(RecordId { node, sequence: 2 }).await.unwrap(), None);
    assert_eq!(tx.record(RecordId { node, sequence: u64::MAX }).await.unwrap(), None);
    assert_eq!(tx.record(RecordId { node: NodeId::from_bytes([9; 16]), sequence: 1 }).await.unwrap(), None);
}

pub(crate) async fn append(store: &Store, rows: &[AuditRow]) {
    let mut tx = store.begin().await.unwrap();
    tx.append_records(1, &rows.iter().collect::<Vec<_>>()).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) fn row(record: Record) -> AuditRow {
    let head_signature = record.sequence.is_multiple_of(2).then(|| Signature::from_bytes([8; 64]));
    AuditRow { leaf: record.encode().unwrap(), record, head_signature }
}

/// A record with everything in it for odd places, and with nothing that may be left out for even ones.
pub(crate) fn record(sequence: u64) -> Record {
    let full = sequence % 2 == 1;
    Record {
        time_micros: 1_700_000_000_000_000 + i64::try_from(sequence).unwrap(),
        node: NodeId::from_bytes([NODE; 16]),
        sequence,
        request: RequestId::from_bytes([3; 16]),
        item: 0,
        principal: full.then(|| PrincipalId::from_bytes([4; 16])),
        person: full.then(|| "ada".to_owned()),
        principal_kind: full.then_some(PrincipalKind::User),
        credential: full.then(|| CredentialId::from_bytes([5; 16])),
        source: full.then(|| [10, 0, 0, 1].into()),
        surface: Surface::Native,
        action: "unwrap".to_owned(),
        key: full.then(|| KeyId::from_bytes([6; 16])),
        key_version: KeyVersion::new(u32::from(full)),
        key_class: full.then(|| "imaging".to_owned()),
        data_key: full.then(|| DataKeyId::from_bytes([7; 16])),
        outcome: Outcome::Allowed,
        reason: String::new(),
        policies: vec!["unwrapper".to_owned()],
        revision: 12,
        region: "eu-1".to_owned(),
        context_digest: full.then(|| ContextDigest::from_bytes([8; 32])),
        bytes_in: 100,
        bytes_out: 32,
        change: full.then(|| ChangeId::from_bytes([9; 16])),
        count: 1,
        detail: None,
    }
}

pub(crate) const NODE: u8 = 2;
