//! Bearer tokens: JSON Web Tokens (RFC 7519) of trusted issuers.
//!
//! The issuer's key decides the algorithm, the control state decides whom the subject stands for, and cluster time
//! decides whether the token is valid. Keys, addresses and certificates that a token's header carries are never looked
//! at. A token that is bound to a certificate (RFC 8705) or to anything else (RFC 7800) is worth nothing without it.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Deserializer};

use super::{
    Assurance, Caller, Moment, Proof, Refused,
    jwks::Jwks,
    key_set::VerifyingKey,
    remembered::{Remembered, TokenDigest, Verified},
};
use crate::model::{ControlState, CredentialMatch, Issuer};

/// No token is larger.
const MAX_BYTES: usize = 8 * 1024;
/// By how much an issuer's clock may be wrong.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// Whose token this is; `binding` is the fingerprint of the connection's client certificate.
pub(super) async fn caller(
    jwks: &Jwks,
    remembered: &Remembered,
    moment: Moment<'_>,
    token: &str,
    binding: Option<&[u8; 32]>,
) -> Result<Arc<Caller>, Refused> {
    if token.len() > MAX_BYTES {
        return Err(Refused::TokenSize);
    }
    let digest = TokenDigest::new(token, binding);
    if let Some(verified) = remembered.get(moment.revision, &digest) {
        let keys = jwks.keys(verified.issuer).await?;
        if Arc::ptr_eq(&keys, &verified.keys) {
            return standing(verified.caller, moment);
        }
    }
    let header = header(token)?;
    let issuer = issuer(token, moment.state)?;
    let keys = jwks.keys_with(issuer.id, header.kid.as_deref()).await?;
    let claims = verify(token, &header, keys.find(header.kid.as_deref())?, issuer)?;
    let caller = Arc::new(claims.caller(issuer, moment, binding)?);
    let caller = standing(caller, moment)?;
    remembered.put(moment.revision, digest, Verified { caller: Arc::clone(&caller), issuer: issuer.id, keys });
    Ok(caller)
}

fn standing(caller: Arc<Caller>, moment: Moment<'_>) -> Result<Arc<Caller>, Refused> {
    caller.stands(moment.state, moment.now).map_err(|_| Refused::NoLonger)?;
    Ok(caller)
}

/// What a token says about itself, in a form that may be acted on; nothing of it is verified.
fn header(token: &str) -> Result<Header, Refused> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::TokenForm)?;
    // RFC 7515 section 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by
    // the recipient, then the JWS is invalid." None is supported.
    if header.crit.is_some() {
        return Err(Refused::TokenCritical);
    }
    // RFC 8725 section 3.11, explicit typing: tokens that an issuer makes for other ends are not for us.
    let kind = header.typ.as_ref().map(|typ| typ.to_ascii_lowercase());
    match kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind)) {
        None | Some("jwt" | "at+jwt") => Ok(header),
        Some(_) => Err(Refused::TokenType),
    }
}

/// The trusted issuer that the token names; that the token is its, the signature will show.
fn issuer<'a>(token: &str, state: &'a ControlState) -> Result<&'a Issuer, Refused> {
    #[derive(Deserialize)]
    struct Unverified {
        /// An array is no issuer.
        iss: String,
    }
    let unverified: Unverified =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Refused::TokenForm)?;
    state.trusted_issuer(&unverified.iss).map(AsRef::as_ref).ok_or(Refused::IssuerUnknown)
}

/// Checks everything that does not depend on time.
fn verify(token: &str, header: &Header, key: &VerifyingKey, issuer: &Issuer) -> Result<Claims, Refused> {
    if header.alg != key.algorithm {
        return Err(Refused::TokenAlgorithm);
    }
    let mut validation = Validation::new(key.algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&issuer.audiences);
    // The library knows only the system's clock; ours is cluster time: see `Claims::caller`.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let verified = jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
    verified.map(|verified| verified.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidAudience => Refused::TokenAudience,
        ErrorKind::InvalidIssuer => Refused::IssuerUnknown,
        ErrorKind::InvalidAlgorithm => Refused::TokenAlgorithm,
        ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            Refused::TokenForm
        }
        _ => Refused::TokenSignature,
    })
}

/// The claims that matter here (RFC 7519 section 4.1, RFC 8176, RFC 8705). `iss` and `aud` are checked by the library.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(deserialize_with = "moment")]
    exp: Timestamp,
    #[serde(default, deserialize_with = "optional_moment")]
    nbf: Option<Timestamp>,
    #[serde(default, deserialize_with = "optional_moment")]
    iat: Option<Timestamp>,
    cnf: Option<serde_json::Value>,
    amr: Option<OneOrMany>,
    acr: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The only confirmation that can be checked here. One with anything more is not understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

impl Claims {
    fn caller(self, issuer: &Issuer, moment: Moment<'_>, binding: Option<&[u8; 32]>) -> Result<Caller, Refused> {
        let expires_at = self.exp.checked_add(LEEWAY).map_err(|_| Refused::TokenForm)?;
        if moment.now >= expires_at {
            return Err(Refused::TokenExpired);
        }
        // Overflow cannot be: no claim is that far in the future.
        let latest = moment.now.checked_add(LEEWAY).unwrap_or(Timestamp::MAX);
        if self.nbf.into_iter().chain(self.iat).any(|claimed| claimed > latest) {
            return Err(Refused::TokenNotYet);
        }
        if let Some(confirmation) = self.cnf {
            confirm(confirmation, binding)?;
        }
        let subject = CredentialMatch::JwtSubject { issuer: issuer.id, subject: self.sub };
        let (principal, credential) = moment.state.credential(&subject).ok_or(Refused::PrincipalUnknown)?;
        let amr = match self.amr {
            None => Vec::new(),
            Some(OneOrMany::One(method)) => vec![method],
            Some(OneOrMany::Many(methods)) => methods,
        };
        let assurance = Assurance { amr, acr: self.acr };
        Ok(Caller { principal, credential, proof: Proof::Token { issuer: issuer.id, expires_at }, assurance })
    }
}

/// RFC 8705 section 3.1: the value "is a base64url-encoded SHA-256 hash of the DER encoding of the X.509 certificate".
fn confirm(confirmation: serde_json::Value, binding: Option<&[u8; 32]>) -> Result<(), Refused> {
    let confirmation: Confirmation = serde_json::from_value(confirmation).map_err(|_| Refused::TokenBinding)?;
    let expected = BASE64_URL_SAFE_NO_PAD.decode(confirmation.certificate).map_err(|_| Refused::TokenBinding)?;
    let shown = binding.ok_or(Refused::TokenBinding)?;
    verify_slices_are_equal(&expected, shown).map_err(|_| Refused::TokenBinding)
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let seconds = SignedDuration::try_from_secs_f64(f64::deserialize(deserializer)?);
    seconds.and_then(Timestamp::from_duration).map_err(serde::de::Error::custom)
}

fn optional_moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    moment(deserializer).map(Some)
}
