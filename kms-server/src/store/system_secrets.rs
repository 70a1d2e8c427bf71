//! The installation's own secrets, wrapped by the system key in the HSM. Versions are added, never replaced.

use jiff::Timestamp;

use super::{
    Error, Tx,
    column::{to_time, to_u32},
    tx::on,
};

/// One version of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemSecret {
    /// What it is for.
    pub label: String,
    /// Its version, from 1.
    pub version: u32,
    /// The secret, wrapped.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Tx<'_> {
    /// Adds a secret.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the version is there; else as every statement.
    pub async fn insert_secret(&mut self, secret: &SystemSecret) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO system_secrets (label, version, wrapped, created_at) VALUES ($1, $2, $3, $4)";
        let created_at = secret.created_at.as_microsecond();
        let (label, wrapped) = (secret.label.as_str(), secret.wrapped.as_slice());
        on!(self, execute SQL, label, i64::from(secret.version), wrapped, created_at)?;
        Ok(())
    }

    /// Every version of every secret, by label and version.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn secrets(&mut self) -> Result<Vec<SystemSecret>, Error> {
        const SQL: &str = "SELECT label, version, wrapped, created_at FROM system_secrets ORDER BY label, version";
        let rows: Vec<(String, i64, Vec<u8>, i64)> = on!(self, all SQL)?;
        rows.into_iter()
            .map(|(label, version, wrapped, created_at)| {
                Ok(SystemSecret {
                    label,
                    version: to_u32("system_secrets.version", version)?,
                    wrapped,
                    created_at: to_time("system_secrets.created_at", created_at)?,
                })
            })
            .collect()
    }
}
