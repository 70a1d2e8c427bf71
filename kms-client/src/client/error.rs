//! Why a call failed, in words for the person who has to do something about it.

use std::{error::Error as StdError, io, path::PathBuf};

use crate::{
    config, envelope,
    format::context::InvalidContext,
    id::ChangeId,
    wire::{
        operation::Operation,
        problem::{Code, Problem},
    },
};

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused or failed, and says why.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<Problem>),
    /// The server, or something between, answered what is no answer of Keyward's.
    #[error("{url} answered status {status} without saying why: is it a Keyward server?")]
    Unexpected {
        /// Where the answer came from.
        url: String,
        /// Its HTTP status.
        status: u16,
    },
    /// The change was accepted and is being made: see [`Client::without_waiting`](super::Client::without_waiting).
    #[error("accepted, and being made: change {}", .0.change_id)]
    Accepted(Box<Operation>),
    /// The server could not be reached, or the connection broke.
    #[error("cannot reach {url}: {}", innermost(.source))]
    Transport {
        /// Where to.
        url: String,
        /// What happened.
        source: Box<reqwest::Error>,
    },
    /// No answer in time.
    #[error("no answer from {url} in time")]
    Timeout {
        /// Where from.
        url: String,
    },
    /// The answer is longer than any answer to this may be.
    #[error("the answer of {url} is too long")]
    TooLong {
        /// Where from.
        url: String,
    },
    /// The answer is not what this version of the client expects.
    #[error("cannot make sense of the answer of {url}: is the server older or newer than this client?")]
    Decode {
        /// Where from.
        url: String,
        /// What is wrong with it. It never quotes a secret.
        source: serde_json::Error,
    },
    /// The request could not be written down.
    #[error("cannot write the request as JSON")]
    Encode(#[source] serde_json::Error),
    /// The client was described badly.
    #[error(transparent)]
    Configuration(#[from] config::Error),
    /// An encryption context that breaks a rule.
    #[error(transparent)]
    Context(#[from] InvalidContext),
    /// A stream could not be encrypted or decrypted.
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    /// The server answered a generated key without what was asked for.
    #[error("the server answered no plaintext data key")]
    NoPlaintext,
    /// A file is there already, and was to be kept.
    #[error("`{}` is there already", .0.display())]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl Error {
    /// The code, when it was the server that refused or failed.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }

    /// The server's own account, when there is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Accepted(_)
            | Self::Unexpected { .. }
            | Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::TooLong { .. }
            | Self::Decode { .. }
            | Self::Encode(_)
            | Self::Configuration(_)
            | Self::Context(_)
            | Self::Envelope(_)
            | Self::NoPlaintext
            | Self::Exists(_)
            | Self::File { .. } => None,
        }
    }

    /// The control change whose outcome is not known, by which to look it up.
    #[must_use]
    pub fn unknown_change(&self) -> Option<ChangeId> {
        self.problem().filter(|problem| problem.code == Code::OutcomeUnknown).and_then(|problem| problem.change_id)
    }

    /// The TLS error below, if it was one.
    #[must_use]
    pub(crate) fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Transport { source, .. } => causes(source.as_ref()).find_map(as_tls),
            _ => None,
        }
    }

    /// What to do about it, where the error itself does not say.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        if let Some(change) = self.unknown_change() {
            return Some(format!("look it up before you try again: kms change show {change}"));
        }
        let advice = match self {
            Self::Problem(problem) => return advice_for(problem.code).map(str::to_owned),
            Self::Transport { .. } => match self.tls() {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    "set KMS_CA_FILE (or --ca-file) to the certificate of the CA that signed the server's, and check the \
                     host name in KMS_URL"
                }
                Some(rustls::Error::AlertReceived(_)) => {
                    "the server refused the TLS connection: check KMS_CERT_FILE and KMS_KEY_FILE, if it takes certificates"
                }
                Some(_) => "check that KMS_URL is the address of the API, which speaks TLS 1.3 only",
                None => "check KMS_URL (or --url), and that the server runs",
            },
            Self::Timeout { .. } => "try again; if it was a change, look first whether it was made: kms change list",
            Self::Accepted(operation) => {
                return Some(format!("ask what became of it: kms operation wait {}", operation.change_id));
            }
            Self::Exists(_) => "give --force to replace it, or --out to write elsewhere",
            Self::Envelope(envelope::Error::NotEncrypted) => "give a file that `kms encrypt` made",
            Self::Unexpected { .. }
            | Self::TooLong { .. }
            | Self::Decode { .. }
            | Self::Encode(_)
            | Self::Configuration(_)
            | Self::Context(_)
            | Self::Envelope(_)
            | Self::NoPlaintext
            | Self::File { .. } => return None,
        };
        Some(advice.to_owned())
    }
}

fn advice_for(code: Code) -> Option<&'static str> {
    match code {
        Code::Unauthenticated => {
            Some("check KMS_TOKEN, KMS_TOKEN_FILE, or KMS_CERT_FILE and KMS_KEY_FILE: the token may have expired")
        }
        Code::NotPermitted => Some("see what you may do: kms whoami; and why not this: kms explain"),
        Code::NotFound => Some("check the name; what you may not see looks the same as what is not there"),
        Code::InvalidWrappedKey => Some("give the same encryption context as when it was wrapped, to the letter"),
        Code::KeyPendingDeletion => Some("a key admin can keep it: kms key cancel-deletion"),
        Code::KeyDisabled => Some("a key admin can enable it: kms key enable"),
        Code::Conflict | Code::RevisionMismatch => Some("look at it as it is now, then try again"),
        Code::IdempotencyKeyReused => Some("give each request an idempotency key of its own"),
        Code::InUse => Some("end the bindings that give it: kms binding list, kms binding end"),
        Code::InvalidPolicy => Some("see everything that is wrong with it: kms policy validate"),
        Code::OutcomeUnknown => Some("look whether it was made before you try again: kms change list"),
        Code::AuditUnavailable
        | Code::LeaseLost
        | Code::RotationPending
        | Code::HsmUnavailable
        | Code::StoreUnavailable
        | Code::DiskReserve
        | Code::Interrupted
        | Code::DeadlineExceeded
        | Code::IdempotencyInProgress
        | Code::RateLimited
        | Code::Overloaded => Some("nothing was done; try again in a moment"),
        Code::Internal => Some("tell the server's operator the request id: its log says more"),
        Code::InvalidRequest
        | Code::AlreadyExists
        | Code::ApprovalRequired
        | Code::KeyRevoked
        | Code::VersionRevoked
        | Code::KeyDestroyed
        | Code::InvalidState
        | Code::LastAdministrators
        | Code::SeparationOfDuties
        | Code::PlaintextSize
        | Code::ContextSize
        | Code::ContextPairs
        | Code::BodySize
        | Code::BatchSize => None,
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        // `source` of an I/O error skips the error that it wraps.
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn as_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref()
}

/// The layers above say no more than that a request failed.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}
