//! Issuers whose keys are fetched: from an HTTPS server of their own, trusted by a change like any other issuer.

use std::time::Duration;

use keyward_tests::{AUDIENCE, Ask, Backend, Identities, KeyServer, Reply, SigningKey, TestKms};
use kms_server::model::Clock as _;
use serde_json::{Value, json};

const ISSUER: &str = "https://login.hospital.example";
/// No set is used without question when it is older.
const FRESH: Duration = Duration::from_mins(5);

/// Trusts, where one person may, the issuer whose keys are there, and takes its tokens of the subject `warehouse` for `storage`.
async fn trust(kms: &TestKms, url: &str, authority: &str) {
    let ada = kms.token("ada");
    let issuer = json!({ "issuer": ISSUER, "audiences": [AUDIENCE], "jwks": { "url": url, "ca": authority } });
    let added = kms.ask(&Ask::new("POST", "/v1/trust/issuers").token(&ada).json(issuer)).await;
    assert_eq!(added.status, 200, "{added:?}");
    let issuer = &added.json()["issuer"]["id"];
    let subject = json!({ "type": "jwt_subject", "issuer": issuer, "subject": "warehouse" });
    let known = kms.ask(&Ask::new("POST", "/v1/principals/storage/credentials").token(&ada).json(subject)).await;
    assert_eq!(known.status, 200, "{known:?}");
}

fn claims(kms: &TestKms) -> Value {
    let mut claims = serde_json::to_value(kms.identities.claims("warehouse", kms.clock.now())).unwrap();
    claims["iss"] = ISSUER.into();
    claims
}

async fn whoami(kms: &TestKms, token: &str) -> Reply {
    kms.ask(&Ask::new("GET", "/v1/whoami").token(token)).await
}

async fn accepted(kms: &TestKms, token: &str) {
    let reply = whoami(kms, token).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["principal"]["name"], "storage");
}

/// Refused, and for this reason by the log.
async fn refused(kms: &TestKms, token: &str, reason: &str) {
    let reply = whoami(kms, token).await;
    assert_eq!((reply.status, reply.code().as_deref()), (401, Some("unauthenticated")), "{reply:?}");
    let search = Ask::new("POST", "/v1/audit/search").json(json!({ "request": reply.request() }));
    let found = kms.ask(&search.token(&kms.token("audrey"))).await.json();
    assert_eq!(found["records"][0]["reason"], reason, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_and_withdrawn_over_tls() {
    let kms = TestKms::start_with(Backend::Sqlite, true, "").await;
    let authority = Identities::new();
    let (edwards, rsa, stranger) = (SigningKey::ed25519("ed"), SigningKey::rsa("rsa"), SigningKey::ed25519("other"));
    let server = KeyServer::start(&authority.server(), &[&edwards, &rsa]).await;
    trust(&kms, &server.url(), &authority.ca_pem).await;
    let (by_edwards, by_rsa) = (edwards.token(&claims(&kms)), rsa.token(&claims(&kms)));
    accepted(&kms, &by_edwards).await;
    accepted(&kms, &by_rsa).await;
    assert!(server.asked() >= 1);

    // Neither a key that the set does not name, nor one that calls itself by a name of the set, of either kind.
    refused(&kms, &stranger.token(&claims(&kms)), "key_unknown").await;
    refused(&kms, &SigningKey::ed25519("ed").token(&claims(&kms)), "token_signature").await;
    refused(&kms, &SigningKey::rsa("rsa").token(&claims(&kms)), "token_signature").await;
    refused(&kms, &SigningKey::rsa("ed").token(&claims(&kms)), "token_algorithm").await;

    // The set is exchanged: when it was fetched again the old keys are worth nothing, tokens that were good included.
    let (newer, before) = (SigningKey::rsa("newer"), server.asked());
    server.publish(&[&newer]);
    kms.clock.advance(FRESH + Duration::from_secs(1));
    refused(&kms, &by_edwards, "key_unknown").await;
    refused(&kms, &by_rsa, "key_unknown").await;
    refused(&kms, &rsa.token(&claims(&kms)), "key_unknown").await;
    accepted(&kms, &newer.token(&claims(&kms))).await;
    assert!(server.asked() > before);
    kms.stop().await;
}

/// A key server whose certificate is of another authority is not believed, whatever keys it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_server_of_another_authority_is_not_believed() {
    let kms = TestKms::start_with(Backend::Sqlite, true, "").await;
    let (authority, key) = (Identities::new(), SigningKey::ed25519("ed"));
    let server = KeyServer::start(&authority.server(), &[&key]).await;
    trust(&kms, &server.url(), &Identities::new().ca_pem).await;
    refused(&kms, &key.token(&claims(&kms)), "issuer_unavailable").await;
    assert_eq!(server.asked(), 0);
    kms.stop().await;
}
