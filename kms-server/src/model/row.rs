//! Control state as rows: what is stored, authenticated and carried from node to node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Binding, ClientCa, CustomPolicy, CustomRole, Installation, Issuer, Key, Principal, Revision, key::text_enum,
};

text_enum! {
    /// What a row is about.
    RowKind {
        /// The installation; there is one.
        Installation = "installation",
        /// A key with its versions.
        Key = "key",
        /// A principal with its credentials.
        Principal = "principal",
        /// A binding.
        Binding = "binding",
        /// A token issuer.
        Issuer = "issuer",
        /// A client certification authority.
        ClientCa = "client_ca",
        /// A custom policy.
        Policy = "policy",
        /// A custom role.
        Role = "role",
    }
}

/// One object of control state, whole. Rows are replaced, never deleted: ids and names are not used twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// The installation.
    Installation(Arc<Installation>),
    /// A key.
    Key(Arc<Key>),
    /// A principal.
    Principal(Arc<Principal>),
    /// A binding.
    Binding(Arc<Binding>),
    /// A token issuer.
    Issuer(Arc<Issuer>),
    /// A client certification authority.
    ClientCa(Arc<ClientCa>),
    /// A custom policy.
    Policy(Arc<CustomPolicy>),
    /// A custom role.
    Role(Arc<CustomRole>),
}

impl Row {
    /// What the row is about.
    #[must_use]
    pub const fn kind(&self) -> RowKind {
        match self {
            Self::Installation(_) => RowKind::Installation,
            Self::Key(_) => RowKind::Key,
            Self::Principal(_) => RowKind::Principal,
            Self::Binding(_) => RowKind::Binding,
            Self::Issuer(_) => RowKind::Issuer,
            Self::ClientCa(_) => RowKind::ClientCa,
            Self::Policy(_) => RowKind::Policy,
            Self::Role(_) => RowKind::Role,
        }
    }

    /// The object's identity within its kind.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Installation(row) => row.id,
            Self::Key(row) => row.id.uuid(),
            Self::Principal(row) => row.id.uuid(),
            Self::Binding(row) => row.id.uuid(),
            Self::Issuer(row) => row.id.uuid(),
            Self::ClientCa(row) => row.id.uuid(),
            Self::Policy(row) => row.id.uuid(),
            Self::Role(row) => row.id.uuid(),
        }
    }

    /// The newest change that touched the object.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Installation(row) => row.revision,
            Self::Key(row) => row.revision,
            Self::Principal(row) => row.revision,
            Self::Binding(row) => row.revision,
            Self::Issuer(row) => row.revision,
            Self::ClientCa(row) => row.revision,
            Self::Policy(row) => row.revision,
            Self::Role(row) => row.revision,
        }
    }
}
