//! Why a caller was not believed: a code for the record and the log, and a sentence for the caller.
//!
//! The sentences are fewer than the codes. Before a signature is verified nobody learns which check failed, and
//! whoever holds a good credential of no active principal does not learn whether that principal exists.

use crate::model::Error;

/// Why a caller was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum Refused {
    /// Neither a token nor a certificate was shown.
    NoCredential,
    /// The `Authorization` header is there twice, or is not one bearer token.
    AuthorizationForm,
    /// The token is larger than any that is taken.
    TokenSize,
    /// The token is no signed JSON Web Token, or a claim is missing or has another type.
    TokenForm,
    /// The token is a JSON Web Token of another kind.
    TokenType,
    /// The token's header demands what is not understood here.
    TokenCritical,
    /// The token's `iss` is no trusted issuer.
    IssuerUnknown,
    /// The keys of the token's issuer were never fetched, or too long ago.
    IssuerUnavailable,
    /// The issuer has no such key.
    KeyUnknown,
    /// The token was signed by another algorithm than its key is for.
    TokenAlgorithm,
    /// The token's signature is wrong.
    TokenSignature,
    /// The token is meant for somebody else.
    TokenAudience,
    /// The token has expired.
    TokenExpired,
    /// The token's `nbf` or `iat` is in the future.
    TokenNotYet,
    /// The token is bound to another certificate, or to something that cannot be checked here.
    TokenBinding,
    /// The certificate cannot be read.
    CertificateForm,
    /// The certificate does not lead to a trusted authority, or is not for clients, or not valid now.
    CertificateUntrusted,
    /// The certificate has names of more than one principal.
    CertificateAmbiguous,
    /// The credential belongs to nobody.
    PrincipalUnknown,
    /// The principal is suspended, or the credential removed or expired since it was accepted.
    NoLonger,
}

impl Refused {
    /// The stable code, for records and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::AuthorizationForm => "authorization_form",
            Self::TokenSize => "token_size",
            Self::TokenForm => "token_form",
            Self::TokenType => "token_type",
            Self::TokenCritical => "token_critical",
            Self::IssuerUnknown => "issuer_unknown",
            Self::IssuerUnavailable => "issuer_unavailable",
            Self::KeyUnknown => "key_unknown",
            Self::TokenAlgorithm => "token_algorithm",
            Self::TokenSignature => "token_signature",
            Self::TokenAudience => "token_audience",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYet => "token_not_yet",
            Self::TokenBinding => "token_binding",
            Self::CertificateForm => "certificate_form",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::CertificateAmbiguous => "certificate_ambiguous",
            Self::PrincipalUnknown => "principal_unknown",
            Self::NoLonger => "no_longer",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::NoCredential => "send a bearer token, or connect with a client certificate",
            Self::AuthorizationForm => "send one `Authorization` header with one `Bearer` token",
            Self::TokenSize => "the bearer token is larger than 8 KiB",
            Self::TokenForm | Self::TokenType | Self::TokenCritical => {
                "the bearer token is not a signed JSON Web Token with `exp`, `iss`, `aud` and `sub`"
            }
            Self::IssuerUnavailable => "the keys of the token's issuer cannot be fetched; try again later",
            Self::IssuerUnknown
            | Self::KeyUnknown
            | Self::TokenAlgorithm
            | Self::TokenSignature
            | Self::TokenAudience => {
                "the bearer token is not accepted: check its issuer, audience, key and algorithm (ES256, EdDSA, RS256)"
            }
            Self::TokenExpired => "the bearer token has expired",
            Self::TokenNotYet => "the bearer token is not valid yet: compare the clocks",
            Self::TokenBinding => "the bearer token is bound to another client certificate than this connection's",
            Self::CertificateForm | Self::CertificateUntrusted => {
                "the client certificate is not accepted: check its authority, purpose and dates"
            }
            Self::CertificateAmbiguous => "the client certificate has names of more than one principal",
            Self::PrincipalUnknown | Self::NoLonger => "the credential has expired or belongs to no active principal",
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Unauthenticated(refused.sentence())
    }
}
