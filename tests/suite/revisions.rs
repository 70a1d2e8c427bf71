//! `ETag` and `If-Match`: an answer about one object names its revision, and a change that expects another is not made.

use keyward_tests::{Ask, Backend, Reply, TestKms};
use serde_json::{Value, json};

async fn change(kms: &TestKms, method: &str, path: &str, tag: Option<&str>, body: Option<Value>) -> Reply {
    let mut ask = Ask::new(method, path).token(&kms.token("ada"));
    if let Some(tag) = tag {
        ask = ask.header("if-match", tag);
    }
    kms.ask(&body.map_or_else(|| ask.clone(), |body| ask.clone().json(body))).await
}

fn tag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().unwrap().to_owned()
}

/// A stale tag is refused with the newest, the newest is taken, and the object is as the answers say.
async fn expect(kms: &TestKms, method: &str, path: &str, body: Option<Value>, current: &str) -> String {
    let stale = change(kms, method, path, Some("\"1\""), body.clone()).await;
    assert_eq!((stale.status, stale.code().as_deref()), (412, Some("revision_mismatch")), "{path} {stale:?}");
    assert_eq!(tag(&stale), current, "{path}");
    assert_eq!(format!("\"{}\"", stale.json()["revision"]), current, "{path}");
    let changed = change(kms, method, path, Some(current), body).await;
    assert_eq!(changed.status, 200, "{path} {changed:?}");
    tag(&changed)
}

#[tokio::test]
async fn every_change_of_what_is_there_can_expect_a_revision() {
    let kms = TestKms::start_with(Backend::Sqlite, true, "").await;
    let reason = || Some(json!({ "reason": "test" }));
    let created =
        change(&kms, "POST", "/v1/keys", None, Some(json!({ "alias": "records", "data_class": "clinical" }))).await;
    let key = "/v1/keys/alias%2Frecords";
    let mut now = tag(&created);
    assert_eq!(now, format!("\"{}\"", created.json()["key"]["revision"]));
    assert_eq!(tag(&change(&kms, "GET", key, None, None).await), now);
    for (method, path, body) in [
        ("PATCH", "", Some(json!({ "description": "x" }))),
        ("POST", "/rotate", Some(json!({}))),
        ("POST", "/versions/1/revoke", reason()),
        ("POST", "/disable", reason()),
        ("POST", "/enable", Some(json!({}))),
        ("POST", "/revoke", reason()),
    ] {
        now = expect(&kms, method, &format!("{key}{path}"), body, &now).await;
        assert_eq!(tag(&change(&kms, "GET", key, None, None).await), now);
    }

    let robot = Some(json!({ "name": "robot", "kind": "service" }));
    let mut now = tag(&change(&kms, "POST", "/v1/principals", None, robot).await);
    let principal = "/v1/principals/robot";
    let proof = Some(json!({ "type": "certificate_fingerprint", "sha256": "ab".repeat(32) }));
    for (method, path, body) in [
        ("PATCH", "", Some(json!({ "team": "t" }))),
        ("POST", "/credentials", proof),
        ("POST", "/suspend", reason()),
        ("POST", "/reinstate", reason()),
    ] {
        now = expect(&kms, method, &format!("{principal}{path}"), body, &now).await;
    }
    let shown = change(&kms, "GET", principal, None, None).await;
    assert_eq!(tag(&shown), now);
    let credential = shown.json()["principal"]["credentials"][0]["id"].as_str().unwrap().to_owned();
    expect(&kms, "DELETE", &format!("{principal}/credentials/{credential}"), None, &now).await;

    let binding = json!({ "principal": "robot", "role": "wrapper", "scope": "all" });
    let bound = change(&kms, "POST", "/v1/bindings", None, Some(binding)).await;
    let path = format!("/v1/bindings/{}", bound.json()["binding"]["id"].as_str().unwrap());
    assert_eq!(tag(&change(&kms, "GET", &path, None, None).await), tag(&bound));
    expect(&kms, "POST", &format!("{path}/end"), reason(), &tag(&bound)).await;

    let authority = keyward_tests::Identities::new().ca_pem;
    let body = Some(json!({ "name": "second", "certificate_pem": authority }));
    let added = change(&kms, "POST", "/v1/trust/client-cas", None, body).await;
    let path = format!("/v1/trust/client-cas/{}", added.json()["client_ca"]["id"].as_str().unwrap());
    expect(&kms, "DELETE", &path, None, &tag(&added)).await;
    kms.stop().await;
}

