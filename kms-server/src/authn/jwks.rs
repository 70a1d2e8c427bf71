//! The key sets of all trusted issuers, those at an address fetched again and again.
//!
//! A key that its issuer withdrew is believed for at most five minutes: a set older than that is fetched again before
//! it is used. While the issuer cannot be reached its last set is used until it is fifteen minutes old; then its tokens
//! are refused. A key that is not in the set may be new, so the set is fetched once more, but never twice within ten
//! seconds, whatever callers send. A set is fetched over TLS from the very address in the control state: no redirect is
//! followed, no proxy asked. What is removed from trust is refused by whoever looks up the issuer, not here.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use kms_client::id::IssuerId;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Refused,
    key_set::{KeySet, check_key_set},
};
use crate::{
    model::{self, Clock, ControlState, Issuer, JwksSource, TrustState},
    supervisor::Supervisor,
};

/// A fetched set is used without question for this long.
const FRESH: Duration = Duration::from_mins(5);
/// The task fetches a set again when it is this old, so that requests seldom wait for one.
const DUE: Duration = Duration::from_mins(4);
/// A set is used for this long while its issuer cannot be reached.
const STALE: Duration = Duration::from_mins(15);
/// An issuer is asked at most once in this time.
const PAUSE: Duration = Duration::from_secs(10);
/// How often the task looks which sets are due.
const LOOK: Duration = Duration::from_secs(5);
/// An issuer that takes longer to answer cannot be reached.
const PATIENCE: Duration = Duration::from_secs(5);
/// No key set is larger.
const MAX_BYTES: usize = 64 * 1024;

/// The key sets of all trusted issuers.
#[derive(Debug)]
pub(super) struct Jwks {
    clock: Arc<dyn Clock>,
    supervisor: Supervisor,
    issuers: ArcSwap<HashMap<IssuerId, Source>>,
}

/// Where one issuer's keys come from.
#[derive(Debug, Clone)]
enum Source {
    /// The control state; `None` if they cannot be read.
    Inline(Option<Arc<KeySet>>),
    /// An address.
    Url(Arc<Remote>),
}

#[derive(Debug)]
struct Remote {
    url: String,
    ca_pem: Option<String>,
    newest: Mutex<Option<Fetched>>,
    /// When the issuer was last asked. Held while it is asked, so that it is asked once for all who wait.
    asked: Arc<tokio::sync::Mutex<Option<Duration>>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    bytes: Vec<u8>,
    /// Before it was asked for, by [`Clock::boot`].
    at: Duration,
}

/// Whether keys can be found at `source`, as far as can be told without asking there: to be asked before the change is
/// made.
///
/// # Errors
///
/// `invalid` if the set, its address or the certificate of the address's authority cannot be used.
pub fn check_key_source(source: &JwksSource) -> Result<(), model::Error> {
    match source {
        JwksSource::Inline(set) => check_key_set(set),
        JwksSource::Url { url, ca_pem } => {
            // The library drops control characters and takes backslashes for slashes; people read what is written.
            let plain = url.starts_with("https://") && !url.contains(|c: char| c.is_control() || c.is_whitespace());
            let open = reqwest::Url::parse(url).is_ok_and(|url| url.username().is_empty() && url.password().is_none());
            if !(plain && open) {
                return Err(model::Error::invalid(format!("`{url}` is not an `https://` address of a key set")));
            }
            let Some(pem) = ca_pem else { return Ok(()) };
            match reqwest::Certificate::from_pem_bundle(pem.as_bytes()) {
                Ok(certificates) if !certificates.is_empty() => Ok(()),
                Ok(_) | Err(_) => {
                    Err(model::Error::invalid("the key server's authority is one or more certificates in PEM"))
                }
            }
        }
    }
}

impl Jwks {
    pub(super) fn new(clock: Arc<dyn Clock>, supervisor: Supervisor) -> Self {
        Self { clock, supervisor, issuers: ArcSwap::default() }
    }

    /// Knows the issuers that are trusted at `state` from now on. What was fetched is kept: an issuer's address never
    /// changes.
    pub(super) fn replace(&self, state: &ControlState) {
        let known = self.issuers.load();
        let trusted = state.issuers().filter(|issuer| issuer.state == TrustState::Trusted);
        let issuers = trusted.map(|issuer| {
            let source = known.get(&issuer.id).cloned().unwrap_or_else(|| Source::new(issuer));
            (issuer.id, source)
        });
        self.issuers.store(Arc::new(issuers.collect()));
    }

