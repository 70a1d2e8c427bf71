//! One request and its answer: encoding, credentials, and reading problems.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, IF_MATCH, RETRY_AFTER},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use zeroize::Zeroize;

use super::{
    body::Body,
    error::{Error, Result},
    retry::{self, Retry, Verdict},
    token::Token,
};
use crate::wire::{
    operation::OperationAnswer,
    problem::{Code, Problem},
    trace::{TRACEPARENT, TraceParent},
};

/// Longer than any answer: a thousand records or data keys, with room to spare.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
const PREFER: &str = "prefer";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whether a request may be sent again when it failed in a way that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    Harmless,
    /// It works with key material: again only if the server did not get it, or says that it did nothing.
    Unsent,
    /// It creates something under an idempotency key, so the server knows it again.
    Named,
    /// It is a control change: the answer that got lost may have been a success.
    Never,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Bytes>,
    pub(super) repeat: Repeat,
    pub(super) if_match: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) later: bool,
}

/// What carries requests to one server.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    token: Option<Arc<Token>>,
    retry: Retry,
    timeout: Duration,
    trace: Option<TraceParent>,
}

/// Why one try had no success.
struct Failed {
    error: Error,
    /// How long the server asks to wait.
    wait: Option<Duration>,
}

impl Outgoing {
    pub(super) fn new(method: Method, url: Url, repeat: Repeat) -> Self {
        Self { method, url, body: None, repeat, if_match: None, idempotency_key: None, later: false }
    }
}

impl Transport {
    pub(super) fn new(http: reqwest::Client, base: Url, token: Option<Token>, timeout: Duration, retry: Retry) -> Self {
        Self { http, base, token: token.map(Arc::new), retry, timeout, trace: None }
    }

