//! Why a record could not be written.

use kms_client::{
    format::record::{InvalidRecord, RecordTooLong},
    id::ChangeId,
};

use crate::{model, store};

/// Why a record could not be written, or the writer not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many records wait already; this one was not taken.
    #[error("too many audit records wait to be written")]
    Overloaded,
    /// The database did not take the record, or its answer was lost.
    #[error("the audit record could not be written")]
    Unavailable,
    /// The writer has ended and writes nothing any more.
    #[error("the audit writer has stopped")]
    Stopped,
    /// The record breaks a limit of its format.
    #[error(transparent)]
    TooLong(#[from] RecordTooLong),
    /// The change has no intent: its record is in a chain already.
    #[error("the record of change {0} is in a chain already")]
    NoIntent(ChangeId),
    /// At the start: the intent of a change cannot be read.
    #[error("the intent of change {change} is damaged")]
    DamagedIntent {
        /// The change.
        change: ChangeId,
        /// What is wrong with it.
        source: InvalidRecord,
    },
    /// At the start: the HSM did not sign for this node.
    #[error("the HSM did not sign for this node's audit records")]
    Hsm(#[from] hsm::Error),
    /// At the start: the HSM's signature is not by the audit key it is trusted for.
    #[error("the audit key in the HSM is not the one that verifiers trust")]
    OtherAuditKey,
    /// At the start: no key of this node's own could be made.
    #[error("no key could be made for this node's audit records")]
    NodeKey,
    /// At the start: the database.
    #[error("the audit chain could not be begun")]
    Store(#[from] store::Error),
    /// At the start: the database refused the commit or did not answer it.
    #[error("the audit chain could not be begun")]
    Commit(#[from] store::CommitError),
}

impl From<Error> for model::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Overloaded => Self::unavailable(model::Refusal::Overloaded, error.to_string()),
            Error::Unavailable | Error::Stopped => {
                Self::unavailable(model::Refusal::AuditUnavailable, error.to_string())
            }
            Error::TooLong(_)
            | Error::NoIntent(_)
            | Error::DamagedIntent { .. }
            | Error::Hsm(_)
            | Error::OtherAuditKey
            | Error::NodeKey
            | Error::Store(_)
            | Error::Commit(_) => Self::internal(error),
        }
    }
}
