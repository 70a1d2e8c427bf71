//! The server's own log: one line for each answer, which says whose request it was and to which trace it belongs.

use std::collections::BTreeSet;

use keyward_tests::{Backend, Shell, TestKms};
use serde_json::Value;

use crate::pages::{OPERATING, first_cells};

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

/// The names in a line: of its event, and of the request in which it happened.
fn fields(line: &str) -> Vec<String> {
    let Value::Object(line) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")) else {
        panic!("{line}")
    };
    let of_span = line.get("span").and_then(Value::as_object).into_iter().flatten();
    let of_span: Vec<_> = of_span.map(|(name, _)| format!("span.{name}")).collect();
    line.into_iter().map(|(name, _)| name).chain(of_span).collect()
}

/// The list of fields in the operators' page, against the lines of a server that was asked, refused, reloaded and stopped.
#[tokio::test(flavor = "multi_thread")]
async fn every_field_is_explained() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let stopped = kms.stop().await;
    let mut server = stopped.process(None).await.unwrap();
    let ada = Shell::at(&server, &stopped, "ada");
    ada.text(&["key", "create", "--alias", "records", "--class", "clinical"]).await;
    ada.fails(3, &["data-key", "generate", "--key", "alias/records"]).await;
    ada.with_token("nobody.s.token").fails(3, &["whoami"]).await;
    // A new certificate that is none.
    std::fs::write(stopped.folder().join("server.pem"), "no certificate").unwrap();
    while !server.log().contains("the old one stays in use") {
        tokio::task::yield_now().await;
    }
    server.terminate().await;
    assert!(server.ended().await.success());
    let log = server.log();
    assert!(log.contains("\"stopped\""), "{log}");

    let explained = first_cells(OPERATING, "| field |");
    let seen: BTreeSet<_> = log.lines().flat_map(fields).collect();
    for name in &seen {
        assert!(explained.iter().flatten().any(|word| word == name), "`{name}` is not explained");
    }
    // Those of every line, of every request and of the start, and why something failed; after these come those that a
    // good day does not show.
    let usual = explained.split(|row| row.contains(&"error".to_owned())).next().unwrap();
    for name in usual.iter().flatten().chain([&"error".to_owned()]) {
        assert!(name.starts_with("span.trace.") || seen.contains(name), "no line has `{name}`");
    }
}
