//! Many ask for much: a greedy principal does not keep a modest one from its keys, nor anybody a cut from being made.

use std::time::Duration;

use futures_util::future::join_all;
use keyward_tests::{Ask, Backend, Connection, Dial, Reply, TestKms};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::client::TlsStream;

type Stream = TlsStream<tokio::net::TcpStream>;

const BODY: &str = r#"{"bytes":16}"#;

fn random(kms: &TestKms, who: &str) -> Ask {
    Ask::new("POST", "/v1/random").token(&kms.token(who)).json(BODY)
}

/// A request whose body the client does not send yet.
async fn hold(kms: &TestKms, who: &str, path: &str) -> Stream {
    let mut stream = kms.dial(Dial::default()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        kms.token(who),
        BODY.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 25];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn release(mut stream: Stream) {
    stream.write_all(BODY.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
}

fn refusal(reply: &Reply) -> (u16, Option<String>) {
    (reply.status, reply.code())
}

async fn server(backend: Backend, limits: &str) -> TestKms {
    let kms = TestKms::start_with(backend, false, limits).await;
    kms.usable_key("records", "clinical").await;
    let ada = kms.client("ada");
    let bind = json!({ "principal": "stranger", "role": "wrapper", "scope": "all" });
    ada.create_binding(&serde_json::from_value(bind).unwrap()).await.unwrap();
    kms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_has_a_burst_and_a_rate_of_its_own() {
    let limits = "[limits]\nprincipal_requests_per_second = 10\nprincipal_burst = 1000\n";
    let kms = server(Backend::Sqlite, limits).await;
    let batch = json!({ "items": vec![json!({ "bytes": 1 }); 1000] });
    let many = Ask::new("POST", "/v1/random/batch").token(&kms.token("storage")).json(batch);
    let all = kms.ask(&many).await;
    assert_eq!(all.status, 200, "{:?}", all.code());
    // Room for the request itself has come back, and not for all of its items.
    kms.advance(Duration::from_secs(1)).await;
    let refused = kms.ask(&many).await;
    assert_eq!(refusal(&refused), (429, Some("rate_limited".to_owned())));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((90..=100).contains(&wait), "{wait}");
    // It is on record, by name; others and the caller's own standing are not touched.
    let record = refused.json()["record"].as_str().unwrap().parse().unwrap();
    let found = kms.client("audrey").audit_record(record).await.unwrap().found;
    assert_eq!((found.record.reason.as_str(), found.principal_name.unwrap().as_str()), ("rate_limited", "storage"));
    assert_eq!(kms.ask(&random(&kms, "stranger")).await.status, 200);
    let whoami = Ask::new("GET", "/v1/whoami").token(&kms.token("storage"));
    assert_eq!(kms.ask(&whoami).await.status, 200);
    kms.advance(Duration::from_secs(wait)).await;
    assert_eq!(kms.ask(&many).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_principal_does_not_hold_every_place() {
    let kms = server(Backend::Sqlite, "[limits]\nrequests = 4\n").await;
    let held = [hold(&kms, "storage", "/v1/random").await, hold(&kms, "storage", "/v1/random").await];
    let third = kms.ask(&random(&kms, "storage")).await;
    assert_eq!(refusal(&third), (429, Some("rate_limited".to_owned())));
    assert_eq!(kms.ask(&random(&kms, "stranger")).await.status, 200);
    for stream in held {
        release(stream).await;
    }
    assert_eq!(kms.ask(&random(&kms, "storage")).await.status, 200);
    kms.stop().await;
}

async fn a_cut_goes_through(backend: Backend) {
    let kms = server(backend, "[limits]\nrequests = 4\n").await;
    let mut held = Vec::new();
    for who in ["storage", "storage", "stranger", "stranger"] {
        held.push(hold(&kms, who, "/v1/random").await);
    }
    let reader = Ask::new("GET", "/v1/keys").token(&kms.token("ada"));
    assert_eq!(refusal(&kms.ask(&reader).await), (429, Some("overloaded".to_owned())));
    let suspend = Ask::new("POST", "/v1/principals/storage/suspend").token(&kms.token("olaf"));
    let cut = kms.ask(&suspend.json(json!({ "reason": "lost" }))).await;
    assert_eq!(cut.status, 200, "{cut:?}");
    let change = format!("/v1/changes/{}", cut.json()["receipt"]["change_id"].as_str().unwrap());
    assert_eq!(kms.ask(&Ask::new("GET", &change).token(&kms.token("audrey"))).await.status, 200);
    // Those who were held are answered by the newer rule.
    for (place, mut stream) in held.into_iter().enumerate() {
        stream.write_all(BODY.as_bytes()).await.unwrap();
        let mut said = [0; 12];
        stream.read_exact(&mut said).await.unwrap();
        let expected = if place < 2 { b"HTTP/1.1 403" } else { b"HTTP/1.1 200" };
        assert!(&said == expected || (place < 2 && &said == b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&said));
    }
    kms.stop().await;
}

/// While clients ask for as much as the node gives, each change is made within its deadline, and answered first.
async fn a_cut_under_load(backend: Backend) {
    let kms = server(backend, "").await;
    let asks: Vec<_> = ["storage", "stranger"].map(|who| random(&kms, who)).into_iter().cycle().take(32).collect();
    let load = join_all(asks.iter().map(async |ask| {
        let mut connection: Connection = kms.connect(None).await;
        for _ in 0..40 {
            let reply = connection.ask(ask).await;
            assert!(matches!(reply.status, 200 | 401 | 403), "{reply:?}");
        }
    }));
    let cuts = async {
        for turn in 0..8 {
            let name = format!("service-{turn}");
            let create = Ask::new("POST", "/v1/principals").token(&kms.token("ada"));
            assert_eq!(kms.ask(&create.json(json!({ "name": name, "kind": "service" }))).await.status, 200);
            let suspend = Ask::new("POST", &format!("/v1/principals/{name}/suspend")).token(&kms.token("olaf"));
            assert_eq!(kms.ask(&suspend.json(json!({ "reason": "test" }))).await.status, 200);
        }
    };
    tokio::join!(load, cuts);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_goes_through_on_sqlite() {
    a_cut_goes_through(Backend::Sqlite).await;
    a_cut_under_load(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_goes_through_on_postgres() {
    a_cut_goes_through(Backend::Postgres).await;
    a_cut_under_load(Backend::Postgres).await;
}
