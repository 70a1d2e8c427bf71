//! The server's own log: one line for each answer, which says whose request it was and to which trace it belongs.

use keyward_tests::{Backend, TestKms};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_one_line() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let kms = TestKms::start(Backend::Sqlite).await;
    let ca = reqwest::Certificate::from_pem(kms.identities.ca_pem.as_bytes()).unwrap();
    let token = kms.token("ada");
    let stopped = kms.stop().await;
    let server = stopped.process(None).await.unwrap();
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let answer = http
        .get(format!("https://{}/v1/whoami", server.api))
        .bearer_auth(&token)
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let request = answer.headers()["keyward-request-id"].to_str().unwrap().to_owned();
    let lines = loop {
        let log = server.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&request)).map(str::to_owned).collect();
        if !lines.is_empty() {
            break lines;
        }
        tokio::task::yield_now().await;
    };
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["message"], &line["http.status"]), (&"answered".into(), &200.into()));
    let span = &line["span"];
    assert_eq!((&span["request.id"], &span["trace.id"]), (&request.into(), &TRACE.into()));
    assert_eq!(span["http.route"], "/v1/whoami");
    assert!(span["principal.id"].is_string(), "{line}");
    assert!(!server.log().contains(&token));
}
