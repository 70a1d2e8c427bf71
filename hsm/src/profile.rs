//! What differs between vendors' tokens: how many threads serve them, which attributes they know, and what their return
//! codes mean. Everything else in the crate is plain PKCS#11; a difference that shows up anywhere else belongs here.

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::MechanismType;
use serde::{Deserialize, Serialize};

use crate::signing::SignatureAlgorithm;

/// The kind of token, as configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// SoftHSM 2.6: keys in files, encrypted under the PIN. Not a validated module.
    Softhsm,
}

impl ProfileName {
    /// The name, as in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Softhsm => "softhsm",
        }
    }

    pub(crate) const fn profile(self) -> &'static Profile {
        match self {
            Self::Softhsm => &SOFTHSM,
        }
    }
}

/// What we rely on of one kind of token.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Threads that call the token, a session each.
    pub(crate) threads: usize,
    /// Whether `CKA_ALLOWED_MECHANISMS` is kept and enforced.
    pub(crate) allowed_mechanisms: bool,
    /// Return codes of `C_Decrypt` that may mean a wrong tag and may mean a fault of the token.
    unclear: &'static [RvError],
}

/// What a return code says about the session and the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The ciphertext is wrong. The session is good.
    Forged,
    /// The ciphertext is wrong or the token is at fault; the key's canary tells.
    Unclear,
    /// The object behind the handle is gone or the handle is old. The session is good.
    Stale,
    /// The token refuses this request, and would again. The session is good.
    Refused,
    /// The token or the session is at fault: discard the session.
    Fault,
}

impl Profile {
    /// What an error of `C_Decrypt` says.
    pub(crate) fn decrypt_verdict(&self, error: &Pkcs11Error) -> Verdict {
        match error {
            Pkcs11Error::Pkcs11(code, _) if self.unclear.contains(code) => Verdict::Unclear,
            Pkcs11Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => Verdict::Forged,
            other => self.verdict(other),
        }
    }

    /// What an error of any other function says. Whatever is not known to be harmless is a fault.
    #[expect(clippy::unused_self, reason = "vendors' own codes will differ by profile")]
    pub(crate) fn verdict(&self, error: &Pkcs11Error) -> Verdict {
        let Pkcs11Error::Pkcs11(code, _) = error else { return Verdict::Refused };
        match code {
            RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Verdict::Stale,
            RvError::ActionProhibited
            | RvError::ArgumentsBad
            | RvError::AttributeReadOnly
            | RvError::AttributeSensitive
            | RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::CurveNotSupported
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::DomainParamsInvalid
            | RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::FunctionNotSupported
            | RvError::KeyFunctionNotPermitted
            | RvError::KeyNotWrappable
            | RvError::KeySizeRange
            | RvError::KeyTypeInconsistent
            | RvError::KeyUnextractable
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::PinIncorrect
            | RvError::PinLocked
            | RvError::TemplateIncomplete
            | RvError::TemplateInconsistent
            | RvError::TokenWriteProtected => Verdict::Refused,
            _ => Verdict::Fault,
        }
    }

    /// The best signature algorithm among the token's mechanisms.
    #[expect(clippy::unused_self, reason = "a token that lists a mechanism it cannot do will say so in its profile")]
    pub(crate) fn signature_algorithm(&self, mechanisms: &[MechanismType]) -> SignatureAlgorithm {
        if mechanisms.contains(&MechanismType::EDDSA) { SignatureAlgorithm::Ed25519 } else { SignatureAlgorithm::P256 }
    }
}

/// Two threads halve SoftHSM's throughput: it takes one lock around everything.
const SOFTHSM: Profile = Profile { threads: 1, allowed_mechanisms: true, unclear: &[RvError::GeneralError] };

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_general_error_is_unclear_only_for_decrypt() {
        let profile = ProfileName::Softhsm.profile();
        let error = |code| Pkcs11Error::Pkcs11(code, Function::Decrypt);
        assert_eq!(profile.decrypt_verdict(&error(RvError::GeneralError)), Verdict::Unclear);
        assert_eq!(profile.decrypt_verdict(&error(RvError::EncryptedDataInvalid)), Verdict::Forged);
        assert_eq!(profile.decrypt_verdict(&error(RvError::DeviceError)), Verdict::Fault);
        assert_eq!(profile.verdict(&error(RvError::GeneralError)), Verdict::Fault);
        assert_eq!(profile.verdict(&error(RvError::ObjectHandleInvalid)), Verdict::Stale);
        assert_eq!(profile.verdict(&error(RvError::MechanismInvalid)), Verdict::Refused);
    }
}
