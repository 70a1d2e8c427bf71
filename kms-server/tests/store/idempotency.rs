//! Names of requests that are to be carried out once.

use kms_client::id::{ChangeId, PrincipalId};
use kms_server::store::IdempotencyKey;

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(a_name_is_kept_until_it_expires, a_name_belongs_to_its_principal, what_was_rolled_back_left_no_name);

const ADA: PrincipalId = PrincipalId::from_bytes([1; 16]);
const BEN: PrincipalId = PrincipalId::from_bytes([2; 16]);

async fn a_name_is_kept_until_it_expires(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.keep_idempotency_key(&key(ADA, "a", 1, 100), at(10)).await.unwrap());
    assert!(!tx.keep_idempotency_key(&key(ADA, "a", 2, 200), at(99)).await.unwrap());
    assert_eq!(tx.idempotency_key(ADA, "a", at(99)).await.unwrap(), Some(key(ADA, "a", 1, 100)));
    assert_eq!(tx.idempotency_key(ADA, "a", at(100)).await.unwrap(), None);
    assert!(tx.keep_idempotency_key(&key(ADA, "a", 2, 200), at(100)).await.unwrap());
    assert_eq!(tx.idempotency_key(ADA, "a", at(100)).await.unwrap(), Some(key(ADA, "a", 2, 200)));
    assert_eq!(tx.forget_idempotency_keys(at(199)).await.unwrap(), 0);
    assert_eq!(tx.forget_idempotency_keys(at(200)).await.unwrap(), 1);
    assert_eq!(tx.idempotency_key(ADA, "a", at(0)).await.unwrap(), None);
}

async fn a_name_belongs_to_its_principal(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(tx.keep_idempotency_key(&key(ADA, "a", 1, 100), at(10)).await.unwrap());
    assert_eq!(tx.idempotency_key(BEN, "a", at(10)).await.unwrap(), None);
    assert!(tx.keep_idempotency_key(&key(BEN, "a", 2, 100), at(10)).await.unwrap());
    assert!(tx.keep_idempotency_key(&key(ADA, "A", 3, 100), at(10)).await.unwrap(), "names differ by case");
}

async fn what_was_rolled_back_left_no_name(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.keep_idempotency_key(&key(ADA, "a", 1, 100), at(10)).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = database.store.read().await.unwrap();
    assert_eq!(tx.idempotency_key(ADA, "a", at(10)).await.unwrap(), None);
}

fn key(principal: PrincipalId, name: &str, byte: u8, expires: i64) -> IdempotencyKey {
    let change = ChangeId::from_bytes([byte; 16]);
    IdempotencyKey { principal, name: name.to_owned(), digest: [byte; 32], change, expires_at: at(expires) }
}
