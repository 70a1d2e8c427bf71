//! Who may do what, and why: asked without doing it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    binding::Binding,
    context::ContextPairs,
    key::{Environment, KeyState},
    name::{ActionName, Cursor, DataClass, KeyName, PrincipalName, PrincipalRef, Region},
    principal::PrincipalKind,
    receipt::Revision,
    spelling::words,
};
use crate::id::{KeyId, KeyVersion, PrincipalId, RecordId};

words!(
    /// What would become of a request.
    Finding, "finding", {
        /// It would be permitted.
        Allowed = "allowed",
        /// It would be refused.
        Denied = "denied",
        /// It depends on what was not said: see `depends_on`.
        Conditional = "conditional",
    }
);

/// Asks whether something would be permitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explain {
    /// Who would ask: an id or a name; oneself unless given. Others are for auditors and key admins to ask about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub principal: Option<PrincipalRef>,
    /// What for.
    pub action: ActionName,
    /// With which key: an id or `alias/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key: Option<KeyName>,
    /// For `create_key`: what the key would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_key: Option<ExplainedNewKey>,
    /// With which encryption context; one that is not given is not known, `{}` has no pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextPairs>,
    /// From where. Not known unless given; for oneself, from where one asks now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub source: Option<IpAddr>,
    /// How the token's issuer would say that the caller was authenticated: `amr`. Not known unless given; for oneself, as
    /// one is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<String>>,
    /// The same: `acr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// When; now unless given. Control state is always that of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub at: Option<Timestamp>,
}

/// A key about to be created.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedNewKey {
    /// Its data class.
    pub data_class: DataClass,
    /// Its region; the node's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its environment; production unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
}

/// What would become of it, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Who would ask.
    pub principal: PrincipalId,
    /// What for.
    pub action: ActionName,
    /// What policy would say.
    pub decision: Finding,
    /// Why not, as the audit log would say it: `no_right`, a guard such as `guard.region`, `forbidden_by_policy`,
    /// `principal_suspended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policies that decide, or that may.
    pub policies: Vec<String>,
    /// The principal's bindings that give the right.
    pub bindings: Vec<Binding>,
    /// What a conditional answer depends on, such as `encryption_context` or `source`.
    pub depends_on: Vec<String>,
    /// The key, if the caller may know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ExplainedKey>,
    /// The revision that this is judged by.
    pub revision: Revision,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// The key of an explanation. Policy may permit what its state does not allow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainedKey {
    /// Its id.
    pub id: KeyId,
    /// Its state.
    pub state: KeyState,
    /// Its primary version.
    pub primary_version: KeyVersion,
    /// The error that a data operation would meet although it is permitted, such as `key_disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

/// Who can do what with a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct AccessQuery {
    /// The action, such as `unwrap`.
    #[cfg_attr(feature = "openapi", param(value_type = String))]
    pub action: ActionName,
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub cursor: Option<Cursor>,
}

/// A page of those who can, ordered by id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessList {
    /// Those who can, or can under a condition.
    pub access: Vec<Access>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// One principal who can.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Access {
    /// Who.
    pub principal: PrincipalId,
    /// Its name.
    pub name: PrincipalName,
    /// What it is.
    pub kind: PrincipalKind,
    /// `allowed`, or `conditional`.
    pub decision: Finding,
    /// By which bindings.
    pub bindings: Vec<Binding>,
    /// By which policies.
    pub policies: Vec<String>,
    /// What a conditional answer depends on.
    pub depends_on: Vec<String>,
}
