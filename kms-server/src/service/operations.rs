//! Changes that their caller does not wait for: they are accepted, made, and asked about by the id of the change.
//!
//! The row of an operation is durable before anybody is told "accepted". Whatever happens then, the row says in the end
//! what became of it: a node writes down the ends of its own, and at its start those of nodes that are gone.

use std::time::Duration;

use kms_client::id::ChangeId;
use serde::Serialize;
use tokio::time::interval;

use super::{Call, Changed, Once, Outcome, Service};
use crate::{
    crash_point,
    gate::{Asked, Attempt, Decision, Facts, Refused, Unaudited},
    model::{Action, Change, Error, Refusal, Target},
    policy,
    store::{ControlChange, OperationState, StoredOperation},
};

/// How long the end of an operation can be asked for.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// How often it is tried to write an end down.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What a control change answers.
#[derive(Debug)]
pub enum Made {
    /// It is made.
    Now(Changed),
    /// It was accepted, and is being made.
    Later(Box<Operation>),
}

/// An operation, and the change once it is made.
#[derive(Debug, Clone)]
pub struct Operation {
    /// What is written down.
    pub stored: StoredOperation,
    /// The change.
    pub change: Option<ControlChange>,
}

/// What is to be done, by whom, and on which terms.
pub(super) struct Order {
    pub(super) call: Call,
    pub(super) change: Change,
    pub(super) once: Option<Once>,
    pub(super) later: bool,
}

impl Service {
    /// Carries out an order, to its end even if the caller goes away; or accepts it.
    pub(super) async fn carry_out<F>(
        &self,
        name: &'static str,
        order: Order,
        work: impl FnOnce(Change) -> F + Send + 'static,
    ) -> Outcome<Made>
    where
        F: Future<Output = Outcome<Changed>> + Send + 'static,
    {
        let service = self.clone();
        let carried_out =
            async move { if order.later { service.accept(order, work).await } else { now(work(order.change).await) } };
        let finished = self.inner.supervisor.finish(name, carried_out).await;
        finished.unwrap_or_else(|failed| Err(Refused { error: Error::internal(failed), record: None }))
    }

