//! Control changes: one function validates, authorises, applies and records each of them, in one transaction.

use std::sync::Arc;

use jiff::Timestamp;
use kms_client::{format::record::Outcome as Recorded, id::ChangeId};
use serde::Serialize;

use super::{Call, Made, Once, Outcome, Service, Terms, operations::Order};
use crate::{
    audit::Draft,
    cluster::{CommitError, Proposal, Receipt, Snapshot},
    gate::{Asked, Attempt, Decision, Facts, Refused},
    model::{Change, ControlState, Error, Operation, Revision, Row},
    policy::{self, Policies},
};

/// What a control change has done.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Its receipt.
    pub receipt: Receipt,
    /// The rows as they are since.
    pub rows: Vec<Row>,
    /// Whether it was done at an earlier request of the same name.
    pub repeated: bool,
}

impl Service {
    /// Carries out a control change, to its end even if the caller goes away.
    ///
    /// # Errors
    ///
    /// What policy, the operation's own rules, the database or the log refuse; `outcome_unknown` once the change may
    /// have been committed.
    pub async fn change(&self, call: &Call, operation: Operation, terms: Terms) -> Outcome<Made> {
        let change = self.new_change(operation, terms.expected);
        let order = Order { call: call.clone(), change, once: terms.once.clone(), later: terms.later };
        let (service, call, once) = (self.clone(), call.clone(), terms.once);
        let work = move |change| async move {
            let make = async |change| service.carry_out_change(&call, change, once.as_ref()).await;
            service.once(&call, change, once.clone(), make).await
        };
        self.carry_out("control change", order, work).await
    }

    pub(super) fn new_change(&self, operation: Operation, expected: Option<Revision>) -> Change {
        let id = ChangeId::new(self.inner.ids.fresh(self.inner.clock.now()));
        Change { id, expected, operation }
    }

    /// The straight line of a change. Runs under the supervisor.
    pub(super) async fn carry_out_change(&self, call: &Call, change: Change, once: Option<&Once>) -> Outcome<Changed> {
        let decide = |snapshot: &Snapshot<Policies>, revision: Revision, now: Timestamp| {
            let proposal = self.decide(call, &change, snapshot, revision, now)?;
            let once = once.map(|once| once.row(call.caller.principal(), change.id, now));
            Ok::<_, Box<Attempt<Changed>>>(Proposal { once, ..proposal })
        };
        match self.inner.cluster.commit(&change, Some(call.caller.principal()), decide).await {
            Ok(committed) => {
                let changed = Changed { receipt: committed.receipt, rows: committed.rows, repeated: false };
                self.gate().release_change(change.id, committed.record, changed).await
            }
            Err(CommitError::Refused(snapshot, attempt)) => self.refuse(call, &snapshot, *attempt, once).await,
            Err(CommitError::MadeBefore) => {
                let made = match once {
                    Some(once) => self.made_before(call, once).await,
                    None => Ok(None),
                };
                match made {
                    Ok(Some(made)) => self.repeat(call, made).await,
                    Ok(None) => {
                        self.failed_change(call, &change, Error::internal("a name that was taken is free")).await
                    }
                    Err(error) => self.failed_change(call, &change, error).await,
                }
            }
            Err(CommitError::Failed(error)) => self.failed_change(call, &change, error).await,
            // Whether it happened is not known, so no record can say how it ended; its intent may be in the database.
            Err(CommitError::Unknown) => Err(Refused { error: Error::OutcomeUnknown(change.id), record: None }),
        }
    }

    /// Releases a refusal, unless what stands in the change's way is that it was made before: an earlier request under
    /// the same name may have got no answer.
    pub(super) async fn refuse(
        &self,
        call: &Call,
        snapshot: &Snapshot<Policies>,
        attempt: Attempt<Changed>,
        once: Option<&Once>,
    ) -> Outcome<Changed> {
        if let Some(once) = once
            && let Ok(Some(made)) = self.made_before(call, once).await
        {
            return self.repeat(call, made).await;
        }
        self.gate().release_one(snapshot, attempt).await
    }

    /// The refusal that the change would meet now, if any: nothing is made for a change that cannot be.
    pub(super) fn refusal(&self, call: &Call, change: &Change) -> Option<(Arc<Snapshot<Policies>>, Attempt<Changed>)> {
        let cluster = &self.inner.cluster;
        let snapshot = cluster.snapshot();
        let attempt = self.decide(call, change, &snapshot, snapshot.revision.next(), cluster.now()).err()?;
        Some((snapshot, *attempt))
    }

    /// The end of a change that failed before anything was committed.
    pub(super) async fn failed_change(&self, call: &Call, change: &Change, error: Error) -> Outcome<Changed> {
        let snapshot = self.inner.cluster.snapshot();
        let asked = Self::asked(call, change, Decision::Meaningless);
        self.gate().release_one(&snapshot, Attempt { asked: vec![asked], result: Err(error) }).await
    }

