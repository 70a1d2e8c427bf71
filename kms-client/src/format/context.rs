//! Encryption contexts: pairs of text that are authenticated together with a data key and needed again to unwrap it. A
//! context can name a patient, so it is never stored or logged, and neither its `Debug` nor any error shows what is in it.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most pairs a context may have.
pub const MAX_PAIRS: usize = 32;
/// The most bytes a context's canonical form may have.
pub const MAX_CANONICAL_BYTES: usize = 8 * 1024;

/// A text that breaks a rule of contexts. It never quotes the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContext {
    #[error("an encryption context has at most {MAX_PAIRS} pairs")]
    TooManyPairs,
    #[error("an encryption context has at most {MAX_CANONICAL_BYTES} bytes in canonical form")]
    TooLong,
    #[error("a key of an encryption context is empty")]
    EmptyKey,
    #[error("a key of an encryption context is given twice")]
    DuplicateKey,
    #[error("a pair of an encryption context is written `key=value`")]
    NotAPair,
    #[error("an encryption context is an object whose values are text")]
    NotText,
}

/// Pairs of text in order of their keys' bytes. INVARIANT: within the limits above, and no key is empty.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, String>))]
// `str` is ordered by its bytes, as the canonical form demands.
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The context without pairs, which is also what is meant where none is given.
    #[must_use]
    pub const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// The context of these pairs.
    ///
    /// # Errors
    ///
    /// Any limit that is passed, an empty key, or a key that is there twice.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, InvalidContext>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let mut context = Self::empty();
        for (key, value) in pairs {
            context.insert(key, value)?;
        }
        Ok(context)
    }

    /// Adds a pair.
    ///
    /// # Errors
    ///
    /// Any limit that would be passed, an empty key, or a key that is there already. The context is then unchanged.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) -> Result<(), InvalidContext> {
        let (key, value) = (key.into(), value.into());
        if key.is_empty() {
            return Err(InvalidContext::EmptyKey);
        }
        if self.0.len() >= MAX_PAIRS {
            return Err(InvalidContext::TooManyPairs);
        }
        if self.canonical_len().saturating_add(pair_len(&key, &value)) > MAX_CANONICAL_BYTES {
            return Err(InvalidContext::TooLong);
        }
        match self.0.entry(key) {
            btree_map::Entry::Occupied(_) => Err(InvalidContext::DuplicateKey),
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(value);
                Ok(())
            }
        }
    }

    /// Adds a pair written `key=value`, as on a command line. The first `=` ends the key.
    ///
    /// # Errors
    ///
    /// As [`Self::insert`], and if there is no `=`.
    pub fn insert_pair(&mut self, pair: &str) -> Result<(), InvalidContext> {
        let (key, value) = pair.split_once('=').ok_or(InvalidContext::NotAPair)?;
        self.insert(key, value)
    }

    /// The value under this key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The pairs, in order of their keys' bytes.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes that are authenticated: u16 number of pairs, then each pair in order of its key's bytes as u16 length, key,
    /// u16 length, value. Numbers are big-endian, text is UTF-8. No two contexts share them.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.canonical_len());
        self.write_canonical(&mut bytes);
        bytes
    }

    pub(crate) fn write_canonical(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&length(self.0.len()));
        for (key, value) in &self.0 {
            for text in [key, value] {
                bytes.extend_from_slice(&length(text.len()));
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn canonical_len(&self) -> usize {
        2 + self.0.iter().map(|(key, value)| pair_len(key, value)).sum::<usize>()
    }
}

/// INVARIANT: the limits keep every count and length far below 2^16, so that nothing saturates here.
fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

const fn pair_len(key: &str, value: &str) -> usize {
    // Two texts in memory are together no longer than the address space.
    4 + key.len() + value.len()
}

/// Shows how many pairs there are, never what they say.
impl fmt::Debug for EncryptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionContext({} pairs)", self.0.len())
    }
}

impl TryFrom<BTreeMap<String, String>> for EncryptionContext {
    type Error = InvalidContext;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, InvalidContext> {
        Self::from_pairs(pairs)
    }
}

impl Serialize for EncryptionContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for EncryptionContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `deserialize_map` would let the deserializer itself quote what is no object.
        deserializer.deserialize_any(ObjectVisitor)
    }
}

/// Refuses numbers without quoting them, as serde's own errors would: one may be a patient's.
macro_rules! refuse_numbers {
    ($value:ty) => {
        fn visit_i64<E: de::Error>(self, _: i64) -> Result<$value, E> {
            Err(E::custom(InvalidContext::NotText))
        }

        fn visit_u64<E: de::Error>(self, _: u64) -> Result<$value, E> {
            Err(E::custom(InvalidContext::NotText))
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<$value, E> {
            Err(E::custom(InvalidContext::NotText))
        }
    };
}

/// Takes pairs one by one: a map made first would already have lost the duplicates.
struct ObjectVisitor;

impl<'de> de::Visitor<'de> for ObjectVisitor {
    type Value = EncryptionContext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose values are text")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<EncryptionContext, A::Error> {
        let mut context = EncryptionContext::empty();
        while let Some((Text(key), Text(value))) = map.next_entry()? {
            context.insert(key, value).map_err(de::Error::custom)?;
        }
        Ok(context)
    }

    refuse_numbers!(EncryptionContext);

    fn visit_str<E: de::Error>(self, _: &str) -> Result<EncryptionContext, E> {
        Err(E::custom(InvalidContext::NotText))
    }
}

