//! Idempotency keys: what is asked for twice under one name is made once, whoever crashes in between, and answered alike;
//! a name is one principal's, stands for one request, and for a day.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _, time::Duration};

use futures_util::future::join_all;
use keyward_tests::{Ask, Backend, Reply, SIGKILL, TestKms, from};
use kms_client::wire::{change::ChangeQuery, key::KeyQuery, problem::Code};
use serde_json::{Value, json};

const KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";

fn create(alias: &str) -> Value {
    json!({ "alias": alias, "data_class": "clinical" })
}

async fn post(kms: &TestKms, who: &str, path: &str, name: &str, body: Value) -> Reply {
    kms.ask(&Ask::new("POST", path).token(&kms.token(who)).header(KEY, name).json(body)).await
}

async fn changes(kms: &TestKms) -> usize {
    let query = ChangeQuery { limit: Some(1000), cursor: None };
    kms.client("audrey").list_changes(&query).await.unwrap().changes.len()
}

/// The same answer, but for its record.
fn assert_same(first: &Reply, again: &Reply) {
    assert_eq!((first.status, again.status), (200, 200), "{first:?} {again:?}");
    let (mut first_body, mut again_body) = (first.json(), again.json());
    assert_ne!(first_body["record"], again_body["record"], "a repetition has a record of its own");
    for body in [&mut first_body, &mut again_body] {
        body.as_object_mut().unwrap().remove("record");
    }
    assert_eq!(first_body, again_body);
    assert_eq!(first.headers["etag"], again.headers["etag"]);
    assert!(!first.headers.contains_key(REPLAYED));
    assert_eq!(again.headers[REPLAYED], "true");
}

async fn every_creation_is_made_once(backend: Backend) {
    let kms = TestKms::start_with(backend, true, "").await;
    let made = post(&kms, "ada", "/v1/keys", "\"key\"", create("records")).await;
    let key = made.json()["key"]["id"].clone();
    let rotate = format!("/v1/keys/{}/rotate", key.as_str().unwrap());
    let authority = rcgen_authority();
    let jwks = json!({ "inline": serde_json::from_str::<Value>(&kms.identities.key_set()).unwrap() });
    let proof = json!({ "type": "certificate_fingerprint", "sha256": "ab".repeat(32) });
    let cases = [
        ("key", "/v1/keys", create("records")),
        ("rotation", rotate.as_str(), json!({})),
        ("principal", "/v1/principals", json!({ "name": "robot", "kind": "service" })),
        ("credential", "/v1/principals/robot/credentials", proof),
        ("binding", "/v1/bindings", json!({ "principal": "storage", "role": "wrapper", "scope": { "key": key } })),
        ("issuer", "/v1/trust/issuers", json!({ "issuer": "https://i.example", "audiences": ["k"], "jwks": jwks })),
        ("ca", "/v1/trust/client-cas", json!({ "name": "second", "certificate_pem": authority })),
    ];
    for (name, path, body) in &cases {
        let quoted = format!("\"{name}\"");
        let first = if *name == "key" { made.clone() } else { post(&kms, "ada", path, &quoted, body.clone()).await };
        let count = changes(&kms).await;
        assert_same(&first, &post(&kms, "ada", path, &quoted, body.clone()).await);
        // The name without its quotes is the same name.
        assert_same(&first, &post(&kms, "ada", path, name, body.clone()).await);
        assert_eq!(changes(&kms).await, count, "{name}");
    }
    // A name outlives the server that it was given to.
    let kms = kms.restart().await;
    let count = changes(&kms).await;
    for (name, path, body) in &cases {
        let again = post(&kms, "ada", path, name, body.clone()).await;
        assert_eq!((again.status, again.headers[REPLAYED].as_bytes()), (200, b"true".as_slice()), "{name} {again:?}");
    }
    assert_eq!(changes(&kms).await, count);
    kms.stop().await;
}

fn rcgen_authority() -> String {
    keyward_tests::Identities::new().ca_pem
}