    /// What becomes of the change at this revision: rows and record, or the refusal and its record.
    pub(super) fn decide(
        &self,
        call: &Call,
        change: &Change,
        snapshot: &Snapshot<Policies>,
        revision: Revision,
        now: Timestamp,
    ) -> Result<Proposal<Draft>, Box<Attempt<Changed>>> {
        let intent = call.caller.intends(&call.request, change.operation.action(), change.operation.target());
        let permit = match policy::authorise(snapshot, now, &intent) {
            Ok(permit) => permit,
            Err(denial) => {
                let facts = Facts { change: Some(change.id), key: change.operation.key(), ..Facts::default() };
                return Err(Box::new(Attempt::denied(intent, denial, facts)));
            }
        };
        let mut asked = Self::asked(call, change, Decision::Permitted(permit));
        let applied = change.apply(&snapshot.state, revision, now).and_then(|rows| checked(snapshot, change, rows));
        let rows = match applied {
            Ok(rows) => rows,
            Err(error) => return Err(Box::new(Attempt { asked: vec![asked], result: Err(error) })),
        };
        asked.facts.detail = detail(change, &snapshot.state, &rows);
        let mut record = self.gate().draft(snapshot, &asked, Recorded::Allowed, "");
        record.revision = revision.0;
        let intent = match record.to_intent() {
            Ok(intent) => intent,
            Err(error) => return Err(Box::new(Attempt { asked: vec![asked], result: Err(error.into()) })),
        };
        Ok(Proposal { rows, record, intent, once: None })
    }

    fn asked(call: &Call, change: &Change, decision: Decision) -> Asked {
        let intent = call.caller.intends(&call.request, change.operation.action(), change.operation.target());
        let key_version = match &change.operation {
            Operation::RotateKey { version, .. } | Operation::RevokeKeyVersion { version, .. } => Some(*version),
            _ => None,
        };
        Asked {
            intent,
            decision,
            facts: Facts { change: Some(change.id), key: change.operation.key(), key_version, ..Facts::default() },
        }
    }
}

/// What is about to be committed can be put in force: a policy that nobody could compile would leave nothing to decide by.
pub(super) fn checked(snapshot: &Snapshot<Policies>, change: &Change, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    if let Operation::PutPolicy { name, text, .. } = &change.operation {
        let read = snapshot.derived.read(name, text, &snapshot.state);
        read.map_err(|faults| Policies::refusal(&faults))?;
    }
    if rows.iter().any(|row| matches!(row, Row::Policy(_))) {
        let mut after = snapshot.state.clone();
        for row in &rows {
            after.put(row.clone());
        }
        snapshot.derived.derive(&after)?;
    }
    Ok(rows)
}

/// Before and after, as JSON.
pub(super) fn detail(change: &Change, before: &ControlState, rows: &[Row]) -> Option<String> {
    #[derive(Serialize)]
    struct Detail<'a> {
        operation: &'a Operation,
        before: Vec<Row>,
        after: &'a [Row],
    }
    let before = rows.iter().filter_map(|row| older(before, row)).collect();
    serde_json::to_string(&Detail { operation: &change.operation, before, after: rows }).ok()
}

fn older(state: &ControlState, row: &Row) -> Option<Row> {
    match row {
        Row::Installation(_) => state.installation().map(|row| Row::Installation(Arc::clone(row))),
        Row::Key(key) => state.key(key.id).map(|row| Row::Key(Arc::clone(row))),
        Row::Principal(principal) => state.principal(principal.id).map(|row| Row::Principal(Arc::clone(row))),
        Row::Binding(binding) => state.binding(binding.id).map(|row| Row::Binding(Arc::clone(row))),
        Row::Issuer(issuer) => state.issuer(issuer.id).map(|row| Row::Issuer(Arc::clone(row))),
        Row::ClientCa(ca) => state.client_ca(ca.id).map(|row| Row::ClientCa(Arc::clone(row))),
        Row::Policy(policy) => state.policy(policy.id).map(|row| Row::Policy(Arc::clone(row))),
        Row::Role(role) => state.role(role.id).map(|row| Row::Role(Arc::clone(row))),
    }
}

impl Changed {
    /// The key that was changed.
    ///
    /// # Errors
    ///
    /// `internal` if the change touched none.
    pub fn key(&self) -> Result<&Arc<crate::model::Key>, Error> {
        self.rows
            .iter()
            .find_map(|row| if let Row::Key(key) = row { Some(key) } else { None })
            .ok_or_else(|| Error::internal("the change touched no key"))
    }

    /// The principal that was changed.
    ///
    /// # Errors
    ///
    /// `internal` if the change touched none.
    pub fn principal(&self) -> Result<&Arc<crate::model::Principal>, Error> {
        self.rows
            .iter()
            .find_map(|row| if let Row::Principal(principal) = row { Some(principal) } else { None })
            .ok_or_else(|| Error::internal("the change touched no principal"))
    }

    /// The custom policy that was changed.
    ///
    /// # Errors
    ///
    /// `internal` if the change touched none.
    pub fn policy(&self) -> Result<&Arc<crate::model::CustomPolicy>, Error> {
        self.rows
            .iter()
            .find_map(|row| if let Row::Policy(policy) = row { Some(policy) } else { None })
            .ok_or_else(|| Error::internal("the change touched no policy"))
    }

    /// The custom role that was changed.
    ///
    /// # Errors
    ///
    /// `internal` if the change touched none.
    pub fn role(&self) -> Result<&Arc<crate::model::CustomRole>, Error> {
        self.rows
            .iter()
            .find_map(|row| if let Row::Role(role) = row { Some(role) } else { None })
            .ok_or_else(|| Error::internal("the change touched no role"))
    }

    /// The binding that was changed.
    ///
    /// # Errors
    ///
    /// `internal` if the change touched none.
    pub fn binding(&self) -> Result<&Arc<crate::model::Binding>, Error> {
        self.rows
            .iter()
            .find_map(|row| if let Row::Binding(binding) = row { Some(binding) } else { None })
            .ok_or_else(|| Error::internal("the change touched no binding"))
    }
}
