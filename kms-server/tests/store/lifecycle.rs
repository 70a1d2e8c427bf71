//! Counts of wraps, and watches over keys that wait for their destruction.

use std::time::Duration;

use kms_client::id::{KeyId, KeyVersion, NodeId};
use kms_server::{
    model::Revision,
    store::{DeletionWatch, WrapCount},
};

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(
    wraps_are_reserved_by_compare_and_set,
    no_version_counts_more_wraps_than_it_may_make,
    a_watch_gives_way_only_to_whoever_knows_it,
);

const KEY: KeyId = KeyId::from_bytes([1; 16]);

async fn wraps_are_reserved_by_compare_and_set(database: &TestDatabase) {
    let second = KeyVersion::new(2).unwrap();
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.wraps_reserved(KEY, KeyVersion::FIRST).await.unwrap(), 0);
    assert!(tx.reserve_wraps(KEY, KeyVersion::FIRST, 0, 10).await.unwrap());
    assert!(!tx.reserve_wraps(KEY, KeyVersion::FIRST, 0, 20).await.unwrap(), "somebody was here before");
    assert!(!tx.reserve_wraps(KEY, KeyVersion::FIRST, 9, 20).await.unwrap());
    assert!(!tx.reserve_wraps(KEY, KeyVersion::FIRST, 10, 10).await.unwrap(), "a count only grows");
    assert!(tx.reserve_wraps(KEY, KeyVersion::FIRST, 10, 20).await.unwrap());
    assert!(tx.reserve_wraps(KEY, second, 0, 5).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = database.store.read().await.unwrap();
    let count = |version, reserved| WrapCount { key: KEY, version, reserved };
    assert_eq!(tx.wrap_counts().await.unwrap(), [count(KeyVersion::FIRST, 20), count(second, 5)]);
}

async fn no_version_counts_more_wraps_than_it_may_make(database: &TestDatabase) {
    const MOST: u32 = 1 << 31;
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.reserve_wraps(KEY, KeyVersion::FIRST, 0, MOST).await.unwrap());
    assert_eq!(tx.wraps_reserved(KEY, KeyVersion::FIRST).await.unwrap(), MOST);
    tx.reserve_wraps(KEY, KeyVersion::FIRST, MOST, MOST + 1).await.unwrap_err();
}

async fn a_watch_gives_way_only_to_whoever_knows_it(database: &TestDatabase) {
    let watch = |mac, observed| DeletionWatch {
        key: KEY,
        basis: Revision(3),
        node: NodeId::from_bytes([4; 16]),
        observed: Duration::from_micros(observed),
        seen_at: at(5),
        mac: [mac; 32],
    };
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.deletion_watch(KEY).await.unwrap(), None);
    assert!(!tx.put_deletion_watch(&watch(1, 0), Some(&[9; 32])).await.unwrap());
    assert!(tx.put_deletion_watch(&watch(1, 0), None).await.unwrap());
    assert!(!tx.put_deletion_watch(&watch(2, 10), None).await.unwrap());
    assert!(!tx.put_deletion_watch(&watch(2, 10), Some(&[9; 32])).await.unwrap());
    assert_eq!(tx.deletion_watch(KEY).await.unwrap(), Some(watch(1, 0)));
    assert!(tx.put_deletion_watch(&watch(2, 10), Some(&[1; 32])).await.unwrap());
    assert_eq!(tx.deletion_watch(KEY).await.unwrap(), Some(watch(2, 10)));
    tx.delete_deletion_watch(KEY).await.unwrap();
    assert_eq!(tx.deletion_watch(KEY).await.unwrap(), None);
}
