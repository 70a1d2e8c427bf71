//! Roles, and the bindings that give them to principals within a scope and a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    name::{Cursor, DataClass, Description, KeyName, PrincipalRef, Reason, RoleName},
    receipt::{Receipt, Revision},
    spelling::words,
};
use crate::id::{BindingId, PrincipalId, RecordId};

words!(
    /// A built-in role.
    Role, "role", {
        /// Creates, rotates, disables and revokes keys; never uses them.
        KeyAdmin = "key-admin",
        /// Generates and wraps data keys.
        Wrapper = "wrapper",
        /// Unwraps data keys.
        Unwrapper = "unwrapper",
        /// Wraps data keys again, without seeing them.
        Rewrapper = "rewrapper",
        /// Reads keys, bindings, changes and the audit log.
        Auditor = "auditor",
        /// Cuts a principal's access.
        Offboarder = "offboarder",
        /// Approves what needs a second person.
        Approver = "approver",
    }
);

/// What a binding is good for: `{"key": ...}`, `{"data_class": ...}` or `"all"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// One key: an id or `alias/NAME`; always the id in answers.
    Key(KeyName),
    /// All keys of one data class, and those to come.
    DataClass(DataClass),
    /// Everything.
    All,
}

/// A principal's role within a scope, from one moment until another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Binding {
    /// Its id, never reused.
    pub id: BindingId,
    /// Who has the role.
    pub principal: PrincipalId,
    /// The role, built-in or custom.
    pub role: RoleName,
    /// What it is good for.
    pub scope: Scope,
    /// When it begins.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub from: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Timestamp>,
    /// Who answers for a contractor's access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<PrincipalId>,
    /// What a contractor's access is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Description>,
    /// Whether and why it was ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// That a binding was ended by someone, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ended {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Gives a principal a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateBinding {
    /// Who gets it: an id or a name.
    pub principal: PrincipalRef,
    /// The role, built-in or custom.
    pub role: RoleName,
    /// What it is good for.
    pub scope: Scope,
    /// When it begins; now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub from: Option<Timestamp>,
    /// When it ends. Needed for a contractor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Timestamp>,
    /// Who answers for it: an active principal who is no contractor. Needed for a contractor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<PrincipalRef>,
    /// What it is for. Needed for a contractor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Description>,
}

/// Which bindings to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct BindingQuery {
    /// Only those of this principal: an id or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub principal: Option<PrincipalRef>,
    /// Only those of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub role: Option<RoleName>,
    /// Only those whose scope is this key: an id or `alias/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub key: Option<KeyName>,
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub cursor: Option<Cursor>,
}

/// A page of bindings, ordered by id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BindingList {
    /// The bindings.
    pub bindings: Vec<Binding>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A binding as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BindingAnswer {
    /// The binding.
    pub binding: Binding,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A binding after a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BindingChanged {
    /// The binding as it is now.
    pub binding: Binding,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_key_a_class_or_all() {
        let spellings = [
            (Scope::Key("alias/records".parse().unwrap()), serde_json::json!({"key": "alias/records"})),
            (Scope::DataClass("imaging".parse().unwrap()), serde_json::json!({"data_class": "imaging"})),
            (Scope::All, serde_json::json!("all")),
        ];
        for (scope, json) in spellings {
            assert_eq!(serde_json::to_value(&scope).unwrap(), json);
            assert_eq!(serde_json::from_value::<Scope>(json).unwrap(), scope);
        }
        assert!(serde_json::from_str::<Scope>(r#"{"key":"alias/a","data_class":"b"}"#).is_err());
    }
}
