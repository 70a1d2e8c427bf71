//! What a change would do, seen before it is made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    binding::CreateBinding,
    explain::Finding,
    name::{ActionName, DataClass, KeyName, PolicyName, PrincipalName, PrincipalRef, RoleName},
    receipt::Revision,
};
use crate::id::{BindingId, CredentialId, KeyId, PrincipalId, RecordId};

/// Asks what a change would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewChange {
    /// The change. It is not made.
    pub change: PreviewedChange,
    /// Of how many past days recorded operations are judged anew: 0 to 90; 7 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// A change that decides access, by its `type`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PreviewedChange {
    /// Adds or replaces a custom policy.
    PutPolicy {
        /// Its name.
        name: PolicyName,
        /// Its text.
        text: String,
    },
    /// Takes a custom policy out of force.
    RemovePolicy {
        /// Its name.
        name: PolicyName,
    },
    /// Changes what a custom role allows.
    UpdateRole {
        /// The role.
        role: RoleName,
        /// What it would allow.
        actions: Vec<ActionName>,
    },
    /// Takes a custom role out of use.
    RemoveRole {
        /// The role.
        role: RoleName,
    },
    /// Gives a principal a role.
    CreateBinding {
        /// The binding.
        binding: CreateBinding,
    },
    /// Takes a role away.
    EndBinding {
        /// The binding.
        binding: BindingId,
    },
    /// Cuts all access of a principal.
    SuspendPrincipal {
        /// Who: an id or a name.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        principal: PrincipalRef,
    },
    /// Takes a credential away.
    RemoveCredential {
        /// Whose: an id or a name.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        principal: PrincipalRef,
        /// Which.
        credential: CredentialId,
    },
    /// Suspends a key.
    DisableKey {
        /// Which: an id or `alias/NAME`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        key: KeyName,
    },
    /// Revokes a key.
    RevokeKey {
        /// Which: an id or `alias/NAME`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        key: KeyName,
    },
}

/// What the change would do. Nothing was changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preview {
    /// What principals could do afterwards and cannot now, or the other way round; the first 1,000.
    pub effects: Vec<Effect>,
    /// How many there are, as far as was looked.
    pub effects_total: u64,
    /// Whether there was more to look at than is looked at in one answer, so that effects may be missing.
    pub effects_truncated: bool,
    /// What would have become of operations that were allowed.
    pub past: Past,
    /// The revision that this is judged by.
    pub revision: Revision,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// One thing that one principal would gain or lose. `denied` before or after means: under no circumstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Effect {
    /// Who.
    pub principal: PrincipalId,
    /// Its name.
    pub name: PrincipalName,
    /// What.
    pub action: ActionName,
    /// With which key, where the action is done with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// For which data class, where the action makes a key of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<DataClass>,
    /// How it is now.
    pub before: Finding,
    /// How it would be.
    pub after: Finding,
}

/// Recorded operations on data, judged anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Past {
    /// How many were looked at.
    pub examined: u64,
    /// How many of them would have been refused.
    pub refused: u64,
    /// How many depend on what records do not hold, such as the encryption context.
    pub undetermined: u64,
    /// Whether there were more than are looked at in one answer; the newest were.
    pub truncated: bool,
    /// Those that would have been refused, put together; the first 100.
    pub by: Vec<PastRefusals>,
}

/// Operations of one kind that would have been refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PastRefusals {
    /// Whose.
    pub principal: PrincipalId,
    /// What.
    pub action: ActionName,
    /// With which key.
    pub key: KeyId,
    /// How many.
    pub count: u64,
    /// The newest of them.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last: Timestamp,
}
