//! Wrapped data keys: a header of fixed layout, then ciphertext and tag. Every byte of the header is authenticated, together
//! with the encryption context. Parsing is strict and says only that the bytes are no wrapped key; it decrypts nothing and
//! never guesses a suite or key.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{context::EncryptionContext, reader::Reader};
use crate::id::{DataKeyId, KeyId, KeyVersion};

/// The length of the header in bytes.
pub const HEADER_LEN: usize = 54;
/// The length of the nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// The length of the tag in bytes, at the end of the ciphertext.
pub const TAG_LEN: usize = 16;
/// The most bytes of data key that are wrapped; the fewest is one.
pub const MAX_DATA_KEY_LEN: usize = 4096;

const MAGIC: [u8; 4] = *b"KWWK";
const FORMAT: u8 = 1;
const AAD_DOMAIN: &[u8] = b"keyward/wrapped-key/v1\0";
const MAX_LEN: usize = HEADER_LEN + MAX_DATA_KEY_LEN + TAG_LEN;

/// Bytes or text that are no wrapped key. Callers learn no more than that; the source, for the log, says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid wrapped key")]
pub struct InvalidWrappedKey(#[source] Reason);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("it does not begin as a wrapped key")]
    Magic,
    #[error("its format is unknown")]
    Format,
    #[error("its suite is unknown")]
    Suite,
    #[error("its key version is zero")]
    Version,
    #[error("its length is out of range")]
    Length,
    #[error("it is not canonical base64")]
    Base64,
}

/// How a data key is wrapped. What the key's own record says decides; a header that says otherwise is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Suite {
    /// AES-256-GCM within the HSM, 96-bit nonce, 128-bit tag.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

impl Suite {
    /// The number in the header.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
        }
    }

    /// The suite of this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// The name in JSON and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything before the ciphertext: what a key is wrapped with, chosen before it is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    suite: Suite,
    key: KeyId,
    version: KeyVersion,
    data_key: DataKeyId,
    nonce: [u8; NONCE_LEN],
}

impl Header {
    /// The header of a data key about to be wrapped. The nonce must never have been used with this version of the key.
    #[must_use]
    pub const fn new(
        suite: Suite,
        key: KeyId,
        version: KeyVersion,
        data_key: DataKeyId,
        nonce: [u8; NONCE_LEN],
    ) -> Self {
        Self { suite, key, version, data_key, nonce }
    }

    /// How the data key is wrapped.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The master key that wraps it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    /// The version of the master key.
    #[must_use]
    pub const fn key_version(&self) -> KeyVersion {
        self.version
    }

    /// The data key, the same for as long as it is wrapped again.
    #[must_use]
    pub const fn data_key_id(&self) -> DataKeyId {
        self.data_key
    }

    /// The nonce.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// What the tag authenticates besides the ciphertext: a domain tag, the header, the canonical context.
    #[must_use]
    pub fn aad(&self, context: &EncryptionContext) -> Vec<u8> {
        let mut aad = Vec::with_capacity(AAD_DOMAIN.len() + HEADER_LEN + 128);
        aad.extend_from_slice(AAD_DOMAIN);
        self.write(&mut aad);
        context.write_canonical(&mut aad);
        aad
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[FORMAT, self.suite.code()]);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.version.number().to_be_bytes());
        bytes.extend_from_slice(self.data_key.as_bytes());
        bytes.extend_from_slice(&self.nonce);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Reason> {
        if reader.array() != Some(MAGIC) {
            return Err(Reason::Magic);
        }
        if reader.u8() != Some(FORMAT) {
            return Err(Reason::Format);
        }
        Ok(Self {
            suite: reader.u8().and_then(Suite::from_code).ok_or(Reason::Suite)?,
            key: KeyId::from_bytes(reader.array().ok_or(Reason::Length)?),
            version: KeyVersion::new(reader.u32().ok_or(Reason::Length)?).ok_or(Reason::Version)?,
            data_key: DataKeyId::from_bytes(reader.array().ok_or(Reason::Length)?),
            nonce: reader.array().ok_or(Reason::Length)?,
        })
    }
}

/// A data key as storage services keep it. INVARIANT: 1 to [`MAX_DATA_KEY_LEN`] bytes of ciphertext, then the tag.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    header: Header,
    ciphertext: Vec<u8>,
}

impl WrappedKey {
    /// Joins a header with the ciphertext and tag made under it.
    ///
    /// # Errors
    ///
    /// The ciphertext's length is out of range.
    pub fn new(header: Header, ciphertext: Vec<u8>) -> Result<Self, InvalidWrappedKey> {
        if (TAG_LEN + 1..=TAG_LEN + MAX_DATA_KEY_LEN).contains(&ciphertext.len()) {
            Ok(Self { header, ciphertext })
        } else {
            Err(InvalidWrappedKey(Reason::Length))
        }
    }

