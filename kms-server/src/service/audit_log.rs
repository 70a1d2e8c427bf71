//! Reading the audit log, for those with the auditor's right. Searching is itself recorded.

use jiff::Timestamp;
use kms_client::{
    format::{
        context::EncryptionContext,
        record::{Outcome as Recorded, Record},
    },
    id::{ChangeId, DataKeyId, KeyId, PrincipalId, RecordId, RequestId},
};

use super::{Call, Outcome, Service, line::Line};
use crate::{
    audit,
    model::{Action, Error, Target},
    store::{AuditCursor, AuditFilter},
};

/// Which records to find; `None`: any.
#[derive(Debug, Clone, Default)]
pub struct AuditSearch {
    /// Whose operations.
    pub principal: Option<PrincipalId>,
    /// On which key.
    pub key: Option<KeyId>,
    /// On which data key.
    pub data_key: Option<DataKeyId>,
    /// Which action, by its code.
    pub action: Option<&'static str>,
    /// With which outcome.
    pub outcome: Option<Recorded>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// In which request.
    pub request: Option<RequestId>,
    /// Of which control change.
    pub change: Option<ChangeId>,
    /// With which encryption context: one who knows it can search for it.
    pub context: Option<EncryptionContext>,
}

/// One page of records, newest first, and where the next begins.
#[derive(Debug)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins, if there is one.
    pub next: Option<AuditCursor>,
}

/// What records of this code say was asked for: an action, or what a node notes of itself.
#[must_use]
pub fn recorded_action(code: &str) -> Option<&'static str> {
    let noted = || audit::NODE_ACTIONS.into_iter().find(|noted| *noted == code);
    Action::from_code(code).map(Action::code).or_else(noted)
}

impl Service {
    /// Finds records, newest first, beginning behind `after`.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `store_unavailable`.
    pub async fn search_audit(
        &self,
        call: &Call,
        filter: AuditSearch,
        after: Option<AuditCursor>,
        limit: u32,
    ) -> Outcome<AuditPage> {
        let filter = AuditFilter {
            principal: filter.principal,
            key: filter.key,
            data_key: filter.data_key,
            action: filter.action.map(str::to_owned),
            outcome: filter.outcome,
            from: filter.from,
            until: filter.until,
            request: filter.request,
            context_digests: filter.context.iter().map(|context| self.gate().context_key().digest(context)).collect(),
            change: filter.change,
        };
        let allowed = self.may(call, Action::SearchAudit);
        let found = if allowed { self.find_records(&filter, after, limit).await } else { Err(Error::Denied) };
        self.read(call, Action::SearchAudit, Target::Installation, |_: &Line<'_>| found).await
    }

    /// One record.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `not_found`, `store_unavailable`.
    pub async fn describe_record(&self, call: &Call, id: RecordId) -> Outcome<Record> {
        let found = if self.may(call, Action::SearchAudit) { self.find_record(id).await } else { Err(Error::Denied) };
        self.read(call, Action::SearchAudit, Target::Installation, |_: &Line<'_>| found).await
    }

    async fn find_records(
        &self,
        filter: &AuditFilter,
        after: Option<AuditCursor>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let mut tx = self.inner.store.read().await?;
        let (records, next) = tx.search(filter, limit, after).await?;
        Ok(AuditPage { records, next })
    }

    async fn find_record(&self, id: RecordId) -> Result<Record, Error> {
        let mut tx = self.inner.store.read().await?;
        tx.record(id).await?.ok_or(Error::NotFound("record"))
    }
}
