//! Control changes, as they were committed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    name::Cursor,
    receipt::{Receipt, Revision},
};
use crate::id::{ChangeId, PrincipalId, RecordId};

/// One committed control change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ControlChange))]
pub struct Change {
    /// Its id, chosen before it was committed.
    pub change_id: ChangeId,
    /// The revision it made.
    pub revision: Revision,
    /// When it was committed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub committed_at: Timestamp,
    /// What kind of change it is.
    #[cfg_attr(feature = "openapi", schema(example = "revoke_key"))]
    pub kind: String,
    /// Who made it; none where the host's administrator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// What it touched, as it was, from its audit record; none where nothing was there, and in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub before: Option<serde_json::Value>,
    /// What it touched, as it became; none where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub after: Option<serde_json::Value>,
    /// How it came into force.
    pub receipt: Receipt,
}

/// Which control changes to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ChangeQuery {
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub cursor: Option<Cursor>,
}

/// A page of control changes, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeList {
    /// The changes.
    pub changes: Vec<Change>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A control change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeAnswer {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The audit record of this answer.
    pub record: RecordId,
}