async fn a_name_stands_for_one_request_of_one_principal(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let first = post(&kms, "ada", "/v1/keys", "a", create("records")).await;
    assert_eq!(first.status, 200);

    let other = post(&kms, "ada", "/v1/keys", "a", create("others")).await;
    assert_eq!((other.status, other.code().as_deref()), (409, Some("idempotency_key_reused")));
    let principal = json!({ "name": "robot", "kind": "service" });
    let other = post(&kms, "ada", "/v1/principals", "a", principal).await;
    assert_eq!(other.code().as_deref(), Some("idempotency_key_reused"));
    // The same meaning in other words is the same request.
    let respelt = r#" {"data_class":"clinical", "alias":"rec\u006frds"} "#;
    assert_same(&first, &post(&kms, "ada", "/v1/keys", "a", serde_json::from_str(respelt).unwrap()).await);
    // Somebody else's name is another.
    let bens = post(&kms, "ben", "/v1/keys", "a", create("bens")).await;
    assert_eq!(bens.status, 200, "{bens:?}");
    assert_ne!(bens.json()["key"]["id"], first.json()["key"]["id"]);

    // What was refused left no name behind.
    let refused = post(&kms, "ada", "/v1/keys", "b", create("records")).await;
    assert_eq!(refused.code().as_deref(), Some("already_exists"));
    assert_eq!(post(&kms, "ada", "/v1/keys", "b", create("free")).await.status, 200);

    // After a day the name stands for nothing, and the job forgets it.
    assert_eq!(kms.server.service.forget_names().await.unwrap(), 0);
    kms.advance(Duration::from_hours(24) - Duration::from_mins(10)).await;
    assert_same(&first, &post(&kms, "ada", "/v1/keys", "a", create("records")).await);
    kms.advance(Duration::from_mins(10)).await;
    let late = post(&kms, "ada", "/v1/keys", "a", create("records")).await;
    assert_eq!(late.code().as_deref(), Some("already_exists"), "a second key was refused by its alias alone");
    assert_eq!(kms.server.service.forget_names().await.unwrap(), 3);
    kms.stop().await;
}

async fn a_repetition_is_authorised_anew(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let first = post(&kms, "ben", "/v1/keys", "a", create("records")).await;
    assert_eq!(first.status, 200);
    let again = post(&kms, "ben", "/v1/keys", "a", create("records")).await;
    assert_same(&first, &again);
    // The record of the repetition says what it repeats.
    let record = again.json()["record"].as_str().unwrap().parse().unwrap();
    let found = kms.client("audrey").audit_record(record).await.unwrap().found.record;
    assert_eq!((found.action.as_str(), found.change), ("create_key", None));
    let change = first.json()["receipt"]["change_id"].clone();
    assert_eq!(serde_json::from_str::<Value>(&found.detail.unwrap()).unwrap(), json!({ "repeats": change }));

    let bindings = from(json!({ "principal": "ben" }));
    let binding = kms.client("audrey").list_bindings(&bindings).await.unwrap().bindings[0].id;
    // Three administrators are there, so that one may go.
    let cyd = json!({ "name": "cyd", "kind": "user", "person": "cyd" });
    assert_eq!(post(&kms, "ada", "/v1/principals", "cyd", cyd).await.status, 200);
    kms.client("olaf").suspend_principal(&"ben".parse().unwrap(), "left".parse().unwrap()).await.unwrap();
    let cut = post(&kms, "ben", "/v1/keys", "a", create("records")).await;
    assert!(matches!(cut.status, 401 | 403), "{binding}: {cut:?}");
    assert!(!cut.headers.contains_key(REPLAYED));
    // Nor does somebody without the right learn whether a name is in use.
    let stranger = post(&kms, "storage", "/v1/keys", "a", create("records")).await;
    assert_eq!(stranger.status, 403);
    kms.stop().await;
}

