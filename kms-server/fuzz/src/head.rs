//! The terms in the head of a request are taken in the one form that they have, or refused; a trace is named in one way.
//! Lines of the bytes are `If-Match`, `Idempotency-Key`, `Prefer` and `traceparent`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kms_server::{
    http::native::fuzzing::{expected, trace_parent},
    model::Action,
};

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    const FIELDS: [&str; 4] = ["if-match", "idempotency-key", "prefer", "traceparent"];
    let mut headers = HeaderMap::new();
    for (line, name) in bytes.split(|byte| *byte == b'\n').zip(FIELDS.iter().cycle()).take(2 * FIELDS.len()) {
        // An empty line leaves the field out.
        if let Some(value) = HeaderValue::from_bytes(line).ok().filter(|_| !line.is_empty()) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    for action in [Action::CreateKey, Action::UpdateKey, Action::Unwrap, Action::ListKeys] {
        match expected(&headers, action) {
            Ok(Some(revision)) => {
                let field = headers.get("if-match").and_then(|value| value.to_str().ok()).map(str::trim);
                assert_eq!(field, Some(format!("\"{}\"", revision.0).as_str()));
                assert!(action.is_edit() && !headers.contains_key("idempotency-key"), "{headers:?}");
            }
            Ok(None) => {}
            Err(error) => assert_eq!(error.code(), "invalid_request", "{error}"),
        }
    }
    if let Some(parent) = trace_parent(&headers) {
        assert_eq!(headers.get("traceparent").map(HeaderValue::as_bytes), Some(parent.to_string().as_bytes()));
    }
}
