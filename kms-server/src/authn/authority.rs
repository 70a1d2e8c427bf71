//! The certification authorities whose client certificates are believed, as TLS handshakes see them.
//!
//! A certificate is optional, and a handshake proves only that its holder has the key and that some trusted authority
//! stands behind it. Who that is, and whether it is still so, is asked again at every request: see
//! [`PeerCertificates`](super::PeerCertificates). There are no revocation lists: to cut a certificate off, remove its
//! credential or its authority.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::first_invalid;
use crate::model::{ClientCa, Clock, ControlState, Error, TrustState};

/// Verifies client certificates in TLS handshakes against the newest prepared state.
pub struct ClientCertificates {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None` while no authority is trusted.
    verifier: ArcSwapOption<Verifier>,
    clock: Arc<dyn Clock>,
    /// What both faces of the clock said at the start.
    started: Mutex<(Timestamp, Duration)>,
}

#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

/// One authority, ready to be verified against.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    /// The first moment at which its own certificate is no longer valid.
    pub(super) expires_at: Timestamp,
}

/// A text that is not one certificate of a certification authority in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidAuthority(&'static str);

/// Whether `pem` can be trusted as a certification authority: to be asked before the change is made.
///
/// # Errors
///
/// `invalid` if it is not exactly one certificate of an authority in PEM.
pub fn check_authority(pem: &str) -> Result<(), Error> {
    Authority::parse(pem).map(|_| ()).map_err(|error| Error::invalid(error.to_string()))
}

impl Authority {
    pub(super) fn parse(pem: &str) -> Result<Self, InvalidAuthority> {
        let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let (Some(Ok(certificate)), None) = (certificates.next(), certificates.next()) else {
            return Err(InvalidAuthority("an authority is exactly one certificate in PEM"));
        };
        let unreadable = InvalidAuthority("the authority's certificate cannot be read");
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| unreadable)?;
        if !parsed.is_ca() {
            return Err(InvalidAuthority(
                "the certificate is not that of an authority: basic constraint `CA` is missing",
            ));
        }
        let expires_at = first_invalid(&parsed);
        // What the verifier will be given must be readable to it too.
        RootCertStore::empty().add(certificate.clone()).map_err(|_| unreadable)?;
        Ok(Self { certificate, expires_at })
    }

    /// Whether `chain`, the caller's own certificate first, leads here and is for clients and valid at `now`.
    pub(super) fn vouches_for(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let Some((own, intermediates)) = chain.split_first() else {
            return false;
        };
        let Ok(since_epoch) = now.as_duration().try_into() else {
            return false;
        };
        let Some(verifier) = verifier([self]) else {
            return false;
        };
        verifier.verify_client_cert(own, intermediates, UnixTime::since_unix_epoch(since_epoch)).is_ok()
    }
}

impl ClientCertificates {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let started = Mutex::new((clock.now(), clock.boot()));
        Self { algorithms, verifier: ArcSwapOption::empty(), clock, started }
    }

    /// Takes cluster time as it is at the start for the time by which handshakes judge.
    pub(super) fn begin_at(&self, now: Timestamp) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = (now, self.clock.boot());
    }

    /// The time by which handshakes judge: as cluster time, it does not jump with the wall clock.
    fn now(&self) -> UnixTime {
        let (wall, boot) = *self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Duration::try_from(wall.as_duration()).unwrap_or_default();
        UnixTime::since_unix_epoch(started.saturating_add(self.clock.boot().saturating_sub(boot)))
    }

    /// Verifies against the authorities that are trusted at `state` from now on.
    pub(super) fn replace(&self, state: &ControlState) {
        let authorities: Vec<Authority> = state
            .client_cas()
            .filter(|row| row.state == TrustState::Trusted)
            .filter_map(|row| match Authority::parse(&row.certificate_pem) {
                Ok(authority) => Some(authority),
                Err(error) => {
                    tracing::error!(client_ca.id = %row.id, %error, "a trusted authority vouches for nobody");
                    None
                }
            })
            .collect();
        self.verifier.store(verifier(&authorities).map(|verifier| Arc::new(Verifier(verifier))));
    }
}

/// The trusted authorities of `state` that vouch for `chain` at `now`.
pub(super) fn vouching<'a>(
    state: &'a ControlState,
    chain: &'a [CertificateDer<'_>],
    now: Timestamp,
) -> impl Iterator<Item = (&'a ClientCa, Authority)> + 'a {
    state
        .client_cas()
        .filter(|row| row.state == TrustState::Trusted)
        .filter_map(|row| Some((row.as_ref(), Authority::parse(&row.certificate_pem).ok()?)))
        .filter(move |(_, authority)| authority.vouches_for(chain, now))
}

fn verifier<'a>(authorities: impl IntoIterator<Item = &'a Authority>) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.certificate.clone()).ok()?;
    }
    // The only error without revocation lists is that there is no anchor.
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider())).build().ok()
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        self.verifier.load().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The hints would have to outlive the next change of trust; without them a client chooses freely.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _wall: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match &*self.verifier.load() {
            Some(verifier) => verifier.0.verify_client_cert(end_entity, intermediates, self.now()),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates").finish_non_exhaustive()
    }
}