async fn twenty_at_once_make_one(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let before = kms.client("ada").list_keys(&KeyQuery::default()).await.unwrap().keys.len();
    let mut ids = BTreeSet::new();
    let mut busy = 0;
    for reply in
        join_all((0..20).map(|_| post(&kms, "ada", "/v1/keys", "a", json!({ "data_class": "clinical" })))).await
    {
        match reply.code().as_deref() {
            None => {
                ids.insert(reply.json()["key"]["id"].as_str().unwrap().to_owned());
            }
            Some("idempotency_in_progress") => {
                assert_eq!((reply.status, reply.headers["retry-after"].as_bytes()), (409, b"1".as_slice()));
                busy += 1;
            }
            Some(_) => panic!("{reply:?}"),
        }
    }
    assert_eq!(ids.len(), 1, "{busy} were told to wait");
    assert_eq!(kms.client("ada").list_keys(&KeyQuery::default()).await.unwrap().keys.len(), before + 1);
    // A client that repeats by itself gets the one answer, however many it is.
    let patient = kms.builder().retries(20).token(kms.token("ada")).build().unwrap().idempotency_key("b");
    let request = from(json!({ "data_class": "clinical" }));
    let all = join_all((0..20).map(|_| patient.create_key(&request))).await;
    let ids: BTreeSet<_> = all.into_iter().map(|created| created.unwrap().key.id).collect();
    assert_eq!(ids.len(), 1);
    kms.stop().await;
}

/// The server dies at each step of a creation; whoever asks again under the same name gets the one key.
async fn killed_in_the_middle(backend: Backend) {
    let mut stopped = TestKms::start(backend).await.stop().await;
    for step in ["object.row", "object.made", "change.before_commit", "change.committed", "change.remembered"] {
        let mut server = stopped.process(Some(step)).await.unwrap();
        let ada = server.client(&stopped.token("ada")).idempotency_key(step);
        let request = from(create(step));
        ada.create_key(&request).await.unwrap_err();
        assert_eq!(server.ended().await.signal(), Some(SIGKILL), "{step}");

        let kms = stopped.start_again().await.unwrap();
        let count = changes(&kms).await;
        let ada = kms.client("ada").idempotency_key(step);
        let made = ada.create_key(&request).await.unwrap();
        let again = ada.create_key(&request).await.unwrap();
        assert_eq!((made.key.id, &made.receipt.change_id), (again.key.id, &again.receipt.change_id), "{step}");
        let happened = matches!(step, "change.committed" | "change.remembered");
        assert_eq!(changes(&kms).await, count + usize::from(!happened), "{step}");
        stopped = kms.stop().await;
    }
}

#[tokio::test]
async fn only_creations_take_a_name() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    for path in ["generate", "wrap", "unwrap", "rewrap", "transfer", "generate/batch", "unwrap/batch"] {
        let reply = post(&kms, "storage", &format!("/v1/data-keys/{path}"), "a", json!({})).await;
        assert_eq!((reply.status, reply.code().as_deref()), (400, Some("invalid_request")), "{path}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("idempotency-key"), "{reply:?}");
    }
    for (path, body) in [
        ("/v1/random", json!({})),
        ("/v1/keys/alias%2Frecords/disable", json!({ "reason": "x" })),
        ("/v1/audit/search", json!({})),
    ] {
        assert_eq!(post(&kms, "ada", path, "a", body).await.status, 400, "{path}");
    }
    let key = kms.client("ada").key(&"alias/records".parse().unwrap()).await.unwrap().key;
    assert_eq!(key.state, kms_client::wire::key::KeyState::Enabled);
    for bad in ["", "\"", "a b", "\"a\", \"b\""] {
        assert_eq!(post(&kms, "ada", "/v1/keys", bad, create("bad")).await.status, 400, "{bad}");
    }
    let twice = Ask::new("POST", "/v1/keys").token(&kms.token("ada")).header(KEY, "a").header(KEY, "a");
    assert_eq!(kms.ask(&twice.json(create("bad"))).await.status, 400);
    let absent = kms.client("ada").key(&"alias/bad".parse().unwrap()).await.unwrap_err();
    assert_eq!(absent.code(), Some(Code::NotFound));
    kms.stop().await;
}

on_both! {
    every_creation_is_made_once: once_on_sqlite, once_on_postgres;
    a_name_stands_for_one_request_of_one_principal: a_name_on_sqlite, a_name_on_postgres;
    a_repetition_is_authorised_anew: repetition_on_sqlite, repetition_on_postgres;
    twenty_at_once_make_one: twenty_on_sqlite, twenty_on_postgres;
    killed_in_the_middle: killed_on_sqlite, killed_on_postgres;
}
