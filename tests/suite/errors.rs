//! Bad input: each gets one clear answer and changes nothing. The answers are a snapshot; what they may not do is tell a
//! stranger what there is, or anybody how a wrapped key failed.

mod cases;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyward_tests::{Ask, Backend, Dial, Reply, TestKms};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::cases::{
    Case, GENERATE, UNKNOWN, UNWRAP, WRAP, batch, bodies, context, get, limits, names, plaintext, post, queries,
};

/// The problem, without what is another's every time.
fn told(reply: &Reply) -> Value {
    let mut problem = reply.json();
    assert_eq!(problem["request_id"], reply.request());
    for name in ["request_id", "record"] {
        assert!(problem[name].is_string(), "no {name}: {problem}");
        problem[name] = format!("[{name}]").into();
    }
    problem
}

fn check_form(what: &str, reply: &Reply) {
    assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(reply.headers["cache-control"], "no-store", "{what}");
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status, "{what}");
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("urn:keyward:error:{code}"), "{what}");
}

async fn asked(kms: &TestKms, who: &str, ask: Ask) -> Reply {
    let ask = if who.is_empty() { ask } else { ask.token(&kms.token(who)) };
    kms.ask(&ask).await
}

/// What a bad request must leave as it is.
async fn state(kms: &TestKms) -> (Value, Value) {
    let me = asked(kms, "ada", get("/v1/whoami")).await.json();
    let mut keys = asked(kms, "ada", get("/v1/keys")).await.json();
    keys["record"].take();
    (me["revision"].clone(), keys)
}

