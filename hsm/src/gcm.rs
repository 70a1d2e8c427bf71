//! AES-256-GCM under a key of the token, and the canaries that prove a key. The nonce is 96 bits and the tag 128, by type.
//!
//! SoftHSM answers a wrong tag as it answers a fault of its own. The key's canary tells the two apart: while it does not
//! verify the token is at fault, and nothing is said of the ciphertext. If it does, the ciphertext is tried once more, so that
//! a fault that passed does not make good data look forged: what is refused twice around a good canary is wrong. A forged
//! ciphertext thus costs three decryptions instead of one, paid by a caller who may unwrap with this key, in a request that
//! costs ten times as much elsewhere; every wrong one, whatever is wrong with it, goes this way, so its time tells nothing.

use std::fmt;

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::error::Error;
use crate::keys::{Proof, State};
use crate::object::{Canary, Nonce, ObjectId};
use crate::profile::Verdict;
use crate::random;
use crate::secret::Secret;
use crate::session::Token;

/// Bytes in a tag. It stands behind the ciphertext.
pub const TAG_LEN: usize = 16;

/// One encryption.
pub struct Encrypt {
    /// The key, loaded.
    pub key: ObjectId,
    /// Never used before with this key.
    pub nonce: Nonce,
    /// Authenticated, not encrypted.
    pub aad: Vec<u8>,
    /// What to encrypt; it may be empty.
    pub plaintext: Secret,
}

/// One decryption.
pub struct Decrypt {
    /// The key, loaded.
    pub key: ObjectId,
    /// As at the encryption.
    pub nonce: Nonce,
    /// As at the encryption.
    pub aad: Vec<u8>,
    /// Ciphertext and 16-byte tag.
    pub ciphertext: Vec<u8>,
}

impl Token {
    /// Ciphertext and tag.
    pub(crate) fn encrypt(&mut self, item: &Encrypt) -> Result<Vec<u8>, Error> {
        let plaintext = item.plaintext.as_bytes();
        let result =
            self.with_key(item.key, |session, handle| seal(session, handle, item.nonce, &item.aad, plaintext))?;
        result.map_err(|error| self.fault(error))
    }

    /// The plaintext, if everything about the ciphertext is as it was.
    pub(crate) fn decrypt(&mut self, item: &Decrypt) -> Result<Secret, Error> {
        // What is shorter than a tag cannot authenticate; tokens disagree on what they answer.
        if item.ciphertext.len() < TAG_LEN {
            self.handle(item.key)?;
            return Err(Error::Authentication);
        }
        let opened = self.open_item(item)?;
        let Err(error) = opened else { return opened.map_err(Error::token) };
        if self.profile.decrypt_verdict(&error) != Verdict::Unclear {
            return Err(self.refused(error));
        }
        if !self.is_well(item.key) {
            return Err(self.lost(error));
        }
        match self.open_item(item)? {
            Err(again) if self.profile.decrypt_verdict(&again) == Verdict::Unclear => Err(Error::Authentication),
            again => again.map_err(|error| self.refused(error)),
        }
    }

    fn open_item(&mut self, item: &Decrypt) -> Result<Result<Secret, Pkcs11Error>, Error> {
        self.with_key(item.key, |session, handle| open(session, handle, item.nonce, &item.aad, &item.ciphertext))
    }

    /// A canary for a key that has none yet.
    pub(crate) fn make_canary(&mut self, id: ObjectId, handle: ObjectHandle) -> Result<Canary, Error> {
        let nonce = random::nonce()?;
        let sealed = seal(self.session()?, handle, nonce, &canary_aad(id), CANARY_TEXT);
        let sealed = sealed.map_err(|error| self.fault(error))?;
        let mut bytes = nonce.as_bytes().to_vec();
        bytes.extend(sealed);
        Ok(Canary(bytes))
    }

    /// Shows that the handle is the key the canary was made with.
    pub(crate) fn prove_secret_key(
        &mut self,
        id: ObjectId,
        handle: ObjectHandle,
        canary: &Canary,
    ) -> Result<(), Error> {
        let Some((nonce, sealed)) = canary.0.split_first_chunk() else { return Err(Error::Canary(id)) };
        if sealed.len() != CANARY_TEXT.len() + TAG_LEN {
            return Err(Error::Canary(id));
        }
        let opened = open(self.session()?, handle, Nonce::new(*nonce), &canary_aad(id), sealed);
        match opened {
            Ok(text) if text.as_bytes() == CANARY_TEXT => Ok(()),
            Ok(_) => Err(Error::Canary(id)),
            Err(error) => match self.profile.decrypt_verdict(&error) {
                Verdict::Forged => Err(Error::Canary(id)),
                // The wrong key, if the token can still encrypt and decrypt under it.
                Verdict::Unclear if self.round_trip(id, handle).is_ok() => Err(Error::Canary(id)),
                Verdict::Unclear => Err(self.lost(error)),
                Verdict::Stale | Verdict::Refused | Verdict::Fault => Err(self.fault(error)),
            },
        }
    }

    /// What a failed decryption means, where the error is clear.
    fn refused(&mut self, error: Pkcs11Error) -> Error {
        match self.profile.decrypt_verdict(&error) {
            Verdict::Forged => Error::Authentication,
            Verdict::Unclear => self.lost(error),
            Verdict::Stale | Verdict::Refused | Verdict::Fault => self.fault(error),
        }
    }

    /// Whether the token decrypts under this key.
    fn is_well(&mut self, id: ObjectId) -> bool {
        let Some(State::Verified(handle)) = self.keys.state(id) else { return false };
        let Some(Proof::Canary(canary)) = self.keys.proof(id) else { return false };
        self.prove_secret_key(id, handle, &canary).is_ok()
    }

    fn round_trip(&mut self, id: ObjectId, handle: ObjectHandle) -> Result<(), Error> {
        let nonce = random::nonce()?;
        let aad = canary_aad(id);
        let session = self.session()?;
        let sealed = seal(session, handle, nonce, &aad, CANARY_TEXT).map_err(Error::token)?;
        open(session, handle, nonce, &aad, &sealed).map_err(Error::token)?;
        Ok(())
    }

    /// An unclear error that turned out to be a fault.
    fn lost(&mut self, error: Pkcs11Error) -> Error {
        let error = Error::token(error);
        self.discard(&error);
        error
    }
}

/// One `C_Encrypt`.
pub(crate) fn seal(
    session: &Session,
    key: ObjectHandle,
    mut nonce: Nonce,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Pkcs11Error> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce.0, aad, TAG_BITS.into())?);
    session.encrypt(&mechanism, key, plaintext)
}

/// One `C_Decrypt`. The token's own output buffer becomes the secret.
pub(crate) fn open(
    session: &Session,
    key: ObjectHandle,
    mut nonce: Nonce,
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Secret, Pkcs11Error> {
    let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce.0, aad, TAG_BITS.into())?);
    session.decrypt(&mechanism, key, ciphertext).map(Secret::new)
}

fn canary_aad(id: ObjectId) -> Vec<u8> {
    [CANARY_DOMAIN, id.as_bytes()].concat()
}

// Associated data carries the encryption context, which may name a patient: it is not printed.
impl fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypt").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Decrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypt").field("key", &self.key).finish_non_exhaustive()
    }
}

const TAG_BITS: u64 = 8 * TAG_LEN as u64;

/// Sets canaries apart from all that is wrapped; the object's id follows it.
const CANARY_DOMAIN: &[u8] = b"keyward/canary/v1\0";

const CANARY_TEXT: &[u8] = b"this key is the one it was";
