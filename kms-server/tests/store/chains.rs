//! Audit chains and intents.

use kms_client::{
    format::chain::{ChainHash, NodeKey, Predecessor, Signature, SignedHead},
    id::{ChangeId, NodeId},
};
use kms_server::{
    model::Revision,
    store::{AuditChain, AuditIntent, Error, NewAuditChain},
};

use super::{database::TestDatabase, on_both};

on_both!(
    chains_are_numbered_in_order,
    a_head_moves_only_from_where_it_is,
    a_closed_chain_takes_nothing_more,
    intents_are_taken_once_and_oldest_first,
);

async fn chains_are_numbered_in_order(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.newest_chain().await.unwrap(), None);
    assert_eq!(tx.insert_chain(&chain(2)).await.unwrap(), 1);
    let follower = NewAuditChain {
        predecessor: Some(Predecessor { node: node(2), head: ChainHash::from_bytes([3; 32]) }),
        ..chain(1)
    };
    assert_eq!(tx.insert_chain(&follower).await.unwrap(), 2);
    let stored = |number, chain| AuditChain { number, chain, closed: false };
    assert_eq!(tx.newest_chain().await.unwrap(), Some(stored(2, follower.clone())));
    assert_eq!(tx.chain(node(2)).await.unwrap(), Some(stored(1, chain(2))));
    assert_eq!(tx.chain(node(9)).await.unwrap(), None);
    assert_eq!(tx.chains().await.unwrap(), [stored(1, chain(2)), stored(2, follower)]);
    assert!(matches!(tx.insert_chain(&chain(2)).await, Err(Error::AlreadyExists(_))));
}

async fn a_head_moves_only_from_where_it_is(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_chain(&chain(1)).await.unwrap();
    tx.insert_chain(&chain(2)).await.unwrap();
    let (from, to) = ((0, ChainHash::from_bytes([1; 32])), head(7, 7));
    assert!(!tx.advance_chain(node(1), (1, from.1), &to).await.unwrap());
    assert!(!tx.advance_chain(node(1), (0, ChainHash::from_bytes([2; 32])), &to).await.unwrap());
    assert!(!tx.advance_chain(node(9), from, &to).await.unwrap());
    assert!(tx.advance_chain(node(1), from, &to).await.unwrap());
    assert!(!tx.advance_chain(node(1), from, &to).await.unwrap());
    assert_eq!(tx.chain(node(1)).await.unwrap().unwrap().chain.head, to);
    assert_eq!(tx.chain(node(2)).await.unwrap().unwrap().chain.head, head(0, 1));
}

async fn a_closed_chain_takes_nothing_more(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert!(!tx.close_chain(node(1)).await.unwrap());
    tx.insert_chain(&chain(1)).await.unwrap();
    assert!(tx.close_chain(node(1)).await.unwrap());
    assert!(!tx.close_chain(node(1)).await.unwrap());
    assert!(tx.chain(node(1)).await.unwrap().unwrap().closed);
    assert!(!tx.advance_chain(node(1), (0, ChainHash::from_bytes([1; 32])), &head(1, 1)).await.unwrap());
}

async fn intents_are_taken_once_and_oldest_first(database: &TestDatabase) {
    let intent = |byte: u8| AuditIntent {
        change: ChangeId::from_bytes([byte; 16]),
        node: node(1),
        revision: Revision(u64::from(9 - byte)),
        record: vec![byte; 300],
    };
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_intent(&intent(1)).await.unwrap();
    tx.insert_intent(&intent(2)).await.unwrap();
    assert_eq!(tx.intents(9).await.unwrap(), [intent(2), intent(1)]);
    assert_eq!(tx.intents(1).await.unwrap(), [intent(2)]);
    assert!(tx.delete_intent(intent(2).change).await.unwrap());
    assert!(!tx.delete_intent(intent(2).change).await.unwrap());
    assert_eq!(tx.intents(9).await.unwrap(), [intent(1)]);
    assert!(matches!(tx.insert_intent(&intent(1)).await, Err(Error::AlreadyExists(_))));
}

pub(crate) fn chain(byte: u8) -> NewAuditChain {
    NewAuditChain {
        node: node(byte),
        predecessor: None,
        public_key: NodeKey::from_bytes([byte; 32]),
        certification: Signature::from_bytes([byte; 64]),
        head: head(0, 1),
    }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn head(sequence: u64, byte: u8) -> SignedHead {
    SignedHead { sequence, hash: ChainHash::from_bytes([byte; 32]), signature: Signature::from_bytes([byte; 64]) }
}