async fn every_case(cases: Vec<Case>) -> BTreeMap<&'static str, Value> {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    let before = state(&kms).await;
    let mut answers = BTreeMap::new();
    for (what, who, ask, status, code) in cases {
        let reply = asked(&kms, who, ask).await;
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{what}: {said}");
        check_form(what, &reply);
        assert!(!said.contains("ward-4711") && !said.contains("src/"), "{what}: {said}");
        let search = post("/v1/audit/search", json!({ "request": reply.request() }));
        let records = asked(&kms, "audrey", search).await.json();
        assert_eq!(records["records"].as_array().unwrap().len(), 1, "{what}: {records}");
        assert_ne!(records["records"][0]["outcome"], "allowed", "{what}: {records}");
        assert!(answers.insert(what, told(&reply)).is_none(), "{what} is there twice");
    }
    assert_eq!(state(&kms).await, before, "a bad request changed something");
    kms.stop().await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_gets_one_clear_answer() {
    insta::assert_json_snapshot!("bodies", every_case(bodies()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_has_its_own_answer() {
    insta::assert_json_snapshot!("limits", every_case(limits()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_name_or_path_gets_one_clear_answer() {
    insta::assert_json_snapshot!("names", every_case(names()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_query_gets_one_clear_answer() {
    insta::assert_json_snapshot!("queries", every_case(queries()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_just_within_the_limits_is_done() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    for ask in [
        post(WRAP, plaintext(1)),
        post(WRAP, plaintext(4096)),
        post(GENERATE, context(32, 100)),
        post(GENERATE, json!({ "key": "alias/records", "bytes": 1 })),
        post(GENERATE, json!({ "key": "alias/records", "bytes": 1024 })),
        post("/v1/data-keys/generate/batch", batch(1)),
        post("/v1/data-keys/generate/batch", batch(1000)),
        get("/v1/keys?limit=1000"),
    ] {
        let reply = asked(&kms, "storage", ask).await;
        assert_eq!(reply.status, 200, "{:?}", reply.code());
    }
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_one_caller_list_and_filter() {
    let kms = TestKms::start(Backend::Sqlite).await;
    for alias in ["one", "two", "three"] {
        asked(&kms, "ada", post("/v1/keys", json!({ "data_class": "records", "alias": alias }))).await;
    }
    let page = asked(&kms, "ada", get("/v1/keys?limit=1")).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = asked(&kms, "ada", get(&format!("/v1/keys?limit=2&cursor={cursor}"))).await.json();
    assert_eq!((next["keys"].as_array().unwrap().len(), &next["next_cursor"]), (2, &Value::Null));
    assert_ne!(next["keys"][0]["id"], page["keys"][0]["id"]);
    let search = asked(&kms, "audrey", post("/v1/audit/search", json!({ "limit": 1 }))).await.json();
    let found = search["next_cursor"].as_str().unwrap();
    let mut turned = cursor.to_owned();
    turned.replace_range(3..4, if &cursor[3..4] == "A" { "B" } else { "A" });
    for (who, ask) in [
        ("ben", get(&format!("/v1/keys?cursor={cursor}"))),
        ("audrey", get(&format!("/v1/keys?cursor={cursor}"))),
        ("ada", get(&format!("/v1/keys?state=enabled&cursor={cursor}"))),
        ("ada", get(&format!("/v1/principals?cursor={cursor}"))),
        ("ada", get(&format!("/v1/keys?cursor={turned}"))),
        ("ada", get(&format!("/v1/keys?cursor={cursor}A"))),
        ("audrey", post("/v1/audit/search", json!({ "cursor": found, "action": "whoami" }))),
        ("audrey", post("/v1/audit/search", json!({ "cursor": found, "context": { "a": "b" } }))),
        ("audrey", get(&format!("/v1/keys?cursor={found}"))),
    ] {
        let reply = asked(&kms, who, ask.clone()).await;
        assert_eq!((reply.status, reply.code().as_deref()), (400, Some("invalid_request")), "{ask:?}");
        assert!(reply.json()["detail"].as_str().unwrap().starts_with("`cursor` was not given to this caller"));
    }
    kms.stop().await;
}

/// One bad item is refused by itself, in its place, with a record of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_does_not_fail_its_batch() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let good = json!({ "key": key, "plaintext": "AAECAw==" });
    let items = json!({ "items": [
        good,
        { "key": key, "plaintext": "%%" },
        { "key": "alias/nothing", "plaintext": "AAECAw==" },
        good,
        "nonsense",
        { "key": key, "plaintext": "" },
        { "key": key, "plaintext": "AAECAw==", "x": 1 },
        good,
    ] });
    let reply = asked(&kms, "storage", post("/v1/data-keys/wrap/batch", items)).await;
    assert_eq!(reply.status, 200);
    let items = reply.json()["items"].as_array().unwrap().clone();
    let codes: Vec<_> = items.iter().map(|item| item["error"]["code"].as_str().unwrap_or("done")).collect();
    let expected = [
        "done",
        "invalid_request",
        "not_permitted",
        "done",
        "invalid_request",
        "plaintext_size",
        "invalid_request",
        "done",
    ];
    assert_eq!(codes, expected);
    let search = post("/v1/audit/search", json!({ "request": reply.request() }));
    let records = asked(&kms, "audrey", search).await.json();
    let mut by_item = BTreeMap::new();
    for record in records["records"].as_array().unwrap() {
        assert_eq!(record["action"], "wrap");
        assert!(by_item.insert(record["item"].as_u64().unwrap(), record.clone()).is_none(), "{record}");
    }
    assert_eq!(by_item.len(), items.len());
    for (index, item) in (0..).zip(&items) {
        let record = &by_item[&index];
        let (part, outcome) = match item["error"]["code"].as_str() {
            None => (&item["result"], "allowed"),
            Some("not_permitted") => (&item["error"], "denied"),
            Some(_) => (&item["error"], "failed"),
        };
        assert_eq!((&record["id"], &record["outcome"]), (&part["record"], &json!(outcome)), "{item}");
    }
    kms.stop().await;
}

/// Every byte flipped and every change of context: one answer. A flipped key id: that of a key that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_altered_wrapped_key_tells_nothing() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let ada = kms.client("ada");
    ada.rotate_key(&key).await.unwrap();
    let context = json!({ "patient": "ward-4711", "object": "scan-1" });
    let made = asked(&kms, "storage", post(GENERATE, json!({ "key": key, "context": context }))).await.json();
    let wrapped = STANDARD.decode(made["wrapped"].as_str().unwrap()).unwrap();
    let unwrap = async |bytes: &[u8], context: &Value| {
        let body = json!({ "wrapped": STANDARD.encode(bytes), "context": context });
        asked(&kms, "storage", post(UNWRAP, body)).await
    };
    assert_eq!(unwrap(&wrapped, &context).await.json()["plaintext"], made["plaintext"]);

    let invalid = told(&unwrap(&wrapped[1..], &context).await);
    assert_eq!((&invalid["code"], &invalid["status"]), (&json!("invalid_wrapped_key"), &json!(400)));
    let unknown = told(&asked(&kms, "storage", post(GENERATE, json!({ "key": UNKNOWN }))).await);
    assert_eq!((&unknown["code"], &unknown["status"]), (&json!("not_permitted"), &json!(403)));
    // Magic, format and suite; then the key's id; then version, data key id, nonce, ciphertext and tag.
    let key_id = 6..22;
    for place in 0..wrapped.len() {
        for mask in [0x01, 0x80] {
            let mut altered = wrapped.clone();
            altered[place] ^= mask;
            let said = told(&unwrap(&altered, &context).await);
            let expected = if key_id.contains(&place) { &unknown } else { &invalid };
            assert_eq!(said, *expected, "byte {place} with {mask:#x}");
        }
    }
    for (length, altered) in
        [("shorter", wrapped[..wrapped.len() - 1].to_vec()), ("longer", [&wrapped[..], &[0]].concat())]
    {
        assert_eq!(told(&unwrap(&altered, &context).await), invalid, "{length}");
    }
    for other in [
        json!({}),
        json!({ "patient": "ward-4711" }),
        json!({ "patient": "ward-4711", "object": "scan-1", "x": "" }),
        json!({ "patient": "4712", "object": "scan-1" }),
        json!({ "patient": "ward-4711", "object": "Scan-1" }),
        json!({ "Patient": "ward-4711", "object": "scan-1" }),
        json!({ "patient": "ward-4711", "object": "scan-1 " }),
        json!({ "patient": "scan-1", "object": "ward-4711" }),
        json!({ "patientward-4711": "", "object": "scan-1" }),
    ] {
        assert_eq!(told(&unwrap(&wrapped, &other).await), invalid, "{other}");
    }
    // In another order it is the same context.
    let turned = r#"{"object":"scan-1","patient":"ward-4711"}"#;
    let body = format!(r#"{{"context":{turned},"wrapped":{}}}"#, made["wrapped"]);
    assert_eq!(asked(&kms, "storage", post(UNWRAP, body)).await.json()["plaintext"], made["plaintext"]);

    // A key that is there and not for this caller answers as one that is not.
    let other = asked(&kms, "ada", post("/v1/keys", json!({ "data_class": "other", "alias": "other" }))).await.json();
    let denied = told(&asked(&kms, "storage", post(GENERATE, json!({ "key": "alias/other" }))).await);
    assert_eq!(denied, unknown);
    let mut moved = wrapped.clone();
    let id: uuid::Uuid = other["key"]["id"].as_str().unwrap().parse().unwrap();
    moved[key_id].copy_from_slice(id.as_bytes());
    assert_eq!(told(&unwrap(&moved, &context).await), unknown);
    kms.stop().await;
}

/// What the server sends to bytes as they are.
async fn raw(kms: &TestKms, bytes: &[u8]) -> String {
    let mut stream = kms.dial(Dial::default()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // Whether the end is announced or not, what came before it counts.
    let _end = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_refused_before_it_is_sent_and_while_it_is() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let most = 4 * 1024 * 1024;
    let head = |length: &str| {
        format!(
            "POST {GENERATE} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\n{length}\r\n\r\n",
            kms.token("storage"),
        )
    };
    let announced = raw(&kms, head(&format!("content-length: {}", most + 1)).as_bytes()).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    assert!(announced.contains("keyward-request-id: ") && announced.contains(r#""code":"body_size""#), "{announced}");
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    chunked.extend(format!("{:x}\r\n", most + 1).bytes());
    chunked.extend(vec![b' '; most + 1]);
    let sent = raw(&kms, &chunked).await;
    assert!(sent.starts_with("HTTP/1.1 413 "), "{sent}");
    assert!(sent.contains(r#""code":"body_size""#), "{sent}");
    // What has no length at all has no body.
    let neither = raw(&kms, head("connection: close").as_bytes()).await;
    assert!(neither.starts_with("HTTP/1.1 400 "), "{neither}");
    kms.stop().await;
}

/// A head that is too long is answered like everything else. What is no HTTP, or far too much of it, gets a status and the
/// end of the connection: before there is a request there is nobody to tell more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_ends_the_connection() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let head = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n")
    };
    let long = |length: usize| head("/v1/whoami", &format!("x: {}\r\n", "x".repeat(length)));
    let many = |count: usize| head("/v1/whoami", &"x: y\r\n".repeat(count));
    let path = |length: usize| head(&format!("/{}", "x".repeat(length)), "");
    for bytes in [long(20_000), many(80), path(20_000)] {
        let answer = raw(&kms, bytes.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains(r#""code":"invalid_request""#) && answer.contains("keyward-request-id: "), "{answer}");
    }
    for (bytes, statuses) in [
        (long(100_000).as_str(), &["431"][..]),
        (&many(800), &["431"]),
        (&path(100_000), &["414", "431"]),
        ("nonsense\r\n\r\n", &["400"]),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", &["400"]),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", &["400", "404"]),
    ] {
        let answer = raw(&kms, bytes.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{}: {answer}", &bytes[..20.min(bytes.len())]);
        assert!(!answer.contains("src/") && !answer.contains("panick"), "{answer}");
    }
    // The server is as well as before.
    assert_eq!(asked(&kms, "ada", get("/v1/whoami")).await.status, 200);
    kms.stop().await;
}