    /// Accepts a change that would not be refused now, and begins with it.
    async fn accept<F>(&self, order: Order, work: impl FnOnce(Change) -> F + Send + 'static) -> Outcome<Made>
    where
        F: Future<Output = Outcome<Changed>> + Send + 'static,
    {
        let Order { call, change, once, .. } = order;
        if let Some((snapshot, attempt)) = self.refusal(&call, &change) {
            return now(self.refuse(&call, &snapshot, attempt, once.as_ref()).await);
        }
        if let Some(once) = &once {
            let earlier = match self.is_free(&call, once) {
                Ok(()) => self.made_before(&call, once).await,
                Err(error) => Err(error),
            };
            match earlier {
                Ok(None) => {}
                Ok(Some(earlier)) => return now(self.repeat(&call, earlier).await),
                Err(error) => return now(self.failed_change(&call, &change, error).await),
            }
        }
        let stored = StoredOperation {
            change: change.id,
            request: call.request.id,
            principal: call.caller.principal(),
            node: self.cluster().node(),
            kind: change.operation.action().code().to_owned(),
            state: OperationState::Running,
            failure: None,
            accepted_at: self.cluster().now(),
            finished_at: None,
        };
        if let Err(error) = self.note_operation(&stored).await {
            return now(self.failed_change(&call, &change, error).await);
        }
        let id = change.id;
        let released = self.release_accepted(&call, &change, Operation { stored, change: None }).await;
        match &released {
            Ok(_) => {
                crash_point!("operation.accepted");
                let service = self.clone();
                self.inner.supervisor.start_short("operation", async move {
                    let ended = work(change).await.map(drop).map_err(|refused| refused.error);
                    service.finish_operation(id, ended).await;
                });
            }
            Err(refused) => self.finish_operation(id, Err(refused.error.again())).await,
        }
        released
    }

    async fn release_accepted(&self, call: &Call, change: &Change, operation: Operation) -> Outcome<Made> {
        let snapshot = self.cluster().snapshot();
        let intent = call.caller.intends(&call.request, change.operation.action(), change.operation.target());
        // The record does not count as the change's own, which there will be if the change is made.
        let facts = Facts { key: change.operation.key(), detail: detail(change.id), ..Facts::default() };
        let attempt = match policy::authorise(&snapshot, self.cluster().now(), &intent) {
            Ok(permit) => Attempt {
                asked: vec![Asked { intent, decision: Decision::Permitted(permit), facts }],
                result: Ok(Unaudited::new(Made::Later(Box::new(operation)))),
            },
            Err(denial) => Attempt::denied(intent, denial, facts),
        };
        self.gate().release_one(&snapshot, attempt).await
    }

    /// What became of an accepted change.
    ///
    /// # Errors
    ///
    /// `not_found`, `not_permitted`, `store_unavailable`.
    pub async fn describe_operation(&self, call: &Call, id: ChangeId) -> Outcome<Operation> {
        let allowed = self.may(call, Action::DescribeChange);
        let found = if allowed { self.find_operation(id).await } else { Err(Error::Denied) };
        self.read(call, Action::DescribeChange, Target::Installation, |_| found).await
    }

    /// Writes down what became of the operations of nodes that are gone.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn settle_operations(&self) -> Result<(), Error> {
        let mut tx = self.inner.store.read().await?;
        let present = self.cluster().present(&mut tx).await?;
        let mut left = tx.unfinished_operations().await?;
        drop(tx);
        left.retain(|left| !present.contains(&left.node));
        if left.is_empty() {
            return Ok(());
        }
        let now = self.cluster().now();
        let mut tx = self.inner.store.begin().await?;
        for left in left {
            if tx.change(left.change).await?.is_some() {
                tx.finish_operation(left.change, OperationState::Succeeded, None, now).await?;
            } else {
                let error = interrupted();
                let failure = Some((error.code(), error.to_string()));
                let failure = failure.as_ref().map(|(code, detail)| (*code, detail.as_str()));
                tx.finish_operation(left.change, OperationState::Failed, failure, now).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Forgets what became of operations of long ago.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub async fn forget_operations(&self) -> Result<(), Error> {
        let Ok(before) = self.cluster().now().checked_sub(KEPT) else { return Ok(()) };
        let mut tx = self.inner.store.begin().await?;
        tx.forget_operations(before).await?;
        Ok(tx.commit().await?)
    }

    async fn note_operation(&self, operation: &StoredOperation) -> Result<(), Error> {
        let mut tx = self.inner.store.begin().await?;
        tx.insert_operation(operation).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn find_operation(&self, id: ChangeId) -> Result<Operation, Error> {
        let mut tx = self.inner.store.read().await?;
        let mut stored = tx.operation(id).await?.ok_or(Error::NotFound("operation"))?;
        let change = tx.change(id).await?;
        // While it runs it is not made: it may be committed, and not yet in force. Once the newest state is known again
        // after a lost answer, the change is in it, or is not there.
        if stored.state == OperationState::Unknown && self.cluster().is_serving() {
            if let Some(made) = &change {
                stored.state = OperationState::Succeeded;
                stored.finished_at = Some(made.committed_at);
            } else {
                let error = interrupted();
                stored.state = OperationState::Failed;
                stored.failure = Some((error.code().to_owned(), error.to_string()));
            }
        }
        let change = change.filter(|_| stored.state == OperationState::Succeeded);
        Ok(Operation { stored, change })
    }

    /// Writes an end down, however long the database is away.
    async fn finish_operation(&self, id: ChangeId, ended: Result<(), Error>) {
        let (state, failure) = match ended {
            Ok(()) => (OperationState::Succeeded, None),
            Err(Error::OutcomeUnknown(_)) => (OperationState::Unknown, None),
            Err(error) => (OperationState::Failed, Some((error.code(), error.to_string()))),
        };
        let mut tries = interval(TRY_EVERY);
        loop {
            tokio::select! {
                _ = tries.tick() => {}
                // The next start writes it down.
                () = self.inner.supervisor.stopping() => return,
            }
            let written: Result<(), Error> = async {
                let failure = failure.as_ref().map(|(code, detail)| (*code, detail.as_str()));
                let mut tx = self.inner.store.begin().await?;
                tx.finish_operation(id, state, failure, self.cluster().now()).await?;
                tx.commit().await?;
                Ok(())
            }
            .await;
            match written {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(change.id = %id, error = &error as &dyn std::error::Error, "the end of an operation is not written down yet");
                }
            }
        }
    }
}

fn now(outcome: Outcome<Changed>) -> Outcome<Made> {
    outcome.map(|released| released.map(Made::Now))
}

fn interrupted() -> Error {
    Error::unavailable(Refusal::Interrupted, "the server stopped before the change was made; nothing of it happened")
}

fn detail(change: ChangeId) -> Option<String> {
    #[derive(Serialize)]
    struct Detail {
        accepted: ChangeId,
    }
    serde_json::to_string(&Detail { accepted: change }).ok()
}
