//! How much of a key's waiting period was really observed. What is stored decides nothing by itself: its tag does not fit
//! unless a node wrote it, and an older one only makes a key wait longer.

use std::time::Duration;

use jiff::Timestamp;
use kms_client::id::{KeyId, NodeId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_time, to_u64},
    tx::on,
};
use crate::model::Revision;

/// One key's wait, as far as it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionWatch {
    /// The key.
    pub key: KeyId,
    /// The revision since which it counts.
    pub basis: Revision,
    /// The node that observes.
    pub node: NodeId,
    /// How much it has observed, with those before it; whole microseconds.
    pub observed: Duration,
    /// When it last did, by cluster time.
    pub seen_at: Timestamp,
    /// What shows that a node wrote this.
    pub mac: [u8; 32],
}

impl Tx<'_> {
    /// The watch over a key.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn deletion_watch(&mut self, key: KeyId) -> Result<Option<DeletionWatch>, Error> {
        const SQL: &str = "SELECT basis, node, observed, seen_at, mac FROM deletion_watches WHERE key_id = $1";
        let row: Option<(i64, Uuid, i64, i64, Vec<u8>)> = on!(self, optional SQL, key.uuid())?;
        row.map(|(basis, node, observed, seen_at, mac)| {
            Ok(DeletionWatch {
                key,
                basis: Revision(to_u64("deletion_watches.basis", basis)?),
                node: NodeId::new(node),
                observed: Duration::from_micros(to_u64("deletion_watches.observed", observed)?),
                seen_at: to_time("deletion_watches.seen_at", seen_at)?,
                mac: to_array("deletion_watches.mac", &mac)?,
            })
        })
        .transpose()
    }

    /// Puts a watch in the place of another, known by its tag; of none: only if there is none. `false` if it was not there.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn put_deletion_watch(&mut self, watch: &DeletionWatch, older: Option<&[u8; 32]>) -> Result<bool, Error> {
        const FIRST: &str = "INSERT INTO deletion_watches (key_id, basis, node, observed, seen_at, mac) \
                             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key_id) DO NOTHING";
        const NEXT: &str = "UPDATE deletion_watches SET basis = $2, node = $3, observed = $4, seen_at = $5, mac = $6 \
                            WHERE key_id = $1 AND mac = $7";
        let micros = u64::try_from(watch.observed.as_micros()).unwrap_or(u64::MAX);
        let (key, basis, node) = (watch.key.uuid(), to_i64(watch.basis.0)?, watch.node.uuid());
        let (observed, seen_at, mac) = (to_i64(micros)?, watch.seen_at.as_microsecond(), watch.mac.as_slice());
        let put = match older {
            None => on!(self, execute FIRST, key, basis, node, observed, seen_at, mac)?,
            Some(older) => on!(self, execute NEXT, key, basis, node, observed, seen_at, mac, older.as_slice())?,
        };
        Ok(put == 1)
    }

    /// Forgets the watch over a key.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn delete_deletion_watch(&mut self, key: KeyId) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM deletion_watches WHERE key_id = $1";
        on!(self, execute SQL, key.uuid())?;
        Ok(())
    }
}
