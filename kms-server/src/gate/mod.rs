//! The last step of every request: its record becomes durable, then the answer enters the release section, then lease
//! and snapshot are read once more, and only then may the bytes leave.
//!
//! Results come here as [`Unaudited`], which only this module opens, and leave as [`Released`], which holds the section
//! until the connection has handed the last byte to the kernel.

mod record;

use std::sync::Arc;

use kms_client::{
    format::record::Outcome,
    id::{ChangeId, RecordId},
};

pub use record::{ContextKey, Facts};

use crate::{
    audit::{Audit, Draft},
    authn::Intent,
    cluster::{Cluster, Section, Snapshot},
    model::{Error, Region},
    policy::{self, Denial, Permit, Policies},
};

/// A result that no caller may see yet: the record of how it came about is not durable.
#[derive(Debug)]
pub struct Unaudited<T>(T);

/// What was asked, how policy decided, and what the record says besides.
#[derive(Debug)]
pub struct Asked {
    /// What was asked.
    pub intent: Intent,
    /// How policy decided.
    pub decision: Decision,
    /// What the record says besides.
    pub facts: Facts,
}

/// How policy decided on an intent.
#[derive(Debug)]
pub enum Decision {
    /// It may be done.
    Permitted(Permit),
    /// It may not.
    Denied(Denial),
    /// Policy was not asked: what was sent has no meaning to decide on.
    Meaningless,
}

/// One operation, carried out or refused, before its record.
#[derive(Debug)]
pub struct Attempt<T> {
    /// What was asked; an operation on two keys asks twice. The first record is the one the answer names.
    pub asked: Vec<Asked>,
    /// What came of it.
    pub result: Result<Unaudited<T>, Error>,
}

/// One operation's answer and the record that it left.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the caller gets.
    pub value: T,
    /// The record.
    pub record: RecordId,
}

/// An operation's refusal and the record that it left, if one could be written.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// The record.
    pub record: Option<RecordId>,
}

/// An answer that may leave now, and the section that is open until it has.
#[derive(Debug)]
pub struct Released<T> {
    value: T,
    section: Section<Policies>,
}

/// Seals records and releases answers.
#[derive(Debug)]
pub struct Gate {
    cluster: Arc<Cluster<Policies>>,
    audit: Audit,
    context_key: ContextKey,
    region: Region,
}

impl<T> Unaudited<T> {
    /// Marks a result as one whose record is still to be written.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Released<T> {
    /// The answer, for whoever must know what it is before it leaves.
    pub(crate) const fn value(&self) -> &T {
        &self.value
    }

    /// The answer, and the section that must live until its last byte is in the kernel.
    pub fn into_parts(self) -> (T, Section<Policies>) {
        (self.value, self.section)
    }
}

impl<T> Released<Answer<T>> {
    /// The same answer in other terms.
    pub(crate) fn map<U>(self, into: impl FnOnce(T) -> U) -> Released<Answer<U>> {
        let Answer { value, record } = self.value;
        Released { value: Answer { value: into(value), record }, section: self.section }
    }
}

impl<T> Attempt<T> {
    /// An intent that policy refused.
    #[must_use]
    pub fn denied(intent: Intent, denial: Denial, facts: Facts) -> Self {
        let error = denial.error.again();
        Self { asked: vec![Asked { intent, decision: Decision::Denied(denial), facts }], result: Err(error) }
    }
}

impl Gate {
    /// A gate in front of this node's answers.
    #[must_use]
    pub const fn new(cluster: Arc<Cluster<Policies>>, audit: Audit, context_key: ContextKey, region: Region) -> Self {
        Self { cluster, audit, context_key, region }
    }

    /// The key under which encryption contexts are digested.
    #[must_use]
    pub const fn context_key(&self) -> &ContextKey {
        &self.context_key
    }

