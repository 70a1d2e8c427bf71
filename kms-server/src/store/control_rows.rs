//! Control state, an object a row. Rows are replaced, never deleted. Bodies are kept to the byte, since they are
//! authenticated; what they say is the cluster's to know.

use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_u64},
    tx::on,
};
use crate::model::{Revision, RowKind};

/// One object of control state as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// What it is about.
    pub kind: RowKind,
    /// Its identity within its kind.
    pub id: Uuid,
    /// The newest change that touched it.
    pub revision: Revision,
    /// The object as JSON.
    pub body: String,
    /// Authenticates the row.
    pub mac: [u8; 32],
}

type Columns = (String, Uuid, i64, String, Vec<u8>);

impl Tx<'_> {
    /// Puts a row in the place of the one with its kind and id, or where none was.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn put_row(&mut self, row: &StoredRow) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO control_rows (kind, id, revision, body, mac) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (kind, id) DO UPDATE \
                           SET revision = excluded.revision, body = excluded.body, mac = excluded.mac";
        let revision = to_i64(row.revision.0)?;
        on!(self, execute SQL, row.kind.as_str(), row.id, revision, row.body.as_str(), row.mac.as_slice())?;
        Ok(())
    }

    /// Every row, by kind and id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn rows(&mut self) -> Result<Vec<StoredRow>, Error> {
        const SQL: &str = "SELECT kind, id, revision, body, mac FROM control_rows ORDER BY kind, id";
        let rows: Vec<Columns> = on!(self, all SQL)?;
        rows.into_iter().map(StoredRow::from_columns).collect()
    }

    /// The rows that changes after `revision` touched, by revision, kind and id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn rows_after(&mut self, revision: Revision) -> Result<Vec<StoredRow>, Error> {
        const SQL: &str = "SELECT kind, id, revision, body, mac FROM control_rows WHERE revision > $1 \
                           ORDER BY revision, kind, id";
        let rows: Vec<Columns> = on!(self, all SQL, to_i64(revision.0)?)?;
        rows.into_iter().map(StoredRow::from_columns).collect()
    }
}

impl StoredRow {
    fn from_columns((kind, id, revision, body, mac): Columns) -> Result<Self, Error> {
        Ok(Self {
            kind: kind.parse().map_err(|_| Error::Corrupt("control_rows.kind"))?,
            id,
            revision: Revision(to_u64("control_rows.revision", revision)?),
            body,
            mac: to_array("control_rows.mac", &mac)?,
        })
    }
}
