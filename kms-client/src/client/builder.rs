//! How a client is described.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{Certificate, Identity, Url, redirect, tls};
use zeroize::Zeroizing;

use super::{Client, retry::Retry, terms::Terms, token::Token, transport::Transport};
use crate::config::Error;

/// Describes a [`Client`]. It needs a URL, and a token, a certificate, or a token that is bound to a certificate.
#[must_use]
pub struct Builder {
    url: Option<String>,
    ca_pem: Option<Vec<u8>>,
    token: Option<Zeroizing<String>>,
    token_file: Option<PathBuf>,
    certificate: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    timeout: Duration,
    retry: Retry,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            url: None,
            ca_pem: None,
            token: None,
            token_file: None,
            certificate: None,
            timeout: Duration::from_secs(30),
            retry: Retry { most: 4, deadline: Duration::from_mins(1) },
        }
    }
}

impl Builder {
    /// Where the server is, such as `https://kms.example.org:8443`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The only CAs whose certificates the server may show, in PEM. Without it, those of the system.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// A bearer token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Zeroizing::new(token.into()));
        self
    }

    /// A file that holds a bearer token; it is read again from time to time, and when the server refuses the token.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// A client certificate with its chain, and its private key, in PEM.
    pub fn certificate(mut self, cert_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some((cert_pem.into(), Zeroizing::new(key_pem.into())));
        self
    }

    /// How long one request may take; 30 seconds unless given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often to ask again where that is safe: when the server is overloaded, cannot answer for a moment, or cannot be
    /// reached. Four times unless given; 0 for never.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retry.most = retries;
        self
    }

    /// How long one call may take, all that is asked again included; a minute unless given.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.retry.deadline = deadline;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// When something is missing, or is not what it should be. Nothing is sent yet.
    pub fn build(self) -> Result<Client, Error> {
        let base = base_url(self.url.as_deref().ok_or(Error::NoUrl)?)?;
        let token = match (self.token, self.token_file) {
            (Some(_), Some(_)) => return Err(Error::TwoTokens),
            (Some(token), None) => Some(Token::given(token.trim())?),
            (None, Some(path)) => Some(Token::file(path)),
            (None, None) => None,
        };
        if token.is_none() && self.certificate.is_none() {
            return Err(Error::NoCredential);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("kms-client/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .http1_only()
            .tls_version_min(tls::Version::TLS_1_3)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(self.timeout.min(Duration::from_secs(10)))
            .timeout(self.timeout);
        if let Some(pem) = &self.ca_pem {
            let authorities = Certificate::from_pem_bundle(pem).map_err(Error::Tls)?;
            if authorities.is_empty() {
                return Err(Error::NoCertificate("CA"));
            }
            http = http.tls_certs_only(authorities);
        }
        if let Some((chain, key)) = &self.certificate {
            let mut pem = Zeroizing::new(Vec::with_capacity(chain.len() + key.len() + 1));
            pem.extend_from_slice(key);
            pem.push(b'\n');
            pem.extend_from_slice(chain);
            http = http.identity(Identity::from_pem(&pem).map_err(Error::Certificate)?);
        }
        let http = http.build().map_err(Error::Tls)?;
        Ok(Client {
            transport: Arc::new(Transport::new(http, base, token, self.timeout, self.retry)),
            terms: Terms::default(),
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("token_file", &self.token_file)
            .field("certificate", &self.certificate.as_ref().map(|_| ".."))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn base_url(text: &str) -> Result<Url, Error> {
    let invalid = |why| Error::Url { url: text.to_owned(), why };
    let url = Url::parse(text).map_err(|_| invalid("it is not a URL"))?;
    if url.scheme() != "https" {
        return Err(invalid("it begins with `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it names no user and no password"));
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(invalid("it ends with the host or port"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_and_bare() {
        for good in ["https://kms", "https://127.0.0.1:8443/"] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in ["kms:8443", "http://kms", "https://a:b@kms", "https://kms/v1", "https://kms?x"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(matches!(Builder::default().build(), Err(Error::NoUrl)));
        assert!(matches!(Builder::default().url("https://kms").build(), Err(Error::NoCredential)));
        let two = Builder::default().url("https://kms").token("a").token_file("b");
        assert!(matches!(two.build(), Err(Error::TwoTokens)));
        let ca = Builder::default().url("https://kms").token("a").ca_pem("nothing");
        assert!(matches!(ca.build(), Err(Error::NoCertificate("CA"))));
        let certificate = Builder::default().url("https://kms").certificate("a", "b");
        assert!(matches!(certificate.build(), Err(Error::Certificate(_))));
        assert!(Builder::default().url("https://kms").token("a").build().is_ok());
    }
}
