//! The audit records. Appending is the one statement with two texts: SQLite takes a few fixed sizes of multi-row VALUES,
//! PostgreSQL arrays to unnest. Records are appended and read, never changed.

use std::sync::{Arc, LazyLock};

use kms_client::{
    format::{chain::Signature, record::Record},
    id::{ChangeId, DataKeyId, KeyId, PrincipalId, RecordId},
};
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr as _, SqlStr, Sqlite, Transaction};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_u64},
    tx::{Inner, on},
};

/// A record with its bytes, about to be appended.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// The record, for the columns that searches need.
    pub record: Record,
    /// Its bytes.
    pub leaf: Vec<u8>,
    /// The node's signature, where a batch ends with this record.
    pub head_signature: Option<Signature>,
}

/// A record as stored.
#[derive(Debug, Clone)]
pub struct StoredLeaf {
    /// Its place in its chain.
    pub sequence: u64,
    /// Its bytes.
    pub leaf: Vec<u8>,
    /// The node's signature, where a batch ended with this record.
    pub head_signature: Option<Signature>,
    indexed: Indexed,
}

/// What searches go by; it repeats what the leaf says.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Indexed {
    at: i64,
    request_id: Uuid,
    principal: Option<Uuid>,
    action: String,
    outcome: String,
    key_id: Option<Uuid>,
    data_key: Option<Uuid>,
    context_digest: Option<Vec<u8>>,
    change_id: Option<Uuid>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    sequence: i64,
    leaf: Vec<u8>,
    head_signature: Option<Vec<u8>>,
    #[sqlx(flatten)]
    indexed: Indexed,
}

impl Tx<'_> {
    /// Appends records to the chain of this number.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if a place is taken; else as every statement.
    pub async fn append_records(&mut self, chain: u64, rows: &[&AuditRow]) -> Result<(), Error> {
        let chain = to_i64(chain)?;
        let sequences = rows.iter().map(|row| to_i64(row.record.sequence)).collect::<Result<Vec<_>, _>>()?;
        let appended = match self.enter()? {
            Inner::Sqlite(transaction) => append_to_sqlite(transaction, chain, &sequences, rows).await,
            Inner::Postgres(transaction) => append_to_postgres(transaction, chain, &sequences, rows).await,
        };
        self.mend(appended)
    }

    /// Up to `limit` records of the chain of this number, from the place `from` on, in order.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn leaves(&mut self, chain: u64, from: u64, limit: u32) -> Result<Vec<StoredLeaf>, Error> {
        const SQL: &str = "SELECT sequence, leaf, head_signature, at, request_id, principal, action, outcome, key_id, \
                           data_key, context_digest, change_id FROM audit_records \
                           WHERE chain = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3";
        let rows: Vec<Columns> = on!(self, all SQL, to_i64(chain)?, to_i64(from)?, i64::from(limit))?;
        rows.into_iter().map(StoredLeaf::from_columns).collect()
    }

    /// The record of this id.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn record(&mut self, id: RecordId) -> Result<Option<Record>, Error> {
        const SQL: &str = "SELECT leaf FROM audit_records WHERE sequence = $1 \
                           AND chain = (SELECT number FROM audit_chains WHERE node = $2)";
        let Ok(sequence) = to_i64(id.sequence) else { return Ok(None) };
        let row: Option<(Vec<u8>,)> = on!(self, optional SQL, sequence, id.node.uuid())?;
        row.map(|(leaf,)| Record::decode(&leaf).map_err(|_| Error::Corrupt("audit_records.leaf"))).transpose()
    }
}

impl StoredLeaf {
    /// Whether searches find this record by what it says.
    #[must_use]
    pub fn is_indexed_as(&self, record: &Record) -> bool {
        self.indexed
            == Indexed {
                at: record.time_micros,
                request_id: record.request.uuid(),
                principal: record.principal.map(PrincipalId::uuid),
                action: record.action.clone(),
                outcome: record.outcome.as_str().to_owned(),
                key_id: record.key.map(KeyId::uuid),
                data_key: record.data_key.map(DataKeyId::uuid),
                context_digest: record.context_digest.map(|digest| digest.as_bytes().to_vec()),
                change_id: record.change.map(ChangeId::uuid),
            }
    }

