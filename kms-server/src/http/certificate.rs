//! The server's own certificate, which can be replaced while the server runs: new handshakes get the new chain, open
//! connections live on. A pair that cannot be read or does not belong together leaves the old one serving, and says so.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The certificate in use, and the files that it comes from.
#[derive(Debug)]
pub struct ServerCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// What the files looked like when they were last read.
    seen: Mutex<[Option<Look>; 2]>,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {detail}", path.display())]
pub struct BadCertificate {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub detail: String,
}

/// What changes when a file is replaced or written: device, inode, size, and time in nanoseconds.
type Look = (u64, u64, u64, i64, i64);

impl ServerCertificate {
    /// Reads a chain in PEM, leaf first, and its private key.
    ///
    /// # Errors
    ///
    /// [`BadCertificate`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, BadCertificate> {
        let seen = Mutex::new([look(certificate), look(key)]);
        let current = ArcSwap::new(Arc::new(read(certificate, key)?));
        let read = Self { certificate: certificate.to_owned(), key: key.to_owned(), current, seen };
        read.tell_expiry();
        Ok(read)
    }

    /// Reads the files again, and serves what they hold from the next handshake on.
    ///
    /// # Errors
    ///
    /// [`BadCertificate`]; the certificate in use then stays in use.
    pub fn reload(&self) -> Result<(), BadCertificate> {
        *self.seen() = self.looks();
        match read(&self.certificate, &self.key) {
            Ok(read) => {
                self.current.store(Arc::new(read));
                self.tell_expiry();
                tracing::info!(file = %self.certificate.display(), "the server's certificate was read again");
                Ok(())
            }
            Err(error) => {
                metrics::counter!("keyward_tls_reload_failures_total").increment(1);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the server's new certificate cannot be used; the old one stays in use"
                );
                Err(error)
            }
        }
    }

    /// Reads the files again if one of them was replaced or written since they were last read. Answers whether it was.
    pub fn reload_if_changed(&self) -> bool {
        let changed = *self.seen() != self.looks();
        if changed {
            // What is wrong was said; it is tried again when a file changes again.
            let _said = self.reload();
        }
        changed
    }

    fn looks(&self) -> [Option<Look>; 2] {
        [look(&self.certificate), look(&self.key)]
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, [Option<Look>; 2]> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_expiry(&self) {
        let current = self.current.load();
        let leaf = current.cert.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        if let Some((_, leaf)) = leaf {
            #[expect(clippy::cast_precision_loss, reason = "seconds of some centuries fit")]
            let not_after = leaf.validity().not_after.timestamp() as f64;
            metrics::gauge!("keyward_tls_certificate_not_after_seconds").set(not_after);
        }
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, BadCertificate> {
    let bad = |path: &Path, detail: String| BadCertificate { path: path.to_owned(), detail };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(certificate, format!("not a certificate chain in PEM: {error}")))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, format!("not a private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|error| bad(certificate, format!("certificate and key do not belong together: {error}")))
}

fn look(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
