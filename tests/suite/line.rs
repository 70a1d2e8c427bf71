//! The main job: a storage service, an administrator, an auditor, and everybody else.

use keyward_tests::{Backend, TestKms};
use kms_client::{
    format::context::EncryptionContext,
    wire::{data_key::*, problem::Code},
};
use serde_json::json;

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn main_job(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let storage = kms.client("storage");
    let context = json!({ "patient": "4711", "object": "scan-1" });
    let made = storage.generate_data_key(&from(json!({ "key": key, "context": context }))).await.unwrap();
    assert_eq!(made.plaintext.as_ref().unwrap().expose().len(), 32);
    let unwrap = UnwrapDataKey { wrapped: made.wrapped.clone(), context: from(context.clone()) };
    let opened = storage.unwrap_data_key(&unwrap).await.unwrap();
    assert_eq!(opened.plaintext.expose(), made.plaintext.unwrap().expose());
    assert_eq!(opened.data_key, made.data_key);
    let _ = EncryptionContext::empty();

    let refused = kms.client("ada").unwrap_data_key(&unwrap).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::NotPermitted));
    let ada = kms.client("ada");
    ada.rotate_key(&key).await.unwrap();
    assert_eq!(storage.unwrap_data_key(&unwrap).await.unwrap().version.number(), 1);
    ada.revoke_key(&key, "lost laptop".parse().unwrap()).await.unwrap();
    let refused = storage.unwrap_data_key(&unwrap).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::KeyRevoked));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_on_sqlite() {
    main_job(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_on_postgres() {
    main_job(Backend::Postgres).await;
}
