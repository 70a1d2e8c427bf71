//! Whom we believe about who somebody is: token issuers and client certification authorities. Control state, never
//! configuration.

use jiff::Timestamp;
use kms_client::id::{ClientCaId, IssuerId};
use serde::{Deserialize, Serialize};

use super::{Name, Revision, key::text_enum};

text_enum! {
    /// Whether an anchor is believed.
    TrustState {
        /// It is.
        Trusted = "trusted",
        /// It was, once.
        Removed = "removed",
    }
}

/// An issuer of JSON Web Tokens (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its identity here.
    pub id: IssuerId,
    /// Its `iss`, compared exactly.
    pub issuer: String,
    /// The audiences of which a token must name one.
    pub audiences: Vec<String>,
    /// Where its keys are found.
    pub jwks: JwksSource,
    /// Whether it is believed.
    pub state: TrustState,
    /// When it was added.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

/// Where an issuer's JSON Web Key Set (RFC 7517) is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JwksSource {
    /// The set itself, as JSON text.
    Inline(String),
    /// A document that is fetched again and again.
    Url {
        /// `https:` only.
        url: String,
        /// The authority of that server's certificate in PEM; without it the public ones are believed.
        ca_pem: Option<String>,
    },
}

/// A certification authority of client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCa {
    /// Its identity here.
    pub id: ClientCaId,
    /// What people call it.
    pub name: Name,
    /// Its certificate in PEM.
    pub certificate_pem: String,
    /// Whether it is believed.
    pub state: TrustState,
    /// When it was added.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}
