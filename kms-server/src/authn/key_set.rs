//! The public keys of one issuer: a JSON Web Key Set (RFC 7517), as far as its keys are of use here.
//!
//! A key says which algorithm it is for; a token never does. P-256 is for ES256, Ed25519 for `EdDSA`, RSA for RS256,
//! and there is nothing else: symmetric keys, other curves, encryption keys and unknown types are skipped. Two keys of
//! one id make the set useless, because nobody could say which of them an issuer withdrew.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::Refused;
use crate::model::Error;

/// RSA keys shorter than 2048 bits are not taken, nor absurdly long ones.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of one issuer that tokens may be signed with.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<VerifyingKey>,
}

/// One key and the only algorithm it is for.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// A text that is not a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidKeySet(&'static str);

/// Whether `json` can be taken as the key set of an issuer: to be asked before the change is made.
///
/// # Errors
///
/// `invalid` if it is not a key set, or holds no key of use.
pub(super) fn check_key_set(json: &str) -> Result<(), Error> {
    let set = KeySet::parse(json.as_bytes()).map_err(|error| Error::invalid(error.to_string()))?;
    if set.keys.is_empty() {
        return Err(Error::invalid("the key set holds no public key for ES256, EdDSA or RS256"));
    }
    Ok(())
}

impl KeySet {
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document = serde_json::from_slice(json)
            .map_err(|_| InvalidKeySet("a key set is a JSON object with an array `keys`"))?;
        // RFC 7517 section 5: "Implementations SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values
        // that are not understood by them, that are missing required members, or for which values are out of the
        // supported ranges."
        let keys: Vec<VerifyingKey> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(Jwk::verifying_key)
            .collect();
        let mut ids: Vec<&str> = keys.iter().filter_map(|key| key.id.as_deref()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != all {
            return Err(InvalidKeySet("two keys of the set have the same `kid`"));
        }
        Ok(Self { keys })
    }

    /// The key of this id; without an id, the only key there is.
    pub(super) fn find(&self, id: Option<&str>) -> Result<&VerifyingKey, Refused> {
        let found = match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.ok_or(Refused::KeyUnknown)
    }
}

/// A JSON Web Key, as far as it matters here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// Private: whoever publishes it has no secret left.
    d: Option<serde_json::Value>,
}

impl Jwk {
    /// The key, if tokens may be signed with it.
    fn verifying_key(self) -> Option<VerifyingKey> {
        let verifies = self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        if self.usage.as_ref().is_some_and(|usage| usage != "sig") || !verifies || self.d.is_some() {
            return None;
        }
        let (name, algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => ("ES256", Algorithm::ES256, self.p256()?),
            ("OKP", Some("Ed25519")) => ("EdDSA", Algorithm::EdDSA, self.ed25519()?),
            ("RSA", _) => ("RS256", Algorithm::RS256, self.rsa()?),
            _ => return None,
        };
        let meant = self.alg.as_ref().is_none_or(|alg| alg == name);
        meant.then_some(VerifyingKey { id: self.kid, algorithm, key })
    }

    fn p256(&self) -> Option<DecodingKey> {
        let (x, y) = (self.x.as_ref()?, self.y.as_ref()?);
        let whole = decode(x)?.len() == 32 && decode(y)?.len() == 32;
        whole.then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        let x = self.x.as_ref()?;
        let whole = decode(x)?.len() == 32;
        whole.then(|| DecodingKey::from_ed_components(x).ok()).flatten()
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (modulus, exponent) = (decode(self.n.as_ref()?)?, decode(self.e.as_ref()?)?);
        // RFC 7518 section 2, Base64urlUInt: "the minimum number of octets".
        let canonical = modulus.first().is_some_and(|first| *first != 0);
        let fits = canonical && RSA_BYTES.contains(&modulus.len());
        fits.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
