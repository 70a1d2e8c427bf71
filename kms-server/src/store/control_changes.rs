//! How control state came to be: one entry for each revision, each with the hash of the one before.

use jiff::Timestamp;
use kms_client::id::{ChangeId, PrincipalId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_time, to_u64},
    tx::on,
};
use crate::model::Revision;

/// One control change as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlChange {
    /// Its place.
    pub revision: Revision,
    /// Its identity, chosen before it was committed.
    pub change: ChangeId,
    /// The digest of its canonical bytes.
    pub digest: [u8; 32],
    /// Those bytes.
    pub body: String,
    /// Who asked for it; `None`: the host.
    pub principal: Option<PrincipalId>,
    /// When, by the committing node's wall clock.
    pub committed_at: Timestamp,
    /// The hash of the entry before.
    pub previous: [u8; 32],
    /// The hash of this entry.
    pub hash: [u8; 32],
    /// The digest of every control row after it.
    pub state_digest: [u8; 32],
    /// Authenticates the entry.
    pub mac: [u8; 32],
    /// The rows it made or replaced, as they are after it: JSON.
    pub rows: String,
    /// How its acknowledgement came about, once it has: JSON.
    pub receipt: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    revision: i64,
    change_id: Uuid,
    digest: Vec<u8>,
    body: String,
    principal: Option<Uuid>,
    committed_at: i64,
    previous: Vec<u8>,
    hash: Vec<u8>,
    state_digest: Vec<u8>,
    mac: Vec<u8>,
    rows: String,
    receipt: Option<String>,
}

/// A query for whole entries that ends as given.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT revision, change_id, digest, body, principal, committed_at, previous, hash, state_digest, mac, rows, \
             receipt FROM control_changes ",
            $rest
        )
    };
}

impl Tx<'_> {
    /// Adds the entry of a change.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the revision or the change id is taken; else as every statement.
    pub async fn insert_change(&mut self, change: &ControlChange) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO control_changes (revision, change_id, digest, body, principal, committed_at, \
                           previous, hash, state_digest, mac, rows, receipt) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        on!(self, execute SQL,
            to_i64(change.revision.0)?,
            change.change.uuid(),
            change.digest.as_slice(),
            change.body.as_str(),
            change.principal.map(PrincipalId::uuid),
            change.committed_at.as_microsecond(),
            change.previous.as_slice(),
            change.hash.as_slice(),
            change.state_digest.as_slice(),
            change.mac.as_slice(),
            change.rows.as_str(),
            change.receipt.as_deref(),
        )?;
        Ok(())
    }

    /// The change of this id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn change(&mut self, change: ChangeId) -> Result<Option<ControlChange>, Error> {
        const SQL: &str = select!("WHERE change_id = $1");
        let row: Option<Columns> = on!(self, optional SQL, change.uuid())?;
        row.map(ControlChange::from_columns).transpose()
    }

    /// The change that became this revision.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn change_at(&mut self, revision: Revision) -> Result<Option<ControlChange>, Error> {
        const SQL: &str = select!("WHERE revision = $1");
        let row: Option<Columns> = on!(self, optional SQL, to_i64(revision.0)?)?;
        row.map(ControlChange::from_columns).transpose()
    }

    /// The newest change.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn newest_change(&mut self) -> Result<Option<ControlChange>, Error> {
        const SQL: &str = select!("ORDER BY revision DESC LIMIT 1");
        let row: Option<Columns> = on!(self, optional SQL)?;
        row.map(ControlChange::from_columns).transpose()
    }

    /// Up to `limit` changes after `revision`, oldest first.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn changes_after(&mut self, revision: Revision, limit: u32) -> Result<Vec<ControlChange>, Error> {
        const SQL: &str = select!("WHERE revision > $1 ORDER BY revision LIMIT $2");
        let rows: Vec<Columns> = on!(self, all SQL, to_i64(revision.0)?, i64::from(limit))?;
        rows.into_iter().map(ControlChange::from_columns).collect()
    }

    /// Up to `limit` changes before `revision` (`None`: from the newest on), newest first.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn changes_before(
        &mut self,
        revision: Option<Revision>,
        limit: u32,
    ) -> Result<Vec<ControlChange>, Error> {
        const SQL: &str = select!("WHERE revision < $1 ORDER BY revision DESC LIMIT $2");
        let before = revision.map_or(Ok(i64::MAX), |revision| to_i64(revision.0))?;
        let rows: Vec<Columns> = on!(self, all SQL, before, i64::from(limit))?;
        rows.into_iter().map(ControlChange::from_columns).collect()
    }

    /// Keeps how a change was acknowledged. `false` if there is no such change or it has a receipt already.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn set_receipt(&mut self, change: ChangeId, receipt: &str) -> Result<bool, Error> {
        const SQL: &str = "UPDATE control_changes SET receipt = $1 WHERE change_id = $2 AND receipt IS NULL";
        Ok(on!(self, execute SQL, receipt, change.uuid())? == 1)
    }

    /// Up to `limit` revisions whose change stands neither in a record nor in an intent: their records were taken away.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn unrecorded_changes(&mut self, limit: u32) -> Result<Vec<Revision>, Error> {
        const SQL: &str = "SELECT revision FROM control_changes c \
                           WHERE NOT EXISTS (SELECT 1 FROM audit_records r \
                                             WHERE r.change_id = c.change_id AND r.outcome = 'allowed') \
                           AND NOT EXISTS (SELECT 1 FROM audit_intents i WHERE i.change_id = c.change_id) \
                           ORDER BY revision LIMIT $1";
        let rows: Vec<(i64,)> = on!(self, all SQL, i64::from(limit))?;
        rows.into_iter().map(|(revision,)| Ok(Revision(to_u64("control_changes.revision", revision)?))).collect()
    }
}

impl ControlChange {
    fn from_columns(row: Columns) -> Result<Self, Error> {
        Ok(Self {
            revision: Revision(to_u64("control_changes.revision", row.revision)?),
            change: ChangeId::new(row.change_id),
            digest: to_array("control_changes.digest", &row.digest)?,
            body: row.body,
            principal: row.principal.map(PrincipalId::new),
            committed_at: to_time("control_changes.committed_at", row.committed_at)?,
            previous: to_array("control_changes.previous", &row.previous)?,
            hash: to_array("control_changes.hash", &row.hash)?,
            state_digest: to_array("control_changes.state_digest", &row.state_digest)?,
            mac: to_array("control_changes.mac", &row.mac)?,
            rows: row.rows,
            receipt: row.receipt,
        })
    }
}
