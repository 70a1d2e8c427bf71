//! What the HSM holds.

use hsm::{Canary, ObjectId, PublicKey, SignatureAlgorithm};
use kms_client::id::{KeyId, KeyVersion, NodeId};
use kms_server::store::{Error, HsmObject, HsmObjectState, HsmRoots};
use uuid::Uuid;

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(
    an_object_is_live_only_after_it_was_being_made,
    only_what_was_being_made_is_forgotten,
    whatever_was_being_made_is_given_up_together,
    there_is_one_set_of_roots,
);

async fn an_object_is_live_only_after_it_was_being_made(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(!tx.set_live(id(1)).await.unwrap());
    tx.insert_creating(&object(1)).await.unwrap();
    assert_eq!(tx.creating().await.unwrap(), [object(1)]);
    assert!(tx.set_live(id(1)).await.unwrap());
    assert!(!tx.set_live(id(1)).await.unwrap());
    assert_eq!(tx.creating().await.unwrap(), []);
    let live = HsmObject { state: HsmObjectState::Live, ..object(1) };
    assert_eq!(tx.object(id(1)).await.unwrap(), Some(live.clone()));
    assert_eq!(tx.object(id(2)).await.unwrap(), None);
    assert_eq!(tx.objects_in(HsmObjectState::Live).await.unwrap(), [live]);
    assert!(matches!(tx.insert_creating(&object(1)).await, Err(Error::AlreadyExists(_))));
}

async fn only_what_was_being_made_is_forgotten(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_creating(&object(1)).await.unwrap();
    tx.insert_creating(&object(2)).await.unwrap();
    tx.set_live(id(2)).await.unwrap();
    assert!(tx.delete_creating(id(1)).await.unwrap());
    assert!(!tx.delete_creating(id(1)).await.unwrap());
    assert!(!tx.delete_creating(id(2)).await.unwrap());
    assert!(tx.object(id(2)).await.unwrap().is_some());
}

async fn whatever_was_being_made_is_given_up_together(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    for byte in 1..=3 {
        tx.insert_creating(&object(byte)).await.unwrap();
    }
    tx.set_live(id(2)).await.unwrap();
    assert_eq!(tx.abandon_creating().await.unwrap(), 2);
    assert_eq!(tx.creating().await.unwrap(), []);
    let abandoned = tx.objects_in(HsmObjectState::Abandoned).await.unwrap();
    assert_eq!(abandoned.iter().map(|object| object.object).collect::<Vec<_>>(), [id(1), id(3)]);
    assert!(!tx.set_live(id(1)).await.unwrap(), "given up for good");
}

async fn there_is_one_set_of_roots(database: &TestDatabase) {
    let roots = HsmRoots {
        installation: Uuid::from_bytes([1; 16]),
        system_object: id(2),
        system_canary: Canary::from_bytes(&[3; 60]),
        audit_object: id(4),
        audit_public_key: PublicKey { algorithm: SignatureAlgorithm::Ed25519, bytes: vec![5; 32] },
        created_at: at(6),
    };
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.roots().await.unwrap(), None);
    tx.insert_roots(&roots).await.unwrap();
    assert_eq!(tx.roots().await.unwrap(), Some(roots.clone()));
    assert!(matches!(tx.insert_roots(&roots).await, Err(Error::AlreadyExists(_))));
}

fn object(byte: u8) -> HsmObject {
    HsmObject {
        object: id(byte),
        key: KeyId::from_bytes([byte; 16]),
        version: KeyVersion::FIRST,
        state: HsmObjectState::Creating,
        maker: NodeId::from_bytes([7; 16]),
        created_at: at(8),
    }
}

fn id(byte: u8) -> ObjectId {
    ObjectId::new([byte; 16])
}
