//! `[listen]` and `[tls]`: the addresses, and the server's own certificate.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::danger::ClientCertVerifier,
    version::TLS13,
};
use serde::Deserialize;

use super::ConfigError;

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
}

impl TlsSection {
    /// TLS 1.3 with this certificate; clients may show one of theirs.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn server_config(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, ConfigError> {
        let invalid = |path: &PathBuf, detail: String| ConfigError::Invalid { path: path.clone(), detail };
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| invalid(&self.certificate, format!("not a certificate chain in PEM: {error}")))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| invalid(&self.key, format!("not a private key in PEM: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| invalid(&self.certificate, error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|error| {
                invalid(&self.certificate, format!("certificate and key do not belong together: {error}"))
            })?;
        // The release of an answer is shown for HTTP/1.1 only; see `http::connection`.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
