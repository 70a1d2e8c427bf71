//! Any bytes are a certificate or an authority, or are refused; and no certificate that nobody trusts proves anything.

use kms_server::authn::{PeerCertificates, check_authority};
use rustls::pki_types::CertificateDer;

use crate::world::WORLD;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        let _error = check_authority(text);
    }
    // A chain: each certificate behind its length, or all of it one.
    let (mut chain, mut rest) = (Vec::new(), bytes);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (one, more) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        chain.push(CertificateDer::from(one));
        rest = more;
    }
    for chain in [chain.as_slice(), &[CertificateDer::from(bytes)]] {
        if let Ok(certificates) = PeerCertificates::parse(chain) {
            assert!(certificates.caller(WORLD.moment()).is_err(), "nobody is trusted");
        }
    }
    // The same as an authority, in PEM.
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let _error = check_authority(&format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"));
}