/// Text, and nothing that could be turned into text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(text))
    }

    refuse_numbers!(Text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(json: &str) -> Result<EncryptionContext, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_canonical_form_is_sorted_and_length_prefixed() {
        let context = EncryptionContext::from_pairs([("b", ""), ("a", "é")]).unwrap();
        assert_eq!(context.canonical(), b"\0\x02\0\x01a\0\x02\xc3\xa9\0\x01b\0\0");
        assert_eq!(EncryptionContext::empty().canonical(), b"\0\0");
    }

    #[test]
    fn json_duplicates_are_refused_even_when_spelled_differently() {
        let duplicate = InvalidContext::DuplicateKey.to_string();
        assert!(context(r#"{"a":"1","a":"1"}"#).unwrap_err().contains(&duplicate));
        assert!(context(r#"{"a":"1","\u0061":"2"}"#).unwrap_err().contains(&duplicate));
    }

    #[test]
    fn each_limit_has_its_own_error() {
        let many = |count: usize| EncryptionContext::from_pairs((0..count).map(|n| (format!("{n:02}"), "")));
        assert_eq!(many(MAX_PAIRS).unwrap().len(), MAX_PAIRS);
        assert_eq!(many(MAX_PAIRS + 1), Err(InvalidContext::TooManyPairs));

        let long = |count: usize| EncryptionContext::from_pairs([("k", "v".repeat(count))]);
        // Two bytes of count, two of each length, one of the key.
        assert_eq!(long(MAX_CANONICAL_BYTES - 7).unwrap().canonical().len(), MAX_CANONICAL_BYTES);
        assert_eq!(long(MAX_CANONICAL_BYTES - 6), Err(InvalidContext::TooLong));

        assert_eq!(EncryptionContext::from_pairs([("", "v")]), Err(InvalidContext::EmptyKey));
        assert!(context(r#"{"":"v"}"#).unwrap_err().contains(&InvalidContext::EmptyKey.to_string()));
    }

    #[test]
    fn a_pair_on_the_command_line_ends_its_key_at_the_first_equals_sign() {
        let mut context = EncryptionContext::empty();
        context.insert_pair("path=a=b").unwrap();
        assert_eq!(context.value("path"), Some("a=b"));
        assert_eq!(context.insert_pair("path"), Err(InvalidContext::NotAPair));
        assert_eq!(context.insert_pair("=b"), Err(InvalidContext::EmptyKey));
    }

    #[test]
    fn nothing_shows_the_contents() {
        let shown = format!("{:?}", EncryptionContext::from_pairs([("patient", "Erika")]).unwrap());
        assert_eq!(shown, "EncryptionContext(1 pairs)");
        for json in [
            r#""Erika""#,
            "19800101",
            "[19800101]",
            r#"{"patient":19800101}"#,
            r#"{"patient":-19.5}"#,
            r#"{"patient":["Erika"]}"#,
            r#"{"Erika":"1","Erika":"2"}"#,
        ] {
            let error = context(json).unwrap_err();
            assert!(!error.contains("Erika") && !error.contains("19800101") && !error.contains("19.5"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn json_and_back_is_the_same(pairs in proptest::collection::btree_map(".{1,20}", ".{0,40}", 0..8)) {
            let context = EncryptionContext::try_from(pairs).unwrap();
            prop_assert_eq!(serde_json::from_str::<EncryptionContext>(&serde_json::to_string(&context).unwrap()).unwrap(), context);
        }

        #[test]
        fn different_contexts_have_different_bytes(
            one in proptest::collection::btree_map("[ab]{1,3}", "[ab]{0,3}", 0..4),
            other in proptest::collection::btree_map("[ab]{1,3}", "[ab]{0,3}", 0..4),
        ) {
            let same = one == other;
            let (one, other) = (EncryptionContext::try_from(one).unwrap(), EncryptionContext::try_from(other).unwrap());
            prop_assert_eq!(one.canonical() == other.canonical(), same);
        }

        #[test]
        fn a_repeated_key_is_always_refused(key in "[a-z]{1,8}", values in proptest::collection::vec("[a-z]{0,4}", 2..5)) {
            let json = format!("{{{}}}", values.iter().map(|value| format!("\"{key}\":\"{value}\"")).collect::<Vec<_>>().join(","));
            prop_assert!(context(&json).is_err());
        }
    }
}
