//! Principals: users, services and contractors, and the credentials by which they prove who they are.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    key::Environment,
    name::{Cursor, Description, InvalidName, Person, PrincipalName, Reason, Subject, Team},
    receipt::{Receipt, Revision},
    spelling::{as_text, string_schema, words},
};
pub use crate::format::record::PrincipalKind;
use crate::id::{ClientCaId, CredentialId, IssuerId, PrincipalId, RecordId};

words!(
    /// Whether a principal may do anything at all.
    PrincipalState, "principal state", {
        /// What its bindings allow.
        Active = "active",
        /// Nothing, whatever its bindings and tokens say.
        Suspended = "suspended",
    }
);

/// A user, service or contractor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Principal {
    /// Its id, never reused.
    pub id: PrincipalId,
    /// Its name, never reused.
    pub name: PrincipalName,
    /// What it is.
    pub kind: PrincipalKind,
    /// The human being behind it: two principals of one person count once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Where it belongs.
    pub environment: Environment,
    /// Its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
    /// What it is for.
    pub description: Description,
    /// Whether it may do anything at all.
    pub state: PrincipalState,
    /// Why it is in this state, when someone had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How it proves who it is.
    pub credentials: Vec<Credential>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// One way by which one principal proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credential {
    /// Its id, never reused.
    pub id: CredentialId,
    /// What is proved.
    #[serde(flatten)]
    pub proof: Proof,
    /// When it was added.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// What a credential proves. Each belongs to one principal: there are no shared accounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CredentialProof))]
pub enum Proof {
    /// A token of this issuer with this `sub`.
    JwtSubject {
        /// The trusted issuer.
        issuer: IssuerId,
        /// The token's `sub`.
        subject: Subject,
    },
    /// A client certificate of this certification authority with this subject alternative name.
    CertificateSan {
        /// The name.
        san: SubjectAltName,
        /// The trusted certification authority.
        client_ca: ClientCaId,
    },
    /// One client certificate.
    CertificateFingerprint {
        /// The SHA-256 of its DER, in hexadecimal.
        sha256: Fingerprint,
    },
}

/// A subject alternative name: `uri:` and a URI, or `dns:` and a host name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectAltName {
    /// A `uniformResourceIdentifier`, compared byte by byte.
    Uri(Box<str>),
    /// A `dNSName` in lower case, without wildcards.
    Dns(Box<str>),
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Dns(host) => write!(f, "dns:{host}"),
        }
    }
}

impl FromStr for SubjectAltName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "write it as `uri:URI`, or as `dns:HOST` in lower case and without wildcards";
        let invalid = || InvalidName::new("subject alternative name", rule, text);
        match text.split_once(':') {
            Some(("uri", uri)) if is_uri(uri) => Ok(Self::Uri(uri.into())),
            Some(("dns", host)) if is_host(host) => Ok(Self::Dns(host.into())),
            Some(_) | None => Err(invalid()),
        }
    }
}

/// The SHA-256 of a certificate's DER, in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of these bytes.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The hash itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut sha256 = [0; 32];
        let lower = !text.contains(|c: char| c.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut sha256) {
            Ok(()) if lower => Ok(Self(sha256)),
            Ok(()) | Err(_) => Err(InvalidName::new("fingerprint", "it takes 64 lower-case hexadecimal digits", text)),
        }
    }
}

as_text!(SubjectAltName, Fingerprint);
string_schema!(
    SubjectAltName, "A subject alternative name: `uri:` and a URI, or `dns:` and a host name.", "dns:storage.example.org";
);

/// Creates a principal. It has no right and no credential yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatePrincipal {
    /// Its name; fixed.
    pub name: PrincipalName,
    /// What it is; fixed.
    pub kind: PrincipalKind,
    /// The human being behind it; not for services, needed for users and contractors. Fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Where it belongs; fixed.
    #[serde(default)]
    pub environment: Environment,
    /// Its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// Changes what is not fixed about a principal. What is left out stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdatePrincipal {
    /// Its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
    /// What it is for; empty for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// Which principals to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct PrincipalQuery {
    /// Only those of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PrincipalKind>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<PrincipalState>,
    /// Only the one of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub name: Option<PrincipalName>,
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub cursor: Option<Cursor>,
}

/// A page of principals, ordered by id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrincipalList {
    /// The principals.
    pub principals: Vec<Principal>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A principal as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrincipalAnswer {
    /// The principal.
    pub principal: Principal,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A principal after a change of itself or its credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrincipalChanged {
    /// The principal as it is now.
    pub principal: Principal,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}

fn is_uri(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    uri.len() <= 500 && uri.bytes().all(|byte| byte.is_ascii_graphic()) && !scheme.is_empty()
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_flat_and_strict() {
        let proof = Proof::CertificateFingerprint { sha256: Fingerprint::new([0xab; 32]) };
        let json = serde_json::json!({"type": "certificate_fingerprint", "sha256": "ab".repeat(32)});
        assert_eq!(serde_json::to_value(&proof).unwrap(), json);
        assert_eq!(serde_json::from_value::<Proof>(json.clone()).unwrap(), proof);
        let mut odd = json;
        odd["issuer"] = "x".into();
        assert!(serde_json::from_value::<Proof>(odd).is_err());

        let id = CredentialId::from_bytes([1; 16]);
        let credential = Credential { id, proof, created_at: Timestamp::UNIX_EPOCH };
        let json = serde_json::to_value(&credential).unwrap();
        assert_eq!(json["type"], "certificate_fingerprint");
        assert_eq!(serde_json::from_value::<Credential>(json).unwrap(), credential);
    }

    #[test]
    fn a_subject_alternative_name_says_its_kind() {
        for good in ["uri:spiffe://example.org/storage", "dns:storage-1.example.org"] {
            assert_eq!(good.parse::<SubjectAltName>().unwrap().to_string(), good);
        }
        for bad in ["storage", "dns:*.example.org", "dns:Storage", "dns:", "uri:", "uri:x", "email:a@b", "uri:a:b c"] {
            assert!(bad.parse::<SubjectAltName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_has_one_spelling() {
        assert!("AB".repeat(32).parse::<Fingerprint>().is_err());
        assert!("ab".repeat(31).parse::<Fingerprint>().is_err());
    }
}