    /// Seals one operation and releases its answer.
    ///
    /// # Errors
    ///
    /// The operation's own refusal, or that it was withheld; `audit_unavailable`, `lease_lost`.
    pub async fn release_one<T>(
        &self,
        snapshot: &Snapshot<Policies>,
        attempt: Attempt<T>,
    ) -> Result<Released<Answer<T>>, Refused> {
        let mut released = self.release(snapshot, vec![attempt]).await?;
        match released.value.pop() {
            Some(Ok(answer)) => Ok(Released { value: answer, section: released.section }),
            Some(Err(refused)) => Err(refused),
            None => Err(Refused { error: Error::internal("an operation without a result"), record: None }),
        }
    }

    /// Seals the operations of one request, all decided on `snapshot`, and releases their answers in the same order.
    /// Each is authorised anew if the revision has moved; one that is withheld does not withhold the others.
    ///
    /// # Errors
    ///
    /// `audit_unavailable` if the records cannot be made durable, `lease_lost` if this node may not answer now. No
    /// operation then has an answer.
    pub async fn release<T>(
        &self,
        snapshot: &Snapshot<Policies>,
        attempts: Vec<Attempt<T>>,
    ) -> Result<Released<Vec<Result<Answer<T>, Refused>>>, Refused> {
        let mut records = self.seal(snapshot, &attempts).await?.into_iter();
        let mut pending: Vec<Pending<T>> = attempts
            .into_iter()
            .map(|attempt| {
                let first = records.next();
                // The others of the same operation follow it.
                records.by_ref().take(attempt.asked.len().saturating_sub(1)).for_each(drop);
                Pending { asked: attempt.asked, record: first, result: attempt.result }
            })
            .collect();
        loop {
            let section = self.cluster.enter().map_err(|error| Refused { error, record: None })?;
            let withheld = self.withhold(&section, &mut pending);
            if withheld.is_empty() {
                return Ok(Released { value: pending.into_iter().map(Pending::finish).collect(), section });
            }
            // A record takes a disk write; the change that caused it must not wait for that.
            drop(section);
            self.append(withheld).await?;
        }
    }

    /// Chains the record of a committed control change, then releases its answer. What is released is the caller's own
    /// deed, so it is not authorised anew.
    ///
    /// # Errors
    ///
    /// `outcome_unknown` if the record cannot be chained, `lease_lost`.
    pub async fn release_change<T>(
        &self,
        change: ChangeId,
        draft: Draft,
        value: T,
    ) -> Result<Released<Answer<T>>, Refused> {
        let unknown = |error: &(dyn std::error::Error + 'static)| {
            self.cluster.leave_unsealed(change);
            tracing::error!(change.id = %change, error, "the record of a committed change could not be chained");
            Refused { error: Error::OutcomeUnknown(change), record: None }
        };
        let record = self.audit.seal_intent(change, draft).await.map_err(|error| unknown(&error))?;
        // The change is made and on record; only the gate may be shut for a moment.
        let patience = self.cluster.lease_terms().lease();
        let _open_or_not = tokio::time::timeout(patience, self.cluster.until_serving()).await;
        let section =
            self.cluster.enter().map_err(|_| Refused { error: Error::OutcomeUnknown(change), record: Some(record) })?;
        Ok(Released { value: Answer { value, record }, section })
    }

    /// Chains the record of a change whose maker was not told how it ended. There is none if it was never committed, or
    /// if its record is in a chain already.
    ///
    /// # Errors
    ///
    /// `audit_unavailable`; the change is then left unsealed once more.
    pub async fn seal_left(&self, change: ChangeId, intent: Draft) -> Result<(), Error> {
        match self.audit.seal_intent(change, intent).await {
            Ok(_) | Err(crate::audit::Error::NoIntent(_)) => Ok(()),
            Err(error) => {
                self.cluster.leave_unsealed(change);
                Err(error.into())
            }
        }
    }

    /// Records a refusal that has no caller: for form, size, load, or a credential that proves nothing.
    ///
    /// # Errors
    ///
    /// `audit_unavailable`.
    pub async fn note(&self, draft: Draft) -> Result<Option<RecordId>, Refused> {
        self.audit.note(Draft { region: self.region.to_string(), ..draft }).await.map_err(audit_unavailable)
    }

