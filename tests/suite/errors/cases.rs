//! Bad requests, each with the status and code it gets.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyward_tests::Ask;
use serde_json::{Value, json};

pub(crate) const GENERATE: &str = "/v1/data-keys/generate";
pub(crate) const WRAP: &str = "/v1/data-keys/wrap";
pub(crate) const UNWRAP: &str = "/v1/data-keys/unwrap";
pub(crate) const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

/// One bad request, by whom, and what it gets.
pub(crate) type Case = (&'static str, &'static str, Ask, u16, &'static str);

pub(crate) fn post(path: &str, body: impl ToString) -> Ask {
    Ask::new("POST", path).json(body)
}

pub(crate) fn get(path: &str) -> Ask {
    Ask::new("GET", path)
}

pub(crate) fn context(pairs: usize, value: usize) -> Value {
    let pairs: serde_json::Map<_, _> = (0..pairs).map(|n| (format!("k{n:02}"), "v".repeat(value).into())).collect();
    json!({ "key": "alias/records", "context": pairs })
}

pub(crate) fn plaintext(bytes: usize) -> Value {
    json!({ "key": "alias/records", "plaintext": STANDARD.encode(vec![7; bytes]) })
}

pub(crate) fn batch(items: usize) -> Value {
    json!({ "items": vec![json!({ "key": "alias/records" }); items] })
}

/// The form of bodies.
pub(crate) fn bodies() -> Vec<Case> {
    let generate = |body: &str| post(GENERATE, body);
    let good = r#"{"key":"alias/records"}"#;
    let deep = format!(r#"{{"key":"alias/records","context":{}{}}}"#, "[".repeat(300), "]".repeat(300));
    vec![
        ("body empty", "storage", generate(""), 400, "invalid_request"),
        ("body without type", "storage", Ask::new("POST", GENERATE).body(good), 415, "invalid_request"),
        (
            "body of another type",
            "storage",
            Ask::new("POST", GENERATE).header("content-type", "text/plain").body(good),
            415,
            "invalid_request",
        ),
        ("json cut off", "storage", generate(r#"{"key":"#), 400, "invalid_request"),
        ("json with a tail", "storage", generate(r#"{"key":"alias/records"} x"#), 400, "invalid_request"),
        ("json array", "storage", generate(r#"["alias/records"]"#), 400, "invalid_request"),
        ("json null", "storage", generate("null"), 400, "invalid_request"),
        ("json too deep", "storage", generate(&deep), 400, "invalid_request"),
        (
            "json not utf-8",
            "storage",
            Ask::new("POST", GENERATE).header("content-type", "application/json").body(&b"{\"key\":\"\xff\"}"[..]),
            400,
            "invalid_request",
        ),
        ("field unknown", "storage", generate(r#"{"key":"alias/records","x":1}"#), 400, "invalid_request"),
        ("field missing", "storage", post(WRAP, good), 400, "invalid_request"),
        (
            "field twice",
            "storage",
            generate(r#"{"key":"alias/records","key":"alias/records"}"#),
            400,
            "invalid_request",
        ),
        ("number as text", "storage", generate(r#"{"key":"alias/records","bytes":"16"}"#), 400, "invalid_request"),
        ("number negative", "storage", generate(r#"{"key":"alias/records","bytes":-1}"#), 400, "invalid_request"),
        ("number broken", "storage", generate(r#"{"key":"alias/records","bytes":1.5}"#), 400, "invalid_request"),
        ("text as number", "storage", generate(r#"{"key":5}"#), 400, "invalid_request"),
        ("flag as text", "storage", generate(r#"{"key":"alias/records","plaintext":"no"}"#), 400, "invalid_request"),
        (
            "base64 wrong",
            "storage",
            post(WRAP, json!({ "key": "alias/records", "plaintext": "%%%%" })),
            400,
            "invalid_request",
        ),
        (
            "base64 not canonical",
            "storage",
            post(WRAP, json!({ "key": "alias/records", "plaintext": "AB==" })),
            400,
            "invalid_request",
        ),
        (
            "base64 unpadded",
            "storage",
            post(WRAP, json!({ "key": "alias/records", "plaintext": "AA" })),
            400,
            "invalid_request",
        ),
        (
            "change with a field",
            "ada",
            post("/v1/keys/alias%2Frecords/rotate", json!({ "x": 1 })),
            400,
            "invalid_request",
        ),
        ("change without a body", "ada", Ask::new("POST", "/v1/keys/alias%2Frecords/rotate"), 415, "invalid_request"),
    ]
}

/// Contexts, sizes and batches: each limit has its own answer.
pub(crate) fn limits() -> Vec<Case> {
    let twice = r#"{"key":"alias/records","context":{"patient":"ward-4711","patient":"4712"}}"#;
    let generate = |bytes: u32| post(GENERATE, json!({ "key": "alias/records", "bytes": bytes }));
    let with = |context: Value| post(GENERATE, json!({ "key": "alias/records", "context": context }));
    vec![
        ("context twice the same", "storage", post(GENERATE, twice), 400, "invalid_request"),
        ("context no object", "storage", with(json!(["a"])), 400, "invalid_request"),
        ("context of numbers", "storage", with(json!({ "patient": 4711 })), 400, "invalid_request"),
        ("context nested", "storage", with(json!({ "patient": { "id": "ward-4711" } })), 400, "invalid_request"),
        ("context key empty", "storage", with(json!({ "": "x" })), 400, "invalid_request"),
        ("context of 33 pairs", "storage", post(GENERATE, context(33, 1)), 400, "context_pairs"),
        ("context too long", "storage", post(GENERATE, context(2, 4100)), 400, "context_size"),
        ("plaintext empty", "storage", post(WRAP, plaintext(0)), 400, "plaintext_size"),
        ("plaintext too long", "storage", post(WRAP, plaintext(4097)), 400, "plaintext_size"),
        ("generate 0", "storage", generate(0), 400, "plaintext_size"),
        ("generate 1025", "storage", generate(1025), 400, "plaintext_size"),
        ("random 0", "storage", post("/v1/random", json!({ "bytes": 0 })), 400, "plaintext_size"),
        ("random 1025", "storage", post("/v1/random", json!({ "bytes": 1025 })), 400, "plaintext_size"),
        ("batch empty", "storage", post("/v1/data-keys/generate/batch", batch(0)), 400, "batch_size"),
        ("batch of 1001", "storage", post("/v1/data-keys/generate/batch", batch(1001)), 400, "batch_size"),
        ("batch without items", "storage", post("/v1/data-keys/generate/batch", json!({})), 400, "invalid_request"),
        (
            "batch of no array",
            "storage",
            post("/v1/data-keys/generate/batch", json!({ "items": "x" })),
            400,
            "invalid_request",
        ),
        ("wrapped empty", "storage", post(UNWRAP, json!({ "wrapped": "" })), 400, "invalid_wrapped_key"),
        ("wrapped short", "storage", post(UNWRAP, json!({ "wrapped": "AAAA" })), 400, "invalid_wrapped_key"),
        ("wrapped no base64", "storage", post(UNWRAP, json!({ "wrapped": "%" })), 400, "invalid_wrapped_key"),
        ("wrapped a number", "storage", post(UNWRAP, json!({ "wrapped": 5 })), 400, "invalid_request"),
        ("wrapped missing", "storage", post(UNWRAP, json!({})), 400, "invalid_request"),
    ]
}

/// Names, ids and paths.
pub(crate) fn names() -> Vec<Case> {
    let key = |name: &str| post(GENERATE, json!({ "key": name }));
    let create = |field: &str, value: Value| {
        let mut key = json!({ "data_class": "records" });
        key[field] = value;
        post("/v1/keys", key)
    };
    let bind = |role: &str, scope: Value| {
        post("/v1/bindings", json!({ "principal": "stranger", "role": role, "scope": scope }))
    };
    let revoke =
        |version: &str| post(&format!("/v1/keys/alias%2Frecords/versions/{version}/revoke"), json!({ "reason": "x" }));
    vec![
        ("key unknown by id", "storage", key(UNKNOWN), 403, "not_permitted"),
        ("key unknown by alias", "storage", key("alias/nothing"), 403, "not_permitted"),
        ("key without prefix", "storage", key("records"), 400, "invalid_request"),
        ("key unknown in capitals", "storage", key("0193ABCD-0000-7000-8000-00000000000F"), 403, "not_permitted"),
        ("path key unknown", "ada", get(&format!("/v1/keys/{UNKNOWN}")), 404, "not_found"),
        ("path alias unknown", "ada", get("/v1/keys/alias%2Fnothing"), 404, "not_found"),
        ("path key malformed", "ada", get("/v1/keys/nonsense"), 400, "invalid_request"),
        ("path not utf-8", "ada", get("/v1/keys/%FF"), 400, "invalid_request"),
        ("path version 0", "ada", revoke("0"), 400, "invalid_request"),
        ("path version no number", "ada", revoke("one"), 400, "invalid_request"),
        ("path version too large", "ada", revoke("4294967296"), 400, "invalid_request"),
        ("path version unknown", "ada", revoke("77"), 404, "not_found"),
        ("path principal unknown", "ada", get("/v1/principals/nobody"), 404, "not_found"),
        ("path principal malformed", "ada", get("/v1/principals/two%20words"), 400, "invalid_request"),
        ("path binding malformed", "ada", get("/v1/bindings/x"), 400, "invalid_request"),
        ("path binding unknown", "ada", get(&format!("/v1/bindings/{UNKNOWN}")), 404, "not_found"),
        ("path change malformed", "ada", get("/v1/changes/x"), 400, "invalid_request"),
        ("path change unknown", "ada", get(&format!("/v1/changes/{UNKNOWN}")), 404, "not_found"),
        ("path record malformed", "audrey", get("/v1/audit/records/x"), 400, "invalid_request"),
        ("path record unknown", "audrey", get(&format!("/v1/audit/records/{UNKNOWN}-0")), 404, "not_found"),
        ("path unknown", "ada", get("/v1/nothing"), 404, "not_found"),
        ("path unknown to nobody", "", get("/admin.php"), 404, "not_found"),
        ("method wrong", "ada", Ask::new("PUT", "/v1/keys"), 405, "invalid_request"),
        ("method wrong for nobody", "", Ask::new("TRACE", "/v1/whoami"), 405, "invalid_request"),
        ("alias of two words", "ada", create("alias", json!("two words")), 400, "invalid_request"),
        ("alias taken", "ada", create("alias", json!("records")), 409, "already_exists"),
        ("class empty", "ada", create("data_class", json!("")), 400, "invalid_request"),
        ("environment unknown", "ada", create("environment", json!("moon")), 400, "invalid_request"),
        ("algorithm unknown", "ada", create("algorithm", json!("des")), 400, "invalid_request"),
        ("owner unknown", "ada", create("owner", json!(format!("principal/{UNKNOWN}"))), 400, "invalid_request"),
        ("role unknown", "ada", bind("root", json!("all")), 400, "invalid_request"),
        ("scope unknown", "ada", bind("wrapper", json!("some")), 400, "invalid_request"),
        ("scope of no key", "ada", bind("wrapper", json!({ "key": UNKNOWN })), 404, "not_found"),
        (
            "reason empty",
            "ada",
            post("/v1/keys/alias%2Frecords/disable", json!({ "reason": "" })),
            400,
            "invalid_request",
        ),
        ("state does not allow", "ada", revoke("1"), 409, "invalid_state"),
        (
            "revision is another",
            "ada",
            Ask::new("PATCH", "/v1/keys/alias%2Frecords")
                .header("if-match", "\"1\"")
                .json(json!({ "description": "x" })),
            412,
            "revision_mismatch",
        ),
        (
            "name taken",
            "ada",
            post("/v1/principals", json!({ "name": "storage", "kind": "service" })),
            409,
            "already_exists",
        ),
        (
            "service with a person",
            "ada",
            post("/v1/principals", json!({ "name": "robot", "kind": "service", "person": "ada" })),
            400,
            "invalid_request",
        ),
        (
            "credential of an unknown anchor",
            "ada",
            post(
                "/v1/principals/stranger/credentials",
                json!({ "type": "jwt_subject", "issuer": UNKNOWN, "subject": "x" }),
            ),
            400,
            "invalid_request",
        ),
        (
            "authority no certificate",
            "ada",
            post("/v1/trust/client-cas", json!({ "name": "x", "certificate_pem": "-----BEGIN" })),
            400,
            "invalid_request",
        ),
        (
            "key set empty",
            "ada",
            post(
                "/v1/trust/issuers",
                json!({ "issuer": "https://a.example", "audiences": ["a"], "jwks": { "inline": { "keys": [] } } }),
            ),
            400,
            "invalid_request",
        ),
        (
            "key set of two kinds",
            "ada",
            post(
                "/v1/trust/issuers",
                json!({ "issuer": "https://a.example", "audiences": ["a"], "jwks": { "inline": {}, "url": "https://a" } }),
            ),
            400,
            "invalid_request",
        ),
        (
            "key set without tls",
            "ada",
            post(
                "/v1/trust/issuers",
                json!({ "issuer": "https://a.example", "audiences": ["a"], "jwks": { "url": "http://a.example/jwks" } }),
            ),
            400,
            "invalid_request",
        ),
    ]
}

/// Lists and searches.
pub(crate) fn queries() -> Vec<Case> {
    let search = |body: Value| post("/v1/audit/search", body);
    vec![
        ("limit 0", "ada", get("/v1/keys?limit=0"), 400, "invalid_request"),
        ("limit 1001", "ada", get("/v1/keys?limit=1001"), 400, "invalid_request"),
        ("limit no number", "ada", get("/v1/keys?limit=many"), 400, "invalid_request"),
        ("limit twice", "ada", get("/v1/keys?limit=1&limit=2"), 400, "invalid_request"),
        ("parameter unknown", "ada", get("/v1/keys?colour=red"), 400, "invalid_request"),
        ("filter of no state", "ada", get("/v1/keys?state=on"), 400, "invalid_request"),
        ("cursor made up", "ada", get("/v1/keys?cursor=AAAA"), 400, "invalid_request"),
        ("search limit 0", "audrey", search(json!({ "limit": 0 })), 400, "invalid_request"),
        ("search for no action", "audrey", search(json!({ "action": "fly" })), 400, "invalid_request"),
        ("search for no outcome", "audrey", search(json!({ "outcome": "fine" })), 400, "invalid_request"),
        ("search for no time", "audrey", search(json!({ "from": "yesterday" })), 400, "invalid_request"),
        ("search with a cursor made up", "audrey", search(json!({ "cursor": "AAAA" })), 400, "invalid_request"),
    ]
}
