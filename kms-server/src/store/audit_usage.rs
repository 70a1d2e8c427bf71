//! Who used a key, from the audit records.

use jiff::Timestamp;
use kms_client::id::{KeyId, PrincipalId};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_time, to_u64},
    tx::on,
};

/// How often, and when, one principal did one thing with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Who.
    pub principal: PrincipalId,
    /// What, by its code.
    pub action: String,
    /// How often it was permitted.
    pub count: u64,
    /// The first time.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
}

impl Tx<'_> {
    /// Who used a key's material since `since`, for what, how often and when; up to `limit`, the most recent first.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn key_uses(&mut self, key: KeyId, since: Timestamp, limit: u32) -> Result<Vec<KeyUse>, Error> {
        const SQL: &str = "SELECT principal, action, COUNT(*), MIN(at), MAX(at) FROM audit_records \
            WHERE key_id = $1 AND at >= $2 AND outcome = 'allowed' AND principal IS NOT NULL AND action IN ('generate', \
            'generate_without_plaintext', 'wrap', 'unwrap', 'rewrap', 'transfer_from', 'transfer_to') \
            GROUP BY principal, action ORDER BY MAX(at) DESC, principal, action LIMIT $3";
        let rows: Vec<(Uuid, String, i64, i64, i64)> =
            on!(self, all SQL, key.uuid(), since.as_microsecond(), i64::from(limit))?;
        rows.into_iter()
            .map(|(principal, action, count, first, last)| {
                Ok(KeyUse {
                    principal: PrincipalId::new(principal),
                    action,
                    count: to_u64("audit_records", count)?,
                    first_at: to_time("audit_records.at", first)?,
                    last_at: to_time("audit_records.at", last)?,
                })
            })
            .collect()
    }
}
