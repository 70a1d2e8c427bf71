//! The OpenAPI document: a snapshot, so that no change of the contract goes unnoticed, and what every operation says.

use keyward_tests::{Ask, Backend, TestKms};
use serde_json::Value;

use crate::authorisation::operations;

/// Accept a change of the contract with `cargo insta accept`, or by moving the `.snap.new` file over the old one.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_one_in_the_snapshot() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let reply = kms.ask(&Ask::new("GET", "/v1/openapi.json")).await;
    assert_eq!((reply.status, &reply.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    let mut document = reply.json();
    assert_eq!(document["openapi"].as_str().unwrap().split_once('.').unwrap().0, "3");
    // It changes with every release, and says nothing of the contract.
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("openapi", document);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_says_its_name_its_security_and_what_can_go_wrong() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let document = kms.ask(&Ask::new("GET", "/v1/openapi.json")).await.json();
    let everybody = document["security"].as_array().unwrap();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for scheme in everybody {
        assert!(scheme.as_object().unwrap().keys().all(|name| schemes.contains_key(name)), "{scheme}");
    }
    assert_eq!(everybody.len(), 2);
    for (call, operation) in operations(&kms).await {
        let open = call == "GET /v1/openapi.json";
        assert!(operation["operationId"].as_str().is_some_and(|id| !id.is_empty()), "{call}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{call}");
        // None of its own means that of the document; only the document itself is for everybody.
        let own = operation["security"].as_array();
        assert_eq!(own.is_some_and(|own| own.iter().any(|way| way.as_object().unwrap().is_empty())), open, "{call}");
        assert!(own.is_none() || open, "{call}: {own:?}");
        let responses = operation["responses"].as_object().unwrap();
        let media =
            |status: &str| responses[status]["content"].as_object().map(|content| content.keys().next().unwrap());
        assert_eq!(media("200").unwrap(), "application/json", "{call}");
        let problems: Vec<_> = responses.keys().filter(|status| !status.starts_with('2')).collect();
        for status in &problems {
            let schema = &responses[*status]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(*schema, "#/components/schemas/Problem", "{call} {status}");
        }
        let mut expected = vec!["429", "500", "503"];
        if !open {
            expected.extend(["401", "403"]);
        }
        if operation["requestBody"] != Value::Null {
            expected.extend(["400", "413", "415"]);
        }
        for status in expected {
            assert!(problems.iter().any(|problem| *problem == status), "{call} says nothing of {status}");
        }
    }
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let kms = TestKms::start(Backend::Sqlite).await;
    let document = kms.ask(&Ask::new("GET", "/v1/openapi.json")).await.json();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    kms.stop().await;
}
