//! Changes that their caller does not wait for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{change::Change, problem::Problem, spelling::words};
use crate::id::{ChangeId, PrincipalId, RecordId};

words!(
    /// How far an accepted change has come.
    OperationState, "state of an operation", {
        /// It is being made.
        Running = "running",
        /// It is made, and in force.
        Succeeded = "succeeded",
        /// It was not made.
        Failed = "failed",
        /// It was sent to the database and no answer came; it is known as soon as the database answers.
        Unknown = "unknown",
    }
);

/// A change that was accepted to be made while its caller does not wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    /// The change, which is there if it is made.
    pub change_id: ChangeId,
    /// What kind of change it is.
    #[cfg_attr(feature = "openapi", schema(example = "rotate_key"))]
    pub kind: String,
    /// Who asked for it.
    pub principal: PrincipalId,
    /// How far it has come.
    pub state: OperationState,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub accepted_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished_at: Option<Timestamp>,
    /// The change with its receipt and what it made, once it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Why it was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// One operation as answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationAnswer {
    /// The operation.
    pub operation: Operation,
    /// The audit record of this answer.
    pub record: RecordId,
}
