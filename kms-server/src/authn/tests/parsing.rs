//! Whatever arrives, nothing panics, and nothing but the token itself is accepted.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::json;

use super::{Signer, World, claims};
use crate::authn::{PeerCertificates, authority::Authority, key_set::KeySet};

struct Good {
    world: World,
    token: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let signer = Signer::eddsa();
    Good { world: World::trusting(&json!({ "keys": [signer.jwk("a")] })), token: signer.token("a", &claims()) }
});

fn accepted(token: &str) -> bool {
    // Inline keys never wait, so the future is ready at once.
    GOOD.world.ask(&[&format!("Bearer {token}")], None).now_or_never().unwrap().is_ok()
}

proptest! {
    #[test]
    fn any_bytes_are_a_key_set_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _set = KeySet::parse(&bytes);
    }

    #[test]
    fn any_members_are_a_key_or_not(
        kty in "EC|OKP|RSA|oct|.{0,4}",
        crv in "P-256|Ed25519|.{0,4}",
        values in proptest::collection::vec("[A-Za-z0-9_-]{0,400}", 4),
    ) {
        let [x, y, n, e] = values.try_into().unwrap();
        let jwk = json!({ "kty": kty, "crv": crv, "x": x, "y": y, "n": n, "e": e });
        let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes());
        prop_assert!(set.is_ok());
    }

    #[test]
    fn any_text_is_no_token(text in "[!-~]{1,300}") {
        prop_assert!(!accepted(&text));
    }

    #[test]
    fn any_parts_are_no_token(
        header in "\\{[ -~]{0,80}\\}",
        claims in "\\{[ -~]{0,80}\\}",
        signature in "[A-Za-z0-9_-]{0,90}",
    ) {
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let token = [header, claims, signature].join(".");
        prop_assert!(!accepted(&token));
    }

    #[test]
    fn no_other_text_is_the_token(at in any::<prop::sample::Index>(), with in "[!-~]") {
        let mut token = GOOD.token.clone();
        let at = at.index(token.len());
        token.replace_range(at..=at, &with);
        prop_assert_eq!(accepted(&token), token == GOOD.token);
    }

    #[test]
    fn any_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(PeerCertificates::parse(&[bytes.into()]).is_err());
    }

    #[test]
    fn any_text_is_no_authority(text in ".{0,300}") {
        prop_assert!(Authority::parse(&text).is_err());
    }
}
