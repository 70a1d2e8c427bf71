//! What can go wrong at a token, in the words of a key management service. Every fault names the PKCS#11 function that
//! failed and its return code; no error carries a PIN, a plaintext or key material.

use std::io;
use std::path::PathBuf;

use cryptoki::error::{Error as Pkcs11Error, RvError};

use crate::object::ObjectId;

/// Why the token, or this crate in front of it, refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ciphertext, its tag, its nonce or its associated data is not what was encrypted under this key.
    #[error("the ciphertext does not authenticate")]
    Authentication,

    /// No such key on the token, or it was not loaded.
    #[error("no key `{0}`")]
    KeyNotFound(ObjectId),

    /// An object of this id is on the token already; nothing was created.
    #[error("an object with id `{0}` exists")]
    KeyExists(ObjectId),

    /// Several keys carry this id, so none of them is used or destroyed.
    #[error("more than one key has id `{0}`")]
    AmbiguousKey(ObjectId),

    /// A key is not as we make them; it is not used.
    #[error("key `{id}` has {attribute} {found}, not {expected}")]
    Attribute {
        /// The key.
        id: ObjectId,
        /// The PKCS#11 attribute, such as `CKA_EXTRACTABLE`.
        attribute: String,
        /// What it has to be.
        expected: String,
        /// What the token says; `missing` where it does not tell.
        found: String,
    },

    /// The key of this id is not the one the canary or public key was made with; it is not used.
    #[error("key `{0}` is not the key it was: its canary does not verify")]
    Canary(ObjectId),

    /// The module shows no initialised token of this label.
    #[error("no token labelled `{label}`")]
    TokenNotFound {
        /// The label looked for.
        label: String,
    },

    /// A token of this label exists; nothing was changed.
    #[error("a token labelled `{label}` exists")]
    TokenExists {
        /// The label asked for.
        label: String,
    },

    /// Several tokens carry this label, so none of them is used.
    #[error("more than one token is labelled `{label}`")]
    AmbiguousToken {
        /// The label looked for.
        label: String,
    },

    /// A token label is 1 to 32 bytes long (PKCS#11 would cut it off silently).
    #[error("a token label is 1 to 32 bytes long, without spaces at its end: `{label}`")]
    InvalidLabel {
        /// The label asked for.
        label: String,
    },

    /// The module has no slot with an uninitialised token.
    #[error("no free slot for a new token")]
    NoFreeSlot,

    /// The token refused the PIN. It is not tried again, since tokens lock after a few failures.
    #[error(
        "the token refused the PIN; it is not tried again before a restart, since tokens lock after a few failures"
    )]
    PinIncorrect,

    /// The token has locked the PIN; its security officer has to set a new one.
    #[error("the token has locked the PIN; its security officer has to set a new one")]
    PinLocked,

    /// The token does not accept this PIN as a new one (length or characters), has none set yet, or says it expired.
    #[error("the token does not accept the PIN: {code}")]
    PinUnacceptable {
        /// The PKCS#11 return code.
        code: String,
    },

    /// The PKCS#11 module could not be loaded.
    #[error("PKCS#11 module `{}` cannot be loaded", path.display())]
    Module {
        /// The module's file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The start-up self-test found the token wanting.
    #[error("token self-test failed: {0}")]
    SelfTest(String),

    /// The queue to the token is full; the request was not begun and may be repeated later.
    #[error("the token's queue is full")]
    Busy,

    /// The token did not answer in time. Whether the request took effect is not known.
    #[error("the token did not answer in time")]
    TimedOut,

    /// A call to the token does not return, and holds up all others. Nothing was begun, unless the request is that call.
    #[error("a call to the token does not return")]
    Stuck,

    /// The token was lost and it is not yet time to look for it again; nothing was begun.
    #[error("the token was lost and is being looked for")]
    Lost,

    /// The threads that serve the token have ended.
    #[error("the token is closed")]
    Closed,

    /// The operating system refused a thread.
    #[error("no thread for the token")]
    Thread(#[source] io::Error),

    /// The kernel's random number generator failed.
    #[error("the system's random number generator failed")]
    Random,

    /// The token failed in a way that is no answer to the request. Whether it took effect is not known.
    #[error("{function} failed with {code}")]
    Unavailable {
        /// The PKCS#11 function, such as `C_Decrypt`.
        function: String,
        /// Its return code, such as `CKR_DEVICE_ERROR`.
        code: String,
    },
}

impl Error {
    /// The token's own error, in our words.
    pub(crate) fn token(error: Pkcs11Error) -> Self {
        let (code, function) = match error {
            Pkcs11Error::Pkcs11(code, function) => (code, function),
            other => return Self::Unavailable { function: "cryptoki".to_owned(), code: other.to_string() },
        };
        match code {
            RvError::PinIncorrect => Self::PinIncorrect,
            RvError::PinLocked => Self::PinLocked,
            RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinTooWeak
            | RvError::UserPinNotInitialized => Self::PinUnacceptable { code: code_name(code) },
            _ => Self::Unavailable { function: format!("C_{function:?}"), code: code_name(code) },
        }
    }

    /// Whether a start should be tried again: of several processes that start at once on one SoftHSM token, some see
    /// `CKR_GENERAL_ERROR` or no token for a moment.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::TokenNotFound { .. })
            || matches!(self, Self::Unavailable { code, .. } if code == "CKR_GENERAL_ERROR")
    }
}

/// How a token refused the PIN. What is tried after that only brings it closer to locking.
#[derive(Clone, Debug)]
pub(crate) enum PinRefusal {
    Incorrect,
    Locked,
    Unacceptable(String),
}

impl PinRefusal {
    /// Whether this error is one.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::PinIncorrect => Some(Self::Incorrect),
            Error::PinLocked => Some(Self::Locked),
            Error::PinUnacceptable { code } => Some(Self::Unacceptable(code.clone())),
            _ => None,
        }
    }

    /// The same error again.
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Incorrect => Error::PinIncorrect,
            Self::Locked => Error::PinLocked,
            Self::Unacceptable(code) => Error::PinUnacceptable { code: code.clone() },
        }
    }
}

/// The name the PKCS#11 specification gives a return code: cryptoki spells it in camel case.
fn code_name(code: RvError) -> String {
    match code {
        RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => format!("{code:#010x}"),
        code => {
            let mut name = "CKR".to_owned();
            for letter in format!("{code:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn faults_name_function_and_code() {
        let error = Error::token(Pkcs11Error::Pkcs11(RvError::GeneralError, Function::Decrypt));
        assert_eq!(error.to_string(), "C_Decrypt failed with CKR_GENERAL_ERROR");
        assert!(error.is_transient());
        let error = Error::token(Pkcs11Error::Pkcs11(RvError::VendorDefined(0x8000_0001), Function::Sign));
        assert_eq!(error.to_string(), "C_Sign failed with 0x80000001");
        assert!(!error.is_transient());
    }

    #[test]
    fn refused_pins_are_no_faults() {
        let refused = |code| Error::token(Pkcs11Error::Pkcs11(code, Function::Login));
        assert!(matches!(refused(RvError::PinIncorrect), Error::PinIncorrect));
        assert!(matches!(refused(RvError::PinLocked), Error::PinLocked));
        assert!(matches!(refused(RvError::PinLenRange), Error::PinUnacceptable { .. }));
    }
}
