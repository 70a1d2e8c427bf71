//! Encryption contexts as they arrive: pairs of text, before anybody has looked at how many and how long they are.
//!
//! The limits have errors of their own, and in a batch they fail one item and not the others; so they are checked when
//! the pairs become an [`EncryptionContext`], not while JSON is read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::context::{EncryptionContext, InvalidContext};

/// Pairs that are authenticated together with a data key: up to 32, and 8 KiB in all; no name is empty or there twice.
/// They can name a patient, so they are never stored or logged.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, String>))]
pub struct ContextPairs(Vec<(String, String)>);

impl ContextPairs {
    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shows how many pairs there are, never what they say.
impl fmt::Debug for ContextPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextPairs({} pairs)", self.0.len())
    }
}

impl From<EncryptionContext> for ContextPairs {
    fn from(context: EncryptionContext) -> Self {
        Self::from(&context)
    }
}

impl From<&EncryptionContext> for ContextPairs {
    fn from(context: &EncryptionContext) -> Self {
        Self(context.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl TryFrom<ContextPairs> for EncryptionContext {
    type Error = InvalidContext;

    fn try_from(pairs: ContextPairs) -> Result<Self, InvalidContext> {
        Self::from_pairs(pairs.0)
    }
}

impl Serialize for ContextPairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for ContextPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairsVisitor)
    }
}

struct PairsVisitor;

const EXPECTED: &str = "an encryption context is an object whose values are text";

impl<'de> de::Visitor<'de> for PairsVisitor {
    type Value = ContextPairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose values are text")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ContextPairs, A::Error> {
        let mut pairs = Vec::new();
        // Serde's own error would quote the value.
        while let Some(pair) = map.next_entry().map_err(|_| de::Error::custom(EXPECTED))? {
            pairs.push(pair);
        }
        Ok(ContextPairs(pairs))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<ContextPairs, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<ContextPairs, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<ContextPairs, E> {
        Err(E::custom(EXPECTED))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<ContextPairs, E> {
        Err(E::custom(EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_after_json() {
        let twice: ContextPairs = serde_json::from_str(r#"{"a":"1","a":"2"}"#).unwrap();
        assert_eq!(EncryptionContext::try_from(twice), Err(InvalidContext::DuplicateKey));
        let many: String = (0..33).map(|n| format!("\"{n}\":\"\"")).collect::<Vec<_>>().join(",");
        let many: ContextPairs = serde_json::from_str(&format!("{{{many}}}")).unwrap();
        assert_eq!(EncryptionContext::try_from(many), Err(InvalidContext::TooManyPairs));
    }

    #[test]
    fn nothing_of_a_context_is_shown() {
        let pairs: ContextPairs = serde_json::from_str(r#"{"patient":"Ada"}"#).unwrap();
        assert_eq!(format!("{pairs:?}"), "ContextPairs(1 pairs)");
        for bad in [r#"{"patient":4711}"#, r#"{"a":"b","patient":["4711"]}"#, r#""4711""#, "4711", "-4711", "4711.5"] {
            let error = serde_json::from_str::<ContextPairs>(bad).unwrap_err().to_string();
            assert!(!error.contains("4711"), "{error}");
        }
    }
}
