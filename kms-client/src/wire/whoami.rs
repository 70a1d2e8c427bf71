//! Who the server takes the caller for, and what it may do.

use serde::{Deserialize, Serialize};

use super::{
    binding::Binding,
    key::Environment,
    name::{Person, PrincipalName, Team},
    principal::PrincipalKind,
    receipt::Revision,
};
use crate::id::{CredentialId, NodeId, PrincipalId, RecordId};

/// Who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Whoami {
    /// The principal that the credential belongs to.
    pub principal: PrincipalSummary,
    /// The credential that proved it.
    pub credential: CredentialId,
    /// Whether this installation runs with a single administrator, so that nobody checks what that one does.
    pub solo: bool,
    /// The principal's bindings, those included that have not begun or are over.
    pub bindings: Vec<Binding>,
    /// The revision that this node serves.
    pub revision: Revision,
    /// The node that answered.
    pub node: NodeId,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// The principal, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrincipalSummary {
    /// Its id.
    pub id: PrincipalId,
    /// Its name.
    pub name: PrincipalName,
    /// What it is.
    pub kind: PrincipalKind,
    /// The human being behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// Where it belongs.
    pub environment: Environment,
    /// Its team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
}
