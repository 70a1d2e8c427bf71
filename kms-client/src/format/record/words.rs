//! The closed vocabularies of a record. Each word has a number in the bytes and a name in JSON; both are for ever.

use serde::{Deserialize, Serialize};

/// A name that is not one of a vocabulary's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known {0}")]
pub struct UnknownWord(&'static str);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$word_doc:meta])* $word:ident = $code:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$word_doc])* #[serde(rename = $text)] $word,)+
        }

        impl $name {
            /// Every word.
            pub const ALL: &[Self] = &[$(Self::$word,)+];

            /// The number in a record's bytes.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$word => $code,)+
                }
            }

            /// The word of this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$word),)+
                    _ => None,
                }
            }

            /// The name in JSON and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok(Self::$word),)+
                    _ => Err(UnknownWord($kind)),
                }
            }
        }
    };
}

words!(
    /// What kind of principal asked.
    PrincipalKind, "principal kind" {
        /// A person of the organisation.
        User = 1 "user",
        /// A program.
        Service = 2 "service",
        /// A person from outside, with an end date, a sponsor and a purpose.
        Contractor = 3 "contractor",
    }
);

words!(
    /// How a request came in.
    Surface, "surface" {
        /// The native REST API.
        Native = 1 "native",
        /// A command on the server's host.
        Host = 2 "host",
        /// The server itself: its start, its jobs.
        System = 3 "system",
    }
);

words!(
    /// How an operation ended.
    Outcome, "outcome" {
        /// Permitted: the answer may have been released.
        Allowed = 1 "allowed",
        /// Refused by a rule.
        Denied = 2 "denied",
        /// Permitted or not, it could not be done.
        Failed = 3 "failed",
        /// Permitted and recorded as such, then held back at the gate.
        Withheld = 4 "withheld",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for word in Outcome::ALL {
            assert_eq!(Outcome::from_code(word.code()), Some(*word));
            assert_eq!(word.as_str().parse(), Ok(*word));
            assert_eq!(serde_json::to_string(word).unwrap(), format!("\"{word}\""));
        }
        assert_eq!(Outcome::from_code(0), None);
        assert_eq!("Allowed".parse::<Outcome>(), Err(UnknownWord("outcome")));
    }
}
