//! Key sets that are fetched, from a real server over TLS.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::{ALICE, Signer, World, after, certificate::Authority, claims_with, issuer, principal, refused, subject};
use crate::{
    authn::{Refused, check_key_source},
    model::{JwksSource, TrustState},
};

/// An issuer's key server.
struct KeyServer {
    answer: Mutex<String>,
    asked: AtomicUsize,
    /// While it is set, the server takes connections and answers only when told to.
    hold: Mutex<Option<Arc<Notify>>>,
    arrived: Notify,
}

impl KeyServer {
    /// A server that answers with these keys, and a world that trusts it.
    async fn start(keys: &Value) -> (Arc<Self>, World) {
        let authority = Authority::new("servers");
        let source =
            |port| JwksSource::Url { url: format!("https://localhost:{port}/jwks"), ca_pem: Some(authority.pem()) };
        Self::start_at(&authority, source, keys).await
    }

    async fn start_at(
        authority: &Authority,
        source: impl FnOnce(u16) -> JwksSource,
        keys: &Value,
    ) -> (Arc<Self>, World) {
        let (certificate, key) = authority.issue(&rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let mut world = World::new();
        world.put(issuer(source(listener.local_addr().unwrap().port()), TrustState::Trusted));
        world.put(principal(ALICE, [subject()]));
        let server = Arc::new(Self {
            answer: Mutex::default(),
            asked: AtomicUsize::new(0),
            hold: Mutex::default(),
            arrived: Notify::new(),
        });
        server.publish(keys);
        let (serving, acceptor) = (Arc::clone(&server), TlsAcceptor::from(Arc::new(config)));
        world.supervisor.start_short("key server", async move { serving.serve(listener, acceptor).await });
        (server, world)
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    break;
                }
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.arrived.notify_one();
            let hold = self.hold.lock().unwrap().clone();
            if let Some(hold) = hold {
                hold.notified().await;
            }
            let answer = self.answer.lock().unwrap().clone();
            // The client may have hung up on an answer that it does not want.
            let _hung_up = stream.write_all(answer.as_bytes()).await;
            let _hung_up = stream.shutdown().await;
        }
    }

    fn publish(&self, keys: &Value) {
        self.answer_with("200 OK", "", &keys.to_string());
    }

    fn answer_with(&self, status: &str, header: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{header}connection: close\r\n\r\n{body}");
    }

    fn break_down(&self) {
        self.answer_with("503 Service Unavailable", "", "");
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn keys(signers: &[(&str, &Signer)]) -> Value {
    json!({ "keys": signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect::<Vec<_>>() })
}

fn token(signer: &Signer, kid: &str) -> String {
    signer.token(kid, &claims_with("exp", json!(after(100_000))))
}

#[tokio::test]
async fn a_set_is_fetched_once_and_again_when_it_is_due() {
    let signer = Signer::es256();
    let (server, world) = KeyServer::start(&keys(&[("a", &signer)])).await;
    let token = token(&signer, "a");
    let first = world.bearer(&token).await.unwrap();
    world.bearer(&token).await.unwrap();
    world.authenticator.jwks.fetch_due().await;
    assert_eq!(server.asked(), 1);
    world.clock.advance(241);
    world.authenticator.jwks.fetch_due().await;
    assert_eq!(server.asked(), 2);
    // The same answer forgets nothing.
    assert!(Arc::ptr_eq(&first, &world.bearer(&token).await.unwrap()));
}

#[tokio::test]
async fn a_new_key_is_found_but_not_asked_for_without_end() {
    let (old, new) = (Signer::es256(), Signer::eddsa());
    let (server, world) = KeyServer::start(&keys(&[("old", &old)])).await;
    world.bearer(&token(&old, "old")).await.unwrap();
    world.clock.advance(10);
    for _ in 0..20 {
        assert_eq!(refused(world.bearer(&token(&new, "new")).await), Refused::KeyUnknown);
    }
    assert_eq!(server.asked(), 2);
    server.publish(&keys(&[("old", &old), ("new", &new)]));
    world.clock.advance(9);
    assert_eq!(refused(world.bearer(&token(&new, "new")).await), Refused::KeyUnknown);
    world.clock.advance(1);
    world.bearer(&token(&new, "new")).await.unwrap();
    world.bearer(&token(&old, "old")).await.unwrap();
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn a_withdrawn_key_lives_five_minutes_at_most() {
    let (old, new) = (Signer::es256(), Signer::eddsa());
    let (server, world) = KeyServer::start(&keys(&[("old", &old)])).await;
    let remembered = token(&old, "old");
    world.bearer(&remembered).await.unwrap();
    server.publish(&keys(&[("new", &new)]));
    world.clock.advance(300);
    world.bearer(&remembered).await.unwrap();
    world.clock.advance(1);
    // No task runs here: the request itself asks, and what was remembered is forgotten.
    assert_eq!(refused(world.bearer(&remembered).await), Refused::KeyUnknown);
    world.bearer(&token(&new, "new")).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_is_believed_for_fifteen_minutes() {
    let signer = Signer::es256();
    let (server, world) = KeyServer::start(&keys(&[("a", &signer)])).await;
    let token = token(&signer, "a");
    world.bearer(&token).await.unwrap();
    server.break_down();
    world.clock.advance(600);
    world.bearer(&token).await.unwrap();
    world.bearer(&token).await.unwrap();
    assert_eq!(server.asked(), 2);
    world.clock.advance(300);
    world.bearer(&token).await.unwrap();
    world.clock.advance(1);
    assert_eq!(refused(world.bearer(&token).await), Refused::IssuerUnavailable);
    server.publish(&keys(&[("a", &signer)]));
    world.clock.advance(10);
    world.bearer(&token).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_changes_nothing() {
    let signer = Signer::es256();
    let good = keys(&[("a", &signer)]);
    let (server, world) = KeyServer::start(&good).await;
    let token = token(&signer, "a");
    world.bearer(&token).await.unwrap();
    let large = json!({ "keys": [signer.jwk("a")], "padding": "x".repeat(64 * 1024) });
    let elsewhere = "location: https://localhost/jwks\r\n";
    let answers = [
        ("200 OK", "", large.to_string()),
        ("200 OK", "", "<html>".to_owned()),
        ("200 OK", "", keys(&[("a", &signer), ("a", &signer)]).to_string()),
        ("302 Found", elsewhere, good.to_string()),
        ("500 Internal Server Error", "", good.to_string()),
    ];
    for (status, header, body) in &answers {
        server.answer_with(status, header, body);
        world.clock.advance(301 / 2);
        world.authenticator.jwks.fetch_due().await;
        world.bearer(&token).await.unwrap();
    }
    assert!(server.asked() > answers.len() / 2);
    world.clock.advance(301);
    assert_eq!(refused(world.bearer(&token).await), Refused::IssuerUnavailable);
}

#[tokio::test]
async fn a_key_server_of_another_authority_is_not_believed() {
    let signer = Signer::es256();
    let sources: [fn(u16) -> JwksSource; 3] = [
        |port| JwksSource::Url {
            url: format!("https://localhost:{port}/jwks"),
            ca_pem: Some(Authority::new("servers").pem()),
        },
        |port| JwksSource::Url { url: format!("https://localhost:{port}/jwks"), ca_pem: None },
        |port| JwksSource::Url { url: format!("http://localhost:{port}/jwks"), ca_pem: None },
    ];
    for source in sources {
        let (server, world) = KeyServer::start_at(&Authority::new("servers"), source, &keys(&[("a", &signer)])).await;
        assert_eq!(refused(world.bearer(&token(&signer, "a")).await), Refused::IssuerUnavailable);
        assert_eq!(server.asked(), 0);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_undoes_no_fetch() {
    let signer = Signer::es256();
    let (server, world) = KeyServer::start(&keys(&[("a", &signer)])).await;
    let hold = Arc::new(Notify::new());
    *server.hold.lock().unwrap() = Some(Arc::clone(&hold));
    let token = token(&signer, "a");
    tokio::select! {
        _ = world.bearer(&token) => unreachable!("the server has not answered"),
        () = server.arrived.notified() => {}
    }
    hold.notify_one();
    // Within the ten seconds in which the issuer is not asked again, the answer is there.
    world.bearer(&token).await.unwrap();
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_removed_issuer_is_not_asked() {
    let signer = Signer::es256();
    let (server, mut world) = KeyServer::start(&keys(&[("a", &signer)])).await;
    world.put(issuer(JwksSource::Url { url: "https://localhost/".to_owned(), ca_pem: None }, TrustState::Removed));
    world.authenticator.jwks.fetch_due().await;
    assert_eq!(refused(world.bearer(&token(&signer, "a")).await), Refused::IssuerUnknown);
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_key_source_is_checked_before_it_is_trusted() {
    let at = |url: &str, ca_pem: Option<String>| check_key_source(&JwksSource::Url { url: url.to_owned(), ca_pem });
    at("https://login.example/jwks", None).unwrap();
    at("https://login.example/jwks", Some(Authority::new("servers").pem())).unwrap();
    check_key_source(&JwksSource::Inline(keys(&[("a", &Signer::es256())]).to_string())).unwrap();
    for bad in [
        "",
        "login.example",
        "http://login.example/",
        "https://",
        "https://user:word@login.example/",
        "\u{c}https://login.example/",
        "https:\\\\login.example/",
    ] {
        assert!(at(bad, None).is_err(), "{bad}");
    }
    assert!(at("https://login.example/jwks", Some("no certificate".to_owned())).is_err());
    assert!(check_key_source(&JwksSource::Inline("{}".to_owned())).is_err());
}
