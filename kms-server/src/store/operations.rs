//! Changes that were accepted to be made later, and what became of them.

use std::str::FromStr;

use jiff::Timestamp;
use kms_client::id::{ChangeId, NodeId, PrincipalId, RequestId};
use uuid::Uuid;

use super::{Error, Tx, column::to_time, tx::on};

/// How far an accepted change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// It is being made, or was when its node ended.
    Running,
    /// It is made.
    Succeeded,
    /// It was not made.
    Failed,
    /// Its commit was sent and no answer came: it is made if the change is there.
    Unknown,
}

/// A change that was accepted to be made later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOperation {
    /// The change, whether or not it is made.
    pub change: ChangeId,
    /// The request that asked for it.
    pub request: RequestId,
    /// Who asked.
    pub principal: PrincipalId,
    /// The node that accepted it.
    pub node: NodeId,
    /// The action, by its code.
    pub kind: String,
    /// How far it has come.
    pub state: OperationState,
    /// Why it failed: a stable code, and words.
    pub failure: Option<(String, String)>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    change_id: Uuid,
    request_id: Uuid,
    principal: Uuid,
    node: Uuid,
    kind: String,
    state: String,
    code: Option<String>,
    detail: Option<String>,
    accepted_at: i64,
    finished_at: Option<i64>,
}

impl Tx<'_> {
    /// Notes an operation that is about to begin.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if there is one of this change; else as every statement.
    pub async fn insert_operation(&mut self, operation: &StoredOperation) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO operations (change_id, request_id, principal, node, kind, state, accepted_at) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on!(self, execute SQL,
            operation.change.uuid(),
            operation.request.uuid(),
            operation.principal.uuid(),
            operation.node.uuid(),
            operation.kind.as_str(),
            operation.state.as_str(),
            operation.accepted_at.as_microsecond(),
        )?;
        Ok(())
    }

    /// The operation of this change.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn operation(&mut self, change: ChangeId) -> Result<Option<StoredOperation>, Error> {
        const SQL: &str = "SELECT change_id, request_id, principal, node, kind, state, code, detail, accepted_at, \
                           finished_at FROM operations WHERE change_id = $1";
        let row: Option<Columns> = on!(self, optional SQL, change.uuid())?;
        row.map(StoredOperation::from_columns).transpose()
    }

    /// The operations whose end is not written down.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn unfinished_operations(&mut self) -> Result<Vec<StoredOperation>, Error> {
        const SQL: &str = "SELECT change_id, request_id, principal, node, kind, state, code, detail, accepted_at, \
                           finished_at FROM operations WHERE state IN ('running', 'unknown') ORDER BY accepted_at";
        let rows: Vec<Columns> = on!(self, all SQL)?;
        rows.into_iter().map(StoredOperation::from_columns).collect()
    }

    /// Writes down how an operation ended. `false` if that was written down before, or there is no such operation.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn finish_operation(
        &mut self,
        change: ChangeId,
        state: OperationState,
        failure: Option<(&str, &str)>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE operations SET state = $1, code = $2, detail = $3, finished_at = $4 \
                           WHERE change_id = $5 AND state IN ('running', 'unknown')";
        let (code, detail) = failure.unzip();
        let at = at.as_microsecond();
        Ok(on!(self, execute SQL, state.as_str(), code, detail, at, change.uuid())? == 1)
    }

    /// Forgets the operations that ended and were accepted before this moment. Answers how many.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn forget_operations(&mut self, before: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM operations WHERE accepted_at < $1 AND state IN ('succeeded', 'failed')";
        on!(self, execute SQL, before.as_microsecond())
    }
}

impl StoredOperation {
    fn from_columns(row: Columns) -> Result<Self, Error> {
        Ok(Self {
            change: ChangeId::new(row.change_id),
            request: RequestId::new(row.request_id),
            principal: PrincipalId::new(row.principal),
            node: NodeId::new(row.node),
            kind: row.kind,
            state: row.state.parse()?,
            failure: row.code.zip(row.detail),
            accepted_at: to_time("operations.accepted_at", row.accepted_at)?,
            finished_at: row.finished_at.map(|at| to_time("operations.finished_at", at)).transpose()?,
        })
    }
}

impl OperationState {
    const ALL: [Self; 4] = [Self::Running, Self::Succeeded, Self::Failed, Self::Unknown];

    /// The state as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for OperationState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(Error::Corrupt("operations.state"))
    }
}
