//! Limits of number, size and time, for clients that send too slowly, too little or too often; and a stop that lets those
//! who are being answered have their answer.

use std::time::Duration;

use keyward_tests::{Ask, Backend, Dial, TestKms};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long anything here may take that the server is to end within a second or two. Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn head(kms: &TestKms, who: &str, more: &str) -> String {
    format!(
        "POST /v1/data-keys/generate HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n{more}\r\n",
        kms.token(who),
    )
}

/// What comes until the server ends the connection, which it must.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _end = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server left the connection open");
    String::from_utf8(bytes).unwrap()
}

/// What comes until this text has.
async fn until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut said = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&said).contains(text) {
            said.push(stream.read_u8().await.expect("the server ended the connection"));
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("`{text}` did not come"));
    String::from_utf8(said).unwrap()
}

async fn is_well(kms: &TestKms) {
    assert_eq!(kms.ask(&Ask::new("GET", "/v1/whoami").token(&kms.token("ada"))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_nothing_or_half_is_sent_away() {
    let limits = "[limits]\nhandshake_seconds = 1\nidle_seconds = 1\nrequest_seconds = 2\n";
    let kms = TestKms::start_with(Backend::Sqlite, false, limits).await;
    kms.usable_key("records", "clinical").await;

    let nothing = async {
        let mut stream = TcpStream::connect(kms.server.api).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    };
    let half_a_handshake = async {
        let mut stream = TcpStream::connect(kms.server.api).await.unwrap();
        // The head of a TLS record of 512 bytes, and no more.
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    };
    let no_request = async {
        let mut stream = kms.dial(Dial::default()).await.unwrap();
        rest(&mut stream).await;
    };
    let half_a_head = async {
        let mut stream = kms.dial(Dial::default()).await.unwrap();
        stream.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: loc").await.unwrap();
        let said = rest(&mut stream).await;
        assert!(!said.contains(" 200 "), "{said}");
    };
    let nothing_after_an_answer = async {
        let mut stream = kms.dial(Dial::default()).await.unwrap();
        let ask = format!("GET /v1/whoami HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", kms.token("ada"));
        stream.write_all(ask.as_bytes()).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.matches("HTTP/1.1").count() == 1, "{said}");
    };
    let half_a_body = async {
        let mut stream = kms.dial(Dial::default()).await.unwrap();
        let ask = head(&kms, "storage", "content-length: 100\r\n") + r#"{"key":"#;
        stream.write_all(ask.as_bytes()).await.unwrap();
        let said = rest(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 503 ") && said.contains(r#""code":"deadline_exceeded""#), "{said}");
        // It stands in the log.
        let id = said.split("keyward-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        let search = Ask::new("POST", "/v1/audit/search").json(json!({ "request": id })).token(&kms.token("audrey"));
        let records = kms.ask(&search).await.json();
        assert_eq!(records["records"][0]["reason"], "deadline_exceeded", "{records}");
        assert_eq!(records["records"][0]["action"], "generate");
    };
    tokio::join!(nothing, half_a_handshake, no_request, half_a_head, nothing_after_an_answer, half_a_body);
    is_well(&kms).await;
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_connections_and_no_more() {
    let kms = TestKms::start_with(Backend::Sqlite, false, "[limits]\nconnections = 2\n").await;
    let (mut first, second) = (kms.connect(None).await, kms.connect(None).await);
    let whoami = Ask::new("GET", "/v1/whoami").token(&kms.token("ada"));
    assert_eq!(first.ask(&whoami).await.status, 200);
    for _ in 0..3 {
        kms.dial(Dial::default()).await.expect_err("a third connection");
    }
    // Those who have a place keep it.
    assert_eq!(first.ask(&whoami).await.status, 200);
    drop(second);
    // The place is free when the server has seen the end of the connection, which is soon.
    let third = timeout(PATIENCE, async {
        loop {
            if let Ok(stream) = kms.dial(Dial::default()).await {
                return stream;
            }
        }
    });
    let mut third = keyward_tests::Connection::over(third.await.unwrap()).await;
    assert_eq!(third.ask(&whoami).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_requests_and_no_more() {
    let kms = TestKms::start_with(Backend::Sqlite, false, "[limits]\nrequests = 1\n").await;
    kms.usable_key("records", "clinical").await;
    let body = r#"{"key":"alias/records"}"#;
    let mut slow = kms.dial(Dial::default()).await.unwrap();
    let ask = head(&kms, "storage", &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()));
    slow.write_all(ask.as_bytes()).await.unwrap();
    // RFC 9110 section 10.1.1: the server has begun with the request, and waits for its body.
    until(&mut slow, "HTTP/1.1 100 Continue\r\n\r\n").await;
    let refused = kms.ask(&Ask::new("GET", "/v1/keys").token(&kms.token("ada"))).await;
    assert_eq!((refused.status, refused.code().as_deref()), (429, Some("overloaded")));
    assert_eq!(refused.headers["retry-after"], "1");
    slow.write_all(body.as_bytes()).await.unwrap();
    let said = until(&mut slow, "}").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    is_well(&kms).await;
    kms.stop().await;
}

/// Who is being answered when the server is told to stop gets the answer, with its record; nobody new gets in.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_under_way_end() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    let address = kms.server.api;
    let body = r#"{"key":"alias/records"}"#;
    let mut idle = kms.dial(Dial::default()).await.unwrap();
    let mut busy = kms.dial(Dial::default()).await.unwrap();
    let ask = head(&kms, "storage", &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()));
    busy.write_all(ask.as_bytes()).await.unwrap();
    until(&mut busy, "HTTP/1.1 100 Continue\r\n\r\n").await;

    let answered = async {
        // Whoever has sent nothing is sent away at once, and the address is given up.
        rest(&mut idle).await;
        timeout(PATIENCE, async { while TcpStream::connect(address).await.is_ok() {} }).await.unwrap();
        busy.write_all(body.as_bytes()).await.unwrap();
        rest(&mut busy).await
    };
    let (stopped, said) = tokio::join!(kms.stop(), answered);
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("connection: close"), "{said}");
    let (_, answer) = said.split_once("\r\n\r\n").unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();

    let kms = stopped.start_again().await.unwrap();
    let path = format!("/v1/audit/records/{}", answer["record"].as_str().unwrap());
    let found = kms.ask(&Ask::new("GET", &path).token(&kms.token("audrey"))).await.json();
    assert_eq!((&found["found"]["action"], &found["found"]["outcome"]), (&json!("generate"), &json!("allowed")));
    let unwrap = Ask::new("POST", "/v1/data-keys/unwrap").json(json!({ "wrapped": answer["wrapped"] }));
    let opened = kms.ask(&unwrap.token(&kms.token("storage"))).await.json();
    assert_eq!(opened["plaintext"], answer["plaintext"]);
    kms.stop().await;
}
