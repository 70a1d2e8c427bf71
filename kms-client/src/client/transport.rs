//! One request and its answer: encoding, credentials, asking again, and reading problems.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroize;

use super::{
    body::Body,
    error::{Error, Result},
    token::Token,
};
use crate::wire::problem::Problem;

/// Longer than any answer: a thousand records or data keys, with room to spare.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// The longest wait before asking again, whatever the server says.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether a request may be sent again when its outcome is a failure that may pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    Harmless,
    /// It is a control change: the answer that got lost may have been a success.
    Never,
}

/// What carries requests to one server.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    token: Option<Token>,
    retries: u32,
}

impl Transport {
    pub(super) fn new(http: reqwest::Client, base: Url, token: Option<Token>, retries: u32) -> Self {
        Self { http, base, token, retries }
    }

    pub(super) async fn get<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A> {
        self.send(Method::GET, self.url(path), None, Repeat::Harmless).await
    }

    pub(super) async fn list<Q: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], query: &Q) -> Result<A> {
        let request = self.http.get(self.url(path)).query(query).build();
        let url = request.map_err(|source| self.failed(source))?.url().clone();
        self.send(Method::GET, url, None, Repeat::Harmless).await
    }

    pub(super) async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        repeat: Repeat,
    ) -> Result<A> {
        self.send(Method::POST, self.url(path), Some(encode(body)?), repeat).await
    }

    /// Putting the same twice makes a second version, so nobody does it unasked.
    pub(super) async fn put<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        self.send(Method::PUT, self.url(path), Some(encode(body)?), Repeat::Never).await
    }

    pub(super) async fn patch<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        self.send(Method::PATCH, self.url(path), Some(encode(body)?), Repeat::Never).await
    }

    pub(super) async fn delete<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A> {
        self.send(Method::DELETE, self.url(path), None, Repeat::Never).await
    }

    async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        repeat: Repeat,
    ) -> Result<A> {
        let mut retries = if repeat == Repeat::Harmless { self.retries } else { 0 };
        let mut fresh_token = false;
        loop {
            let response = self.once(method.clone(), url.clone(), body.clone()).await?;
            let status = response.status();
            if status.is_success() {
                let answer = self.read(response).await?;
                return self.decode(answer.as_ref());
            }
            // Nobody has done anything for a caller they did not know.
            if status == StatusCode::UNAUTHORIZED && !fresh_token && self.forget_token().await {
                fresh_token = true;
                continue;
            }
            if retries > 0 && matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                retries -= 1;
                pause(response.headers()).await;
                continue;
            }
            return Err(self.problem(response).await);
        }
    }

    async fn once(&self, method: Method, url: Url, body: Option<Bytes>) -> Result<Response> {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header().await?);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        request.send().await.map_err(|source| self.failed(source))
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

    fn url(&self, path: &[&str]) -> Url {
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

fn encode<B: Serialize>(body: &B) -> Result<Bytes> {
    let mut bytes = Body::with_capacity(4096);
    serde_json::to_writer(&mut bytes, body).map_err(Error::Encode)?;
    Ok(bytes.into_bytes())
}

#[expect(clippy::disallowed_methods, reason = "a client has no injected clock, and the server said how long to wait")]
async fn pause(headers: &HeaderMap) {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let pause = Duration::from_secs(seconds.unwrap_or(1)).min(LONGEST_PAUSE);
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_piece_by_piece() {
        let base = Url::parse("https://kms:8443").unwrap();
        let transport = Transport::new(reqwest::Client::new(), base, None, 0);
        let url = transport.url(&["keys", "alias/records", "rotate"]);
        assert_eq!(url.as_str(), "https://kms:8443/v1/keys/alias%2Frecords/rotate");
        assert_eq!(transport.url(&["principals", "a+b@c"]).path(), "/v1/principals/a+b@c");
    }
}