#[tokio::test]
async fn a_condition_is_one_strong_tag_of_something_that_is_there() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    let key = "/v1/keys/alias%2Frecords";
    let update = || Some(json!({ "description": "x" }));
    for bad in ["W/\"2\"", "\"2\", \"3\"", "2", "\"x\"", "\"\"", "?"] {
        let reply = change(&kms, "PATCH", key, Some(bad), update()).await;
        assert_eq!((reply.status, reply.code().as_deref()), (400, Some("invalid_request")), "{bad}");
    }
    assert_eq!(change(&kms, "PATCH", key, Some("*"), update()).await.status, 200);
    // Where there is nothing to match, or nothing is changed, a condition is refused rather than ignored.
    let create = Some(json!({ "data_class": "clinical" }));
    assert_eq!(change(&kms, "POST", "/v1/keys", Some("*"), create).await.status, 400);
    assert_eq!(change(&kms, "GET", key, Some("*"), None).await.status, 400);
    // Who may not make the change does not learn the revision.
    let ask = Ask::new("PATCH", key).token(&kms.token("storage")).header("if-match", "\"1\"");
    let refused = kms.ask(&ask.json(json!({ "description": "x" }))).await;
    assert_eq!(refused.status, 403);
    assert!(!refused.headers.contains_key("etag") && refused.json().get("revision").is_none());
    // The old way is gone.
    let old = Some(json!({ "description": "x", "expected_revision": 1 }));
    assert_eq!(change(&kms, "PATCH", key, None, old).await.status, 400);
    kms.stop().await;
}

#[tokio::test]
async fn an_update_that_names_nothing_is_refused() {
    let kms = TestKms::start_with(Backend::Sqlite, true, "").await;
    kms.usable_key("records", "clinical").await;
    let role = Some(json!({ "name": "readers", "description": "x", "actions": ["describe_key"] }));
    assert_eq!(change(&kms, "POST", "/v1/roles", None, role).await.status, 200);
    for (path, fields, value) in [
        ("/v1/keys/alias%2Frecords", "description owner tags aliases rotation", json!({ "description": "" })),
        ("/v1/principals/storage", "team description", json!({ "description": "" })),
        ("/v1/roles/readers", "description actions", json!({ "description": "x" })),
    ] {
        let now = tag(&change(&kms, "GET", path, None, None).await);
        let nulls = fields.split(' ').map(|field| (field.to_owned(), Value::Null)).collect();
        for nothing in [json!({}), Value::Object(nulls)] {
            let refused = change(&kms, "PATCH", path, None, Some(nothing)).await;
            assert_eq!((refused.status, refused.code().as_deref()), (400, Some("invalid_request")), "{path}");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("there is nothing to change: "), "{detail}");
            assert!(fields.split(' ').all(|field| detail.contains(&format!("`{field}`"))), "{detail}");
        }
        assert_eq!(tag(&change(&kms, "GET", path, None, None).await), now, "{path}: a revision that did nothing");
        // Who names a value says what it is to be from now on, whatever it was.
        let same = change(&kms, "PATCH", path, None, Some(value)).await;
        assert_eq!(same.status, 200, "{same:?}");
        assert_ne!(tag(&same), now);
    }
    // The rules of a field that is inside another are told by its own name.
    let key = "/v1/keys/alias%2Frecords";
    for (rotation, detail) in [
        (json!({ "max_wraps": 0 }), "`rotation.max_wraps` is 1 to 2147483648"),
        (json!({ "max_wraps": "many" }), "`rotation.max_wraps`: expected u32"),
        (json!({ "period_days": 0 }), "`rotation.period_days` is 1 to 3650, or left out"),
    ] {
        let refused = change(&kms, "PATCH", key, None, Some(json!({ "rotation": rotation }))).await;
        assert_eq!((refused.status, refused.json()["detail"].as_str()), (400, Some(detail)));
    }
    kms.stop().await;
}
