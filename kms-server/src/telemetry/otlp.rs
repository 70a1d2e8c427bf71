//! The way out for spans: OTLP over HTTP with JSON (OpenTelemetry Protocol 1.9, "OTLP/HTTP", "JSON Protobuf Encoding"), off
//! every request's path. What the collector does not take is tried again a few times, then lost and counted.

use std::{future::Future, time::Duration};

use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use serde_json::{Value as Json, json};
use tokio::time::{MissedTickBehavior, interval};

use super::traces::{Span, Spans, Value};

/// How many spans leave together.
const BATCH: usize = 512;
/// How long a span waits at most for others to leave with.
const EVERY: Duration = Duration::from_secs(2);
/// A collector that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the same spans are sent.
const TRIES: u32 = 3;
/// The methods that OpenTelemetry knows; any other is `_OTHER`, since callers make them up.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
const METHOD: &str = "http.request.method";
const ROUTE: &str = "http.route";
const STATUS: &str = "http.response.status_code";

/// Counts spans that nobody will see.
pub(super) fn lost(spans: usize) {
    metrics::counter!("keyward_trace_spans_lost_total").increment(u64::try_from(spans).unwrap_or(u64::MAX));
}

/// The address of a collector.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "it is no URL".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it is no `http://` or `https://` address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a password, which would stand in logs".to_owned());
    }
    Ok(url)
}

impl Spans {
    /// Exports spans until `stopping`, and then those that are left.
    pub async fn export(mut self, stopping: impl Future<Output = ()>) {
        let mut exporter = match Exporter::new(&self.endpoint) {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(error, "traces cannot be exported");
                // What has nowhere to go is counted by those who have it.
                self.ended.close();
                return stopping.await;
            }
        };
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stopping);
        loop {
            let room = BATCH.saturating_sub(exporter.batch.len());
            let now = tokio::select! {
                _ = self.ended.recv_many(&mut exporter.batch, room), if room > 0 => exporter.batch.len() >= BATCH && exporter.tries == 0,
                _ = tick.tick() => true,
                () = stopping.as_mut() => break,
            };
            if now {
                exporter.send().await;
            }
        }
        self.ended.close();
        loop {
            // One try each: whoever stops the server waits.
            exporter.tries = TRIES - 1;
            exporter.send().await;
            if self.ended.recv_many(&mut exporter.batch, BATCH).await == 0 {
                return;
            }
        }
    }
}

struct Exporter {
    http: Client,
    endpoint: Url,
    batch: Vec<Span>,
    /// How often this batch was sent in vain.
    tries: u32,
    failing: bool,
}

impl Exporter {
    fn new(text: &str) -> Result<Self, String> {
        let endpoint = endpoint(text)?;
        // There is only this provider, so it does not matter who named it first.
        let _named_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder().redirect(Policy::none()).no_proxy().timeout(PATIENCE).build();
        let http = http.map_err(|error| error.to_string())?;
        Ok(Self { http, endpoint, batch: Vec::new(), tries: 0, failing: false })
    }

    async fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.post().await {
            Ok(refused) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("traces are exported again");
                }
                lost(refused.min(self.batch.len()));
                let taken = self.batch.len().saturating_sub(refused);
                metrics::counter!("keyward_trace_spans_exported_total")
                    .increment(u64::try_from(taken).unwrap_or(u64::MAX));
            }
            Err(error) => {
                self.tries += 1;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(error, "traces cannot be exported");
                }
                if self.tries < TRIES {
                    return;
                }
                lost(self.batch.len());
            }
        }
        self.batch.clear();
        self.tries = 0;
    }

    /// Sends the batch, and says how many of its spans were not taken.
    async fn post(&self) -> Result<usize, String> {
        let body = serde_json::to_vec(&request(&self.batch)).map_err(|error| error.to_string())?;
        let request = self.http.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the collector answers {}", answer.status()));
        }
        let limited = answer.content_length().is_none_or(|length| length < 64 * 1024);
        let answer: Json = if limited { answer.json().await.unwrap_or_default() } else { Json::Null };
        // Numbers of 64 bits are text in this encoding, and collectors write them as they like.
        let refused = answer.pointer("/partialSuccess/rejectedSpans");
        let refused = refused.and_then(|refused| refused.as_u64().or_else(|| refused.as_str()?.parse().ok()));
        let refused = refused.unwrap_or(0);
        Ok(usize::try_from(refused).unwrap_or(usize::MAX))
    }
}

/// An `ExportTraceServiceRequest`.
fn request(spans: &[Span]) -> Json {
    let spans: Vec<_> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "keyward" } },
            { "key": "service.version", "value": { "stringValue": env!("CARGO_PKG_VERSION") } },
        ] },
        "scopeSpans": [{
            "scope": { "name": "kms-server", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] })
}

fn span(span: &Span) -> Json {
    const INTERNAL: u8 = 1;
    const SERVER: u8 = 2;
    const ERROR: u8 = 2;
    let end = span.began.saturating_add(i128::try_from(span.took.as_nanos()).unwrap_or(0));
    let failed = find(span, STATUS).is_some_and(|status| matches!(status, Value::Number(status) if *status >= 500));
    let mut json = json!({
        "traceId": hex::encode(span.trace),
        "spanId": hex::encode(span.id),
        "name": name(span),
        "kind": if span.is_request { SERVER } else { INTERNAL },
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "status": if failed { json!({ "code": ERROR }) } else { json!({}) },
    });
    if let (Some(parent), Some(members)) = (span.parent, json.as_object_mut()) {
        members.insert("parentSpanId".to_owned(), hex::encode(parent).into());
    }
    json
}

/// "HTTP span names SHOULD be `{method} {target}`" (OpenTelemetry, semantic conventions for HTTP).
fn name(span: &Span) -> String {
    if !span.is_request {
        return span.name.clone();
    }
    let text = |name| match find(span, name) {
        Some(Value::Text(text)) => text.as_str(),
        Some(Value::Number(_)) | None => "",
    };
    let method = Some(text(METHOD)).filter(|method| METHODS.contains(method)).unwrap_or("HTTP");
    format!("{method} {}", text(ROUTE))
}

fn find<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(of, _)| *of == name).map(|(_, value)| value)
}

fn attribute((name, value): &(&'static str, Value)) -> Json {
    let value = match value {
        Value::Text(text) if *name == METHOD && !METHODS.contains(&text.as_str()) => json!({ "stringValue": "_OTHER" }),
        Value::Text(text) => json!({ "stringValue": text }),
        // A number of 64 bits is text in this encoding.
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}
