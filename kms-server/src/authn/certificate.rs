//! The client certificate of one connection, and whose it is.
//!
//! TLS proved once, in the handshake, that the peer has the certificate's key. Everything else is asked again at every
//! revision, at cluster time: the chain must lead to an authority that is trusted now, be for clients (RFC 5280 section
//! 4.2.1.12: an extended key usage, where there is one, must name it) and be valid, and exactly one principal must have
//! the fingerprint, or one of the names under that very authority. Names are compared byte by byte; the common name,
//! addresses and wildcards mean nothing.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use kms_client::id::{ClientCaId, CredentialId, PrincipalId};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Assurance, Caller, Moment, Proof, Refused, authority::vouching};
use crate::model::{ControlState, CredentialMatch, Revision};

/// The certificates that the peer of one connection showed, its own first.
#[derive(Debug)]
pub struct PeerCertificates {
    chain: Vec<CertificateDer<'static>>,
    fingerprint: [u8; 32],
    /// As credentials write them: `uri:…` or `dns:…`.
    names: Vec<String>,
    /// The first moment at which one of the chain is no longer valid.
    expires_at: Timestamp,
    /// Whom they proved at the newest revision that was asked about.
    proved: Mutex<Option<(Revision, Arc<Caller>)>>,
}

/// One way in which the certificates match a credential.
struct Match {
    principal: PrincipalId,
    credential: CredentialId,
    client_ca: ClientCaId,
    expires_at: Timestamp,
}

impl PeerCertificates {
    /// Reads what TLS says the peer showed; once per connection.
    ///
    /// # Errors
    ///
    /// [`Refused::CertificateForm`] if they cannot be read.
    pub fn parse(chain: &[CertificateDer<'_>]) -> Result<Self, Refused> {
        let parsed = chain
            .iter()
            .map(|certificate| X509Certificate::from_der(certificate).map(|(_, certificate)| certificate))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Refused::CertificateForm)?;
        let (own, own_der) = parsed.first().zip(chain.first()).ok_or(Refused::CertificateForm)?;
        let expires_at = parsed.iter().map(first_invalid).min().ok_or(Refused::CertificateForm)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, own_der).as_ref());
        Ok(Self {
            names: names(own)?,
            fingerprint,
            expires_at,
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            proved: Mutex::new(None),
        })
    }

    /// The SHA-256 of the peer's own certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whose certificate this is.
    ///
    /// # Errors
    ///
    /// [`Refused`] if no trusted authority stands behind it now, or it is not exactly one active principal's.
    pub fn caller(&self, moment: Moment<'_>) -> Result<Arc<Caller>, Refused> {
        let remembered = self.proved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let caller = match remembered {
            Some((revision, caller)) if revision == moment.revision => caller,
            _ => {
                let caller = Arc::new(self.prove(moment)?);
                let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
                *proved = Some((moment.revision, Arc::clone(&caller)));
                caller
            }
        };
        caller.stands(moment.state, moment.now).map_err(|_| Refused::NoLonger)?;
        Ok(caller)
    }

    fn prove(&self, moment: Moment<'_>) -> Result<Caller, Refused> {
        let mut trusted = false;
        let mut matches = Vec::new();
        for (client_ca, authority) in vouching(moment.state, &self.chain, moment.now) {
            trusted = true;
            let expires_at = self.expires_at.min(authority.expires_at);
            matches.extend(self.matches(moment.state, client_ca.id, expires_at));
        }
        if !trusted {
            return Err(Refused::CertificateUntrusted);
        }
        let first = matches.first().ok_or(Refused::PrincipalUnknown)?;
        if matches.iter().any(|other| other.principal != first.principal) {
            return Err(Refused::CertificateAmbiguous);
        }
        Ok(Caller {
            principal: first.principal,
            credential: first.credential,
            proof: Proof::Certificate { client_ca: first.client_ca, expires_at: first.expires_at },
            assurance: Assurance::default(),
        })
    }

    /// The live credentials that the certificates match under one authority.
    fn matches(
        &self,
        state: &ControlState,
        client_ca: ClientCaId,
        expires_at: Timestamp,
    ) -> impl Iterator<Item = Match> {
        let fingerprint = CredentialMatch::CertificateFingerprint { sha256: hex::encode(self.fingerprint) };
        let names = self.names.iter().map(move |san| CredentialMatch::CertificateSan { client_ca, san: san.clone() });
        std::iter::once(fingerprint)
            .chain(names)
            .filter_map(|credential| state.credential(&credential))
            // A removed credential matches nothing.
            .filter(|(principal, credential)| {
                state.principal(*principal).is_some_and(|principal| principal.credential(*credential).is_some())
            })
            .map(move |(principal, credential)| Match { principal, credential, client_ca, expires_at })
    }
}

/// The first moment at which the certificate is no longer valid. RFC 5280 section 4.1.2.5: "the period of time from
/// notBefore through notAfter, inclusive".
pub(super) fn first_invalid(certificate: &X509Certificate<'_>) -> Timestamp {
    // `99991231235959Z`, which means "no well-defined expiration date", is past what a timestamp holds.
    Timestamp::from_second(certificate.validity().not_after.timestamp())
        .and_then(|not_after| not_after.checked_add(SignedDuration::from_secs(1)))
        .unwrap_or(Timestamp::MAX)
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, Refused> {
    let Some(extension) = certificate.subject_alternative_name().map_err(|_| Refused::CertificateForm)? else {
        return Ok(Vec::new());
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::DNSName(name) => Some(format!("dns:{name}")),
        _ => None,
    });
    Ok(names.collect())
}
