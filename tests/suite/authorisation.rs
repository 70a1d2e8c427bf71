//! The authorisation table: every operation of the OpenAPI document, asked by nobody, by those who must not and by one who
//! may; and the record that each call left. Refused calls come first, all on the same things, and change nothing.

mod table;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use keyward_tests::{Ask, Backend, Reply, TestKms};
use serde_json::{Value, json};

pub(crate) use self::{
    table::{ROWS, Row},
    world::{World, outcome, text},
};

/// Somebody's answer, and what the log must say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    status: u16,
    code: Option<&'static str>,
    outcome: &'static str,
}

const ALLOWED: Expected = Expected { status: 200, code: None, outcome: "allowed" };
const ANONYMOUS: Expected = Expected { status: 401, code: Some("unauthenticated"), outcome: "denied" };
const TWO_PERSONS: Expected = Expected { status: 403, code: Some("approval_required"), outcome: "failed" };

const fn refusal(status: u16) -> Expected {
    let code = if status == 404 { "not_found" } else { "not_permitted" };
    Expected { status, code: Some(code), outcome: "denied" }
}

impl World {
    /// Asks, and holds answer and record to what is expected.
    async fn check(&mut self, row: &Row, who: &str, ask: &Ask, expected: Expected) {
        let what = format!("{} {} as {who:?}", row.call, row.body);
        let reply = self.ask(who, ask).await;
        let (status, code) = outcome(&reply);
        assert_eq!((status, code.as_deref()), (expected.status, expected.code), "{what}: {reply:?}");
        let records = self.records(&reply.request()).await;
        let said: BTreeSet<_> = records.iter().map(|record| record["action"].as_str().unwrap()).collect();
        let everything: BTreeSet<_> = row.actions.iter().copied().collect();
        // Before it is known who asks nothing of the body is read, so the path alone says what was asked for.
        let unread = match row.actions[0] {
            "generate_without_plaintext" => "generate",
            "explain_others" => "explain",
            action => action,
        };
        assert_eq!(said, if who.is_empty() { [unread].into() } else { everything }, "{what}: {records:?}");
        for record in &records {
            assert_eq!(record["outcome"], expected.outcome, "{what}: {record}");
            assert_eq!(record["reason"] == "", expected == ALLOWED, "{what}: {record}");
            assert_eq!(record["surface"], "native", "{what}: {record}");
            assert_eq!(record["source"], "127.0.0.1", "{what}: {record}");
            assert_eq!(record["principal_name"].as_str().unwrap_or_default(), who, "{what}: {record}");
            assert_eq!(record["credential"].is_null(), who.is_empty(), "{what}: {record}");
        }
        let answered = named_record(&reply.json());
        assert!(records.iter().any(|record| record["id"] == answered), "{what}: {answered}: {records:?}");
    }
}

fn named_record(answer: &Value) -> Value {
    let item = &answer["items"][0];
    [answer, &item["result"], &item["error"]]
        .iter()
        .map(|part| part["record"].clone())
        .find(|id| !id.is_null())
        .unwrap()
}

/// The operations of the served document.
pub(crate) async fn operations(kms: &TestKms) -> BTreeMap<String, Value> {
    let document = kms.ask(&Ask::new("GET", "/v1/openapi.json")).await.json();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if ["get", "put", "post", "delete", "options", "head", "patch", "trace"].contains(&method.as_str()) {
                operations.insert(format!("{} {path}", method.to_uppercase()), operation.clone());
            }
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_a_row_for_every_operation_and_no_other() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let served: BTreeSet<_> = operations(&kms).await.into_keys().collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.call.to_owned()).collect();
    let (missing, gone): (Vec<_>, Vec<_>) = (served.difference(&rows).collect(), rows.difference(&served).collect());
    assert!(missing.is_empty() && gone.is_empty(), "without a row: {missing:?}; not an operation: {gone:?}");
    assert!(ROWS.iter().all(|row| row.call.ends_with("/openapi.json") || !row.right.is_empty()));
    kms.stop().await;
}

