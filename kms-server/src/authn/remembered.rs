//! Tokens that were verified, so that the same token is not verified again for every request.
//!
//! A token is remembered within one revision, for one client certificate (or none) and as long as its issuer's keys are
//! the very ones it was verified with. Only good tokens are remembered, by their SHA-256, so this holds no token and
//! nobody without one can fill it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::digest;
use kms_client::id::IssuerId;

use super::{Caller, key_set::KeySet};
use crate::model::Revision;

/// When it holds this many, it forgets them all.
const CAPACITY: usize = 4096;

/// The tokens that were verified at one revision.
#[derive(Debug, Default)]
pub(super) struct Remembered(RwLock<Tokens>);

#[derive(Debug, Default)]
struct Tokens {
    revision: Revision,
    verified: HashMap<TokenDigest, Verified>,
}

/// What a token and the certificate it came with are remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

/// What is known of a token that was verified.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) caller: Arc<Caller>,
    pub(super) issuer: IssuerId,
    /// The keys among which the token's was found.
    pub(super) keys: Arc<KeySet>,
}

impl TokenDigest {
    pub(super) fn new(token: &str, binding: Option<&[u8; 32]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        match binding {
            None => context.update(&[0]),
            Some(fingerprint) => {
                context.update(&[1]);
                context.update(fingerprint);
            }
        }
        context.update(token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl Remembered {
    pub(super) fn get(&self, revision: Revision, token: &TokenDigest) -> Option<Verified> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (tokens.revision == revision).then(|| tokens.verified.get(token).cloned()).flatten()
    }

    pub(super) fn put(&self, revision: Revision, token: TokenDigest, verified: Verified) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // A request may still be on its way at an older revision.
        if revision < tokens.revision {
            return;
        }
        if revision > tokens.revision || tokens.verified.len() >= CAPACITY {
            *tokens = Tokens { revision, verified: HashMap::new() };
        }
        tokens.verified.insert(token, verified);
    }
}
