//! `[listen]` and `[tls]`: the addresses, and the server's own certificate.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::danger::ClientCertVerifier,
    version::{TLS12, TLS13},
};
use serde::Deserialize;

use super::ConfigError;
use crate::http::{BadCertificate, ServerCertificate};

/// The addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSection {
    /// Where the API is served, over TLS.
    pub api: SocketAddr,
    /// Where health and metrics are served, in plain: an address that only operators reach.
    pub operations: SocketAddr,
}

/// The server's own certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// Its chain in PEM, leaf first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The oldest version of TLS that is spoken: `1.3`, or `1.2` for clients that know no better.
    #[serde(default)]
    pub minimum_version: TlsVersion,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2, with forward secrecy and authenticated encryption only.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsSection {
    /// Reads the certificate.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn server_certificate(&self) -> Result<Arc<ServerCertificate>, ConfigError> {
        let invalid = |bad: BadCertificate| ConfigError::Invalid { path: bad.path, detail: bad.detail };
        ServerCertificate::read(&self.certificate, &self.key).map(Arc::new).map_err(invalid)
    }

    /// TLS with this certificate, in the versions that are allowed; clients may show a certificate of theirs.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn server_config(
        &self,
        certificate: Arc<ServerCertificate>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, ConfigError> {
        let versions: &[_] = match self.minimum_version {
            TlsVersion::Tls13 => &[&TLS13],
            // All that rustls has for TLS 1.2 is ECDHE with AES-GCM or ChaCha20-Poly1305.
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| ConfigError::Section { section: "tls", detail: error.to_string() })?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificate);
        // RFC 7627: without it a session of TLS 1.2 is not bound to its handshake.
        config.require_ems = true;
        // The release of an answer is shown for HTTP/1.1 only; see `http::connection`.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
