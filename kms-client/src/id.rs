//! Identifiers. All are public: nothing secret derives from them, and none is ever used twice.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An identifier that does not have the form its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name(Uuid);

        impl $name {
            /// Takes a UUID (RFC 9562) made elsewhere.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The sixteen bytes, most significant first.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The identifier with these sixteen bytes, most significant first.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // One spelling only: hyphenated. `Uuid` alone would also take braces, URNs and bare hex.
                Uuid::try_parse(text)
                    .ok()
                    .filter(|_| text.len() == 36)
                    .map(Self)
                    .ok_or_else(|| InvalidId { kind: $kind, text: text.chars().take(64).collect() })
            }
        }
    };
}

uuid_id!(
    /// A customer's master key, whatever its versions.
    KeyId, "key id"
);
uuid_id!(
    /// A data key; random, and kept when it is wrapped again.
    DataKeyId, "data key id"
);
uuid_id!(
    /// A user, service or contractor.
    PrincipalId, "principal id"
);
uuid_id!(
    /// One way by which one principal proves who it is.
    CredentialId, "credential id"
);
uuid_id!(
    /// A principal's role within a scope, from one moment until another.
    BindingId, "binding id"
);
uuid_id!(
    /// A trusted issuer of JSON Web Tokens.
    IssuerId, "issuer id"
);
uuid_id!(
    /// A trusted certification authority for client certificates.
    ClientCaId, "client CA id"
);
uuid_id!(
    /// A custom policy, whatever its versions.
    PolicyId, "policy id"
);
uuid_id!(
    /// A custom role.
    RoleId, "role id"
);
uuid_id!(
    /// A control change, chosen before it is committed.
    ChangeId, "change id"
);
uuid_id!(
    /// One request, across all the records it leaves.
    RequestId, "request id"
);
uuid_id!(
    /// One run of one server process: new at every start.
    NodeId, "node id"
);

/// The number of one version of a key, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = u32, minimum = 1))]
pub struct KeyVersion(NonZeroU32);

impl KeyVersion {
    /// The first version of every key.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version of this number; `None` for 0, which numbers no version.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// The version after this one; `None` after the last there can be.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An audit record: the node that wrote it, and its place in that node's chain, from 0. Written `NODE-SEQUENCE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The node that wrote the record.
    pub node: NodeId,
    /// The record's place in that node's chain.
    pub sequence: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.node, self.sequence)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { kind: "record id", text: text.chars().take(64).collect() };
        let (node, sequence) = text.rsplit_once('-').ok_or_else(invalid)?;
        let canonical = sequence == "0" || !sequence.starts_with('0');
        if !canonical || !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(Self { node: node.parse().map_err(|_| invalid())?, sequence: sequence.parse().map_err(|_| invalid())? })
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for RecordId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for RecordId {}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = KeyId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "abababababababababababababababab", "{abababab-abab-abab-abab-abababababab}"] {
            assert!(other.parse::<KeyId>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_record_id_has_one_spelling() {
        let id = RecordId { node: NodeId::from_bytes([7; 16]), sequence: 10 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for sequence in ["", "010", "+1", "-1", "18446744073709551616"] {
            assert!(format!("{}-{sequence}", id.node).parse::<RecordId>().is_err(), "{sequence}");
        }
    }
}
