//! Tokens that are refused whatever they claim.

use aws_lc_rs::{hmac, signature::KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{ISSUER, Signer, World, after, claims, claims_with, refused};
use crate::authn::{Refused, key_set::check_key_set};

fn header(algorithm: &str) -> Value {
    json!({ "typ": "JWT", "alg": algorithm, "kid": "a" })
}

#[tokio::test]
async fn every_claim_is_demanded_in_its_form() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let cases = [
        ("iss", json!("https://login.example/"), Refused::IssuerUnknown),
        ("iss", json!([ISSUER]), Refused::TokenForm),
        ("iss", Value::Null, Refused::TokenForm),
        ("aud", json!("somebody else"), Refused::TokenAudience),
        ("aud", json!(["somebody", "else"]), Refused::TokenAudience),
        ("aud", json!([]), Refused::TokenAudience),
        ("aud", json!(7), Refused::TokenForm),
        ("aud", Value::Null, Refused::TokenForm),
        ("sub", Value::Null, Refused::TokenForm),
        ("sub", json!(["alice"]), Refused::TokenForm),
        ("exp", Value::Null, Refused::TokenForm),
        ("exp", json!("tomorrow"), Refused::TokenForm),
        ("exp", json!(-1), Refused::TokenForm),
        ("exp", json!(1e30), Refused::TokenForm),
        ("exp", json!(after(-30)), Refused::TokenExpired),
        ("nbf", json!("now"), Refused::TokenForm),
        ("iat", json!("now"), Refused::TokenForm),
        ("iat", json!(after(31)), Refused::TokenNotYet),
    ];
    for (name, value, reason) in cases {
        let token = signer.token("a", &claims_with(name, value.clone()));
        assert_eq!(refused(world.bearer(&token).await), reason, "{name}: {value}");
    }
    for optional in ["nbf", "iat"] {
        world.bearer(&signer.token("a", &claims_with(optional, Value::Null))).await.unwrap();
    }
    world.bearer(&signer.token("a", &claims_with("aud", json!(["x", "keyward"])))).await.unwrap();
    let fraction: Value = serde_json::from_str(&format!("{}.5", after(600))).unwrap();
    world.bearer(&signer.token("a", &claims_with("exp", fraction))).await.unwrap();
}

#[tokio::test]
async fn a_claim_stands_once() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    for name in ["iss", "sub", "aud", "exp"] {
        let claims = claims();
        let twice = format!("{{{:?}:{},{}", name, claims[name], &claims.to_string()[1..]);
        let token = signer.sign(&header("ES256").to_string(), &twice);
        assert_eq!(refused(world.bearer(&token).await), Refused::TokenForm, "{name}");
    }
}

