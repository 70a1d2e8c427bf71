//! What authenticates the rows of one snapshot: the tag of each, and their sum. Copies share what did not change.

use uuid::Uuid;

use super::authentication::{RowKey, RowSum};
use crate::model::{Error, Revision, Row, RowKind};

/// The tag of every row, and their sum.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    tags: imbl::HashMap<(RowKind, Uuid), [u8; 32]>,
    pub(super) sum: RowSum,
}

impl Ledger {
    /// Takes in a row that was found genuine.
    pub(super) fn put(&mut self, key: &RowKey, kind: RowKind, id: Uuid, mac: [u8; 32]) {
        if let Some(older) = self.tags.insert((kind, id), mac) {
            key.remove(&mut self.sum, &older);
        }
        key.add(&mut self.sum, &mac);
    }

    /// Takes in a row that is made at this revision; answers its text and tag.
    pub(super) fn make(&mut self, key: &RowKey, row: &Row, revision: Revision) -> Result<(String, [u8; 32]), Error> {
        let body = serde_json::to_string(row).map_err(Error::internal)?;
        let mac = key.row(row.kind(), row.id(), revision, &body);
        self.put(key, row.kind(), row.id(), mac);
        Ok((body, mac))
    }
}
