//! The self-test at start: what the profile claims of the token is tried on it, with a key that lives for the session only.
//! A token that fails is not served. That no nonce is empty and no tag short needs no test: [`Nonce`] and `TAG_LEN` are the
//! only ones there are.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{AttributeType, ObjectHandle};

use crate::attributes::{self, Lifetime};
use crate::error::Error;
use crate::gcm::{self, TAG_LEN};
use crate::object::{Nonce, ObjectId};
use crate::profile::Verdict;
use crate::random;
use crate::session::Token;

impl Token {
    /// Tries what we rely on.
    pub(crate) fn self_test(&mut self) -> Result<(), Error> {
        self.test_random()?;

        let template = attributes::secret_key(self.profile, ID, "keyward self-test", Lifetime::Session);
        let key = self.session()?.generate_key(&Mechanism::AesKeyGen, &template);
        let key = key.map_err(|error| self.fault(error))?;
        let tested = self.test_key(key);
        let destroyed = self.session()?.destroy_object(key);
        tested?;
        destroyed.map_err(|error| self.fault(error))
    }

    fn test_random(&mut self) -> Result<(), Error> {
        let first = self.random(RANDOM_LEN)?;
        let second = self.random(RANDOM_LEN)?;
        if first.as_bytes() == second.as_bytes() || first.as_bytes().iter().all(|byte| *byte == 0) {
            return failed("the random numbers are constant");
        }
        Ok(())
    }

    fn test_key(&mut self, key: ObjectHandle) -> Result<(), Error> {
        self.check(ID, key, &attributes::expected_secret_key(self.profile, ID, Lifetime::Session))?;
        self.test_gcm(key)?;

        let session = self.session()?;
        let value = session.get_attributes(key, &[AttributeType::Value]);
        if !matches!(&value, Ok(found) if found.is_empty()) {
            return failed("a sensitive key's value can be asked for");
        }
        if session.wrap_key(&Mechanism::AesKeyWrap, key, key).is_ok() {
            return failed("a key that may not wrap wraps");
        }
        let ecb = session.encrypt(&Mechanism::AesEcb, key, &[0; 16]);
        if self.profile.allowed_mechanisms && ecb.is_ok() {
            return failed("a key for AES-GCM alone does AES-ECB");
        }
        Ok(())
    }

    fn test_gcm(&mut self, key: ObjectHandle) -> Result<(), Error> {
        let nonce = random::nonce()?;
        let sealed = gcm::seal(self.session()?, key, nonce, AAD, TEXT);
        let sealed = sealed.map_err(|error| self.fault(error))?;
        if sealed.len() != TEXT.len() + TAG_LEN {
            return failed("the tag is not 128 bits long");
        }
        let opened = gcm::open(self.session()?, key, nonce, AAD, &sealed);
        if opened.map_err(|error| self.fault(error))?.as_bytes() != TEXT {
            return failed("a plaintext does not come back");
        }

        let mut forged = sealed.clone();
        if let Some(byte) = forged.last_mut() {
            *byte ^= 1;
        }
        self.test_refused(key, nonce, AAD, &forged)?;
        self.test_refused(key, nonce, b"other", &sealed)?;
        self.test_refused(key, Nonce::new([0; Nonce::LEN]), AAD, &sealed)?;

        // The session has to have survived the refusals.
        let opened = gcm::open(self.session()?, key, nonce, AAD, &sealed);
        opened.map(drop).map_err(|error| self.fault(error))
    }

    fn test_refused(&mut self, key: ObjectHandle, nonce: Nonce, aad: &[u8], sealed: &[u8]) -> Result<(), Error> {
        let Err(error) = gcm::open(self.session()?, key, nonce, aad, sealed) else {
            return failed("a ciphertext that was altered is decrypted");
        };
        match self.profile.decrypt_verdict(&error) {
            Verdict::Forged | Verdict::Unclear => Ok(()),
            Verdict::Stale | Verdict::Refused | Verdict::Fault => {
                failed(&format!("a wrong tag is answered with something else: {}", Error::token(error)))
            }
        }
    }
}

fn failed<T>(what: &str) -> Result<T, Error> {
    Err(Error::SelfTest(what.to_owned()))
}

const ID: ObjectId = ObjectId::new(*b"keyward selftest");
const AAD: &[u8] = b"keyward/self-test/v1\0";
const TEXT: &[u8] = b"a data key of thirty-two bytes..";
const RANDOM_LEN: usize = 32;
