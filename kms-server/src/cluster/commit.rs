//! The way from one revision to the next.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use kms_client::id::{ChangeId, PrincipalId};
use tracing::Instrument as _;

use super::{Cluster, LoadError, Receipt, authentication::HistoryEntry, ledger::Ledger, snapshot::Snapshot};
use crate::{
    crash_point, flush_trace,
    model::{Change, Error, Operation, Revision, Row},
    store::{self, AuditIntent, ControlChange, Head, Hint, IdempotencyKey, StoredRow},
};

/// How often a change is decided anew because another node's came first.
const TRIES: usize = 16;

/// What a change does at one revision, and the record of it.
#[derive(Debug)]
pub struct Proposal<R> {
    /// The rows that replace others.
    pub rows: Vec<Row>,
    /// The record, for whoever seals it.
    pub record: R,
    /// The same record as it is stored with the change, in case this node does not live to seal it.
    pub intent: Vec<u8>,
    /// The name under which it is made once, if it has one.
    pub once: Option<IdempotencyKey>,
}

/// A change that is in force.
#[derive(Debug)]
pub struct Committed<R> {
    /// The proof of it.
    pub receipt: Receipt,
    /// The rows as they are since.
    pub rows: Vec<Row>,
    /// The record to be sealed.
    pub record: R,
}

/// Why a change is not in force.
#[derive(Debug)]
pub enum CommitError<D, X> {
    /// It was refused at this snapshot.
    Refused(Arc<Snapshot<D>>, X),
    /// It could not be committed; nothing happened.
    Failed(Error),
    /// It was made before under the same name; nothing happened now.
    MadeBefore,
    /// It may have been committed.
    Unknown,
}

