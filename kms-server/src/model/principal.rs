//! Who may act, and how they prove who they are.

use jiff::Timestamp;
use kms_client::{
    format::record::PrincipalKind,
    id::{ClientCaId, CredentialId, IssuerId, PrincipalId},
};
use serde::{Deserialize, Serialize};

use super::{Environment, Name, Reason, Revision, Text, key::text_enum};

text_enum! {
    /// Whether a principal may act at all.
    PrincipalState {
        /// It acts within its rights.
        Active = "active",
        /// It has no rights until it is reinstated.
        Suspended = "suspended",
    }
}

/// A user, service or contractor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Its identity.
    pub id: PrincipalId,
    /// Its name, never another's.
    pub name: Name,
    /// What it is.
    pub kind: PrincipalKind,
    /// The human being behind it; services have none. Two accounts of one person count once.
    pub person: Option<Name>,
    /// For which surroundings it is meant.
    pub environment: Environment,
    /// The team it belongs to.
    pub team: Option<Name>,
    /// What it is, in words.
    pub description: Text,
    /// Whether it may act.
    pub state: PrincipalState,
    /// Why it is in this state, where somebody put it there.
    pub reason: Option<Reason>,
    /// How it proves who it is.
    pub credentials: Vec<Credential>,
    /// When it was made known.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

/// One way by which one principal proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Its identity.
    pub id: CredentialId,
    /// What it matches.
    #[serde(rename = "match")]
    pub matches: CredentialMatch,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was removed; it then matches nothing, and what it matched belongs to nobody else.
    pub removed_at: Option<Timestamp>,
}

/// What an incoming caller must show to be the credential's principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialMatch {
    /// A token of this issuer with this `sub` (RFC 7519 section 4.1.2).
    JwtSubject {
        /// The issuer.
        issuer: IssuerId,
        /// The subject.
        subject: String,
    },
    /// A client certificate under this authority with this subject alternative name, `uri:…` or `dns:…`.
    CertificateSan {
        /// The authority at the end of its chain.
        client_ca: ClientCaId,
        /// The name with its type.
        san: String,
    },
    /// Exactly one certificate, by the SHA-256 of its DER form; it must also chain to a trusted authority.
    CertificateFingerprint {
        /// Lower-case hexadecimal.
        sha256: String,
    },
}

impl Principal {
    /// Whether it may act at all.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == PrincipalState::Active
    }

    /// Its credential of this id, unless it was removed.
    #[must_use]
    pub fn credential(&self, id: CredentialId) -> Option<&Credential> {
        self.credentials.iter().find(|credential| credential.id == id && credential.removed_at.is_none())
    }
}
