//! Searching the audit records, newest first. The filter is put together at run time, since `$1 IS NULL OR column = $1` keeps
//! databases from their indexes; every value is bound, never written into the text.

use jiff::Timestamp;
use kms_client::{
    format::record::{ContextDigest, Outcome, Record},
    id::{ChangeId, DataKeyId, KeyId, PrincipalId, RequestId},
};
use serde::{Deserialize, Serialize};
use sqlx::{Encode, QueryBuilder, Type};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_i64, to_u64},
    tx::on,
};

/// Which records to find: those to which everything given applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who asked.
    pub principal: Option<PrincipalId>,
    /// The master key.
    pub key: Option<KeyId>,
    /// The data key.
    pub data_key: Option<DataKeyId>,
    /// What was asked for.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The request.
    pub request: Option<RequestId>,
    /// The keyed digest of the encryption context; several when its key has several versions.
    pub context_digests: Vec<ContextDigest>,
    /// The control change.
    pub change: Option<ChangeId>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// The place of a record among all: the next page begins behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCursor {
    /// Its time in microseconds.
    pub at: i64,
    /// The number of its chain.
    pub chain: u64,
    /// Its place there.
    pub sequence: u64,
}

impl Tx<'_> {
    /// Up to `limit` records to which the filter applies, newest first, from behind `after` on; and where the next page
    /// begins, if there is more.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn search(
        &mut self,
        filter: &AuditFilter,
        limit: u32,
        after: Option<AuditCursor>,
    ) -> Result<(Vec<Record>, Option<AuditCursor>), Error> {
        let after = match after {
            Some(cursor) => Some((cursor.at, to_i64(cursor.chain)?, to_i64(cursor.sequence)?)),
            None => None,
        };
        let mut rows: Vec<(i64, i64, i64, Vec<u8>)> = on!(@run self, connection => {
            let mut query = QueryBuilder::new(SELECT);
            push_filter(&mut query, filter);
            if let Some((at, chain, sequence)) = after {
                query.push(" AND (at, chain, sequence) < (").push_bind(at).push(", ");
                query.push_bind(chain).push(", ").push_bind(sequence).push(")");
            }
            // One more than asked for tells whether there is more.
            query.push(ORDER).push_bind(i64::from(limit).saturating_add(1));
            query.build_query_as().fetch_all(&mut **connection).await
        })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = match rows.last() {
            Some((at, chain, sequence, _)) if more => Some(AuditCursor {
                at: *at,
                chain: to_u64("audit_records.chain", *chain)?,
                sequence: to_u64("audit_records.sequence", *sequence)?,
            }),
            Some(_) | None => None,
        };
        let records = rows.iter().map(|(.., leaf)| Record::decode(leaf));
        Ok((records.collect::<Result<_, _>>().map_err(|_| Error::Corrupt("audit_records.leaf"))?, next))
    }
}

fn push_filter<DB: sqlx::Database>(query: &mut QueryBuilder<DB>, filter: &AuditFilter)
where
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let ids = [
        (" AND principal = ", filter.principal.map(PrincipalId::uuid)),
        (" AND key_id = ", filter.key.map(KeyId::uuid)),
        (" AND data_key = ", filter.data_key.map(DataKeyId::uuid)),
        (" AND request_id = ", filter.request.map(RequestId::uuid)),
        (" AND change_id = ", filter.change.map(ChangeId::uuid)),
    ];
    for (condition, id) in ids {
        if let Some(id) = id {
            query.push(condition).push_bind(id);
        }
    }
    if let Some(action) = &filter.action {
        query.push(" AND action = ").push_bind(action.clone());
        if !FREQUENT_ACTIONS.contains(&action.as_str()) {
            query.push(INFREQUENT_ACTION);
        }
    }
    if let Some(outcome) = filter.outcome {
        query.push(" AND outcome = ").push_bind(outcome.as_str());
        if outcome != Outcome::Allowed {
            query.push(NOT_ALLOWED);
        }
    }
    if !filter.context_digests.is_empty() {
        query.push(" AND context_digest IN (");
        let mut digests = query.separated(", ");
        for digest in &filter.context_digests {
            digests.push_bind(digest.as_bytes().to_vec());
        }
        query.push(")");
    }
    if let Some(from) = filter.from {
        query.push(" AND at >= ").push_bind(from.as_microsecond());
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(until.as_microsecond());
    }
}

const SELECT: &str = "SELECT at, chain, sequence, leaf FROM audit_records WHERE TRUE";
const ORDER: &str = " ORDER BY at DESC, chain DESC, sequence DESC LIMIT ";

// The conditions of two partial indexes, word for word: a database uses such an index only if it sees its condition hold,
// which it cannot tell of a bound value. They never exclude what the condition before them lets through.
const NOT_ALLOWED: &str = " AND outcome <> 'allowed'";
const INFREQUENT_ACTION: &str =
    " AND action NOT IN ('generate', 'generate_without_plaintext', 'wrap', 'unwrap', 'rewrap')";
const FREQUENT_ACTIONS: &[&str] = &["generate", "generate_without_plaintext", "wrap", "unwrap", "rewrap"];
