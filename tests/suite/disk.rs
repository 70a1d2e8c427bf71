//! A disk that is almost full: keys are not used, control changes still are made, and the server recovers by itself.

use std::{fs::File, path::Path};

use keyward_tests::{Ask, Backend, TestKms};
use kms_client::wire::problem::Code;
use kms_server::store::free_bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

async fn readiness(kms: &TestKms) -> Value {
    let answer = reqwest::get(format!("http://{}/readyz", kms.server.operations)).await.unwrap();
    answer.json().await.unwrap()
}

fn fill(path: &Path, bytes: u64) {
    let file = File::create(path).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, i64::try_from(bytes).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_of_disk_is_kept_for_cuts() {
    let probe = TestKms::start(Backend::Sqlite).await;
    let free = free_bytes(probe.folder()).unwrap();
    probe.stop().await;
    // Other tests write to the same disk at the same time, by far less than this.
    let reserve = free / MIB - 1024;
    let settings = format!("[database]\nreserve_mib = {reserve}\n");
    let kms = TestKms::start_with(Backend::Sqlite, false, &settings).await;
    let key = kms.usable_key("records", "clinical").await;
    let generate =
        || Ask::new("POST", "/v1/data-keys/generate").token(&kms.token("storage")).json(json!({ "key": key }));
    assert_eq!(kms.ask(&generate()).await.status, 200);
    assert_eq!(readiness(&kms).await["disk"], true);

    let filling = kms.folder().join("filling");
    fill(&filling, 2048 * MIB);
    kms.server.service.look_at_disk();
    let refused = kms.ask(&generate()).await;
    assert_eq!((refused.status, refused.code().as_deref()), (503, Some("disk_reserve")));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(readiness(&kms).await["disk"], false);
    // It stands in the log, and a cut goes through.
    let (audrey, olaf) = (kms.client("audrey"), kms.client("olaf"));
    let id = refused.json()["record"].as_str().unwrap().parse().unwrap();
    assert_eq!(audrey.audit_record(id).await.unwrap().found.record.reason, "disk_reserve");
    let storage = "storage".parse().unwrap();
    olaf.suspend_principal(&storage, "lost".parse().unwrap()).await.unwrap();

    std::fs::remove_file(&filling).unwrap();
    // The job sees it by itself; nobody tells it.
    while kms.server.service.is_disk_low() {
        tokio::task::yield_now().await;
    }
    assert_eq!(readiness(&kms).await["disk"], true);
    let cut = kms.client("storage").random(&serde_json::from_value(json!({})).unwrap()).await.unwrap_err();
    assert_eq!(cut.code(), Some(Code::Unauthenticated));
    kms.stop().await;
}
