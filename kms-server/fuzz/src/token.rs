//! Whatever stands in `Authorization`, only what the issuer signed for its principal, its audience and this time is
//! accepted. Bytes that begin with `{` are a header and, behind the first line's end, claims, and are signed; others are the
//! field itself.

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::world::{ALICE, AUDIENCE, ISSUER, NOW, SUBJECT, WORLD};

/// By how much a clock may be wrong, in seconds.
const LEEWAY: f64 = 30.0;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n').filter(|_| bytes.first() == Some(&b'{')) else {
        assert!(!is_accepted(bytes), "a token was forged");
        return;
    };
    let (header, claims) = (&bytes[..line], &bytes[line + 1..]);
    if is_accepted(format!("Bearer {}", WORLD.token(header, claims)).as_bytes()) {
        let claims: Value = serde_json::from_slice(claims).expect("claims that are accepted are JSON");
        let seconds = |name: &str| claims[name].as_f64();
        assert_eq!((&claims["iss"], &claims["sub"]), (&ISSUER.into(), &SUBJECT.into()));
        let for_us = claims["aud"] == AUDIENCE
            || claims["aud"].as_array().is_some_and(|audiences| audiences.contains(&AUDIENCE.into()));
        assert!(for_us, "a token for others was accepted: {claims}");
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century have no more digits")]
        let now = NOW as f64;
        assert!(seconds("exp").is_some_and(|exp| exp + LEEWAY >= now), "an old token was accepted: {claims}");
        assert!(seconds("nbf").is_none_or(|nbf| nbf <= now + LEEWAY + 1.0), "a future token was accepted: {claims}");
        assert!(claims["cnf"].is_null(), "a token that is bound to what was not shown was accepted: {claims}");
    }
}

fn is_accepted(field: &[u8]) -> bool {
    let Ok(field) = HeaderValue::from_bytes(field) else { return false };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, field)]);
    // An inline key set never waits, so the future is ready at once.
    let caller = WORLD.authenticator.caller(WORLD.moment(), &headers, None).now_or_never().expect("nothing waits");
    caller.is_ok_and(|caller| {
        assert_eq!(caller.principal(), ALICE);
        true
    })
}
