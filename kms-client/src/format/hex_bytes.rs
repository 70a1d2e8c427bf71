//! Public values of a fixed number of bytes: hashes, keyed digests, public keys and signatures. Each has its own type, so that
//! one is never taken for another, and one spelling: lower-case hexadecimal. Nothing secret is held in these types.

/// Text that is not the lower-case hexadecimal of the right number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {0} lower-case hexadecimal digits")]
pub struct InvalidHex(usize);

/// Reads the one spelling of these bytes.
pub(crate) fn parse<const N: usize>(text: &str) -> Result<[u8; N], InvalidHex> {
    let invalid = || InvalidHex(N * 2);
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(invalid());
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| invalid())?;
    Ok(bytes)
}

macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub struct $name([u8; $length]);

        impl $name {
            /// Takes the bytes themselves.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes themselves.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::format::hex_bytes::InvalidHex;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::format::hex_bytes::parse(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use hex_bytes;

#[cfg(test)]
mod tests {
    use crate::format::ChainHash;

    #[test]
    fn a_value_has_one_spelling() {
        let hash = ChainHash::from_bytes([0xab; 32]);
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(serde_json::from_str::<ChainHash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        for other in ["", &text[1..], &text.to_uppercase(), &format!("{text}00"), &format!(" {}", &text[1..])] {
            assert!(other.parse::<ChainHash>().is_err(), "{other}");
        }
    }
}