async fn every_row(backend: Backend) {
    let mut world = World::start(backend, false, Vec::new()).await;
    for row in ROWS {
        let ask = world.call(row).await;
        if row.right.is_empty() {
            assert_eq!(world.ask("", &ask).await.status, 200, "{}", row.call);
            continue;
        }
        let before = world.revision().await;
        world.check(row, "", &ask, ANONYMOUS).await;
        for (who, status) in row.refused {
            world.check(row, who, &ask, refusal(*status)).await;
        }
        assert_eq!(world.revision().await, before, "{} was refused and changed something", row.call);
        world.check(row, row.right, &ask, if row.gated { TWO_PERSONS } else { ALLOWED }).await;
    }
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_refused_to_the_wrong_and_done_for_the_right_on_sqlite() {
    every_row(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_refused_to_the_wrong_and_done_for_the_right_on_postgres() {
    every_row(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_alone_may_what_takes_two() {
    let mut world = World::start(Backend::Sqlite, true, Vec::new()).await;
    let gated: Vec<_> = ROWS.iter().filter(|row| row.gated).collect();
    assert_eq!(gated.len(), 5);
    for row in gated {
        let ask = world.call(row).await;
        for (who, status) in row.refused {
            world.check(row, who, &ask, refusal(*status)).await;
        }
        world.check(row, row.right, &ask, ALLOWED).await;
    }
    world.kms.stop().await;
}

/// What leaves its class waits for an approval, however many run the installation, and alone or in a batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_leaves_its_class_only_with_an_approval() {
    for solo in [false, true] {
        let mut world = World::start(Backend::Sqlite, solo, Vec::new()).await;
        let (from, to) = (world.create_key("records").await, world.create_key("imaging").await);
        let binding = json!({ "principal": "storage", "role": "rewrapper", "scope": { "data_class": "imaging" } });
        world.done("ada", &Ask::new("POST", "/v1/bindings").json(binding)).await;
        let generate = Ask::new("POST", "/v1/data-keys/generate").json(json!({ "key": from["key"]["id"] }));
        let made = world.done("storage", &generate).await;
        let transfer = json!({ "wrapped": made["wrapped"], "target_key": to["key"]["id"] });
        let batch = json!({ "items": [transfer] });
        for ask in [
            Ask::new("POST", "/v1/data-keys/transfer").json(&transfer),
            Ask::new("POST", "/v1/data-keys/transfer/batch").json(batch),
        ] {
            let reply = world.ask("storage", &ask).await;
            let (status, code) = outcome(&reply);
            assert_eq!((status, code.as_deref()), (TWO_PERSONS.status, TWO_PERSONS.code), "solo: {solo}");
            let records = world.records(&reply.request()).await;
            assert_eq!(records.len(), 2);
            for record in &records {
                assert_eq!((&record["outcome"], &record["reason"]), (&json!("failed"), &json!("approval_required")));
            }
        }
        world.kms.stop().await;
    }
}

/// Refused as what is there but out of reach is refused: nobody learns from an answer what there is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_may_not_be_seen_answer_alike() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    for row in ROWS.iter().filter(|row| !row.right.is_empty() && row.call.contains("/{")) {
        let there = world.call(row).await;
        let (method, path) = row.call.split_once(' ').unwrap();
        let unknown = "01930000-0000-7000-8000-000000000000";
        let mut path = path.replace("{version}", "1").replace("{record}", &format!("{unknown}-1"));
        for name in [
            "key",
            "principal",
            "credential",
            "binding",
            "issuer",
            "client_ca",
            "change",
            "policy",
            "role",
            "operation",
        ] {
            path = path.replace(&format!("{{{name}}}"), unknown);
        }
        let body = row.body.replace("{fingerprint}", &"0".repeat(64));
        let absent = match body.as_str() {
            "" => Ask::new(method, &path),
            query if query.starts_with('?') => Ask::new(method, &format!("{path}{query}")),
            body => Ask::new(method, &path).json(body),
        };
        let (there, absent) = (world.ask("stranger", &there).await, world.ask("stranger", &absent).await);
        let said = |reply: &Reply| {
            let mut problem = reply.json();
            for name in ["request_id", "record"] {
                problem[name].take();
            }
            (reply.status, problem)
        };
        assert_eq!(said(&there), said(&absent), "{}", row.call);
    }
    world.kms.stop().await;
}