/// The rows of one change with their tags, and the head that follows.
struct Step {
    revision: Revision,
    at: Timestamp,
    head: Head,
    entry: ControlChange,
    rows: Vec<StoredRow>,
    ledger: Ledger,
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Commits a change, applies it, waits until nothing leaves this node under the older rules, and remembers it
    /// outside the database. `decide` says what the change does at the snapshot, revision and moment it is given.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    pub async fn commit<R, X>(
        &self,
        change: &Change,
        principal: Option<PrincipalId>,
        decide: impl Fn(&Snapshot<D>, Revision, Timestamp) -> Result<Proposal<R>, X>,
    ) -> Result<Committed<R>, CommitError<D, X>> {
        let making = self.making.lock().await;
        for _ in 0..TRIES {
            if self.is_in_doubt() {
                self.catch_up(&self.store).await.map_err(failed)?;
            }
            let snapshot = self.snapshot();
            let revision = match &change.operation {
                Operation::AcceptDatabase { remembered, .. } => snapshot.revision.max(*remembered).next(),
                _ => snapshot.revision.next(),
            };
            let at = self.now();
            let proposal =
                decide(&snapshot, revision, at).map_err(|refusal| CommitError::Refused(snapshot.clone(), refusal))?;
            let step =
                self.step(&snapshot, change, principal, &proposal.rows, revision, at).map_err(CommitError::Failed)?;
            let span = tracing::trace_span!(target: "keyward::trace", "database.commit");
            match self.write(&snapshot, change, &step, &proposal).instrument(span).await {
                Ok(true) => {
                    let committed = self.time.boot();
                    let Proposal { rows, record, .. } = proposal;
                    let material = makes_material(&rows, step.at);
                    let installed =
                        self.install(snapshot.revision, &rows, (step.revision, step.head.hash), &step.ledger);
                    // Others are waited for side by side.
                    drop(making);
                    let receipt = self.acknowledge(change.id, material, installed, &step, committed).await?;
                    return Ok(Committed { receipt, rows, record });
                }
                // Another node's change has the number: look again from there.
                Ok(false) => self.catch_up(&self.store).await.map_err(failed)?,
                Err(WriteError::Refused(error)) => return Err(CommitError::Failed(error)),
                Err(WriteError::MadeBefore) => return Err(CommitError::MadeBefore),
                Err(WriteError::Unknown(error)) => {
                    tracing::error!(change.id = %change.id, error = &error as &dyn std::error::Error, "a commit's outcome is not known");
                    self.in_doubt.store(true, Ordering::SeqCst);
                    self.leave_unsealed(change.id);
                    return Err(CommitError::Unknown);
                }
            }
        }
        Err(CommitError::Failed(Error::unavailable(
            crate::model::Refusal::Overloaded,
            "too many control changes at once",
        )))
    }

    /// Tries to learn the newest state while the outcome of a commit is not known.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; the node then still serves nothing.
    pub async fn resolve_doubt(&self) -> Result<(), LoadError> {
        let _making = self.making.lock().await;
        if self.is_in_doubt() { self.catch_up(&self.store).await } else { Ok(()) }
    }

    /// The newest revision that anchor file or token remembers.
    ///
    /// # Errors
    ///
    /// That of the anchor.
    pub async fn remembered(&self) -> Result<Revision, LoadError> {
        self.anchor.newest(&self.row_key).await
    }

    /// Whether the database is older than what anchor file or token remember, or has taken another course.
    ///
    /// # Errors
    ///
    /// That of the database or the anchor.
    pub async fn is_older(&self) -> Result<bool, LoadError> {
        let snapshot = self.snapshot();
        let mut tx = self.store.read().await?;
        match self.anchor.compare(&mut tx, &self.row_key, snapshot.revision).await {
            Ok(()) => Ok(false),
            Err(LoadError::Older { .. } | LoadError::LogShorter { .. }) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Writes the newest revision and audit head into the token, as on an orderly stop.
    ///
    /// # Errors
    ///
    /// That of the anchor.
    pub async fn remember_in_token(&self) -> Result<(), LoadError> {
        let snapshot = self.snapshot();
        self.anchor.remember_in_token(&self.row_key, snapshot.revision, snapshot.hash).await
    }

    fn step(
        &self,
        snapshot: &Snapshot<D>,
        change: &Change,
        principal: Option<PrincipalId>,
        rows: &[Row],
        revision: Revision,
        at: Timestamp,
    ) -> Result<Step, Error> {
        let mut ledger = snapshot.ledger.clone();
        let mut stored = Vec::with_capacity(rows.len());
        for row in rows {
            let (body, mac) = ledger.make(&self.row_key, row, revision)?;
            stored.push(StoredRow { kind: row.kind(), id: row.id(), revision, body, mac });
        }
        let state_digest = self.row_key.state_digest(revision, &ledger.sum);
        let body = String::from_utf8(change.canonical()?).map_err(Error::internal)?;
        let edited = serde_json::to_string(rows).map_err(Error::internal)?;
        let digest = change.digest()?;
        let hash = HistoryEntry {
            revision,
            previous: &snapshot.hash,
            change_id: change.id,
            digest: &digest,
            principal,
            committed_at: at.as_microsecond(),
            rows: &edited,
            state_digest: &state_digest,
        }
        .hash();
        let entry = ControlChange {
            revision,
            change: change.id,
            digest,
            body,
            principal,
            committed_at: at,
            previous: snapshot.hash,
            hash,
            state_digest,
            mac: self.row_key.history(&hash),
            rows: edited,
            receipt: None,
        };
        let head = Head { revision, hash, state_digest, mac: self.row_key.head(revision, &hash, &state_digest) };
        Ok(Step { revision, at, head, entry, rows: stored, ledger })
    }

    /// One transaction: head, rows, history, intent and HSM object, or nothing. `false`: another change came first.
    async fn write<R>(
        &self,
        snapshot: &Snapshot<D>,
        change: &Change,
        step: &Step,
        proposal: &Proposal<R>,
    ) -> Result<bool, WriteError> {
        let mut tx = self.store.begin().await?;
        if !tx.advance_head(snapshot.revision, &step.head).await? {
            return Ok(false);
        }
        if let Some(once) = &proposal.once
            && !tx.keep_idempotency_key(once, step.at).await?
        {
            return Err(WriteError::MadeBefore);
        }
        for row in &step.rows {
            tx.put_row(row).await?;
        }
        tx.insert_change(&step.entry).await?;
        if let Operation::CreateKey { material, .. } | Operation::RotateKey { material, .. } = &change.operation
            && !tx.set_live(material.object).await?
        {
            return Err(WriteError::Refused(Error::internal("the key's object is not waiting to be made known")));
        }
        if let Operation::AcceptDatabase { .. } = &change.operation {
            // In the copy that was lost these objects may have become keys: they are no longer ours to destroy.
            tx.abandon_creating().await?;
        }
        let intent = AuditIntent {
            change: change.id,
            node: self.node,
            revision: step.revision,
            record: proposal.intent.clone(),
        };
        tx.insert_intent(&intent).await?;
        tx.hint(Hint::Change(step.revision)).await?;
        crash_point!("change.before_commit");
        match tx.commit().await {
            Ok(()) => {
                crash_point!("change.committed");
                Ok(true)
            }
            Err(store::CommitError::Refused(error)) => Err(WriteError::Refused(error.into())),
            Err(unknown @ store::CommitError::Unknown(_)) => Err(WriteError::Unknown(unknown)),
        }
    }

    /// Apply, drain, remember, and wait for the others. From here on the change is a fact, so every failure is an unknown
    /// outcome to its maker.
    async fn acknowledge<X>(
        &self,
        id: ChangeId,
        makes_material: bool,
        installed: Result<(), LoadError>,
        step: &Step,
        committed: Duration,
    ) -> Result<Receipt, CommitError<D, X>> {
        let acknowledged = async {
            installed?;
            let remembered = async {
                self.drain().await;
                let here = self.time.boot().saturating_sub(committed);
                self.anchor.remember(&self.row_key, step.revision, step.head.hash).await?;
                if makes_material {
                    // A copy of the whole host that is put back must not take a key in use for one that was never finished.
                    self.anchor.remember_in_token(&self.row_key, step.revision, step.head.hash).await?;
                }
                Ok::<_, LoadError>(here)
            };
            let (here, elsewhere) =
                futures_util::future::try_join(remembered, async { Ok(self.gather(step.revision, committed).await?) })
                    .await?;
            flush_trace::acknowledged(id, step.revision);
            let receipt = self.build(id, step.revision, step.at, here, elsewhere);
            crash_point!("change.remembered");
            self.keep_receipt(receipt).await
        };
        acknowledged.await.map_err(|error| {
            tracing::error!(change.id = %id, error = &error as &dyn std::error::Error, "a committed change could not be acknowledged");
            self.leave_unsealed(id);
            CommitError::Unknown
        })
    }
}

enum WriteError {
    Refused(Error),
    MadeBefore,
    Unknown(store::CommitError),
}

impl From<store::Error> for WriteError {
    fn from(error: store::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Whether the change made a key version.
fn makes_material(rows: &[Row], at: Timestamp) -> bool {
    let newest =
        |row: &Row| if let Row::Key(key) = row { key.versions.last().map(|newest| newest.created_at) } else { None };
    rows.iter().any(|row| newest(row) == Some(at))
}

fn failed<D, X>(error: LoadError) -> CommitError<D, X> {
    CommitError::Failed(error.into())
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => error.into(),
            LoadError::Derive(error) => error,
            other => Self::internal(other),
        }
    }
}
