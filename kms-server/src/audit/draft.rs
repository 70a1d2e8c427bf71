//! A record before it has its time and its place.

use std::net::IpAddr;

use kms_client::{
    format::record::{ContextDigest, InvalidRecord, Outcome, PrincipalKind, Record, Surface},
    id::{ChangeId, CredentialId, DataKeyId, KeyId, KeyVersion, NodeId, PrincipalId, RequestId},
};

/// What a [`Record`] says, but for time, node and sequence, which the writer assigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The request that led to the record.
    pub request: RequestId,
    /// Index in a batch; 0 outside batches.
    pub item: u32,
    /// Who asked.
    pub principal: Option<PrincipalId>,
    /// The person behind the principal.
    pub person: Option<String>,
    /// The kind of principal.
    pub principal_kind: Option<PrincipalKind>,
    /// What proved who asked.
    pub credential: Option<CredentialId>,
    /// Where the request came from.
    pub source: Option<IpAddr>,
    /// How the request came.
    pub surface: Surface,
    /// What was asked for: [`Action::code`](crate::model::Action::code).
    pub action: String,
    /// The master key.
    pub key: Option<KeyId>,
    /// The version of the master key.
    pub key_version: Option<KeyVersion>,
    /// The data class of the master key.
    pub key_class: Option<String>,
    /// The data key.
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
    pub context_digest: Option<ContextDigest>,
    /// Payload bytes of the request.
    pub bytes_in: u32,
    /// Payload bytes of the answer.
    pub bytes_out: u32,
    /// The control change this belongs to.
    pub change: Option<ChangeId>,
    /// How many events the record stands for.
    pub count: u32,
    /// What the action itself defines, as JSON.
    pub detail: Option<String>,
}

impl Draft {
    /// What the server itself did: no principal, no key, allowed.
    #[must_use]
    pub fn system(request: RequestId, action: &str, region: &str, revision: u64) -> Self {
        Self {
            request,
            item: 0,
            principal: None,
            person: None,
            principal_kind: None,
            credential: None,
            source: None,
            surface: Surface::System,
            action: action.to_owned(),
            key: None,
            key_version: None,
            key_class: None,
            data_key: None,
            outcome: Outcome::Allowed,
            reason: String::new(),
            policies: Vec::new(),
            revision,
            region: region.to_owned(),
            context_digest: None,
            bytes_in: 0,
            bytes_out: 0,
            change: None,
            count: 1,
            detail: None,
        }
    }

    /// The bytes that a control change leaves as its intent: those of the record with time, node and sequence zero.
    ///
    /// # Errors
    ///
    /// The record breaks a limit of its format.
    pub fn to_intent(&self) -> Result<Vec<u8>, super::Error> {
        Ok(self.clone().into_record(0, NodeId::from_bytes([0; 16]), 0).encode()?)
    }

    /// The draft of which [`Draft::to_intent`] made these bytes.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn from_intent(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        Record::decode(bytes).map(Self::from)
    }

    pub(super) fn into_record(self, time_micros: i64, node: NodeId, sequence: u64) -> Record {
        Record {
            time_micros,
            node,
            sequence,
            request: self.request,
            item: self.item,
            principal: self.principal,
            person: self.person,
            principal_kind: self.principal_kind,
            credential: self.credential,
            source: self.source,
            surface: self.surface,
            action: self.action,
            key: self.key,
            key_version: self.key_version,
            key_class: self.key_class,
            data_key: self.data_key,
            outcome: self.outcome,
            reason: self.reason,
            policies: self.policies,
            revision: self.revision,
            region: self.region,
            context_digest: self.context_digest,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            change: self.change,
            count: self.count,
            detail: self.detail,
        }
    }
}

impl From<Record> for Draft {
    fn from(record: Record) -> Self {
        Self {
            request: record.request,
            item: record.item,
            principal: record.principal,
            person: record.person,
            principal_kind: record.principal_kind,
            credential: record.credential,
            source: record.source,
            surface: record.surface,
            action: record.action,
            key: record.key,
            key_version: record.key_version,
            key_class: record.key_class,
            data_key: record.data_key,
            outcome: record.outcome,
            reason: record.reason,
            policies: record.policies,
            revision: record.revision,
            region: record.region,
            context_digest: record.context_digest,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            change: record.change,
            count: record.count,
            detail: record.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_leads_back_to_its_draft() {
        let mut draft = Draft::system(RequestId::from_bytes([7; 16]), "revoke_key", "eu-1", 9);
        draft.principal = Some(PrincipalId::from_bytes([1; 16]));
        draft.key = Some(KeyId::from_bytes([2; 16]));
        draft.key_version = KeyVersion::new(3);
        draft.change = Some(ChangeId::from_bytes([4; 16]));
        draft.detail = Some("{}".to_owned());
        assert_eq!(Draft::from_intent(&draft.to_intent().unwrap()), Ok(draft));
        assert!(Draft::from_intent(b"").is_err());
    }
}
