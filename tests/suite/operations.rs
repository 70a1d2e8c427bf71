//! Changes that their caller does not wait for: accepted, made, asked about, and never forgotten.

use std::os::unix::process::ExitStatusExt as _;

use keyward_tests::{Ask, Backend, Reply, SIGKILL, TestKms, from};
use kms_client::{
    client::{self, Client},
    id::ChangeId,
    wire::{
        change::ChangeQuery,
        operation::{Operation, OperationState},
        problem::Code,
    },
};
use serde_json::{Value, json};

async fn post(kms: &TestKms, who: &str, path: &str, body: Value) -> Reply {
    kms.ask(&Ask::new("POST", path).token(&kms.token(who)).header("prefer", "respond-async, wait=5").json(body)).await
}

async fn ended(client: &Client, id: ChangeId) -> Operation {
    loop {
        let operation = client.operation(id).await.unwrap().operation;
        if matches!(operation.state, OperationState::Succeeded | OperationState::Failed) {
            return operation;
        }
    }
}

fn accepted(error: client::Error) -> Operation {
    match error {
        client::Error::Accepted(operation) => *operation,
        other => panic!("{other:?}"),
    }
}

async fn accepted_made_and_asked_about(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let (ada, audrey) = (kms.client("ada"), kms.client("audrey"));
    let reply = post(&kms, "ada", "/v1/keys", json!({ "alias": "records", "data_class": "clinical" })).await;
    assert_eq!((reply.status, reply.headers["preference-applied"].as_bytes()), (202, b"respond-async".as_slice()));
    let body = reply.json();
    assert_eq!(body["operation"]["state"], "running");
    let id: ChangeId = from(body["operation"]["change_id"].clone());
    assert_eq!(reply.headers["location"].to_str().unwrap(), format!("/v1/operations/{id}"));
    // That it was accepted is on record, apart from the change itself.
    let record = audrey.audit_record(from(body["record"].clone())).await.unwrap().found.record;
    assert_eq!((record.action.as_str(), record.change), ("create_key", None));
    assert!(record.detail.unwrap().contains(&id.to_string()));

    let operation = ended(&ada, id).await;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    let change = operation.change.unwrap();
    assert_eq!((change.change_id, change.kind.as_str(), change.receipt.change_id), (id, "create_key", id));
    assert_eq!(change.receipt.nodes.len(), 1);
    assert!(change.after.unwrap().to_string().contains("records"));
    assert_eq!(ada.key(&"alias/records".parse().unwrap()).await.unwrap().key.revision, change.revision);
    // A cut too; whoever made it may look, whoever may not look gets nothing.
    let (olaf, storage) = (kms.client("olaf").without_waiting(), "storage".parse().unwrap());
    let cut = accepted(olaf.suspend_principal(&storage, "lost".parse().unwrap()).await.unwrap_err());
    assert_eq!(ended(&kms.client("olaf"), cut.change_id).await.state, OperationState::Succeeded);
    assert_eq!(kms.client("stranger").operation(id).await.unwrap_err().code(), Some(Code::NotPermitted));
    let unknown = ada.operation(ChangeId::from_bytes([7; 16])).await.unwrap_err();
    assert_eq!(unknown.code(), Some(Code::NotFound));

    // What is refused now is refused at once, and nothing is left of it.
    let refused = post(&kms, "storage", "/v1/keys", json!({ "data_class": "clinical" })).await;
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    let taken = post(&kms, "ada", "/v1/keys", json!({ "alias": "records", "data_class": "clinical" })).await;
    assert_eq!((taken.status, taken.code().as_deref()), (409, Some("already_exists")));
    // Elsewhere the preference means nothing.
    let list = Ask::new("GET", "/v1/keys").token(&kms.token("ada")).header("prefer", "respond-async");
    assert_eq!(kms.ask(&list).await.status, 200);

    // It is there after a restart.
    let kms = kms.restart().await;
    assert_eq!(kms.client("ada").operation(id).await.unwrap().operation.state, OperationState::Succeeded);
    kms.stop().await;
}

async fn one_name_one_operation(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let ada = kms.client("ada").idempotency_key("a").without_waiting();
    let request = from(json!({ "data_class": "clinical" }));
    let first = accepted(ada.create_key(&request).await.unwrap_err());
    let made = ended(&ada, first.change_id).await.change.unwrap();
    // Once it is made there is nothing to wait for.
    let again = ada.create_key(&request).await.unwrap();
    assert_eq!(again.receipt, made.receipt);
    kms.stop().await;
}

/// Whatever happens after "accepted", it is known what became of the change.
async fn nothing_accepted_is_forgotten(backend: Backend) {
    let mut stopped = TestKms::start(backend).await.stop().await;
    for (step, happened) in [
        ("object.row", false),
        ("object.made", false),
        ("change.before_commit", false),
        ("change.committed", true),
        ("change.remembered", true),
    ] {
        let mut server = stopped.process(Some(step)).await.unwrap();
        let ada = server.client(&stopped.token("ada")).without_waiting();
        let create = from(json!({ "alias": step, "data_class": "clinical" }));
        // The answer and the kill race; where the answer won, the promise stands.
        let told = ada.create_key(&create).await.unwrap_err();
        assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}");

        let kms = stopped.start_again().await.unwrap();
        kms.until_settled().await;
        let ada = kms.client("ada");
        let list = ada.list_changes(&ChangeQuery { limit: Some(1), cursor: None }).await.unwrap().changes;
        let newest_is_it = list[0].after.as_ref().is_some_and(|rows| rows.to_string().contains(step));
        assert_eq!(newest_is_it, happened, "{step}");
        if let client::Error::Accepted(operation) = told {
            let operation = ada.operation(operation.change_id).await.unwrap().operation;
            if happened {
                assert_eq!(operation.state, OperationState::Succeeded, "{step}");
                assert_eq!(operation.change.unwrap().change_id, list[0].change_id);
            } else {
                assert_eq!(operation.state, OperationState::Failed, "{step}");
                assert_eq!(operation.problem.unwrap().code, Code::Interrupted, "{step}");
            }
        }
        stopped = kms.stop().await;
    }
}

on_both! {
    accepted_made_and_asked_about: accepted_on_sqlite, accepted_on_postgres;
    one_name_one_operation: one_name_on_sqlite, one_name_on_postgres;
    nothing_accepted_is_forgotten: killed_on_sqlite, killed_on_postgres;
}
