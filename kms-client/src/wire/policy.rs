//! Custom policies: Cedar texts that permit data actions or forbid, beside the roles and guards that come with Keyward.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    name::{ActionName, Description, PolicyName},
    receipt::{Receipt, Revision},
};
use crate::id::{PolicyId, RecordId};

/// A custom policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Its id, never reused.
    pub id: PolicyId,
    /// Its name. Its statements are called `custom.NAME`, or `custom.NAME.1` and so on where there are several.
    pub name: PolicyName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// Its text, in Cedar.
    pub text: String,
    /// The number of this version, from 1.
    pub version: u32,
    /// Whether it is in force: it was not removed, and this is its newest version.
    pub in_force: bool,
    /// Its newest versions, oldest first; a hundred at most. Older ones are among the changes.
    pub versions: Vec<PolicyVersion>,
    /// When its first version was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// One version of a custom policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyVersion {
    /// Its number.
    pub version: u32,
    /// The revision that made it.
    pub revision: Revision,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// Adds a custom policy, or replaces it by a new version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutPolicy {
    /// The text, in Cedar: one statement or several, at most 65,536 bytes.
    pub text: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// Checks a text without storing it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidatePolicy {
    /// The text, in Cedar.
    pub text: String,
    /// The name it is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PolicyName>,
}

/// What a text means, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyValidated {
    /// Whether it could be put in force.
    pub valid: bool,
    /// Everything that is wrong with it.
    pub faults: Vec<PolicyFault>,
    /// What its statements are about, if it is valid.
    pub statements: Vec<PolicyStatement>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyFault {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What is wrong there.
    pub message: String,
}

/// What one statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyStatement {
    /// Its id, as audit records name it.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: String,
    /// The actions it is about.
    pub actions: Vec<ActionName>,
    /// What it looks at in a request, such as `source` or `encryption_context`.
    pub looks_at: Vec<String>,
}

/// Which version of a policy to show.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct PolicyQuery {
    /// The version; the newest unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The custom policies in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyList {
    /// The policies, ordered by id; at most 200.
    pub policies: Vec<PolicySummary>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A custom policy, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicySummary {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: PolicyName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// The number of its version in force.
    pub version: u32,
    /// How many bytes its text has.
    pub bytes: u32,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// A policy as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyAnswer {
    /// The policy.
    pub policy: Policy,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A policy after a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyChanged {
    /// The policy as it is now.
    pub policy: Policy,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}
