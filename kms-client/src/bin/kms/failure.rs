//! How a command fails: what happened, to what, and what to do; and the exit code that a script can act on.

use std::{io, path::PathBuf, process::ExitCode};

use kms_client::{client, config, envelope, format::context::InvalidContext, wire::problem::Code};

/// Exit codes, as `kms --help` promises them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    Unavailable = 5,
    /// As a shell reports a program that an interrupt ended.
    Interrupted = 130,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Context(#[from] InvalidContext),
    #[error("{0}")]
    Usage(String),
    #[error("cannot {action} `{}`: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    #[error("cannot read from standard input: {0}")]
    Input(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("{failed} of {total} failed")]
    Some { failed: usize, total: usize, exit: Exit },
    #[error("interrupted: files that were not finished are as they were")]
    Interrupted,
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => exit_of(error),
            Self::Config(_) | Self::Context(_) | Self::Usage(_) => Exit::Usage,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            Self::File { .. } | Self::Output(_) | Self::Input(_) | Self::Runtime(_) => Exit::Failed,
            Self::Some { exit, .. } => *exit,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// The server's code, when it was the server that refused or failed.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Client(error) => error.code(),
            _ => None,
        }
    }

    /// Tells the person, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // Whoever read our output, such as `head`, has seen enough.
            return ExitCode::SUCCESS;
        }
        // A single file has told of itself.
        if !matches!(self, Self::Some { total: 1, .. }) {
            self.tell(None);
        }
        ExitCode::from(self.exit() as u8)
    }

    /// Tells the person what happened, to what, and what to do.
    pub(crate) fn tell(&self, subject: Option<&str>) {
        let subject = subject.map(|subject| format!("{subject}: ")).unwrap_or_default();
        eprintln!("kms: {subject}{self}{}", self.cause());
        let Self::Client(error) = self else { return };
        if let Some(advice) = error.advice() {
            eprintln!("  {advice}");
        }
        if let Some(problem) = error.problem() {
            eprintln!("  code {}, request {}", problem.code, problem.request_id);
        }
    }

    /// What lies below, where the message above does not say it already.
    fn cause(&self) -> String {
        match self {
            Self::Client(
                client::Error::File { source, .. }
                | client::Error::Envelope(envelope::Error::Read(source) | envelope::Error::Write(source)),
            ) => format!(": {source}"),
            Self::Client(client::Error::Decode { source, .. }) => format!(": {source}"),
            _ => String::new(),
        }
    }
}

fn exit_of(error: &client::Error) -> Exit {
    match error {
        client::Error::Problem(problem) => exit_of_code(problem.code),
        client::Error::Transport { .. }
        | client::Error::Timeout { .. }
        | client::Error::Unexpected { status: 500.., .. } => Exit::Unavailable,
        client::Error::Configuration(_) | client::Error::Context(_) => Exit::Usage,
        client::Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
        client::Error::Accepted(_)
        | client::Error::Unexpected { .. }
        | client::Error::TooLong { .. }
        | client::Error::Decode { .. }
        | client::Error::Encode(_)
        | client::Error::Envelope(_)
        | client::Error::NoPlaintext
        | client::Error::Exists(_)
        | client::Error::File { .. } => Exit::Failed,
    }
}

fn exit_of_code(code: Code) -> Exit {
    match code {
        Code::Unauthenticated | Code::NotPermitted | Code::ApprovalRequired => Exit::Refused,
        Code::NotFound => Exit::NotFound,
        Code::AuditUnavailable
        | Code::LeaseLost
        | Code::OutcomeUnknown
        | Code::RotationPending
        | Code::HsmUnavailable
        | Code::StoreUnavailable
        | Code::DiskReserve
        | Code::Interrupted
        | Code::DeadlineExceeded
        | Code::IdempotencyInProgress
        | Code::RateLimited
        | Code::Overloaded => Exit::Unavailable,
        Code::InvalidRequest
        | Code::InvalidWrappedKey
        | Code::Conflict
        | Code::RevisionMismatch
        | Code::IdempotencyKeyReused
        | Code::AlreadyExists
        | Code::KeyDisabled
        | Code::KeyRevoked
        | Code::KeyPendingDeletion
        | Code::VersionRevoked
        | Code::KeyDestroyed
        | Code::InvalidState
        | Code::InUse
        | Code::InvalidPolicy
        | Code::LastAdministrators
        | Code::SeparationOfDuties
        | Code::PlaintextSize
        | Code::ContextSize
        | Code::ContextPairs
        | Code::BodySize
        | Code::BatchSize
        | Code::Internal => Exit::Failed,
    }
}
