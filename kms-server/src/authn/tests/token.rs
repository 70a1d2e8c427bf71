//! Whom a good token stands for, for how long, and with what else it must come.

use jiff::Timestamp;
use serde_json::json;

use super::{
    ALICE, BOB, ISSUER_ID, Signer, World, after, certificate::Authority, changed, claims, claims_with, issuer,
    principal, refused, subject,
};
use crate::{
    authn::{PeerCertificates, Proof, Refused},
    model::{JwksSource, PrincipalState, TrustState},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

#[tokio::test]
async fn each_algorithm_is_taken_from_its_own_key() {
    let signers = [Signer::es256(), Signer::eddsa(), Signer::rs256()];
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk(signer.algorithm())).collect();
    let world = World::trusting(&json!({ "keys": keys }));
    for signer in &signers {
        let token = signer.token(signer.algorithm(), &claims());
        let caller = world.bearer(&token).await.unwrap();
        assert_eq!(caller.principal(), ALICE);
        let expires_at = Timestamp::from_second(after(630)).unwrap();
        assert_eq!(*caller.proof(), Proof::Token { issuer: ISSUER_ID, expires_at });
    }
    let confused = signers[0].token("EdDSA", &claims());
    assert_eq!(refused(world.bearer(&confused).await), Refused::TokenAlgorithm);
}

#[tokio::test]
async fn the_issuer_says_how_the_caller_was_authenticated() {
    let signer = Signer::eddsa();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let mut claims = claims_with("amr", json!(["pwd", "mfa"]));
    claims["acr"] = json!("gold");
    let caller = world.bearer(&signer.token("a", &claims)).await.unwrap();
    assert_eq!(caller.assurance().amr, ["pwd", "mfa"]);
    assert_eq!(caller.assurance().acr.as_deref(), Some("gold"));
    assert!(caller.assurance().is_multi_factor());
}

#[tokio::test]
async fn a_token_ends_with_its_leeway_remembered_or_not() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let remembered = signer.token("a", &claims());
    let new = signer.token("a", &claims());
    world.bearer(&remembered).await.unwrap();
    world.clock.advance(629);
    world.bearer(&remembered).await.unwrap();
    world.clock.advance(1);
    assert_eq!(refused(world.bearer(&remembered).await), Refused::NoLonger);
    assert_eq!(refused(world.bearer(&new).await), Refused::TokenExpired);
}

#[tokio::test]
async fn a_token_begins_with_its_leeway() {
    let signer = Signer::es256();
    for claim in ["nbf", "iat"] {
        let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
        let token = signer.token("a", &claims_with(claim, json!(after(31))));
        assert_eq!(refused(world.bearer(&token).await), Refused::TokenNotYet, "{claim}");
        world.clock.advance(1);
        world.bearer(&token).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_is_verified_once_per_revision() {
    let signer = Signer::es256();
    let mut world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let token = signer.token("a", &claims());
    let first = world.bearer(&token).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &world.bearer(&token).await.unwrap()));
    world.put(principal(BOB, []));
    assert!(!std::sync::Arc::ptr_eq(&first, &world.bearer(&token).await.unwrap()));
}

#[tokio::test]
async fn a_cut_ends_a_remembered_token() {
    let signer = Signer::es256();
    let keys = json!({ "keys": [signer.jwk("a")] });
    let token = signer.token("a", &claims());
    let cuts = [
        (changed(ALICE, [subject()], |alice| alice.state = PrincipalState::Suspended), Refused::NoLonger),
        (
            changed(ALICE, [subject()], |alice| alice.credentials[0].removed_at = Some(super::start())),
            Refused::NoLonger,
        ),
        (issuer(JwksSource::Inline(keys.to_string()), TrustState::Removed), Refused::IssuerUnknown),
    ];
    for (cut, reason) in cuts {
        let mut world = World::trusting(&keys);
        let caller = world.bearer(&token).await.unwrap();
        world.put(cut);
        assert_eq!(refused(world.bearer(&token).await), reason);
        assert!(caller.stands(&world.state, super::start()).is_err());
    }
}

#[tokio::test]
async fn a_subject_is_compared_exactly_and_must_be_somebodys() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    for stranger in ["mallory", "Alice", "alice ", ""] {
        let token = signer.token("a", &claims_with("sub", json!(stranger)));
        assert_eq!(refused(world.bearer(&token).await), Refused::PrincipalUnknown, "{stranger}");
    }
}

#[tokio::test]
async fn a_bound_token_needs_its_certificate() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let authority = Authority::new("clients");
    let peer = |name: &str| PeerCertificates::parse(&[authority.client(name)]).unwrap();
    let (own, other) = (peer("own.example"), peer("other.example"));
    let bearer = |confirmation| format!("Bearer {}", signer.token("a", &claims_with("cnf", confirmation)));

    let bound = bearer(json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(own.fingerprint()) }));
    assert_eq!(world.ask(&[&bound], Some(&own)).await.unwrap().principal(), ALICE);
    // What was verified with the right certificate is not remembered for another.
    assert_eq!(refused(world.ask(&[&bound], Some(&other)).await), Refused::TokenBinding);
    assert_eq!(refused(world.ask(&[&bound], None).await), Refused::TokenBinding);

    let unchecked = [
        json!({}),
        json!("thumbprint"),
        json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(own.fingerprint()), "jkt": "0ZcOCORZNYy" }),
        json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(&own.fingerprint()[..31]) }),
        json!({ "x5t#S256": hex::encode(own.fingerprint()) }),
    ];
    for confirmation in unchecked {
        let token = bearer(confirmation.clone());
        assert_eq!(refused(world.ask(&[&token], Some(&own)).await), Refused::TokenBinding, "{confirmation}");
    }
    let unbound = format!("Bearer {}", signer.token("a", &claims()));
    assert_eq!(world.ask(&[&unbound], Some(&other)).await.unwrap().principal(), ALICE);
}

#[tokio::test]
async fn one_authorization_header_with_one_bearer_token() {
    let signer = Signer::es256();
    let world = World::trusting(&json!({ "keys": [signer.jwk("a")] }));
    let token = signer.token("a", &claims());
    let good = format!("bearer {token}");
    world.ask(&[&good], None).await.unwrap();
    assert_eq!(refused(world.ask(&[], None).await), Refused::NoCredential);
    for bad in [&*token, "Bearer", "Bearer ", "Basic YTpi", &format!("Token {token}"), &format!("\"Bearer\" {token}")] {
        assert_eq!(refused(world.ask(&[bad], None).await), Refused::AuthorizationForm, "{bad}");
    }
    assert_eq!(refused(world.ask(&[&good, &good], None).await), Refused::AuthorizationForm);
    for bad in [format!("Bearer  {token}"), format!("Bearer {token} "), format!("Bearer {token}, {good}")] {
        assert!(world.ask(&[&bad], None).await.is_err(), "{bad}");
    }
}
