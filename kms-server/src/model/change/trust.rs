//! Changes of trust. Adding an anchor needs two persons; taking one away is a cut and needs one.

use std::sync::Arc;

use super::{Applying, Operation};
use crate::model::{ClientCa, Error, Issuer, JwksSource, Refusal, Row, TrustState};

const MAX_TEXT: usize = 512;
const MAX_DOCUMENT: usize = 64 * 1024;

impl Applying<'_> {
    pub(super) fn trust(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let row = match operation {
            Operation::AddIssuer { issuer, iss, audiences, jwks } => {
                self.check_issuer(iss, audiences, jwks)?;
                self.needs_approval("trusting an issuer of tokens")?;
                Row::Issuer(Arc::new(Issuer {
                    id: *issuer,
                    issuer: iss.clone(),
                    audiences: audiences.clone(),
                    jwks: jwks.clone(),
                    state: TrustState::Trusted,
                    created_at: self.now,
                    revision: self.revision,
                }))
            }
            Operation::RemoveIssuer { issuer } => {
                let issuer = self.state.issuer(*issuer).ok_or(Error::NotFound("issuer"))?;
                self.check_expected(issuer.revision)?;
                let state = TrustState::Removed;
                Row::Issuer(Arc::new(Issuer { state, revision: self.revision, ..Issuer::clone(issuer) }))
            }
            Operation::AddClientCa { client_ca, name, certificate_pem } => {
                if self.state.client_cas().any(|ca| ca.name == *name) {
                    return Err(Error::conflict(
                        Refusal::AlreadyExists,
                        format!("`{name}` is or was another authority's name, and names are never used again"),
                    ));
                }
                if certificate_pem.len() > MAX_DOCUMENT {
                    return Err(Error::invalid(format!("a certificate has at most {MAX_DOCUMENT} bytes")));
                }
                self.needs_approval("trusting a certification authority")?;
                Row::ClientCa(Arc::new(ClientCa {
                    id: *client_ca,
                    name: name.clone(),
                    certificate_pem: certificate_pem.clone(),
                    state: TrustState::Trusted,
                    created_at: self.now,
                    revision: self.revision,
                }))
            }
            Operation::RemoveClientCa { client_ca } => {
                let ca = self.state.client_ca(*client_ca).ok_or(Error::NotFound("client CA"))?;
                self.check_expected(ca.revision)?;
                let state = TrustState::Removed;
                Row::ClientCa(Arc::new(ClientCa { state, revision: self.revision, ..ClientCa::clone(ca) }))
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![row])
    }

    fn check_issuer(&self, iss: &str, audiences: &[String], jwks: &JwksSource) -> Result<(), Error> {
        if self.state.trusted_issuer(iss).is_some() {
            return Err(Error::conflict(Refusal::AlreadyExists, format!("`{iss}` is a trusted issuer already")));
        }
        if iss.is_empty() || iss.len() > MAX_TEXT {
            return Err(Error::invalid(format!("an issuer has 1 to {MAX_TEXT} bytes")));
        }
        let fits = |audience: &String| (1..=MAX_TEXT).contains(&audience.len());
        if audiences.is_empty() || audiences.len() > 16 || !audiences.iter().all(fits) {
            return Err(Error::invalid(format!("an issuer has 1 to 16 audiences of 1 to {MAX_TEXT} bytes")));
        }
        match jwks {
            JwksSource::Inline(set) if set.len() > MAX_DOCUMENT => {
                Err(Error::invalid(format!("a key set has at most {MAX_DOCUMENT} bytes")))
            }
            JwksSource::Url { url, .. } if !url.starts_with("https://") || url.len() > MAX_TEXT => {
                Err(Error::invalid("a key set is fetched from an `https://` address"))
            }
            JwksSource::Inline(_) | JwksSource::Url { .. } => Ok(()),
        }
    }
}
