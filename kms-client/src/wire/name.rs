//! Names and short texts: each is its own type and has its form once it exists.
//!
//! Names that people type have a narrow alphabet, so that they can be told apart on a screen and need no quoting in a
//! shell. Texts that people read may hold anything printable.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::spelling::{as_text, string_schema};
use crate::id::{KeyId, PrincipalId};

/// A name or text that does not have the form its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

impl InvalidName {
    pub(crate) fn new(kind: &'static str, rule: &'static str, text: &str) -> Self {
        // Whatever was sent comes back in an error; printable, and not at length.
        let text = text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { kind, rule, text }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $form:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub struct $name(Box<str>);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let form: fn(&str) -> bool = $form;
                if form(text) { Ok(Self(text.into())) } else { Err(InvalidName::new($kind, $rule, text)) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// Another name of a key, unique and never reused: 1 to 128 letters, digits, `.`, `_`, `/` and `-`. Written
    /// `alias/NAME` where a key may also be named by its id.
    Alias,
    "alias",
    |text| is_name(text, 128, "._/-") && !text.starts_with("alias/"),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `/` and `-`, and starts with a letter or digit"
);
name!(
    /// What kind of data a key protects, such as `imaging`: 1 to 64 letters, digits, `.`, `_` and `-`.
    DataClass,
    "data class",
    |text| is_name(text, 64, "._-"),
    "it takes 1 to 64 ASCII letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
);
name!(
    /// Where a key lives and may be used, such as `eu-central`: 1 to 64 letters, digits, `.`, `_` and `-`.
    Region,
    "region",
    |text| is_name(text, 64, "._-"),
    "it takes 1 to 64 ASCII letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
);
name!(
    /// A PKCS#11 token that holds keys: 1 to 128 letters, digits, `.`, `_`, `@`, `+` and `-`.
    KeyStore,
    "key store",
    |text| is_name(text, 128, "._@+-"),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`, and starts with a letter or digit"
);
name!(
    /// A principal's name, unique and never reused: 1 to 128 letters, digits, `.`, `_`, `@`, `+` and `-`, and not of the
    /// form of an id.
    PrincipalName,
    "principal name",
    |text| is_name(text, 128, "._@+-") && text.parse::<PrincipalId>().is_err(),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`, starts with a letter or digit, and is no id"
);
name!(
    /// The name of a trusted certification authority: 1 to 128 letters, digits, `.`, `_`, `@`, `+` and `-`.
    ClientCaName,
    "client CA name",
    |text| is_name(text, 128, "._@+-"),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`, and starts with a letter or digit"
);
name!(
    /// A human being, such as `ada@example.org`: two principals of one person count once wherever persons are counted. 1 to
    /// 128 letters, digits, `.`, `_`, `@`, `+` and `-`.
    Person,
    "person",
    |text| is_name(text, 128, "._@+-"),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`, and starts with a letter or digit"
);
name!(
    /// A team of people or services: 1 to 128 letters, digits, `.`, `_`, `@`, `+` and `-`.
    Team,
    "team",
    |text| is_name(text, 128, "._@+-"),
    "it takes 1 to 128 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`, and starts with a letter or digit"
);
name!(
    /// The name of a custom policy: 1 to 64 letters, digits, `_` and `-`.
    PolicyName,
    "policy name",
    |text| is_name(text, 64, "_-"),
    "it takes 1 to 64 ASCII letters, digits, `_` and `-`, and starts with a letter or digit"
);
name!(
    /// The name of a role, built-in or custom: 1 to 64 letters, digits, `_` and `-`.
    RoleName,
    "role name",
    |text| is_name(text, 64, "_-"),
    "it takes 1 to 64 ASCII letters, digits, `_` and `-`, and starts with a letter or digit"
);
name!(
    /// What something is for: up to 1,024 bytes of text; empty to have none.
    Description,
    "description",
    |text| is_text(text, 1024),
    "it takes up to 1,024 bytes of printable text"
);
name!(
    /// Why something was done: 1 to 512 bytes of text, kept on record. Name no patient here.
    Reason,
    "reason",
    |text| is_text(text, 512) && !text.trim().is_empty(),
    "it takes 1 to 512 bytes of printable text"
);
name!(
    /// The `iss` of an issuer's tokens, compared byte by byte: 1 to 500 characters without spaces.
    IssuerUrl,
    "issuer",
    |text| is_token(text, 500),
    "it takes 1 to 500 printable ASCII characters without spaces"
);
name!(
    /// An `aud` that an issuer's tokens must carry: 1 to 500 characters without spaces.
    Audience,
    "audience",
    |text| is_token(text, 500),
    "it takes 1 to 500 printable ASCII characters without spaces"
);
name!(
    /// The `sub` of a token, compared byte by byte: 1 to 255 bytes.
    Subject,
    "subject",
    |text| is_text(text, 255) && !text.is_empty(),
    "it takes 1 to 255 bytes of printable text"
);
name!(
    /// An action, by the name the audit log uses, such as `unwrap`.
    ActionName,
    "action",
    |text| is_name(text, 64, "._-"),
    "it takes 1 to 64 ASCII letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
);
name!(
    /// Where the next page of a list begins: opaque, and good only for the caller and the filter it was given to.
    Cursor,
    "cursor",
    |text| is_token(text, 1024),
    "take it from `next_cursor` as it is"
);

impl RoleName {
    /// A name of our own, which has the form of one.
    pub(super) fn known(name: &str) -> Self {
        Self(name.into())
    }
}

/// A key, named by its id or by one of its aliases as `alias/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyName {
    /// The key of this id.
    Id(KeyId),
    /// The key that has this alias.
    Alias(Alias),
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => fmt::Display::fmt(id, f),
            Self::Alias(alias) => write!(f, "alias/{alias}"),
        }
    }
}

