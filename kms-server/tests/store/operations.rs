//! Changes that were accepted to be made later.

use kms_client::id::{ChangeId, NodeId, PrincipalId, RequestId};
use kms_server::store::{Error, OperationState, StoredOperation};

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(an_operation_ends_once, only_what_ended_is_forgotten);

async fn an_operation_ends_once(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_operation(&operation(1)).await.unwrap();
    assert_eq!(tx.operation(id(1)).await.unwrap(), Some(operation(1)));
    assert_eq!(tx.operation(id(2)).await.unwrap(), None);
    assert!(tx.finish_operation(id(1), OperationState::Unknown, None, at(20)).await.unwrap());
    assert_eq!(tx.unfinished_operations().await.unwrap().len(), 1);
    let failure = Some(("interrupted", "it stopped"));
    assert!(tx.finish_operation(id(1), OperationState::Failed, failure, at(30)).await.unwrap());
    assert!(!tx.finish_operation(id(1), OperationState::Succeeded, None, at(40)).await.unwrap());
    assert!(!tx.finish_operation(id(2), OperationState::Succeeded, None, at(40)).await.unwrap());
    assert_eq!(tx.unfinished_operations().await.unwrap(), []);
    let ended = StoredOperation {
        state: OperationState::Failed,
        failure: Some(("interrupted".to_owned(), "it stopped".to_owned())),
        finished_at: Some(at(30)),
        ..operation(1)
    };
    assert_eq!(tx.operation(id(1)).await.unwrap(), Some(ended));
    assert!(matches!(tx.insert_operation(&operation(1)).await, Err(Error::AlreadyExists(_))));
}

async fn only_what_ended_is_forgotten(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_operation(&operation(1)).await.unwrap();
    tx.insert_operation(&operation(2)).await.unwrap();
    tx.finish_operation(id(1), OperationState::Succeeded, None, at(20)).await.unwrap();
    assert_eq!(tx.forget_operations(at(10)).await.unwrap(), 0);
    assert_eq!(tx.forget_operations(at(11)).await.unwrap(), 1);
    assert_eq!(tx.operation(id(1)).await.unwrap(), None);
    assert!(tx.operation(id(2)).await.unwrap().is_some());
}

fn operation(byte: u8) -> StoredOperation {
    StoredOperation {
        change: id(byte),
        request: RequestId::from_bytes([2; 16]),
        principal: PrincipalId::from_bytes([3; 16]),
        node: NodeId::from_bytes([4; 16]),
        kind: "rotate_key".to_owned(),
        state: OperationState::Running,
        failure: None,
        accepted_at: at(10),
        finished_at: None,
    }
}

fn id(byte: u8) -> ChangeId {
    ChangeId::from_bytes([byte; 16])
}