    /// What an operation's record says, whatever its end.
    #[must_use]
    pub fn draft(&self, snapshot: &Snapshot<Policies>, asked: &Asked, outcome: Outcome, reason: &str) -> Draft {
        record::draft(snapshot, &self.region, &self.context_key, asked, outcome, reason)
    }

    async fn seal<T>(&self, snapshot: &Snapshot<Policies>, attempts: &[Attempt<T>]) -> Result<Vec<RecordId>, Refused> {
        let drafts = attempts
            .iter()
            .flat_map(|attempt| {
                attempt.asked.iter().map(|asked| {
                    let (outcome, reason) = match (&asked.decision, &attempt.result) {
                        (Decision::Denied(denial), _) => (Outcome::Denied, denial.reason),
                        (Decision::Permitted(_) | Decision::Meaningless, Err(error)) => (Outcome::Failed, error.code()),
                        (Decision::Permitted(_) | Decision::Meaningless, Ok(_)) => (Outcome::Allowed, ""),
                    };
                    self.draft(snapshot, asked, outcome, reason)
                })
            })
            .collect();
        self.append(drafts).await
    }

    async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<RecordId>, Refused> {
        self.audit.seal(drafts).await.map_err(audit_unavailable)
    }

    /// Turns into refusals what the snapshot now in force no longer allows, and yields the records that say so.
    fn withhold<T>(&self, section: &Section<Policies>, pending: &mut [Pending<T>]) -> Vec<Draft> {
        let snapshot = section.snapshot();
        let now = self.cluster.now();
        let mut drafts = Vec::new();
        for operation in pending.iter_mut().filter(|operation| operation.result.is_ok()) {
            let stale = |asked: &Asked| match &asked.decision {
                Decision::Permitted(permit) => permit.revision() != snapshot.revision,
                Decision::Denied(_) | Decision::Meaningless => true,
            };
            if !operation.asked.iter().any(stale) {
                continue;
            }
            let refusal = operation.asked.iter().find_map(|asked| still_allowed(snapshot, now, asked).err());
            if let Some((error, reason)) = refusal {
                drafts
                    .extend(operation.asked.iter().map(|asked| self.draft(snapshot, asked, Outcome::Withheld, reason)));
                operation.result = Err(error);
            }
        }
        drafts
    }
}

/// An operation whose record is durable.
struct Pending<T> {
    asked: Vec<Asked>,
    record: Option<RecordId>,
    result: Result<Unaudited<T>, Error>,
}

impl<T> Pending<T> {
    fn finish(self) -> Result<Answer<T>, Refused> {
        match (self.result, self.record) {
            (Ok(Unaudited(value)), Some(record)) => Ok(Answer { value, record }),
            (Ok(_), None) => Err(Refused { error: Error::internal("an answer without a record"), record: None }),
            (Err(error), record) => Err(Refused { error, record }),
        }
    }
}

/// Whether what was permitted under an older snapshot is permitted under this one: right, key and version.
fn still_allowed(
    snapshot: &Snapshot<Policies>,
    now: jiff::Timestamp,
    asked: &Asked,
) -> Result<(), (Error, &'static str)> {
    policy::authorise(snapshot, now, &asked.intent).map_err(|denial| (denial.error.again(), denial.reason))?;
    let key =
        asked.intent.target.key().filter(|_| asked.intent.action.is_data()).and_then(|key| snapshot.state.key(key));
    if let (Some(key), Some(version)) = (key, asked.facts.key_version) {
        key.usable_version(version).map_err(|error| {
            let reason = error.code();
            (error, reason)
        })?;
    }
    Ok(())
}

fn audit_unavailable(error: crate::audit::Error) -> Refused {
    tracing::error!(error = &error as &dyn std::error::Error, "a record could not be written");
    Refused { error: error.into(), record: None }
}
