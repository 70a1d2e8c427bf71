//! What an installation begins with: its identity, and the two objects in the HSM that everything else hangs on.

use hsm::{Canary, ObjectId, PublicKey};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, Tx, column::to_time, tx::on};

/// The roots of an installation; there is one row, which never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmRoots {
    /// The installation's identity.
    pub installation: Uuid,
    /// The key that wraps the installation's own secrets.
    pub system_object: ObjectId,
    /// Proves that it is still that key.
    pub system_canary: Canary,
    /// The key that signs for the audit log.
    pub audit_object: ObjectId,
    /// What verifies its signatures.
    pub audit_public_key: PublicKey,
    /// When they were made.
    pub created_at: Timestamp,
}

type Columns = (Uuid, Uuid, Vec<u8>, Uuid, String, i64);

impl Tx<'_> {
    /// Keeps the roots.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if there are some; else as every statement.
    pub async fn insert_roots(&mut self, roots: &HsmRoots) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO hsm_roots (one, installation, system_object, system_canary, audit_object, \
                           audit_public_key, created_at) VALUES (1, $1, $2, $3, $4, $5, $6)";
        let public_key =
            serde_json::to_string(&roots.audit_public_key).map_err(|_| Error::Corrupt("hsm_roots.audit_public_key"))?;
        on!(self, execute SQL,
            roots.installation,
            Uuid::from_bytes(*roots.system_object.as_bytes()),
            roots.system_canary.as_bytes(),
            Uuid::from_bytes(*roots.audit_object.as_bytes()),
            public_key.as_str(),
            roots.created_at.as_microsecond(),
        )?;
        Ok(())
    }

    /// The roots; `None` before the installation was made.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn roots(&mut self) -> Result<Option<HsmRoots>, Error> {
        const SQL: &str = "SELECT installation, system_object, system_canary, audit_object, audit_public_key, created_at \
                           FROM hsm_roots";
        let row: Option<Columns> = on!(self, optional SQL)?;
        row.map(|(installation, system_object, system_canary, audit_object, audit_public_key, created_at)| {
            Ok(HsmRoots {
                installation,
                system_object: ObjectId::new(system_object.into_bytes()),
                system_canary: Canary::from_bytes(&system_canary),
                audit_object: ObjectId::new(audit_object.into_bytes()),
                audit_public_key: serde_json::from_str(&audit_public_key)
                    .map_err(|_| Error::Corrupt("hsm_roots.audit_public_key"))?,
                created_at: to_time("hsm_roots.created_at", created_at)?,
            })
        })
        .transpose()
    }
}
