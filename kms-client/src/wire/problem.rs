//! Errors: RFC 9457 problem details, with a code that does not change.

use serde::{Deserialize, Serialize};

use super::{receipt::Revision, spelling::words};
use crate::id::{ChangeId, RecordId, RequestId};

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The header that names the request in every answer.
pub const REQUEST_ID_HEADER: &str = "keyward-request-id";

words!(
    /// What went wrong. Codes are never renamed; new ones may be added.
    Code, "error code", {
        /// The request does not have the form this operation takes.
        InvalidRequest = "invalid_request",
        /// The wrapped key was altered, belongs elsewhere, or the encryption context is not the one it was wrapped with.
        InvalidWrappedKey = "invalid_wrapped_key",
        /// No credential, or one that is not accepted.
        Unauthenticated = "unauthenticated",
        /// The caller may not do this; or, for an operation on data keys, there is no such key.
        NotPermitted = "not_permitted",
        /// There is no such thing, or the caller may not know that there is.
        NotFound = "not_found",
        /// What the change touches is not in the state that the change expects.
        Conflict = "conflict",
        /// What was to be changed has changed since the revision that was expected; `revision` is its revision now.
        RevisionMismatch = "revision_mismatch",
        /// The idempotency key was used for another request.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// The first request under this idempotency key is still under way.
        IdempotencyInProgress = "idempotency_in_progress",
        /// The name or credential is, or was, another's. Names are never reused.
        AlreadyExists = "already_exists",
        /// This needs a second person's approval.
        ApprovalRequired = "approval_required",
        /// The key is disabled.
        KeyDisabled = "key_disabled",
        /// The key is revoked.
        KeyRevoked = "key_revoked",
        /// The key waits for its destruction.
        KeyPendingDeletion = "key_pending_deletion",
        /// The version of the key that this was wrapped with is revoked.
        VersionRevoked = "version_revoked",
        /// The key, or the version of it that this was wrapped with, is destroyed.
        KeyDestroyed = "key_destroyed",
        /// What this is about is in a state in which it cannot be done.
        InvalidState = "invalid_state",
        /// Something in force still names it: end that first.
        InUse = "in_use",
        /// The custom policy breaks a rule; the detail says which, at which line and column.
        InvalidPolicy = "invalid_policy",
        /// The change would leave too few persons able to administer.
        LastAdministrators = "last_administrators",
        /// One person would both administer and use the same production keys.
        SeparationOfDuties = "separation_of_duties",
        /// The plaintext is empty or too long, or more bytes were asked for than are given at once.
        PlaintextSize = "plaintext_size",
        /// The encryption context is too long.
        ContextSize = "context_size",
        /// The encryption context has too many pairs.
        ContextPairs = "context_pairs",
        /// The body of the request is too long.
        BodySize = "body_size",
        /// The batch is empty or has too many items.
        BatchSize = "batch_size",
        /// The audit record could not be written, so nothing was done.
        AuditUnavailable = "audit_unavailable",
        /// This node may not answer now: it could not show that it serves the newest revision.
        LeaseLost = "lease_lost",
        /// The change may or may not have been committed: look it up by its change id.
        OutcomeUnknown = "outcome_unknown",
        /// The key's primary version has wrapped as often as it may, and its next one is being made.
        RotationPending = "rotation_pending",
        /// The key store does not answer.
        HsmUnavailable = "hsm_unavailable",
        /// The database does not answer.
        StoreUnavailable = "store_unavailable",
        /// The server stopped before the change that it had accepted was made.
        Interrupted = "interrupted",
        /// The server's disk is almost full; what is left is kept for control changes.
        DiskReserve = "disk_reserve",
        /// The request did not arrive, or could not be answered, in the time that one request may take.
        DeadlineExceeded = "deadline_exceeded",
        /// The caller asks more often than one may, or has too many requests under way.
        RateLimited = "rate_limited",
        /// Too many requests at once.
        Overloaded = "overloaded",
        /// A fault of the server's own.
        Internal = "internal",
    }
);

