//! Records of control changes that are committed but not yet in a chain. A change writes its intent in its own transaction;
//! the audit writer moves it into the chain, also for a node that did not live to do so.

use kms_client::id::{ChangeId, NodeId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_i64, to_u64},
    tx::on,
};
use crate::model::Revision;

/// The record of a committed change, before it has its place in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditIntent {
    /// The change.
    pub change: ChangeId,
    /// The node that committed it.
    pub node: NodeId,
    /// What the change became.
    pub revision: Revision,
    /// The record, by `audit::Draft::to_bytes`.
    pub record: Vec<u8>,
}

type Columns = (Uuid, Uuid, i64, Vec<u8>);

impl Tx<'_> {
    /// Leaves an intent, in the transaction of its change.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the change has one; else as every statement.
    pub async fn insert_intent(&mut self, intent: &AuditIntent) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO audit_intents (change_id, node, revision, record) VALUES ($1, $2, $3, $4)";
        let (change, node) = (intent.change.uuid(), intent.node.uuid());
        on!(self, execute SQL, change, node, to_i64(intent.revision.0)?, intent.record.as_slice())?;
        Ok(())
    }

    /// Takes an intent away, in the transaction that puts its record into a chain. `false` if there is none.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn delete_intent(&mut self, change: ChangeId) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM audit_intents WHERE change_id = $1";
        Ok(on!(self, execute SQL, change.uuid())? == 1)
    }

    /// Up to `limit` intents by revision: the oldest.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn intents(&mut self, limit: u32) -> Result<Vec<AuditIntent>, Error> {
        const SQL: &str = "SELECT change_id, node, revision, record FROM audit_intents ORDER BY revision LIMIT $1";
        let rows: Vec<Columns> = on!(self, all SQL, i64::from(limit))?;
        rows.into_iter().map(AuditIntent::from_columns).collect()
    }

    /// Up to `limit` intents, the oldest, of nodes that are no members any more.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn orphaned_intents(&mut self, limit: u32) -> Result<Vec<AuditIntent>, Error> {
        const SQL: &str = "SELECT change_id, node, revision, record FROM audit_intents \
                           WHERE node NOT IN (SELECT node FROM members) ORDER BY revision LIMIT $1";
        let rows: Vec<Columns> = on!(self, all SQL, i64::from(limit))?;
        rows.into_iter().map(AuditIntent::from_columns).collect()
    }
}

impl AuditIntent {
    fn from_columns((change, node, revision, record): Columns) -> Result<Self, Error> {
        Ok(Self {
            change: ChangeId::new(change),
            node: NodeId::new(node),
            revision: Revision(to_u64("audit_intents.revision", revision)?),
            record,
        })
    }
}