impl FromStr for KeyName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Some(alias) = text.strip_prefix("alias/") {
            return alias.parse().map(Self::Alias);
        }
        text.parse().map(Self::Id).map_err(|_| InvalidName::new("key", "name it by its id or as `alias/NAME`", text))
    }
}

/// A principal, named by its id or by its exact name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalRef {
    /// The principal of this id.
    Id(PrincipalId),
    /// The principal of this name.
    Name(PrincipalName),
}

impl fmt::Display for PrincipalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => fmt::Display::fmt(id, f),
            Self::Name(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl FromStr for PrincipalRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

/// Who answers for a key: `principal/ID` or `team/NAME`. An owner has no right over the key by that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// One principal.
    Principal(PrincipalId),
    /// A team.
    Team(Team),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(id) => write!(f, "principal/{id}"),
            Self::Team(team) => write!(f, "team/{team}"),
        }
    }
}

impl FromStr for Owner {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName::new("owner", "write it as `principal/ID` or `team/NAME`", text);
        match text.split_once('/') {
            Some(("principal", id)) => id.parse().map(Self::Principal).map_err(|_| invalid()),
            Some(("team", team)) => team.parse().map(Self::Team),
            Some(_) | None => Err(invalid()),
        }
    }
}

as_text!(KeyName, PrincipalRef, Owner);
string_schema!(
    KeyName, "A key: its id, or one of its aliases as `alias/NAME`.", "alias/records";
    PrincipalRef, "A principal: its id, or its exact name.", "storage-1";
    Owner, "Who answers for a key: `principal/ID` or `team/NAME`.", "team/Radiology";
);

fn is_name(text: &str, longest: usize, also: &str) -> bool {
    text.len() <= longest
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn is_token(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_text(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.contains(is_unprintable)
}

/// Control characters, and those that turn the direction of the text around them so that it reads as something else.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_narrow_alphabet() {
        assert!("records.2026_a-b".parse::<Alias>().is_ok());
        for bad in ["", "-a", ".a", "alias/a", "a b", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Alias>().is_err(), "{bad}");
        }
        assert!("records/2026".parse::<Alias>().is_ok());
        assert!("imaging/2026".parse::<DataClass>().is_err());
    }

    #[test]
    fn a_principal_name_is_no_id() {
        let id = PrincipalId::from_bytes([1; 16]);
        assert!(id.to_string().parse::<PrincipalName>().is_err());
        assert_eq!(id.to_string().parse(), Ok(PrincipalRef::Id(id)));
        assert_eq!("ada@example.org".parse::<PrincipalRef>().unwrap().to_string(), "ada@example.org");
    }

    #[test]
    fn a_key_is_named_by_id_or_alias() {
        let id = KeyId::from_bytes([2; 16]);
        assert_eq!(id.to_string().parse(), Ok(KeyName::Id(id)));
        assert_eq!("alias/records".parse::<KeyName>().unwrap().to_string(), "alias/records");
        let error = "records".parse::<KeyName>().unwrap_err().to_string();
        assert_eq!(error, "`records` is not a valid key: name it by its id or as `alias/NAME`");
    }

    #[test]
    fn texts_hide_nothing() {
        assert!("lost laptop, naïve".parse::<Reason>().is_ok());
        for bad in ["", " ", "a\n", "a\u{202e}b", &"a".repeat(513)] {
            assert!(bad.parse::<Reason>().is_err(), "{bad:?}");
        }
        assert!("".parse::<Description>().is_ok());
    }

    #[test]
    fn an_owner_is_a_principal_or_a_team() {
        for owner in ["team/Radiology", "principal/01010101-0101-0101-0101-010101010101"] {
            assert_eq!(owner.parse::<Owner>().unwrap().to_string(), owner);
        }
        for bad in ["Radiology", "team/", "principal/ada", "role/x"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }
}
