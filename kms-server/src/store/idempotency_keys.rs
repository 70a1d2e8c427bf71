//! The names under which callers asked for changes that are to be made once. A name is written in the transaction of its
//! change, so it exists exactly if the change does.

use jiff::Timestamp;
use kms_client::id::{ChangeId, PrincipalId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_time},
    tx::on,
};

/// A name, and what was asked for under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose name it is.
    pub principal: PrincipalId,
    /// The name.
    pub name: String,
    /// The digest of the request.
    pub digest: [u8; 32],
    /// The change that it became.
    pub change: ChangeId,
    /// When the name may be used for something else.
    pub expires_at: Timestamp,
}

type Columns = (Uuid, String, Vec<u8>, Uuid, i64);

impl Tx<'_> {
    /// Keeps a name, in the transaction of its change. `false` if it is in use at `now`.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn keep_idempotency_key(&mut self, key: &IdempotencyKey, now: Timestamp) -> Result<bool, Error> {
        const SQL: &str = "INSERT INTO idempotency_keys (principal, name, digest, change_id, expires_at) \
                           VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (principal, name) DO UPDATE \
                           SET digest = excluded.digest, change_id = excluded.change_id, expires_at = excluded.expires_at \
                           WHERE idempotency_keys.expires_at <= $6";
        let kept = on!(self, execute SQL,
            key.principal.uuid(),
            key.name.as_str(),
            key.digest.as_slice(),
            key.change.uuid(),
            key.expires_at.as_microsecond(),
            now.as_microsecond(),
        )?;
        Ok(kept == 1)
    }

    /// What was asked for under this name, if the name is in use at `now`.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn idempotency_key(
        &mut self,
        principal: PrincipalId,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyKey>, Error> {
        const SQL: &str = "SELECT principal, name, digest, change_id, expires_at FROM idempotency_keys \
                           WHERE principal = $1 AND name = $2 AND expires_at > $3";
        let row: Option<Columns> = on!(self, optional SQL, principal.uuid(), name, now.as_microsecond())?;
        row.map(IdempotencyKey::from_columns).transpose()
    }

    /// Forgets the names that have expired at `now`. Answers how many.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn forget_idempotency_keys(&mut self, now: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM idempotency_keys WHERE expires_at <= $1";
        on!(self, execute SQL, now.as_microsecond())
    }
}

impl IdempotencyKey {
    fn from_columns((principal, name, digest, change, expires_at): Columns) -> Result<Self, Error> {
        Ok(Self {
            principal: PrincipalId::new(principal),
            name,
            digest: to_array("idempotency_keys.digest", &digest)?,
            change: ChangeId::new(change),
            expires_at: to_time("idempotency_keys.expires_at", expires_at)?,
        })
    }
}