    fn from_columns(row: Columns) -> Result<Self, Error> {
        let signature = |bytes: Vec<u8>| to_array("audit_records.head_signature", &bytes).map(Signature::from_bytes);
        Ok(Self {
            sequence: to_u64("audit_records.sequence", row.sequence)?,
            leaf: row.leaf,
            head_signature: row.head_signature.map(signature).transpose()?,
            indexed: row.indexed,
        })
    }
}

async fn append_to_sqlite(
    transaction: &mut Transaction<'_, Sqlite>,
    chain: i64,
    sequences: &[i64],
    rows: &[&AuditRow],
) -> Result<(), sqlx::Error> {
    let (mut sequences, mut rows) = (sequences, rows);
    for (size, sql) in SQLITE_INSERTS.iter() {
        while let (Some((part, rows_left)), Some((places, places_left))) =
            (rows.split_at_checked(*size), sequences.split_at_checked(*size))
        {
            let mut query = sqlx::query(sql.clone());
            for (row, sequence) in part.iter().zip(places) {
                let record = &row.record;
                query = query
                    .bind(chain)
                    .bind(sequence)
                    .bind(record.time_micros)
                    .bind(record.request.uuid())
                    .bind(record.principal.map(PrincipalId::uuid))
                    .bind(record.action.as_str())
                    .bind(record.outcome.as_str())
                    .bind(record.key.map(KeyId::uuid))
                    .bind(record.data_key.map(DataKeyId::uuid))
                    .bind(record.context_digest.as_ref().map(|digest| digest.as_bytes().as_slice()))
                    .bind(record.change.map(ChangeId::uuid))
                    .bind(row.leaf.as_slice())
                    .bind(row.head_signature.as_ref().map(|signature| signature.as_bytes().as_slice()));
            }
            query.execute(&mut **transaction).await?;
            (rows, sequences) = (rows_left, places_left);
        }
    }
    Ok(())
}

async fn append_to_postgres(
    transaction: &mut Transaction<'_, Postgres>,
    chain: i64,
    sequences: &[i64],
    rows: &[&AuditRow],
) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO audit_records (chain, sequence, at, request_id, principal, action, outcome, key_id, \
                       data_key, context_digest, change_id, leaf, head_signature) \
                       SELECT $1, * FROM UNNEST($2::BIGINT[], $3::BIGINT[], $4::UUID[], $5::UUID[], $6::TEXT[], \
                       $7::TEXT[], $8::UUID[], $9::UUID[], $10::BYTEA[], $11::UUID[], $12::BYTEA[], $13::BYTEA[])";
    fn column<'r, T>(rows: &[&'r AuditRow], of: impl Fn(&'r AuditRow) -> T) -> Vec<T> {
        rows.iter().copied().map(of).collect()
    }
    sqlx::query(SQL)
        .bind(chain)
        .bind(sequences)
        .bind(column(rows, |row| row.record.time_micros))
        .bind(column(rows, |row| row.record.request.uuid()))
        .bind(column(rows, |row| row.record.principal.map(PrincipalId::uuid)))
        .bind(column(rows, |row| row.record.action.as_str()))
        .bind(column(rows, |row| row.record.outcome.as_str()))
        .bind(column(rows, |row| row.record.key.map(KeyId::uuid)))
        .bind(column(rows, |row| row.record.data_key.map(DataKeyId::uuid)))
        .bind(column(rows, |row| row.record.context_digest.as_ref().map(|digest| digest.as_bytes().as_slice())))
        .bind(column(rows, |row| row.record.change.map(ChangeId::uuid)))
        .bind(column(rows, |row| row.leaf.as_slice()))
        .bind(column(rows, |row| row.head_signature.as_ref().map(|signature| signature.as_bytes().as_slice())))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// A prepared statement for each size; a batch is cut into them, largest first.
static SQLITE_INSERTS: LazyLock<Vec<(usize, SqlStr)>> = LazyLock::new(|| {
    let insert = |size| {
        let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; size].join(", ");
        let sql = format!(
            "INSERT INTO audit_records (chain, sequence, at, request_id, principal, action, outcome, key_id, data_key, \
             context_digest, change_id, leaf, head_signature) VALUES {values}"
        );
        (size, AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str())
    };
    [256, 64, 16, 4, 1].map(insert).into()
});