impl Code {
    /// The HTTP status that carries it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::InvalidWrappedKey
            | Self::PlaintextSize
            | Self::ContextSize
            | Self::ContextPairs
            | Self::InvalidPolicy
            | Self::BatchSize => 400,
            Self::Unauthenticated => 401,
            Self::NotPermitted | Self::ApprovalRequired => 403,
            Self::NotFound => 404,
            Self::Conflict
            | Self::IdempotencyKeyReused
            | Self::IdempotencyInProgress
            | Self::AlreadyExists
            | Self::KeyDisabled
            | Self::KeyRevoked
            | Self::KeyPendingDeletion
            | Self::VersionRevoked
            | Self::KeyDestroyed
            | Self::InvalidState
            | Self::InUse
            | Self::LastAdministrators
            | Self::SeparationOfDuties => 409,
            Self::RevisionMismatch => 412,
            Self::BodySize => 413,
            Self::RateLimited | Self::Overloaded => 429,
            Self::Internal => 500,
            Self::AuditUnavailable
            | Self::LeaseLost
            | Self::OutcomeUnknown
            | Self::RotationPending
            | Self::HsmUnavailable
            | Self::StoreUnavailable
            | Self::DiskReserve
            | Self::Interrupted
            | Self::DeadlineExceeded => 503,
        }
    }

    /// The title: the same words for every problem of this code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid request",
            Self::InvalidWrappedKey => "invalid wrapped key",
            Self::Unauthenticated => "not authenticated",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::RevisionMismatch => "revision mismatch",
            Self::IdempotencyKeyReused => "idempotency key reused",
            Self::IdempotencyInProgress => "idempotent request in progress",
            Self::AlreadyExists => "already exists",
            Self::ApprovalRequired => "approval required",
            Self::KeyDisabled => "key disabled",
            Self::KeyRevoked => "key revoked",
            Self::KeyPendingDeletion => "key pending deletion",
            Self::VersionRevoked => "key version revoked",
            Self::KeyDestroyed => "key destroyed",
            Self::InvalidState => "not possible in this state",
            Self::InUse => "in use",
            Self::InvalidPolicy => "invalid policy",
            Self::LastAdministrators => "last administrators",
            Self::SeparationOfDuties => "separation of duties",
            Self::PlaintextSize => "plaintext of the wrong size",
            Self::ContextSize => "encryption context too long",
            Self::ContextPairs => "encryption context of too many pairs",
            Self::BodySize => "body too long",
            Self::BatchSize => "batch of the wrong size",
            Self::AuditUnavailable => "audit unavailable",
            Self::LeaseLost => "lease lost",
            Self::OutcomeUnknown => "outcome unknown",
            Self::RotationPending => "rotation pending",
            Self::HsmUnavailable => "key store unavailable",
            Self::StoreUnavailable => "database unavailable",
            Self::DiskReserve => "disk reserve",
            Self::Interrupted => "interrupted",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::RateLimited => "rate limited",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal error",
        }
    }

    /// The problem type: a URN that names the code.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:keyward:error:{self}")
    }
}

/// What went wrong (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:keyward:error:` and the code.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "urn:keyward:error:not_permitted"))]
    pub problem_type: String,
    /// The same words for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, to what, and what to do.
    pub detail: String,
    /// What went wrong, for programs.
    pub code: Code,
    /// The request, across all the records it left.
    pub request_id: RequestId,
    /// The audit record of the refusal or failure, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// The control change whose outcome is unknown, or that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<ChangeId>,
    /// The revision of what was to be changed, where another was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

impl Problem {
    /// A problem of this code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>, request_id: RequestId) -> Self {
        Self {
            problem_type: code.urn(),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id,
            record: None,
            change_id: None,
            revision: None,
        }
    }

    /// The same, with the audit record of it.
    #[must_use]
    pub fn with_record(self, record: RecordId) -> Self {
        Self { record: Some(record), ..self }
    }

    /// The same, with the control change it is about.
    #[must_use]
    pub fn with_change(self, change_id: ChangeId) -> Self {
        Self { change_id: Some(change_id), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_rfc_9457() {
        let problem = Problem::new(Code::KeyRevoked, "the key is revoked", RequestId::from_bytes([1; 16]));
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:keyward:error:key_revoked",
                "title": "key revoked",
                "status": 409,
                "detail": "the key is revoked",
                "code": "key_revoked",
                "request_id": "01010101-0101-0101-0101-010101010101",
            })
        );
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn codes_are_the_words_of_their_json() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }
}