    /// The same, whose requests belong to this trace.
    pub(super) fn in_trace(&self, trace: TraceParent) -> Self {
        let (http, base, token) = (self.http.clone(), self.base.clone(), self.token.clone());
        Self { http, base, token, retry: self.retry, timeout: self.timeout, trace: Some(trace) }
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A> {
        self.send(&Outgoing::new(Method::GET, self.url(path), Repeat::Harmless)).await
    }

    pub(super) async fn list<Q: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], query: &Q) -> Result<A> {
        let request = self.http.get(self.url(path)).query(query).build();
        let url = request.map_err(|source| self.failed(source))?.url().clone();
        self.send(&Outgoing::new(Method::GET, url, Repeat::Harmless)).await
    }

    pub(super) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        repeat: Repeat,
    ) -> Result<A> {
        let body = Some(encode(body)?);
        self.send(&Outgoing { body, ..Outgoing::new(Method::POST, self.url(path), repeat) }).await
    }

    /// Sends a request, again where that is safe and may help, and reads its answer.
    pub(super) async fn send<A: DeserializeOwned>(&self, outgoing: &Outgoing) -> Result<A> {
        let answer = self.send_again(outgoing).await?;
        self.decode(answer.as_ref())
    }

    async fn send_again(&self, outgoing: &Outgoing) -> Result<Body> {
        let (started, mut tries) = (Instant::now(), 0);
        loop {
            let left = self.retry.deadline.saturating_sub(started.elapsed());
            let Failed { error, wait } = match self.send_known(outgoing, left).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let verdict = retry::verdict(&error, outgoing.repeat);
            if verdict == Verdict::Final {
                return Err(error);
            }
            let Some(pause) = self.retry.pause(tries, started.elapsed(), wait) else { return Err(error) };
            sleep(pause).await;
            if verdict == Verdict::LookFirst && !self.is_settled(&error).await {
                return Err(error);
            }
            tries += 1;
        }
    }

    /// Sends a request, a second time if the server did not take the token and another may have been written since.
    async fn send_known(&self, outgoing: &Outgoing, left: Duration) -> std::result::Result<Body, Failed> {
        let final_ = |error| Failed { error, wait: None };
        let mut response = self.once(outgoing, left).await.map_err(final_)?;
        // Nobody has done anything for a caller they did not know.
        if response.status() == StatusCode::UNAUTHORIZED && self.forget_token().await {
            response = self.once(outgoing, left).await.map_err(final_)?;
        }
        if response.status() == StatusCode::ACCEPTED {
            let answer = self.read(response).await.map_err(final_)?;
            let accepted = self.decode::<OperationAnswer>(answer.as_ref()).map_err(final_)?;
            return Err(final_(Error::Accepted(Box::new(accepted.operation))));
        }
        if response.status().is_success() {
            return self.read(response).await.map_err(final_);
        }
        let wait = retry_after(response.headers());
        Err(Failed { error: self.problem(response).await, wait })
    }

    async fn once(&self, outgoing: &Outgoing, left: Duration) -> Result<Response> {
        let mut request = self.http.request(outgoing.method.clone(), outgoing.url.clone());
        if left < self.timeout {
            request = request.timeout(left);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header().await?);
        }
        if let Some(tag) = &outgoing.if_match {
            request = request.header(IF_MATCH, tag);
        }
        if let Some(key) = &outgoing.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(trace) = &self.trace {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        if outgoing.later {
            request = request.header(PREFER, "respond-async");
        }
        if let Some(body) = &outgoing.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request.send().await.map_err(|source| self.failed(source))
    }

    /// Whether it is known by now what became of a change whose outcome was not: it is there, or it is not.
    async fn is_settled(&self, error: &Error) -> bool {
        let Some(change) = error.unknown_change() else { return false };
        let url = self.url(&["changes", &change.to_string()]);
        let look = Outgoing::new(Method::GET, url, Repeat::Harmless);
        match self.send_known(&look, self.retry.deadline).await {
            Ok(_) => true,
            Err(Failed { error, .. }) => error.code() == Some(Code::NotFound),
        }
    }

    async fn forget_token(&self) -> bool {
        match &self.token {
            Some(token) => token.refused().await,
            None => false,
        }
    }

    async fn read(&self, mut response: Response) -> Result<Body> {
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        if announced > LONGEST_ANSWER {
            return Err(Error::TooLong { url: self.base.to_string() });
        }
        let mut body = Body::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|source| self.failed(source))? {
            if body.as_ref().len() + chunk.len() > LONGEST_ANSWER {
                return Err(Error::TooLong { url: self.base.to_string() });
            }
            body.append(&chunk);
            if let Ok(mut ours) = chunk.try_into_mut() {
                ours.as_mut().zeroize();
            }
        }
        Ok(body)
    }

    async fn problem(&self, response: Response) -> Error {
        let status = response.status().as_u16();
        let unexpected = Error::Unexpected { url: self.base.to_string(), status };
        let Ok(body) = self.read(response).await else { return unexpected };
        serde_json::from_slice::<Problem>(body.as_ref()).map_or(unexpected, |problem| Error::Problem(Box::new(problem)))
    }

    fn decode<A: DeserializeOwned>(&self, answer: &[u8]) -> Result<A> {
        serde_json::from_slice(answer).map_err(|source| Error::Decode { url: self.base.to_string(), source })
    }

    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each is percent-encoded, the slash of `alias/NAME` too.
            segments.clear().push("v1").extend(path);
        }
        url
    }

    fn failed(&self, source: reqwest::Error) -> Error {
        let url = self.base.to_string();
        // The URL is in our own words already; and a query may name what it looks for.
        let source = source.without_url();
        if source.is_timeout() { Error::Timeout { url } } else { Error::Transport { url, source: Box::new(source) } }
    }
}

pub(super) fn encode<B: Serialize>(body: &B) -> Result<Bytes> {
    let mut bytes = Body::with_capacity(4096);
    serde_json::to_writer(&mut bytes, body).map_err(Error::Encode)?;
    Ok(bytes.into_bytes())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    seconds.map(Duration::from_secs)
}

#[expect(clippy::disallowed_methods, reason = "a client has no injected clock, and a pause is what is wanted")]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_piece_by_piece() {
        let base = Url::parse("https://kms:8443").unwrap();
        let retry = Retry { most: 0, deadline: Duration::from_secs(1) };
        let transport = Transport::new(reqwest::Client::new(), base, None, retry.deadline, retry);
        let url = transport.url(&["keys", "alias/records", "rotate"]);
        assert_eq!(url.as_str(), "https://kms:8443/v1/keys/alias%2Frecords/rotate");
        assert_eq!(transport.url(&["principals", "a+b@c"]).path(), "/v1/principals/a+b@c");
    }
}
