//! The only way from a permit to the HSM: a [`UsableKey`] costs a [`Permit`] that covers this key and action, and a key
//! and version whose states allow it.

use hsm::{Decrypt, Encrypt, Hsm, Nonce, ObjectId, Secret};
use kms_client::{
    format::{
        context::EncryptionContext,
        wrapped_key::{Header, Suite, WrappedKey},
    },
    id::{DataKeyId, KeyId, KeyVersion},
};
use tracing::Instrument as _;

use super::{MadeElsewhere, Parts, line::carry_out, wrap_counts::WrapCounts};
use crate::{
    model::{Action, Algorithm, Clock, ControlState, Error, Key, Refusal, Rotation},
    policy::Permit,
};

/// One version of a key that this caller may use for this action.
#[derive(Debug)]
pub(super) struct UsableKey {
    key: KeyId,
    version: KeyVersion,
    suite: Suite,
    object: ObjectId,
    rotation: Rotation,
}

/// A wrapped data key that is to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) key: UsableKey,
    pub(super) wrapped: WrappedKey,
    pub(super) aad: Vec<u8>,
}

/// A data key that is to be wrapped.
#[derive(Debug)]
pub(super) struct Wrapping {
    pub(super) key: UsableKey,
    pub(super) data_key: DataKeyId,
    pub(super) plaintext: Secret,
    pub(super) context: super::SharedContext,
}

/// Key material at work.
#[derive(Debug)]
pub(super) struct Material<'a> {
    hsm: &'a Hsm,
    wraps: &'a WrapCounts,
    made_elsewhere: &'a MadeElsewhere,
    clock: &'a dyn Clock,
}

impl UsableKey {
    /// The version of this number, for opening what it wrapped.
    pub(super) fn version(key: &Key, version: KeyVersion, permit: &Permit, action: Action) -> Result<Self, Error> {
        if permit.key() != Some(key.id) || permit.action() != action {
            return Err(Error::internal("a permit was shown for what it does not cover"));
        }
        let record = key.usable_version(version)?;
        Ok(Self { key: key.id, version, suite: suite(key.algorithm), object: record.object, rotation: key.rotation })
    }

    /// The primary version, for wrapping.
    pub(super) fn primary(key: &Key, state: &ControlState, permit: &Permit, action: Action) -> Result<Self, Error> {
        let primary = Self::version(key, key.primary_version, permit, action)?;
        let accepted_at = state.installation().and_then(|installation| installation.accepted_at);
        if key.knows_its_wraps(accepted_at) { Ok(primary) } else { Err(Error::rotation_pending()) }
    }

    /// Takes a wrapped key in hand. Its suite must be the one in the key's own record.
    pub(super) fn opens(self, wrapped: WrappedKey, context: &EncryptionContext) -> Result<Opening, Error> {
        if wrapped.suite() != self.suite || wrapped.key_id() != self.key || wrapped.key_version() != self.version {
            return Err(Error::invalid_wrapped_key());
        }
        let aad = wrapped.aad(context);
        Ok(Opening { key: self, wrapped, aad })
    }
}

impl<'a> Material<'a> {
    pub(super) fn new(parts: &'a Parts) -> Self {
        let Parts { hsm, wraps, made_elsewhere, clock, .. } = parts;
        Self { hsm, wraps, made_elsewhere, clock: &**clock }
    }

    /// Opens wrapped data keys; results in the same order.
    pub(super) async fn open(&self, openings: Vec<Opening>) -> Result<Vec<Result<Secret, Error>>, Error> {
        self.found(openings.iter().map(|opening| opening.key.object)).await;
        let items: Vec<_> = openings
            .into_iter()
            .map(|opening| Decrypt {
                key: opening.key.object,
                nonce: Nonce::new(*opening.wrapped.nonce()),
                aad: opening.aad,
                ciphertext: opening.wrapped.ciphertext().to_vec(),
            })
            .collect();
        let span = tracing::trace_span!(target: "keyward::trace", "hsm.decrypt", items = items.len());
        let opened = self.hsm.decrypt_batch(items).instrument(span).await.map_err(hsm_error)?;
        Ok(opened.into_iter().map(|result| result.map_err(hsm_error)).collect())
    }

    /// Wraps data keys; results in the same order. Each wrap is counted before it is made.
    pub(super) async fn wrap(&self, wrappings: Vec<Wrapping>) -> Result<Vec<Result<WrappedKey, Error>>, Error> {
        let mut counted = Vec::with_capacity(wrappings.len());
        for wrapping in wrappings {
            let UsableKey { key, version, rotation, .. } = wrapping.key;
            counted.push(self.wraps.take(key, version, rotation).await.map(|()| wrapping));
        }
        Ok(carry_out(counted, async |counted| self.encrypt(counted).await).await)
    }

    async fn encrypt(&self, wrappings: Vec<Wrapping>) -> Result<Vec<Result<WrappedKey, Error>>, Error> {
        self.found(wrappings.iter().map(|wrapping| wrapping.key.object)).await;
        // Nonces are public, but never twice: the token and the kernel both take part in each.
        let nonces = self.hsm.random(wrappings.len() * Nonce::LEN).await.map_err(hsm_error)?;
        let (nonces, _) = nonces.as_bytes().as_chunks::<{ Nonce::LEN }>();
        let (headers, items): (Vec<_>, Vec<_>) = wrappings
            .into_iter()
            .zip(nonces)
            .map(|(wrapping, nonce)| {
                let Wrapping { key, data_key, plaintext, context } = wrapping;
                let header = Header::new(key.suite, key.key, key.version, data_key, *nonce);
                let aad = header.aad(&context);
                (header, Encrypt { key: key.object, nonce: Nonce::new(*nonce), aad, plaintext })
            })
            .unzip();
        let span = tracing::trace_span!(target: "keyward::trace", "hsm.encrypt", items = items.len());
        let wrapped = self.hsm.encrypt_batch(items).instrument(span).await.map_err(hsm_error)?;
        let assemble = |(header, ciphertext): (Header, Result<Vec<u8>, hsm::Error>)| {
            WrappedKey::new(header, ciphertext.map_err(hsm_error)?).map_err(Error::internal)
        };
        Ok(headers.into_iter().zip(wrapped).map(assemble).collect())
    }

    async fn found(&self, objects: impl Iterator<Item = ObjectId>) {
        self.made_elsewhere.find(objects, self.clock.boot()).await;
    }

    /// Fresh secret bytes, from the token and the kernel.
    pub(super) async fn random(&self, bytes: usize) -> Result<Secret, Error> {
        self.hsm.random(bytes).await.map_err(hsm_error)
    }
}

const fn suite(algorithm: Algorithm) -> Suite {
    match algorithm {
        Algorithm::Aes256 => Suite::Aes256Gcm,
    }
}

/// What callers see of the HSM's troubles. Form, suite, version, context and tag give one answer.
pub(super) fn hsm_error(error: hsm::Error) -> Error {
    match error {
        hsm::Error::Authentication => Error::invalid_wrapped_key(),
        hsm::Error::Busy => Error::unavailable(Refusal::Overloaded, "the HSM has more work than it can take now"),
        other => {
            tracing::error!(error = &other as &dyn std::error::Error, "the HSM failed");
            Error::unavailable(Refusal::HsmUnavailable, "the HSM does not answer as it should")
        }
    }
}
