//! Who is asking. Only this module makes a [`Caller`]; it decides nothing about what a caller may do.
//!
//! A caller shows a bearer token (`jwt`) or a client certificate (`certificate`). Either is checked against the
//! trust and the principals of one [`ControlState`], so a removed anchor, issuer or credential is refused by the first
//! request at the new revision, on open connections too. What was verified is remembered for one revision only.

mod authority;
mod caller;
mod certificate;
mod jwks;
mod jwt;
mod key_set;
mod refused;
mod remembered;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use jiff::Timestamp;

pub use authority::{ClientCertificates, check_authority};
pub use caller::{Assurance, Caller, Intent, Proof, Request};
pub use certificate::PeerCertificates;
pub use jwks::check_key_source;
pub use refused::Refused;

use crate::{
    model::{Clock, ControlState, Revision},
    supervisor::Supervisor,
};
use jwks::Jwks;
use remembered::Remembered;

/// Against what a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The control state.
    pub state: &'a ControlState,
    /// The revision of that state.
    pub revision: Revision,
    /// Cluster time.
    pub now: Timestamp,
}

/// Finds out who is asking.
#[derive(Debug)]
pub struct Authenticator {
    client_certificates: Arc<ClientCertificates>,
    jwks: Jwks,
    remembered: Remembered,
}

impl Authenticator {
    /// One that trusts nobody yet. The clock tells how old fetched keys are; the supervisor runs what fetches them.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, supervisor: Supervisor) -> Self {
        Self {
            client_certificates: Arc::new(ClientCertificates::new(Arc::clone(&clock))),
            jwks: Jwks::new(clock, supervisor),
            remembered: Remembered::default(),
        }
    }

    /// Makes ready for requests at `state`; to be called before it is published. Never waits.
    pub fn prepare(&self, state: &ControlState) {
        self.client_certificates.replace(state);
        self.jwks.replace(state);
    }

    /// What TLS handshakes ask about client certificates, always of the newest prepared state.
    #[must_use]
    pub fn client_certificates(&self) -> Arc<ClientCertificates> {
        Arc::clone(&self.client_certificates)
    }

    /// Judges certificates by cluster time, which is `now`, from here on, and keeps the key sets of issuers fresh until the
    /// server stops.
    pub fn start(self: &Arc<Self>, now: Timestamp, supervisor: &Supervisor) {
        self.client_certificates.begin_at(now);
        let (authenticator, stopping) = (Arc::clone(self), supervisor.clone());
        supervisor.run("key sets", async move {
            tokio::select! {
                () = authenticator.jwks.keep_fresh() => {}
                () = stopping.stopping() => {}
            }
        });
    }

    /// Who is asking. A bearer token decides where there is one; else the client certificate does.
    ///
    /// # Errors
    ///
    /// [`Refused`] if no credential was shown, or it does not prove that an active principal is asking.
    pub async fn caller(
        &self,
        moment: Moment<'_>,
        headers: &HeaderMap,
        peer: Option<&PeerCertificates>,
    ) -> Result<Arc<Caller>, Refused> {
        match (bearer(headers)?, peer) {
            (Some(token), peer) => {
                let binding = peer.map(PeerCertificates::fingerprint);
                jwt::caller(&self.jwks, &self.remembered, moment, token, binding).await
            }
            (None, Some(peer)) => peer.caller(moment),
            (None, None) => Err(Refused::NoCredential),
        }
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refused::AuthorizationForm);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Refused::AuthorizationForm)?;
    // RFC 9110 section 11.1: "a case-insensitive token to identify the authentication scheme".
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refused::AuthorizationForm);
    }
    Ok(Some(token))
}
