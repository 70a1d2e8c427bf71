//! Why a server cannot start or must leave, and what to do about it.

use std::{net::SocketAddr, path::PathBuf};

use jiff::Timestamp;

use crate::{cluster, config::ConfigError, model};

/// Why a server cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Name(#[from] model::InvalidName),
    #[error("the database cannot be used: {0}")]
    Store(#[from] crate::store::Error),
    #[error("the token cannot be used: {0}")]
    Hsm(#[from] hsm::Error),
    #[error(transparent)]
    Secrets(#[from] cluster::SecretsError),
    #[error(transparent)]
    Load(#[from] cluster::LoadError),
    #[error(transparent)]
    Policy(#[from] crate::policy::Error),
    #[error(transparent)]
    Audit(#[from] crate::audit::Error),
    #[error(transparent)]
    Model(#[from] model::Error),
    #[error("there is no installation in this database; make one with `kms-server init`")]
    NotInitialised,
    #[error("the token has no `{0}`: this is another token than the installation's")]
    OtherToken(&'static str),
    #[error("the address {address} cannot be listened on: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the clock says {now}, but the newest control change was made at {newest}: time does not go back")]
    ClockBehind { now: Timestamp, newest: Timestamp },
    #[error("the folder `{}` cannot be made: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the thread that keeps the lease cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the database does not give this node a lease")]
    NoLease,
}

/// Why a server that ran is no longer fit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A task ended that was to run for as long as the server.
    #[error("the task `{0}` ended")]
    Task(&'static str),
    /// The database is another than the one it has followed.
    #[error(
        "the database has taken another course than this node has followed: an older copy was put back, or it was edited; \
         stop every node, see `kms-server doctor`, and restore the newest copy"
    )]
    Diverged,
    /// A call to the token does not return; another process may reach it.
    #[error(
        "a call to the HSM has not returned within `[key_store] stuck_limit_seconds` and cannot be cancelled; \
         see to the HSM and its connection, and start the server again"
    )]
    HsmStuck,
}

impl ServeError {
    /// What to do about it, where its own words do not say.
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Config(error) => error.advice(),
            Self::Name(_) => "choose another `[key_store] name`",
            Self::Store(error) => return store_advice(error),
            Self::Hsm(error) => return hsm_advice(error),
            Self::OtherToken(_) => "see [key_store]: name the token that the installation was made with",
            Self::Listen { .. } => "stop what listens there, or name another address in [listen]",
            Self::ClockBehind { .. } => {
                "set the clock right; only if it was ahead when that change was made, run `kms-server accept-database`"
            }
            Self::Folder { .. } => {
                "see `[database] sqlite` and `[anchor] file`: name places where the server's user may write"
            }
            Self::NoLease => "see that the database runs and answers in time",
            Self::Secrets(_) => "see to the database and the token; `kms-server doctor --config FILE` looks at both",
            Self::Load(cluster::LoadError::Join(cluster::JoinError::Disagreement { .. })) => {
                "make `[cluster]` the same on every node; to change it, stop them all first"
            }
            Self::Load(_)
            | Self::Policy(_)
            | Self::Audit(_)
            | Self::Model(_)
            | Self::NotInitialised
            | Self::Thread(_) => {
                return None;
            }
        })
    }
}

const fn store_advice(error: &crate::store::Error) -> Option<&'static str> {
    use crate::store::Error;
    Some(match error {
        Error::File { .. } => "see `[database] sqlite`: name a place where the server's user may write",
        Error::InvalidUrl => {
            "write `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full` into the file of `[database] postgres_url_file`"
        }
        Error::Connect(_) => {
            "see that the server runs, and host, user, password and database in the file of `[database] postgres_url_file`"
        }
        Error::Migration(_) => "run the program that made them, or restore a backup; see `kms-server doctor`",
        Error::Unavailable(_) | Error::TimedOut => "see that the database runs and can be reached",
        Error::OnNetwork { .. } => "name a file on a disk of this host, or use PostgreSQL",
        Error::InUse { .. }
        | Error::Claimed
        | Error::NotDurable { .. }
        | Error::ReadOnly
        | Error::AlreadyExists(_)
        | Error::Statement(_)
        | Error::Broken
        | Error::Corrupt(_)
        | Error::TooLarge(_) => return None,
    })
}

const fn hsm_advice(error: &hsm::Error) -> Option<&'static str> {
    Some(match error {
        hsm::Error::PinIncorrect | hsm::Error::PinLocked | hsm::Error::PinUnacceptable { .. } => {
            "see `[key_store] pin_file` or `pin_credential`"
        }
        hsm::Error::TokenNotFound { .. } | hsm::Error::AmbiguousToken { .. } => {
            "see `[key_store] token_label`, and for SoftHSM `softhsm_conf` or SOFTHSM2_CONF"
        }
        hsm::Error::Module { .. } => "see `[key_store] module`",
        hsm::Error::Stuck | hsm::Error::TimedOut | hsm::Error::Unavailable { .. } => {
            "see to the HSM and its connection"
        }
        _ => return None,
    })
}
