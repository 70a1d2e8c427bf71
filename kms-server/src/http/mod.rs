//! Surfaces: they decode requests into use cases and render what comes back, and hold no business rule.

mod admission;
mod certificate;
mod connection;
mod listener;
pub mod native;
pub mod operations;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

pub use self::{
    admission::{Admission, Admitted, TooMuch, Way},
    certificate::{BadCertificate, ServerCertificate},
    connection::{AnswerBody, Sections},
    listener::{Connection, Listener},
};
use crate::{authn::Authenticator, service::Service};

/// What every handler is given. Clones share it.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The use cases.
    pub service: Service,
    /// Finds out who is asking.
    pub authenticator: Arc<Authenticator>,
    /// Makes cursors that only we can make.
    pub cursors: Arc<CursorKey>,
    /// The limits.
    pub limits: Limits,
    /// Who may have how much of this node.
    pub admission: Arc<Admission>,
}

/// Limits of number, size and time. Each that is met is answered or ends the connection; none is silently exceeded.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Requests at once, but for control changes.
    pub requests: usize,
    /// Control changes, and callers asking about themselves, at once.
    pub control_requests: usize,
    /// Operations a second of one principal, each item of a batch counted, but for control changes.
    pub principal_requests_per_second: NonZeroU32,
    /// How many of them it may have at once after a quiet while.
    pub principal_burst: NonZeroU32,
    /// Header fields in a request.
    pub headers: usize,
    /// Bytes of all header fields; at least 8,192.
    pub header_bytes: usize,
    /// Bytes of a body.
    pub body: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// Without a complete request header.
    pub idle: Duration,
    /// For a request, its body included.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            requests: 1024,
            control_requests: 128,
            principal_requests_per_second: NonZeroU32::MIN.saturating_add(99_999),
            principal_burst: NonZeroU32::MIN.saturating_add(199_999),
            headers: 64,
            header_bytes: 16 * 1024,
            body: 4 * 1024 * 1024,
            handshake: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            request: Duration::from_secs(30),
        }
    }
}

/// The key under which the cursors of lists are authenticated: the same on every node.
pub struct CursorKey(hmac::Key);

impl CursorKey {
    /// Takes 32 secret bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<Vec<u8>>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A tag of 16 bytes that binds a place in a list to its caller and filter.
    #[must_use]
    pub fn tag(&self, caller: &[u8], filter: &[u8], place: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"keyward/cursor/v1\0");
        for part in [caller, filter, place] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 16];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    /// Whether the tag is ours, in constant time.
    #[must_use]
    pub fn verify(&self, tag: &[u8], caller: &[u8], filter: &[u8], place: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(caller, filter, place), tag).is_ok()
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(..)")
    }
}