#[tokio::test]
async fn the_algorithm_is_never_the_tokens_choice() {
    let signer = Signer::es256();
    let rsa = Signer::rs256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a"), rsa.jwk("rsa")] }));
    for algorithm in ["none", "None", "NONE", "", "ES256K", "HS255"] {
        let unsigned = signer.sign(&header(algorithm).to_string(), &claims().to_string());
        let (message, _) = unsigned.rsplit_once('.').unwrap();
        for token in [unsigned.clone(), format!("{message}.")] {
            assert_eq!(refused(world.bearer(&token).await), Refused::TokenForm, "{algorithm}");
        }
    }
    for algorithm in ["HS256", "HS512", "ES384", "RS256", "PS256", "EdDSA"] {
        let token = signer.sign(&header(algorithm).to_string(), &claims().to_string());
        assert_eq!(refused(world.bearer(&token).await), Refused::TokenAlgorithm, "{algorithm}");
    }
    for algorithm in ["RS384", "RS512", "PS256"] {
        let mut header = header(algorithm);
        header["kid"] = json!("rsa");
        let token = rsa.sign(&header.to_string(), &claims().to_string());
        assert_eq!(refused(world.bearer(&token).await), Refused::TokenAlgorithm, "{algorithm}");
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let Signer::Es256(key) = &signer else { unreachable!() };
    let message = [header("HS256").to_string(), claims().to_string()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = message.join(".");
    let jwk = signer.jwk("a").to_string();
    for secret in [key.public_key().as_ref(), &key.public_key().as_ref()[1..], jwk.as_bytes()] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(refused(world.bearer(&token).await), Refused::TokenAlgorithm);
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_not_looked_at() {
    let (signer, thief) = (Signer::es256(), Signer::es256());
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let mut header = header("ES256");
    header["jwk"] = thief.jwk("a");
    header["jku"] = json!("https://thief.example/jwks");
    let token = thief.sign(&header.to_string(), &claims().to_string());
    assert_eq!(refused(world.bearer(&token).await), Refused::TokenSignature);
    world.bearer(&signer.sign(&header.to_string(), &claims().to_string())).await.unwrap();
}

#[tokio::test]
async fn a_header_that_demands_or_says_something_else_is_refused() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let cases = [
        ("crit", json!(["exp"]), Err(Refused::TokenCritical)),
        ("crit", json!([]), Err(Refused::TokenCritical)),
        ("typ", json!("logout+jwt"), Err(Refused::TokenType)),
        ("typ", json!("dpop+jwt"), Err(Refused::TokenType)),
        ("typ", json!("at+JWT"), Ok(())),
        ("typ", json!("application/at+jwt"), Ok(())),
        ("kid", json!("b"), Err(Refused::KeyUnknown)),
        ("kid", json!(["a"]), Err(Refused::TokenForm)),
    ];
    for (name, value, expected) in cases {
        let mut header = header("ES256");
        header[name] = value.clone();
        let token = signer.sign(&header.to_string(), &claims().to_string());
        assert_eq!(world.bearer(&token).await.map(drop), expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_token_without_key_id_needs_the_only_key() {
    let (signer, other) = (Signer::es256(), Signer::eddsa());
    let token = signer.sign(&json!({ "alg": "ES256" }).to_string(), &claims().to_string());
    let unusable = json!({ "kty": "oct", "k": "AAAA" });
    let world = World::trusting(&json!({ "keys": [unusable, signer.jwk("a")] }));
    world.bearer(&token).await.unwrap();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a"), other.jwk("b")] }));
    assert_eq!(refused(world.bearer(&token).await), Refused::KeyUnknown);
}

#[tokio::test]
async fn a_token_has_at_most_eight_kibibytes() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let of = |padding: usize| signer.token("a", &claims_with("padding", json!("x".repeat(padding))));
    let padding = (8192 - of(0).len()) * 3 / 4 - 8;
    world.bearer(&of(padding)).await.unwrap();
    assert_eq!(refused(world.bearer(&of(padding + 32)).await), Refused::TokenSize);
}

#[tokio::test]
async fn a_set_with_two_keys_of_one_id_is_of_no_use() {
    let (signer, other) = (Signer::es256(), Signer::eddsa());
    let keys = json!({ "keys": [signer.jwk("a"), other.jwk("a")] });
    let world = World::trusting(&keys);
    assert_eq!(refused(world.bearer(&signer.token("a", &claims())).await), Refused::IssuerUnavailable);
    assert!(check_key_set(&keys.to_string()).is_err());
}

#[tokio::test]
async fn keys_for_other_ends_are_skipped() {
    let signer = Signer::es256();
    let with = |name: &str, value: Value| {
        let mut jwk = signer.jwk("a");
        jwk[name] = value;
        jwk
    };
    let bad = [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("ES384")),
        with("alg", json!("HS256")),
        with("kty", json!("oct")),
        with("kty", json!("AKP")),
        with("crv", json!("P-384")),
        with("x", json!("AAAA")),
        with("d", json!("AAAA")),
        json!("no object"),
    ];
    for jwk in bad {
        assert!(check_key_set(&json!({ "keys": [jwk] }).to_string()).is_err(), "{jwk}");
        let world = World::trusting(&json!({ "keys": [jwk] }));
        assert_eq!(refused(world.bearer(&signer.token("a", &claims())).await), Refused::KeyUnknown, "{jwk}");
        let world = World::trusting(&json!({ "keys": [jwk, with("key_ops", json!(["verify"]))] }));
        world.bearer(&signer.token("a", &claims())).await.unwrap();
    }
}
