//! The vocabulary of refusal that every surface shares. It knows no HTTP.

use kms_client::id::ChangeId;

use super::Revision;

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credential, or one that proves nothing.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller has no right to this; for data operations also: there is no such key.
    #[error("not permitted")]
    Denied,
    /// Nothing of this name, or the caller may not know of it.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The request cannot be understood or breaks a limit.
    #[error("{detail}")]
    Invalid {
        /// What is wrong, as a stable code.
        code: Refusal,
        /// What is wrong, in words.
        detail: String,
    },
    /// The state of what is addressed does not allow this.
    #[error("{detail}")]
    Conflict {
        /// What stands in the way, as a stable code.
        code: Refusal,
        /// What stands in the way, in words.
        detail: String,
    },
    /// What was to be changed has changed since the revision that was expected.
    #[error("the object is at revision {actual} by now; look at it as it is, then try again with that revision")]
    RevisionMismatch {
        /// Its revision.
        actual: Revision,
    },
    /// A part that is needed cannot be reached now; asking again later may succeed.
    #[error("{detail}")]
    Unavailable {
        /// Which part, as a stable code.
        code: Refusal,
        /// Which part, in words.
        detail: String,
    },
    /// A control change was sent to the database and no answer came.
    #[error("the outcome of change {0} is not known; look it up by its id before trying again")]
    OutcomeUnknown(ChangeId),
    /// A fault of ours; the cause is for the log only.
    #[error("an internal error occurred")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
        /// Stable codes of refusals, the same on every surface and in audit records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)*
        }

        impl Refusal {
            /// The code as callers see it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

refusals! {
    /// The request does not have the form it must have.
    InvalidRequest = "invalid_request";
    /// A wrapped key whose form, suite, version, context or tag is wrong; which one is not said.
    InvalidWrappedKey = "invalid_wrapped_key";
    /// Plaintext of a size that is not taken.
    PlaintextSize = "plaintext_size";
    /// An encryption context with too many bytes.
    ContextSize = "context_size";
    /// An encryption context with too many pairs.
    ContextPairs = "context_pairs";
    /// A batch with no items or too many.
    BatchSize = "batch_size";
    /// A body larger than is taken.
    BodySize = "body_size";
    /// A name that is or was another's.
    AlreadyExists = "already_exists";
    /// Another change of the same object came first.
    Conflict = "conflict";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused";
    /// The first request under this idempotency key is still under way.
    IdempotencyInProgress = "idempotency_in_progress";
    /// The object's state does not allow this.
    InvalidState = "invalid_state";
    /// The key is disabled.
    KeyDisabled = "key_disabled";
    /// The key is revoked.
    KeyRevoked = "key_revoked";
    /// The version is revoked.
    VersionRevoked = "version_revoked";
    /// The key waits for its deletion.
    KeyPendingDeletion = "key_pending_deletion";
    /// The key is destroyed.
    KeyDestroyed = "key_destroyed";
    /// The change needs the approval of a second person.
    ApprovalRequired = "approval_required";
    /// Something that is in force still names this.
    InUse = "in_use";
    /// A custom policy that breaks a rule, with the place in its text.
    InvalidPolicy = "invalid_policy";
    /// The change would leave too few persons able to administer.
    LastAdministrators = "last_administrators";
    /// One person would both administer and use production keys.
    SeparationOfDuties = "separation_of_duties";
    /// The record of the operation cannot be written.
    AuditUnavailable = "audit_unavailable";
    /// This node may not answer until its lease is renewed.
    LeaseLost = "lease_lost";
    /// The primary version has wrapped as often as it may, and the next one is not there yet.
    RotationPending = "rotation_pending";
    /// The HSM does not answer.
    HsmUnavailable = "hsm_unavailable";
    /// The database does not answer.
    StoreUnavailable = "store_unavailable";
    /// The server stopped before the change was made.
    Interrupted = "interrupted";
    /// The room that is left on the disk is kept for control changes.
    DiskReserve = "disk_reserve";
    /// More work than can be taken now.
    Overloaded = "overloaded";
}

impl Error {
    /// The stable code, the same on every surface and in audit records.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Denied => "not_permitted",
            Self::NotFound(_) => "not_found",
            Self::RevisionMismatch { .. } => "revision_mismatch",
            Self::Invalid { code, .. } | Self::Conflict { code, .. } | Self::Unavailable { code, .. } => code.code(),
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Internal(_) => "internal",
        }
    }

    /// The request cannot be understood, for a reason in words.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { code: Refusal::InvalidRequest, detail: detail.into() }
    }

    /// One answer for form, suite, version, context and tag: no oracle.
    #[must_use]
    pub fn invalid_wrapped_key() -> Self {
        Self::Invalid {
            code: Refusal::InvalidWrappedKey,
            detail: "the wrapped key and its encryption context do not belong together, or one of them is damaged"
                .to_owned(),
        }
    }

    /// The state of what is addressed stands in the way.
    pub fn conflict(code: Refusal, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// A part cannot be reached now.
    pub fn unavailable(code: Refusal, detail: impl Into<String>) -> Self {
        Self::Unavailable { code, detail: detail.into() }
    }

    /// A fault of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The same refusal once more, for a second place that must state it. Sources of internal errors stay behind.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Unauthenticated(detail) => Self::Unauthenticated(detail),
            Self::Denied => Self::Denied,
            Self::NotFound(what) => Self::NotFound(what),
            Self::Invalid { code, detail } => Self::Invalid { code: *code, detail: detail.clone() },
            Self::Conflict { code, detail } => Self::Conflict { code: *code, detail: detail.clone() },
            Self::RevisionMismatch { actual } => Self::RevisionMismatch { actual: *actual },
            Self::Unavailable { code, detail } => Self::Unavailable { code: *code, detail: detail.clone() },
            Self::OutcomeUnknown(change) => Self::OutcomeUnknown(*change),
            Self::Internal(source) => Self::internal(source.to_string()),
        }
    }

    /// The key's next version is about to be made, and until then nothing is wrapped.
    #[must_use]
    pub fn rotation_pending() -> Self {
        Self::unavailable(
            Refusal::RotationPending,
            "the key's primary version may not wrap any more, and its next one is being made; try again in a moment",
        )
    }

    /// The change waits for a second person, and no way to give the approval exists yet.
    #[must_use]
    pub fn approval_required(what: &str) -> Self {
        Self::conflict(Refusal::ApprovalRequired, format!("{what} needs the approval of a second person"))
    }
}
