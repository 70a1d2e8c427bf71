//! Who is asking, over real TLS: what is refused at the door, and what is refused by the next request on a connection that
//! was good a moment ago.

use std::time::Duration;

use keyward_tests::{Ask, Backend, Connection, Dial, Identities, Reply, TestKms};
use kms_server::model::Clock as _;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn whoami() -> Ask {
    Ask::new("GET", "/v1/whoami")
}

async fn done(kms: &TestKms, who: &str, ask: Ask) -> Value {
    let reply = kms.ask(&ask.token(&kms.token(who))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Why the log says that a request was refused, which its answer does not.
async fn reason(kms: &TestKms, reply: &Reply) -> String {
    assert_eq!((reply.status, reply.code().as_deref()), (401, Some("unauthenticated")), "{reply:?}");
    assert_eq!(reply.headers["www-authenticate"], "Bearer");
    let search = Ask::new("POST", "/v1/audit/search").json(json!({ "request": reply.request() }));
    let certificate = kms.certificate("audrey");
    // Whichever of the two anchors a test leaves.
    let mut found = kms.connect(Some(&certificate)).await.ask(&search).await;
    if found.status != 200 {
        found = kms.ask(&search.token(&kms.token("audrey"))).await;
    }
    let records = found.json();
    assert_eq!(records["records"].as_array().unwrap().len(), 1, "{records}");
    let record = &records["records"][0];
    assert_eq!((&record["outcome"], &record["action"]), (&json!("denied"), &json!("whoami")), "{record}");
    record["reason"].as_str().unwrap().to_owned()
}

/// Connections of `storage` that are known to be good: one by certificate, one without.
async fn open(kms: &TestKms) -> (Connection, Connection, String) {
    let mut by_certificate = kms.connect(Some(&kms.certificate("storage"))).await;
    let (mut by_token, token) = (kms.connect(None).await, kms.token("storage"));
    for reply in [by_certificate.ask(&whoami()).await, by_token.ask(&whoami().token(&token)).await] {
        assert_eq!(reply.json()["principal"]["name"], "storage");
    }
    (by_certificate, by_token, token)
}

/// The ids of the credentials of `storage`, by kind.
async fn credential(kms: &TestKms, kind: &str) -> String {
    let storage = done(kms, "ada", Ask::new("GET", "/v1/principals/storage")).await;
    let credentials = storage["principal"]["credentials"].as_array().unwrap();
    credentials.iter().find(|each| each["type"] == kind).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_http_2_are_not_spoken() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let old = kms.dial(Dial { versions: &[&TLS12], ..Dial::default() }).await.unwrap_err();
    assert!(old.to_string().contains("ProtocolVersion"), "{old}");
    let both = kms.dial(Dial { versions: &[&TLS12, &TLS13], ..Dial::default() }).await.unwrap();
    assert_eq!(both.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let only = kms.dial(Dial { protocols: &["h2"], ..Dial::default() }).await.unwrap_err();
    assert!(only.to_string().contains("NoApplicationProtocol"), "{only}");
    let either = kms.dial(Dial { protocols: &["h2", "http/1.1"], ..Dial::default() }).await.unwrap();
    assert_eq!(either.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut connection = Connection::over(either).await;
    assert_eq!(connection.ask(&whoami().token(&kms.token("ada"))).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_does_not_get_in() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let stranger = Identities::new().client("spiffe://clinic.example/ada");
    // In TLS 1.3 the client is done before the server has seen its certificate.
    let refused = async {
        let mut stream = kms.dial(Dial { leaf: Some(&stranger), ..Dial::default() }).await?;
        stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let refused = refused.await.unwrap_err();
    assert!(refused.to_string().contains("received fatal alert"), "{refused}");
    kms.stop().await;
}

/// One refusal for all of them, and the reason in the log alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_in_every_part_or_not_at_all() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (mut connection, now) = (kms.connect(None).await, kms.clock.now());
    let other = Identities::new();
    let good = || kms.identities.claims("storage", now);
    let past = {
        let mut claims = good();
        (claims.iat, claims.exp) = (claims.iat - 7200, claims.iat - 3600);
        kms.identities.token(&claims)
    };
    let future = {
        let mut claims = good();
        claims.nbf = Some(claims.iat + 600);
        kms.identities.token(&claims)
    };
    let with = |change: fn(&mut keyward_tests::TokenClaims)| {
        let mut claims = good();
        change(&mut claims);
        kms.identities.token(&claims)
    };
    let signed = kms.identities.token(&good());
    let (unsigned, _) = signed.rsplit_once('.').unwrap();
    for (token, expected) in [
        (with(|claims| claims.aud = "elsewhere".to_owned()), "token_audience"),
        (with(|claims| claims.iss = "https://elsewhere.example".to_owned()), "issuer_unknown"),
        (with(|claims| claims.sub = "nobody".to_owned()), "principal_unknown"),
        (with(|claims| claims.sub = "Storage".to_owned()), "principal_unknown"),
        (past, "token_expired"),
        (future, "token_not_yet"),
        (other.token(&good()), "token_signature"),
        (format!("{unsigned}.AAAA"), "token_signature"),
        ("x".repeat(8193), "token_size"),
        ("not.a.token".to_owned(), "token_form"),
    ] {
        let reply = connection.ask(&whoami().token(&token)).await;
        assert_eq!(reason(&kms, &reply).await, expected, "{token}");
    }
    for value in ["", "Bearer", "Basic YTpi", "Bearer a b"] {
        let reply = connection.ask(&whoami().header("authorization", value)).await;
        let reason = reason(&kms, &reply).await;
        assert!(["authorization_form", "token_form"].contains(&reason.as_str()), "{value}: {reason}");
    }
    let twice = whoami().token(&signed).token(&signed);
    assert_eq!(reason(&kms, &connection.ask(&twice).await).await, "authorization_form");
    assert_eq!(reason(&kms, &connection.ask(&whoami()).await).await, "no_credential");
    // Through all of that the connection stayed open, and a good token is a good token.
    assert_eq!(connection.ask(&whoami().token(&signed)).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_ends_tokens_and_certificates_on_open_connections() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let until = kms.clock.now() + Duration::from_mins(90);
    let leaf = kms.identities.client_until("spiffe://clinic.example/storage", until);
    let mut by_certificate = kms.connect(Some(&leaf)).await;
    let (mut by_token, token) = (kms.connect(None).await, kms.token("storage"));
    kms.advance(Duration::from_secs(3590)).await;
    for reply in [by_certificate.ask(&whoami()).await, by_token.ask(&whoami().token(&token)).await] {
        assert_eq!(reply.status, 200);
    }
    // An issuer's clock may be wrong by half a minute.
    kms.advance(Duration::from_mins(1)).await;
    let reply = by_token.ask(&whoami().token(&token)).await;
    assert!(["token_expired", "no_longer"].contains(&reason(&kms, &reply).await.as_str()));
    assert_eq!(by_certificate.ask(&whoami()).await.status, 200);
    kms.advance(Duration::from_mins(30)).await;
    let reply = by_certificate.ask(&whoami()).await;
    assert!(["certificate_untrusted", "no_longer"].contains(&reason(&kms, &reply).await.as_str()));
    assert_eq!(by_token.ask(&whoami().token(&kms.token("storage"))).await.status, 200);
    kms.stop().await;
}

/// Each credential is cut by itself, by the next request on a connection that is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_credential_is_refused_on_open_connections() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (mut by_certificate, mut by_token, token) = open(&kms).await;
    let remove = |id: String| Ask::new("DELETE", &format!("/v1/principals/storage/credentials/{id}"));
    done(&kms, "ada", remove(credential(&kms, "jwt_subject").await)).await;
    let reply = by_token.ask(&whoami().token(&token)).await;
    assert_eq!(reason(&kms, &reply).await, "no_longer");
    assert_eq!(by_certificate.ask(&whoami()).await.status, 200);
    done(&kms, "ada", remove(credential(&kms, "certificate_san").await)).await;
    let reply = by_certificate.ask(&whoami()).await;
    assert_eq!(reason(&kms, &reply).await, "principal_unknown");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_principal_is_refused_on_open_connections() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (mut by_certificate, mut by_token, token) = open(&kms).await;
    let suspend = Ask::new("POST", "/v1/principals/storage/suspend").json(json!({ "reason": "left" }));
    done(&kms, "olaf", suspend).await;
    for reply in [by_certificate.ask(&whoami()).await, by_token.ask(&whoami().token(&token)).await] {
        assert_eq!(reason(&kms, &reply).await, "no_longer");
    }
    // A fresh token of whoever is suspended is worth as little.
    kms.advance(Duration::from_mins(1)).await;
    let fresh = kms.token("storage");
    assert_ne!(fresh, token);
    assert_eq!(reason(&kms, &by_token.ask(&whoami().token(&fresh)).await).await, "no_longer");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_issuer_is_refused_on_open_connections() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (mut by_certificate, mut by_token, token) = open(&kms).await;
    let issuers = done(&kms, "ada", Ask::new("GET", "/v1/trust/issuers")).await;
    let remove = Ask::new("DELETE", &format!("/v1/trust/issuers/{}", issuers["issuers"][0]["id"].as_str().unwrap()));
    // The answer to the change itself goes to somebody whom it cuts: it is told so, and the change stands.
    let cut = kms.connect(Some(&kms.certificate("ada"))).await.ask(&remove).await;
    assert_eq!(cut.status, 200);
    let reply = by_token.ask(&whoami().token(&token)).await;
    assert_eq!(reason(&kms, &reply).await, "issuer_unknown");
    assert_eq!(by_certificate.ask(&whoami()).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_client_ca_is_refused_on_open_connections() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (mut by_certificate, mut by_token, token) = open(&kms).await;
    let authorities = done(&kms, "ada", Ask::new("GET", "/v1/trust/client-cas")).await;
    let id = authorities["client_cas"][0]["id"].as_str().unwrap().to_owned();
    done(&kms, "ada", Ask::new("DELETE", &format!("/v1/trust/client-cas/{id}"))).await;
    let reply = by_certificate.ask(&whoami()).await;
    assert_eq!((reply.status, reply.code().as_deref()), (401, Some("unauthenticated")));
    assert_eq!(by_token.ask(&whoami().token(&token)).await.status, 200);
    // And nobody new gets in by it.
    let again = async {
        let leaf = kms.certificate("storage");
        let mut stream = kms.dial(Dial { leaf: Some(&leaf), ..Dial::default() }).await?;
        stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    // Without any authority the server asks for no certificate, so none was shown.
    let answer = again.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    kms.stop().await;
}

/// RFC 8705: a token that is bound to a certificate is worth nothing without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_needs_its_certificate() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (own, other) = (kms.certificate("storage"), kms.certificate("storage"));
    let bound = |thumbprint: &str| {
        let mut claims = serde_json::to_value(kms.identities.claims("ada", kms.clock.now())).unwrap();
        claims["cnf"] = json!({ "x5t#S256": thumbprint });
        kms.identities.token(&claims)
    };
    let token = bound(&own.thumbprint());
    let mut with_own = kms.connect(Some(&own)).await;
    assert_eq!(with_own.ask(&whoami().token(&token)).await.json()["principal"]["name"], "ada");
    for leaf in [None, Some(&other)] {
        let reply = kms.connect(leaf).await.ask(&whoami().token(&token)).await;
        assert_eq!(reason(&kms, &reply).await, "token_binding");
    }
    let mut odd = serde_json::to_value(kms.identities.claims("ada", kms.clock.now())).unwrap();
    for binding in [json!({ "jkt": "AAAA" }), json!({ "x5t#S256": "" }), json!("x"), json!({})] {
        odd["cnf"] = binding.clone();
        let reply = with_own.ask(&whoami().token(&kms.identities.token(&odd))).await;
        assert_eq!(reply.status, 401, "{binding}");
    }
    kms.stop().await;
}

/// Where there is a token it decides; a bad one is not made good by a certificate.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_credentials_the_token_decides() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let mut connection = kms.connect(Some(&kms.certificate("storage"))).await;
    let me = |reply: Reply| reply.json()["principal"]["name"].as_str().unwrap().to_owned();
    assert_eq!(me(connection.ask(&whoami()).await), "storage");
    assert_eq!(me(connection.ask(&whoami().token(&kms.token("ada"))).await), "ada");
    assert_eq!(me(connection.ask(&whoami()).await), "storage");
    let bad = Identities::new().token(&kms.identities.claims("ada", kms.clock.now()));
    assert_eq!(reason(&kms, &connection.ask(&whoami().token(&bad)).await).await, "token_signature");
    // Both are one principal's, and the record says which was shown.
    let by_certificate = connection.ask(&whoami()).await.json();
    let by_token = connection.ask(&whoami().token(&kms.token("storage"))).await.json();
    assert_eq!(by_certificate["principal"], by_token["principal"]);
    assert_ne!(by_certificate["credential"], by_token["credential"]);
    assert_eq!(by_token["credential"], credential(&kms, "jwt_subject").await);
    kms.stop().await;
}
