//! The terms on which changes are asked for, and the ways in which each kind of change is sent.

use std::sync::Arc;

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Client,
    error::Result,
    transport::{Outgoing, Repeat, encode},
};
use crate::wire::{receipt::Revision, trace::TraceParent};

/// What the changes of a client are bound to.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    revision: Option<Revision>,
    idempotency_key: Option<String>,
    later: bool,
}

impl Client {
    /// The same client, whose changes are made only if what they change is still at this revision (`If-Match`); else they
    /// fail with `revision_mismatch`. Changes that begin something new take no such condition.
    #[must_use]
    pub fn if_revision(&self, revision: Revision) -> Self {
        let terms = Terms { revision: Some(revision), ..self.terms.clone() };
        Self { terms, ..self.clone() }
    }

    /// The same client, whose creations are asked for under this idempotency key: for a day the same request under the same
    /// key makes nothing more, and answers what the first one did. Without it each creation has a key of its own, so that
    /// the client can repeat it.
    #[must_use]
    pub fn idempotency_key(&self, key: impl Into<String>) -> Self {
        let terms = Terms { idempotency_key: Some(key.into()), ..self.terms.clone() };
        Self { terms, ..self.clone() }
    }

    /// The same client, which does not wait for its changes: each fails with [`Error::Accepted`](super::Error::Accepted)
    /// once the server has accepted it, which says where to ask what became of it.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        let terms = Terms { later: true, ..self.terms.clone() };
        Self { terms, ..self.clone() }
    }

    /// The same client, whose requests belong to this place in a trace (W3C Trace Context): the server's part of each is
    /// then found below it, and its log names the trace.
    #[must_use]
    pub fn in_trace(&self, parent: TraceParent) -> Self {
        Self { transport: Arc::new(self.transport.in_trace(parent)), ..self.clone() }
    }

    /// Creates something new.
    pub(super) async fn create<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        let outgoing = Outgoing { repeat: Repeat::Named, ..self.outgoing(Method::POST, path, Some(body))? };
        self.transport.send(&Outgoing { if_match: None, ..outgoing }).await
    }

    /// Creates something that belongs to what is there.
    pub(super) async fn extend<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        let outgoing = self.outgoing(Method::POST, path, Some(body))?;
        self.transport.send(&Outgoing { repeat: Repeat::Named, ..outgoing }).await
    }

    /// Does something to what is there.
    pub(super) async fn act<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        let outgoing = self.outgoing(Method::POST, path, Some(body))?;
        self.transport.send(&Outgoing { idempotency_key: None, ..outgoing }).await
    }

    /// Changes what is there.
    pub(super) async fn patch<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        let outgoing = self.outgoing(Method::PATCH, path, Some(body))?;
        self.transport.send(&Outgoing { idempotency_key: None, ..outgoing }).await
    }

    /// Puts something where there may be an older one.
    pub(super) async fn put<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        let outgoing = self.outgoing(Method::PUT, path, Some(body))?;
        self.transport.send(&Outgoing { idempotency_key: None, ..outgoing }).await
    }

    /// Takes away what is there.
    pub(super) async fn delete<A: DeserializeOwned>(&self, path: &[&str]) -> Result<A> {
        let outgoing = self.outgoing::<()>(Method::DELETE, path, None)?;
        self.transport.send(&Outgoing { idempotency_key: None, ..outgoing }).await
    }

    fn outgoing<B: Serialize + Sync>(&self, method: Method, path: &[&str], body: Option<&B>) -> Result<Outgoing> {
        let name = self.terms.idempotency_key.clone().unwrap_or_else(fresh_key);
        Ok(Outgoing {
            body: body.map(encode).transpose()?,
            if_match: self.terms.revision.map(|revision| format!("\"{revision}\"")),
            idempotency_key: Some(quoted(&name)),
            later: self.terms.later,
            ..Outgoing::new(method, self.transport.url(path), Repeat::Never)
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a client has no injected identifiers")]
fn fresh_key() -> String {
    Uuid::new_v4().to_string()
}

/// A string as structured fields write it (RFC 9651 section 3.3.3).
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_quoted() {
        assert_eq!(quoted("a-b"), "\"a-b\"");
        assert_eq!(quoted(r#"a"\"#), r#""a\"\\""#);
        assert_ne!(fresh_key(), fresh_key());
    }
}
