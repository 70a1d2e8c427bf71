//! Audit records: one for each operation on each outcome, and what auditors verify. A record never holds an encryption
//! context, key material or plaintext; of a context there is only a keyed digest, since it can name a patient.

mod codec;
mod words;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{
    codec::{InvalidRecord, MAX_DETAIL_BYTES, MAX_RECORD_BYTES, RecordTooLong},
    words::{Outcome, PrincipalKind, Surface, UnknownWord},
};
use super::hex_bytes::hex_bytes;
use crate::id::{ChangeId, CredentialId, DataKeyId, KeyId, KeyVersion, NodeId, PrincipalId, RecordId, RequestId};

hex_bytes!(
    /// The keyed digest of an encryption context. Who knows a context can search for it; nobody can read it back.
    ContextDigest, 32
);

/// One record. Its bytes, by [`Record::encode`], are the leaf that chains and trees hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Record {
    /// Microseconds since 1970-01-01 UTC by the node's wall clock: for people, never for order.
    pub time_micros: i64,
    /// The run of the process that wrote the record.
    pub node: NodeId,
    /// Place in this node's chain, from 0.
    pub sequence: u64,
    /// The request that led to the record; shared by all its records.
    pub request: RequestId,
    /// Index in a batch; 0 outside batches.
    pub item: u32,
    /// Who asked, if that was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// The person behind the principal as of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The kind of principal as of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_kind: Option<PrincipalKind>,
    /// What proved who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialId>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub source: Option<IpAddr>,
    /// How the request came.
    pub surface: Surface,
    /// What was asked for: a short code such as `unwrap`.
    pub action: String,
    /// The master key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// The version of the master key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_version: Option<KeyVersion>,
    /// The data class of the master key as of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_class: Option<String>,
    /// The data key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_key: Option<DataKeyId>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why: a stable code, empty when allowed.
    pub reason: String,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The control state that was decided on.
    pub revision: u64,
    /// Where the node runs.
    pub region: String,
    /// Keyed digest of the encryption context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_digest: Option<ContextDigest>,
    /// Payload bytes of the request.
    pub bytes_in: u32,
    /// Payload bytes of the answer.
    pub bytes_out: u32,
    /// The control change this belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// How many events this record stands for: 1, or more for refusals that are only counted.
    pub count: u32,
    /// What the action itself defines: a JSON text such as before and after of a control change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Record {
    /// The name under which answers refer to this record.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        RecordId { node: self.node, sequence: self.sequence }
    }
}
