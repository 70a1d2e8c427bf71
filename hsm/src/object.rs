//! Names and plain data of what lies on a token: the id a key is found by, the nonce and the canary that belong to it,
//! and what a listing tells. PKCS#11 handles are not here; they never leave the crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a key is found by on the token: its `CKA_ID`, 16 bytes (a UUID, in Keyward).
///
/// It is public and nothing secret derives from it. As text and in serde it is 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; ObjectId::LEN]);

impl ObjectId {
    /// Bytes in an id.
    pub const LEN: usize = 16;

    /// An id from its 16 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// An id from a slice; `None` unless it is 16 bytes long.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 16 bytes, as they stand in `CKA_ID`.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object id is 32 hexadecimal digits")]
pub struct ParseObjectIdError;

impl FromStr for ObjectId {
    type Err = ParseObjectIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseObjectIdError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The nonce of one AES-GCM encryption: 96 bits, the only length there is.
///
/// SoftHSM takes an empty IV for sixteen zero bytes without a word, so no other length can be expressed. The caller never
/// uses a nonce twice with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub(crate) [u8; Nonce::LEN]);

impl Nonce {
    /// Bytes in a nonce.
    pub const LEN: usize = 12;

    /// A nonce from its 12 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 12 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Proof that a handle is the key it was: a known text encrypted under it, as nonce, ciphertext and tag.
///
/// It is public. Store it when a key is created and hand it back when the key is loaded. It carries a domain tag of its own,
/// so that it never stands for a wrapped data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary(pub(crate) Vec<u8>);

impl Canary {
    /// A canary as it was stored. One that is malformed is refused when the key is loaded.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Canary {
    /// As lower-case hexadecimal.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Canary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// What an object on the token is (`CKA_CLASS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectClass {
    /// A secret key, AES in our case.
    SecretKey,
    /// The private half of a signing key.
    PrivateKey,
    /// The public half of a signing key; Keyward leaves none on the token.
    PublicKey,
    /// Plain data, as [`crate::Hsm::write_data`] leaves it.
    Data,
    /// Anything else, certificates for instance.
    Other,
}

/// One object on the token, as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectInfo {
    /// Its `CKA_ID`; `None` where it has none or one that is not 16 bytes long, so is not ours.
    pub id: Option<ObjectId>,
    /// Its `CKA_LABEL`; bytes that are not UTF-8 are replaced.
    pub label: String,
    /// Its `CKA_CLASS`.
    pub class: ObjectClass,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_reads_back_from_its_text() {
        let id = ObjectId::new([0x0f; 16]);
        assert_eq!(id.to_string(), "0f".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ObjectId>(&format!("\"{id}\"")).unwrap(), id);
        assert_eq!("0f".parse::<ObjectId>(), Err(ParseObjectIdError));
        assert_eq!(ObjectId::from_bytes(&[1; 15]), None);
        assert_eq!(ObjectId::from_bytes(id.as_bytes()), Some(id));
    }
}
