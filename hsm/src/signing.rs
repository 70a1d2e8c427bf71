//! Signing keys: Ed25519, or P-256 with SHA-256 where the token has no `EdDSA`. Verification needs no token and is anybody's;
//! here it serves only to prove a key when it is loaded.

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use serde::{Deserialize, Serialize};

use crate::attributes;
use crate::error::Error;
use crate::keys::{Proof, State};
use crate::object::ObjectId;
use crate::session::Token;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureAlgorithm {
    /// Pure Ed25519 (RFC 8032). Public key 32 bytes, signature 64.
    Ed25519,
    /// ECDSA on P-256 with SHA-256. Public key an uncompressed point of 65 bytes, signature r and s, 32 bytes each.
    P256,
}

/// What verifies the signatures of a key. Public, to be stored when the key is created and handed back when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// How the key signs.
    pub algorithm: SignatureAlgorithm,
    /// The public key, in the form the algorithm says.
    pub bytes: Vec<u8>,
}

impl SignatureAlgorithm {
    /// The curve's object identifier in DER (`CKA_EC_PARAMS`).
    pub(crate) const fn curve(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[0x06, 0x03, 0x2b, 0x65, 0x70],
            Self::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        }
    }

    const fn public_len(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::P256 => 65,
        }
    }
}

impl PublicKey {
    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            SignatureAlgorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature),
            SignatureAlgorithm::P256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

impl Token {
    /// Makes a signing key, with this algorithm or the best the token has.
    pub(crate) fn create_signing_key(
        &mut self,
        id: ObjectId,
        label: &str,
        algorithm: Option<SignatureAlgorithm>,
    ) -> Result<PublicKey, Error> {
        self.refuse_existing(id)?;
        let algorithm = match algorithm {
            Some(algorithm) => algorithm,
            None => self.signature_algorithm()?,
        };
        let mechanism = match algorithm {
            SignatureAlgorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            SignatureAlgorithm::P256 => Mechanism::EccKeyPairGen,
        };
        let public_template = attributes::public_key(algorithm);
        let private_template = attributes::private_key(self.profile, algorithm, id, label);
        let pair = self.session()?.generate_key_pair(&mechanism, &public_template, &private_template);
        let (public_handle, handle) = pair.map_err(|error| self.fault(error))?;

        let made = self.read_public_key(id, algorithm, public_handle).and_then(|public| {
            self.check(id, handle, &attributes::expected_private_key(self.profile, algorithm, id))?;
            self.prove_signing_key(id, handle, &public)?;
            Ok(public)
        });
        self.undo(id, public_handle);
        let public = made.inspect_err(|_| self.undo(id, handle))?;
        self.keys.insert(id, Proof::Public(public.clone()), State::Verified(handle));
        Ok(public)
    }

    /// A signature in the algorithm's own form.
    pub(crate) fn sign(&mut self, id: ObjectId, message: &[u8]) -> Result<Vec<u8>, Error> {
        let Some(Proof::Public(public)) = self.keys.proof(id) else { return Err(Error::KeyNotFound(id)) };
        let signature = self.with_key(id, |session, handle| sign(session, handle, public.algorithm, message))?;
        signature.map_err(|error| self.fault(error))
    }

    /// Shows that the handle signs what the public key verifies.
    pub(crate) fn prove_signing_key(
        &mut self,
        id: ObjectId,
        handle: ObjectHandle,
        public: &PublicKey,
    ) -> Result<(), Error> {
        let mut challenge = [0; 32];
        SystemRandom::new().fill(&mut challenge).map_err(|_| Error::Random)?;
        let message = [PROOF_DOMAIN, id.as_bytes(), &challenge].concat();
        let signature = sign(self.session()?, handle, public.algorithm, &message);
        let signature = signature.map_err(|error| self.fault(error))?;
        if public.verifies(&message, &signature) { Ok(()) } else { Err(Error::Canary(id)) }
    }

    fn signature_algorithm(&mut self) -> Result<SignatureAlgorithm, Error> {
        let (pkcs11, slot) = self.slot()?;
        let mechanisms = pkcs11.get_mechanism_list(slot);
        let mechanisms = mechanisms.map_err(|error| self.fault(error))?;
        Ok(self.profile.signature_algorithm(&mechanisms))
    }

    fn read_public_key(
        &mut self,
        id: ObjectId,
        algorithm: SignatureAlgorithm,
        handle: ObjectHandle,
    ) -> Result<PublicKey, Error> {
        let found = self.session()?.get_attributes(handle, &[AttributeType::EcPoint]);
        let found = found.map_err(|error| self.fault(error))?;
        let point = match found.first() {
            Some(Attribute::EcPoint(point)) => point.as_slice(),
            _ => &[],
        };
        // PKCS#11 2.40, 2.3.3: "DER-encoding of ANSI X9.62 ECPoint value", an octet string of a length below 128.
        match point {
            [0x04, len, bytes @ ..] if usize::from(*len) == bytes.len() && bytes.len() == algorithm.public_len() => {
                Ok(PublicKey { algorithm, bytes: bytes.to_vec() })
            }
            _ => Err(Error::Attribute {
                id,
                attribute: AttributeType::EcPoint.to_string(),
                expected: format!("a DER octet string of {} bytes", algorithm.public_len()),
                found: format!("{} bytes", point.len()),
            }),
        }
    }
}

fn sign(
    session: &Session,
    handle: ObjectHandle,
    algorithm: SignatureAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, Pkcs11Error> {
    match algorithm {
        SignatureAlgorithm::Ed25519 => {
            let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            session.sign(&mechanism, handle, message)
        }
        SignatureAlgorithm::P256 => {
            let hash = digest::digest(&digest::SHA256, message);
            session.sign(&Mechanism::Ecdsa, handle, hash.as_ref())
        }
    }
}

/// Sets proofs apart from all else the key signs; the object's id and a random challenge follow it.
const PROOF_DOMAIN: &[u8] = b"keyward/signing-proof/v1\0";