    /// The keys of this issuer, fetched within the last five minutes if the issuer could be reached.
    pub(super) async fn keys(&self, issuer: IssuerId) -> Result<Arc<KeySet>, Refused> {
        match self.source(issuer)? {
            Source::Inline(keys) => keys.ok_or(Refused::IssuerUnavailable),
            Source::Url(remote) => {
                if let Some(keys) = remote.keys(self.clock.boot(), FRESH) {
                    return Ok(keys);
                }
                self.fetch(&remote).await;
                remote.keys(self.clock.boot(), STALE).ok_or(Refused::IssuerUnavailable)
            }
        }
    }

    /// The same, and fetched once more if they do not hold the key of this id.
    pub(super) async fn keys_with(&self, issuer: IssuerId, id: Option<&str>) -> Result<Arc<KeySet>, Refused> {
        let keys = self.keys(issuer).await?;
        match self.source(issuer)? {
            Source::Url(remote) if keys.find(id).is_err() => {
                self.fetch(&remote).await;
                remote.keys(self.clock.boot(), STALE).ok_or(Refused::IssuerUnavailable)
            }
            Source::Url(_) | Source::Inline(_) => Ok(keys),
        }
    }

    /// Fetches every set before it is too old to be used without question. Never ends.
    pub(super) async fn keep_fresh(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.fetch_due().await;
        }
    }

    pub(super) async fn fetch_due(&self) {
        let issuers = self.issuers.load_full();
        let due = issuers.values().filter_map(|source| match source {
            Source::Url(remote) if remote.keys(self.clock.boot(), DUE).is_none() => Some(self.fetch(remote)),
            Source::Url(_) | Source::Inline(_) => None,
        });
        join_all(due).await;
    }

    /// Asks the issuer, unless it was asked a moment ago. Callers who go away do not undo the asking: they could keep
    /// an issuer from ever being heard.
    async fn fetch(&self, remote: &Arc<Remote>) {
        let mut asked = Arc::clone(&remote.asked).lock_owned().await;
        let now = self.clock.boot();
        if asked.is_some_and(|asked| now.saturating_sub(asked) < PAUSE) {
            return;
        }
        *asked = Some(now);
        let remote = Arc::clone(remote);
        let fetched = self.supervisor.finish("key set", async move {
            match remote.ask().await {
                Ok(bytes) => remote.take(bytes, now),
                Err(error) => tracing::warn!(jwks.url = remote.url, %error, "an issuer's keys cannot be fetched"),
            }
            drop(asked);
        });
        if let Err(error) = fetched.await {
            tracing::error!(%error, "an issuer's keys cannot be fetched");
        }
    }

    fn source(&self, issuer: IssuerId) -> Result<Source, Refused> {
        self.issuers.load().get(&issuer).cloned().ok_or(Refused::IssuerUnavailable)
    }
}

impl Source {
    fn new(issuer: &Issuer) -> Self {
        match &issuer.jwks {
            JwksSource::Inline(set) => Self::Inline(match KeySet::parse(set.as_bytes()) {
                Ok(keys) => Some(Arc::new(keys)),
                Err(error) => {
                    tracing::error!(issuer.id = %issuer.id, %error, "a trusted issuer's tokens are all refused");
                    None
                }
            }),
            JwksSource::Url { url, ca_pem } => Self::Url(Arc::new(Remote {
                url: url.clone(),
                ca_pem: ca_pem.clone(),
                newest: Mutex::default(),
                asked: Arc::default(),
            })),
        }
    }
}

impl Remote {
    /// The newest set, if it is not older than this.
    fn keys(&self, now: Duration, age: Duration) -> Option<Arc<KeySet>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().filter(|fetched| now.saturating_sub(fetched.at) <= age).map(|fetched| Arc::clone(&fetched.keys))
    }

    /// Takes what the issuer answered. The same answer is the same set, so that what it verified stays remembered.
    fn take(&self, bytes: Vec<u8>, at: Duration) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = newest.as_mut().filter(|newest| newest.bytes == bytes) {
            newest.at = at;
            return;
        }
        match KeySet::parse(&bytes) {
            Ok(keys) => *newest = Some(Fetched { keys: Arc::new(keys), bytes, at }),
            Err(error) => tracing::warn!(jwks.url = self.url, %error, "an issuer's keys cannot be used"),
        }
    }

    async fn ask(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let mut response = self.client()?.get(&self.url).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("the answer is {}", response.status()).into());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(format!("the answer is larger than {MAX_BYTES} bytes").into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn client(&self) -> Result<reqwest::Client, Box<dyn Error + Send + Sync>> {
        // Without its authority's certificate the host's own trust decides, for which the library needs to know the
        // process's provider; there is only this one, so it does not matter who named it first.
        let _named_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .https_only(true)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        if let Some(pem) = &self.ca_pem {
            client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
        }
        Ok(client.build()?)
    }
}
