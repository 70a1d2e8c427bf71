//! OpenTelemetry: what a collector gets for each request, below which span of the caller's, and that nothing secret is in it.

use std::time::Duration;

use keyward_tests::{Backend, Process, StoppedKms, TestKms, from};
use kms_client::wire::trace::TraceParent;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Stands in everything that must not leave.
const SECRET: &str = "horsebattery";

/// A collector that keeps what it is sent.
struct Collector {
    socket: TcpListener,
    bodies: String,
    spans: Vec<Value>,
}

impl Collector {
    async fn start() -> Self {
        Self { socket: TcpListener::bind("127.0.0.1:0").await.unwrap(), bodies: String::new(), spans: Vec::new() }
    }

    fn section(&self, ratio: f64) -> String {
        let address = self.socket.local_addr().unwrap();
        format!("[traces]\nendpoint = \"http://{address}/v1/traces\"\nratio = {ratio:?}")
    }

    /// Takes one export, and answers this.
    async fn take(&mut self, status: &str) {
        let (mut stream, _) = timeout(Duration::from_secs(30), self.socket.accept()).await.expect("no export").unwrap();
        let (head, body) = read(&mut stream).await;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        if status.starts_with("200") {
            let json: Value = serde_json::from_str(&body).unwrap();
            let resource = &json["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "keyward");
            self.spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().clone());
        }
        self.bodies.push_str(&body);
    }

    /// Takes exports until there is the request's span, which ends after those below it.
    async fn until(&mut self, name: &str) -> Value {
        loop {
            if let Some(span) = self.spans.iter().find(|span| span["name"] == name) {
                return span.clone();
            }
            self.take("200 OK").await;
        }
    }

    /// The names of the spans directly below this one.
    fn below(&self, span: &Value) -> Vec<&str> {
        let below = self.spans.iter().filter(|other| other["parentSpanId"] == span["spanId"]);
        let mut names: Vec<_> = below.map(|span| span["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() == length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the export ended early");
    }
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == name);
    &found.unwrap_or_else(|| panic!("no {name}: {span}"))["value"]
}

/// A server with a key, whose traces go to this collector.
/// The stopped one keeps the folder of everything.
async fn traced(collector: &Collector, ratio: f64) -> (Process, StoppedKms, String, String) {
    let kms = TestKms::start_with(Backend::Sqlite, false, &collector.section(ratio)).await;
    kms.usable_key("records", "imaging").await;
    let (ada, storage) = (kms.token("ada"), kms.token("storage"));
    let stopped = kms.stop().await;
    (stopped.process(None).await.unwrap(), stopped, ada, storage)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_span_below_the_callers_and_holds_no_secret() {
    let mut collector = Collector::start().await;
    let (server, _folder, ada, storage) = traced(&collector, 1.0).await;
    let parent: TraceParent = PARENT.parse().unwrap();

    let storage_client = server.client(&storage).in_trace(parent);
    let context = json!({ "patient": SECRET });
    let generated =
        storage_client.generate_data_key(&from(json!({ "key": "alias/records", "context": context }))).await.unwrap();
    let span = collector.until("POST /v1/data-keys/generate").await;
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &PARENT[36..52].into()));
    assert_eq!((&span["kind"], &span["status"]), (&2.into(), &json!({})));
    assert_eq!(attribute(&span, "http.response.status_code"), &json!({ "intValue": "200" }));
    assert_eq!(attribute(&span, "keyward.operation")["stringValue"], "generate");
    assert!(attribute(&span, "keyward.principal.id")["stringValue"].is_string());
    let request: Result<uuid::Uuid, _> =
        attribute(&span, "keyward.request.id")["stringValue"].as_str().unwrap().parse();
    assert!(request.is_ok());
    assert_eq!(collector.below(&span), ["audit.seal", "hsm.encrypt", "policy"]);
    let nanoseconds = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanoseconds("startTimeUnixNano") <= nanoseconds("endTimeUnixNano"));

    // A change runs on a task of its own, and belongs to its request all the same.
    let ada_client = server.client(&ada).in_trace(parent);
    ada_client.disable_key(&"alias/records".parse().unwrap(), SECRET.parse().unwrap()).await.unwrap();
    let span = collector.until("POST /v1/keys/{key}/disable").await;
    assert!(collector.below(&span).contains(&"database.commit"), "{:?}", collector.spans);

    // A refusal too; and a method that a caller made up is not repeated.
    let ca = reqwest::Certificate::from_pem(server.ca_pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
    let url = format!("https://{}/v1/whoami?{SECRET}", server.api);
    let method = reqwest::Method::from_bytes(SECRET.to_uppercase().as_bytes()).unwrap();
    http.request(method, &url).bearer_auth(SECRET).header("x-note", SECRET).send().await.unwrap();
    let span = collector.until("HTTP /v1/whoami").await;
    assert_eq!(attribute(&span, "http.response.status_code"), &json!({ "intValue": "405" }));
    assert_eq!(attribute(&span, "http.request.method")["stringValue"], "_OTHER");
    assert_ne!(span["traceId"], TRACE);

    let wrapped = generated.wrapped.to_string();
    for word in [SECRET, &storage, &ada, &wrapped] {
        assert!(!collector.bodies.to_lowercase().contains(&word.to_lowercase()), "{word}");
    }
    assert!(generated.plaintext.is_some(), "there was a secret to keep");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_refuses_is_sent_again_and_what_is_left_leaves_at_the_end() {
    let mut collector = Collector::start().await;
    let (mut server, _folder, ada, _) = traced(&collector, 1.0).await;
    server.client(&ada).whoami().await.unwrap();
    collector.take("503 Service Unavailable").await;
    collector.until("GET /v1/whoami").await;
    collector.spans.clear();
    server.client(&ada).whoami().await.unwrap();
    server.terminate().await;
    collector.until("GET /v1/whoami").await;
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_not_sampled_is_not_exported() {
    let mut collector = Collector::start().await;
    let (server, _folder, ada, _) = traced(&collector, 1.0).await;
    let unsampled = PARENT.replace("-01", "-00").parse().unwrap();
    server.client(&ada).in_trace(unsampled).list_keys(&from(json!({}))).await.unwrap();
    server.client(&ada).whoami().await.unwrap();
    collector.until("GET /v1/whoami").await;
    assert!(!collector.bodies.contains(TRACE), "{}", collector.bodies);
    server.kill().await;
}
