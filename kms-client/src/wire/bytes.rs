//! Byte strings in JSON: base64 of RFC 4648 section 4, padded, one spelling each.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

const NOT_BASE64: &str = "base64 of RFC 4648 section 4 with padding";

/// Bytes that are no secret, such as a wrapped key: base64 with padding.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = Byte))]
pub struct Base64(Vec<u8>);

impl Base64 {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Base64 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&base64::display::Base64Display::new(&self.0, &STANDARD), f)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not base64 as we write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {NOT_BASE64}")]
pub struct InvalidBase64;

impl std::str::FromStr for Base64 {
    type Err = InvalidBase64;

    fn from_str(text: &str) -> Result<Self, InvalidBase64> {
        STANDARD.decode(text).map(Self).map_err(|_| InvalidBase64)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Visitor).map(Self)
    }
}

/// Bytes that are secret: a data key, or whatever a caller has wrapped. Wiped from memory when dropped; base64 with
/// padding in JSON.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = Byte))]
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes. Do not copy them to where nobody wipes them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned, and still wiped when dropped.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes as base64, wiped when dropped.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        // Room for all of it from the start: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().div_ceil(3) * 4));
        STANDARD.encode_string(self.0.as_slice(), &mut text);
        text
    }

    /// The bytes that this base64 stands for.
    ///
    /// # Errors
    /// When it is not base64 with padding.
    pub fn from_base64(text: &str) -> Result<Self, InvalidBase64> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
        STANDARD.decode_vec(text, &mut bytes).map_err(|_| InvalidBase64)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

impl Serialize for Plaintext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Plaintext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PlaintextVisitor)
    }
}

struct Base64Visitor;

impl de::Visitor<'_> for Base64Visitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOT_BASE64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        // The error names what was expected and not the text, which may be long.
        STANDARD.decode(text).map_err(|_| E::custom(InvalidBase64))
    }
}

struct PlaintextVisitor;

impl de::Visitor<'_> for PlaintextVisitor {
    type Value = Plaintext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOT_BASE64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Plaintext, E> {
        Plaintext::from_base64(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_spelling() {
        assert_eq!("AQI=".parse(), Ok(Base64::new(vec![1, 2])));
        assert_eq!(Base64::new(vec![0xfb, 0xff]).to_string(), "+/8=");
        for bad in ["AQI", "AQJ=", "-_8=", "AQ I=", "AQI=\n"] {
            assert_eq!(bad.parse::<Base64>(), Err(InvalidBase64), "{bad:?}");
            assert!(Plaintext::from_base64(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_plaintext_shows_itself_only_in_json() {
        let plaintext: Plaintext = serde_json::from_str("\"c2VjcmV0\"").unwrap();
        assert_eq!(plaintext.expose(), b"secret");
        assert_eq!(format!("{plaintext:?}"), "Plaintext(6 bytes)");
        assert_eq!(serde_json::to_string(&plaintext).unwrap(), "\"c2VjcmV0\"");
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let error = serde_json::from_str::<Plaintext>("\"not base64\"").unwrap_err().to_string();
        assert!(!error.contains("not base64\""), "{error}");
    }
}
