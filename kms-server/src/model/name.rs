//! Names and short texts, parsed once: no bare string crosses a module boundary.

use std::collections::BTreeMap;

use kms_client::id::PrincipalId;
use serde::{Deserialize, Serialize};

use super::Error;

/// A name or text that does not have the form its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct InvalidName {
    kind: &'static str,
    rule: &'static str,
}

impl InvalidName {
    pub(super) const fn new(kind: &'static str, rule: &'static str) -> Self {
        Self { kind, rule }
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::model::InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err($crate::model::InvalidName::new($kind, $rule)) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(super) use text_type;

pub(super) fn is_token(text: &str, max: usize, extra: &[u8]) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_prose(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len()) && !text.chars().any(char::is_control)
}

text_type!(
    /// The name of a principal, person or team.
    Name, "a name", "1 to 128 letters, digits or any of `._@+-`, beginning with a letter or digit",
    |text| is_token(text, 128, b"._@+-")
);
text_type!(
    /// A second name for a key, without the prefix `alias/`.
    Alias, "an alias", "1 to 128 letters, digits or any of `._/-`, beginning with a letter or digit",
    |text| is_token(text, 128, b"._/-")
);
text_type!(
    /// The class of the data that a key protects, such as `imaging`.
    DataClass, "a data class", "1 to 64 letters, digits or any of `._-`, beginning with a letter or digit",
    |text| is_token(text, 64, b"._-")
);
text_type!(
    /// Where a key may be used, such as `eu-central-1`.
    Region, "a region", "1 to 64 letters, digits or any of `._-`, beginning with a letter or digit",
    |text| is_token(text, 64, b"._-")
);
text_type!(
    /// Why something was done; it stands in the record.
    Reason, "a reason", "1 to 512 bytes of text without control characters",
    |text| is_prose(text, 1, 512) && !text.trim().is_empty()
);
text_type!(
    /// A description or purpose in free words; may be empty.
    #[derive(Default)]
    Text, "a text", "at most 1024 bytes without control characters",
    |text| is_prose(text, 0, 1024)
);

/// Who answers for a key: a principal or a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// One principal.
    Principal(PrincipalId),
    /// A team by name.
    Team(Name),
}

/// Free labels on a key: at most 50 pairs, keys of 1 to 128 bytes, values of at most 256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// The pairs, sorted by key.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = InvalidName;

    fn try_from(pairs: BTreeMap<String, String>) -> Result<Self, InvalidName> {
        let valid =
            pairs.len() <= 50 && pairs.iter().all(|(key, value)| is_prose(key, 1, 128) && is_prose(value, 0, 256));
        if valid {
            Ok(Self(pairs))
        } else {
            Err(InvalidName {
                kind: "tags",
                rule: "at most 50 pairs, with keys of 1 to 128 and values of at most 256 bytes",
            })
        }
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        assert!("ada.lovelace@clinic-1".parse::<Name>().is_ok());
        for bad in ["", "-ada", "ada lovelace", "ädä", "a/b", &"a".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!("records/2026".parse::<Alias>().is_ok());
        assert!("   ".parse::<Reason>().is_err());
        assert!("line\nbreak".parse::<Reason>().is_err());
    }
}
