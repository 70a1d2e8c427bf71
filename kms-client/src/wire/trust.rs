//! Trust: whose tokens and certificates say who a caller is. It is control state, not configuration.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    name::{Audience, ClientCaName, IssuerUrl},
    principal::Fingerprint,
    receipt::{Receipt, Revision},
};
use crate::id::{ClientCaId, IssuerId, RecordId};

/// A trusted issuer of JSON Web Tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Issuer {
    /// Its id, never reused.
    pub id: IssuerId,
    /// The `iss` of its tokens.
    pub issuer: IssuerUrl,
    /// The `aud` values of which its tokens must carry one.
    pub audiences: Vec<Audience>,
    /// Its public keys.
    pub jwks: Jwks,
    /// When it was trusted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// Where an issuer's public keys come from: `{"inline": {...}}` or `{"url": "https://..."}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Jwks {
    /// The key set itself, kept as control state.
    Inline {
        /// A JSON Web Key Set (RFC 7517 section 5).
        #[cfg_attr(feature = "openapi", schema(value_type = Object))]
        inline: serde_json::Value,
    },
    /// A URL that is read again at least every five minutes.
    Url {
        /// The URL, by `https`.
        url: String,
        /// The certification authority of that server, in PEM, if it is none of the system's.
        #[serde(skip_serializing_if = "Option::is_none")]
        ca: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwksFields {
    inline: Option<serde_json::Value>,
    url: Option<String>,
    ca: Option<String>,
}

impl<'de> Deserialize<'de> for Jwks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own untagged enums would not say what is wrong.
        let fields = JwksFields::deserialize(deserializer)?;
        match (fields.inline, fields.url, fields.ca) {
            (Some(inline), None, None) => Ok(Self::Inline { inline }),
            (None, Some(url), ca) => Ok(Self::Url { url, ca }),
            (Some(_), None, Some(_)) => Err(de::Error::custom("`ca` goes with `url`")),
            (Some(_), Some(_), _) | (None, None, _) => Err(de::Error::custom("give one of `inline` and `url`")),
        }
    }
}

/// Trusts an issuer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddIssuer {
    /// The `iss` of its tokens.
    pub issuer: IssuerUrl,
    /// The `aud` values of which its tokens must carry one; at least one.
    pub audiences: Vec<Audience>,
    /// Its public keys.
    pub jwks: Jwks,
}

/// All trusted issuers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuerList {
    /// The issuers, ordered by id.
    pub issuers: Vec<Issuer>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// An issuer after it was added or, as it last was, removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuerChanged {
    /// The issuer.
    pub issuer: Issuer,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}

/// A trusted certification authority for client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientCa {
    /// Its id, never reused.
    pub id: ClientCaId,
    /// Its name.
    pub name: ClientCaName,
    /// Its certificate, in PEM.
    pub certificate_pem: String,
    /// The SHA-256 of the certificate's DER.
    pub sha256: Fingerprint,
    /// When it was trusted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// Trusts a certification authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddClientCa {
    /// Its name.
    pub name: ClientCaName,
    /// Its certificate: exactly one, in PEM.
    pub certificate_pem: String,
}

/// All trusted certification authorities.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientCaList {
    /// The certification authorities, ordered by id.
    pub client_cas: Vec<ClientCa>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A certification authority after it was added or, as it last was, removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientCaChanged {
    /// The certification authority.
    pub client_ca: ClientCa,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_is_inline_or_at_a_url() {
        for good in [r#"{"inline":{"keys":[]}}"#, r#"{"url":"https://a"}"#, r#"{"url":"https://a","ca":"PEM"}"#] {
            let jwks: Jwks = serde_json::from_str(good).unwrap();
            assert_eq!(serde_json::to_string(&jwks).unwrap(), good);
        }
        for bad in ["{}", r#"{"inline":{},"url":"a"}"#, r#"{"inline":{},"ca":"a"}"#, r#"{"url":"a","uri":"b"}"#] {
            assert!(serde_json::from_str::<Jwks>(bad).is_err(), "{bad}");
        }
    }
}