    /// Reads exactly one wrapped key.
    ///
    /// # Errors
    ///
    /// The bytes are anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidWrappedKey> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader).map_err(InvalidWrappedKey)?;
        Self::new(header, reader.rest().to_vec())
    }

    /// The bytes that [`Self::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.byte_len());
        self.header.write(&mut bytes);
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// How many bytes [`Self::to_bytes`] gives.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        HEADER_LEN + self.ciphertext.len()
    }

    /// Everything before the ciphertext.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How the data key is wrapped.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.header.suite
    }

    /// The master key that wraps it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.header.key
    }

    /// The version of the master key.
    #[must_use]
    pub const fn key_version(&self) -> KeyVersion {
        self.header.version
    }

    /// The data key, the same for as long as it is wrapped again.
    #[must_use]
    pub const fn data_key_id(&self) -> DataKeyId {
        self.header.data_key
    }

    /// The nonce.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.header.nonce
    }

    /// The ciphertext with the tag at its end.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    /// What the tag authenticates besides the ciphertext.
    #[must_use]
    pub fn aad(&self, context: &EncryptionContext) -> Vec<u8> {
        self.header.aad(context)
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Base64 (RFC 4648, section 4), padded, in one line.
impl fmt::Display for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.to_bytes()))
    }
}

impl FromStr for WrappedKey {
    type Err = InvalidWrappedKey;

    fn from_str(text: &str) -> Result<Self, InvalidWrappedKey> {
        // Before memory is taken for it.
        if text.len() > MAX_LEN.div_ceil(3) * 4 {
            return Err(InvalidWrappedKey(Reason::Length));
        }
        // This engine refuses missing padding, line breaks and bits beyond the last byte, so that text, too, is canonical.
        let bytes = STANDARD.decode(text).map_err(|_| InvalidWrappedKey(Reason::Base64))?;
        Self::parse(&bytes)
    }
}

impl Serialize for WrappedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WrappedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads the text where it lies: batches hold a thousand of them.
struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = WrappedKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a wrapped key in base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WrappedKey, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped() -> impl Strategy<Value = WrappedKey> {
        let header = (any::<[u8; 16]>(), 1..=u32::MAX, any::<[u8; 16]>(), any::<[u8; 12]>()).prop_map(|parts| {
            let (key, version, data_key, nonce) = parts;
            let version = KeyVersion::new(version).unwrap();
            Header::new(Suite::Aes256Gcm, KeyId::from_bytes(key), version, DataKeyId::from_bytes(data_key), nonce)
        });
        (header, proptest::collection::vec(any::<u8>(), 17..200))
            .prop_map(|(header, ciphertext)| WrappedKey::new(header, ciphertext).unwrap())
    }

    #[test]
    fn the_length_of_the_ciphertext_is_bounded_on_both_sides() {
        let header = Header::new(
            Suite::Aes256Gcm,
            KeyId::from_bytes([1; 16]),
            KeyVersion::FIRST,
            DataKeyId::from_bytes([2; 16]),
            [3; 12],
        );
        for (length, valid) in [(0, false), (16, false), (17, true), (4096 + 16, true), (4096 + 17, false)] {
            assert_eq!(WrappedKey::new(header, vec![0; length]).is_ok(), valid, "{length}");
        }
        let longest = WrappedKey::new(header, vec![0; 4096 + 16]).unwrap();
        assert_eq!(longest.to_bytes().len(), MAX_LEN);
        assert_eq!(longest.to_string().parse(), Ok(longest));
    }

    #[test]
    fn every_refusal_looks_the_same_to_a_caller() {
        for bytes in [&b""[..], b"KWWK", b"KWWK\x02", b"KWWK\x01\x02", &[0; 100]] {
            assert_eq!(WrappedKey::parse(bytes).unwrap_err().to_string(), "not a valid wrapped key");
        }
        assert_eq!("!".parse::<WrappedKey>().unwrap_err().to_string(), "not a valid wrapped key");
    }

    proptest! {
        #[test]
        fn bytes_and_text_and_back_are_the_same(wrapped in wrapped()) {
            prop_assert_eq!(WrappedKey::parse(&wrapped.to_bytes()).unwrap(), wrapped.clone());
            prop_assert_eq!(wrapped.to_string().parse::<WrappedKey>().unwrap(), wrapped.clone());
            let json = serde_json::to_string(&wrapped).unwrap();
            prop_assert_eq!(serde_json::from_str::<WrappedKey>(&json).unwrap(), wrapped);
        }

        #[test]
        fn a_changed_byte_is_refused_or_reaches_what_is_authenticated(wrapped in wrapped(), flip in 1..=u8::MAX) {
            let context = EncryptionContext::empty();
            let bytes = wrapped.to_bytes();
            for place in 0..bytes.len() {
                let mut other = bytes.clone();
                other[place] ^= flip;
                if let Ok(other) = WrappedKey::parse(&other) {
                    let header_differs = other.aad(&context) != wrapped.aad(&context);
                    prop_assert_eq!(header_differs, place < HEADER_LEN);
                    prop_assert_eq!(other.ciphertext() != wrapped.ciphertext(), place >= HEADER_LEN);
                }
            }
        }

        #[test]
        fn what_parses_is_canonical(
            head in proptest::option::of(Just(b"KWWK\x01\x01".to_vec())),
            tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [head.unwrap_or_default(), tail].concat();
            if let Ok(wrapped) = WrappedKey::parse(&bytes) {
                prop_assert_eq!(wrapped.to_bytes(), bytes);
            }
        }

        #[test]
        fn text_that_parses_is_canonical(wrapped in wrapped(), place in 0..400_usize, byte in "[A-Za-z0-9+/=\n -]") {
            let mut text = wrapped.to_string();
            let place = place % text.len();
            text.replace_range(place..=place, &byte);
            if let Ok(other) = text.parse::<WrappedKey>() {
                prop_assert_eq!(other.to_string(), text);
            }
        }
    }
}
