//! Every state of a key and of its versions against every way to use it: who may use it is told the state, and who may not
//! is told the same in all of them, as for a key that is not there.

use std::{collections::BTreeMap, time::Duration};

use keyward_tests::{Ask, Backend, Connection, Reply, TestKms, from, until};
use kms_client::{
    id::KeyVersion,
    wire::{
        key::KeyState,
        lifecycle::ScheduleDeletion,
        name::{KeyName, Reason},
    },
};
use serde_json::{Value, json};

/// A state, and what callers are told who wrap with the key and who open what its first version wrapped.
const STATES: [(&str, Option<&str>, Option<&str>); 7] = [
    ("enabled", None, None),
    ("disabled", Some("key_disabled"), Some("key_disabled")),
    ("revoked", Some("key_revoked"), Some("key_revoked")),
    ("pending_deletion", Some("key_pending_deletion"), Some("key_pending_deletion")),
    ("destroyed", Some("key_destroyed"), Some("key_destroyed")),
    ("old_version_revoked", None, Some("version_revoked")),
    ("primary_version_revoked", Some("version_revoked"), Some("version_revoked")),
];

/// A way to use keys: its path, and whether it opens what the key wrapped.
const USES: [(&str, &str, bool); 7] = [
    ("generate", "generate", false),
    ("generate_without_plaintext", "generate", false),
    ("wrap", "wrap", false),
    ("unwrap", "unwrap", true),
    ("rewrap", "rewrap", true),
    ("transfer_from", "transfer", true),
    ("transfer_to", "transfer", false),
];

/// A key in some state, and a data key that it wrapped before.
struct Prepared {
    key: Value,
    wrapped: Value,
}

fn reason() -> Reason {
    "a test".parse().unwrap()
}

fn body(usage: &str, on: &Prepared, enabled: &Prepared) -> Value {
    match usage {
        "generate" => json!({ "key": on.key }),
        "generate_without_plaintext" => json!({ "key": on.key, "plaintext": false }),
        "wrap" => json!({ "key": on.key, "plaintext": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=" }),
        "unwrap" | "rewrap" => json!({ "wrapped": on.wrapped }),
        "transfer_from" => json!({ "wrapped": on.wrapped, "target_key": enabled.key }),
        "transfer_to" => json!({ "wrapped": enabled.wrapped, "target_key": on.key }),
        other => panic!("no use is called {other}"),
    }
}

async fn wrapped(kms: &TestKms, key: &KeyName) -> Prepared {
    let made = kms.client("storage").generate_data_key(&from(json!({ "key": key }))).await.unwrap();
    Prepared { key: json!(key), wrapped: json!(made.wrapped) }
}

async fn put_in_state(kms: &TestKms, key: &KeyName, state: &str) {
    let ada = kms.client("ada");
    let schedule = |waiting_days| ScheduleDeletion { reason: reason(), waiting_days };
    match state {
        "enabled" => {}
        "disabled" => drop(ada.disable_key(key, reason()).await.unwrap()),
        "revoked" => drop(ada.revoke_key(key, reason()).await.unwrap()),
        "pending_deletion" => drop(ada.schedule_key_deletion(key, &schedule(30)).await.unwrap()),
        "destroyed" => drop(ada.schedule_key_deletion(key, &schedule(7)).await.unwrap()),
        "old_version_revoked" => {
            ada.rotate_key(key).await.unwrap();
            ada.revoke_version(key, KeyVersion::FIRST, reason()).await.unwrap();
        }
        "primary_version_revoked" => {
            ada.disable_key(key, reason()).await.unwrap();
            ada.revoke_version(key, KeyVersion::FIRST, reason()).await.unwrap();
            ada.enable_key(key).await.unwrap();
        }
        other => panic!("no state is called {other}"),
    }
}

async fn asked(connection: &mut Connection, token: &str, path: &str, body: Value) -> Reply {
    connection.ask(&Ask::new("POST", &format!("/v1/data-keys/{path}")).token(token).json(body)).await
}

/// What a refusal says beyond the names of request and record.
fn words(mut problem: Value) -> Value {
    let object = problem.as_object_mut().unwrap();
    assert!(object.remove("request_id").is_some() && object.remove("record").is_some(), "{object:?}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_against_every_use() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let mut prepared = BTreeMap::new();
    for (state, ..) in STATES {
        let key = kms.usable_key(state, "clinical").await;
        prepared.insert(state, wrapped(&kms, &key).await);
        put_in_state(&kms, &key, state).await;
    }
    kms.server.service.destroy_due().await.unwrap();
    kms.advance(Duration::from_hours(8 * 24)).await;
    let destroyed = "alias/destroyed".parse().unwrap();
    let ada = kms.client("ada");
    until(async || (ada.key(&destroyed).await.unwrap().key.state == KeyState::Destroyed).then_some(())).await;

    let enabled = &prepared["enabled"];
    let unknown = Prepared { key: json!("alias/nothing"), wrapped: Value::Null };
    let (storage, stranger) = (kms.token("storage"), kms.token("stranger"));
    let mut connection = kms.connect(None).await;
    for (usage, path, opens) in USES {
        let mut refusals = Vec::new();
        if !opens {
            let reply = asked(&mut connection, &storage, path, body(usage, &unknown, enabled)).await;
            refusals.push(("unknown", reply.status, words(reply.json())));
        }
        for (state, wraps, opened) in STATES {
            let (on, case) = (&prepared[state], format!("{usage} with a key that is {state}"));
            let code = if opens { opened } else { wraps };
            let reply = asked(&mut connection, &storage, path, body(usage, on, enabled)).await;
            let status = if code.is_some() { 409 } else { 200 };
            assert_eq!((reply.status, reply.code().as_deref()), (status, code), "{case}");
            if code.is_some() {
                let told = reply.json();
                assert!(told.get("plaintext").is_none() && told.get("wrapped").is_none(), "{case}: {told}");
            }

            // In a batch the same, and its neighbour has its answer.
            let items = json!({ "items": [body(usage, on, enabled), body(usage, enabled, enabled)] });
            let reply = asked(&mut connection, &storage, &format!("{path}/batch"), items).await;
            assert_eq!(reply.status, 200, "{case}, in a batch");
            let answered = reply.json();
            assert_eq!(answered["items"][0]["error"]["code"].as_str(), code, "{case}, in a batch: {answered}");
            assert!(answered["items"][1]["result"].is_object(), "{case}, in a batch: {answered}");

            // Who may not use it learns nothing of its state.
            let reply = asked(&mut connection, &stranger, path, body(usage, on, enabled)).await;
            refusals.push((state, reply.status, words(reply.json())));
            let items = json!({ "items": [body(usage, on, enabled)] });
            let answered = asked(&mut connection, &stranger, &format!("{path}/batch"), items).await.json();
            let error = answered["items"][0]["error"].clone();
            assert_eq!(error["code"], "not_permitted", "{case}, in a batch: {answered}");
        }
        let (_, status, first) = &refusals[0];
        assert_eq!((*status, &first["code"]), (403, &json!("not_permitted")), "{usage}");
        for (state, status, told) in &refusals {
            assert_eq!((*status, told), (403, first), "{usage} by a stranger with a key that is {state}");
        }
    }
    kms.stop().await;
}
