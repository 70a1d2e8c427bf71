//! The audit log, for those who may read it. Reading it is on record too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    context::ContextPairs,
    name::{ActionName, Cursor, KeyName, PrincipalName, PrincipalRef},
};
use crate::{
    format::record::{Outcome, Record},
    id::{ChangeId, DataKeyId, RecordId, RequestId},
};

/// Which records to find: those to which everything given applies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditSearch {
    /// Who asked: an id or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalRef>,
    /// The master key: an id or `alias/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// The data key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_key: Option<DataKeyId>,
    /// What was asked for, such as `unwrap`; or what the server noted of itself: `node_start`, `node_stop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionName>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// At this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub from: Option<Timestamp>,
    /// Before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Timestamp>,
    /// The request, across all the records it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The control change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// With exactly this encryption context. The log holds only digests: who knows a context can search for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextPairs>,
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// A page of audit records, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRecords {
    /// The records.
    pub records: Vec<RecordView>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this search.
    pub record: RecordId,
}

/// One audit record as answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRecordAnswer {
    /// The record that was asked for.
    pub found: RecordView,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// An audit record with what helps people to read it. The record itself is complete: its leaf can be computed from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordView {
    /// The name under which answers refer to the record.
    pub id: RecordId,
    /// When it was written, by the node's wall clock.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub time: Timestamp,
    /// The name of who asked, as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_name: Option<PrincipalName>,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
}

impl RecordView {
    /// The view of a record.
    #[must_use]
    pub fn new(record: Record, principal_name: Option<PrincipalName>) -> Self {
        // A clock may have been wrong, but no clock counts as far as this type's limits.
        let time = Timestamp::from_microsecond(record.time_micros).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { id: record.id(), time, principal_name, record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::record::Surface,
        id::{NodeId, PrincipalId},
    };

    #[test]
    fn a_view_is_flat_and_leads_back_to_the_record() {
        let record = Record {
            time_micros: 1_700_000_000_000_001,
            node: NodeId::from_bytes([1; 16]),
            sequence: u64::MAX,
            request: RequestId::from_bytes([2; 16]),
            item: 0,
            principal: Some(PrincipalId::from_bytes([3; 16])),
            person: None,
            principal_kind: None,
            credential: None,
            source: None,
            surface: Surface::Native,
            action: "unwrap".to_owned(),
            key: None,
            key_version: None,
            key_class: None,
            data_key: None,
            outcome: Outcome::Denied,
            reason: "not_permitted".to_owned(),
            policies: Vec::new(),
            revision: 7,
            region: "local".to_owned(),
            context_digest: None,
            bytes_in: 0,
            bytes_out: 0,
            change: None,
            count: 1,
            detail: None,
        };
        let view = RecordView::new(record, Some("storage-1".parse().unwrap()));
        let json = serde_json::to_string(&view).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["time"], "2023-11-14T22:13:20.000001Z");
        assert_eq!(value["outcome"], "denied");
        assert_eq!(serde_json::from_str::<RecordView>(&json).unwrap(), view);
    }
}
