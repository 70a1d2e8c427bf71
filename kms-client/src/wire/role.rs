//! Roles: those that come with Keyward, and the installation's own.

use serde::{Deserialize, Serialize};

use super::{
    binding::Role,
    name::{ActionName, Description, RoleName},
    receipt::{Receipt, Revision},
};
use crate::id::{RecordId, RoleId};

/// What a role allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleDescription {
    /// The role.
    pub name: RoleName,
    /// Whether it comes with Keyward.
    pub built_in: bool,
    /// What it is for.
    pub description: String,
    /// The actions it allows, by the names that the audit log uses.
    pub actions: Vec<String>,
    /// The id of a custom role, never reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RoleId>,
    /// The revision that last changed a custom role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// All roles, the built-in ones first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleList {
    /// All of them.
    pub roles: Vec<RoleDescription>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// Makes a role of data actions and the reading of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateRole {
    /// Its name, never to be another's.
    pub name: RoleName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it allows: data actions, `describe_key` and `list_keys`.
    pub actions: Vec<ActionName>,
}

/// Changes a role, for everybody who holds it, at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateRole {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<ActionName>>,
}

/// A role as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleAnswer {
    /// The role.
    pub role: RoleDescription,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A role after a change; as it last was, if it was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleChanged {
    /// The role as it is now.
    pub role: RoleDescription,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        Self::known(role.as_str())
    }
}
