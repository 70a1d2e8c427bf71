//! Changes that their caller does not wait for: accepted by `Prefer: respond-async` (RFC 7240), asked about here.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::{ChangeId, RecordId, RequestId},
    wire::{
        operation::{Operation, OperationAnswer, OperationState},
        problem::{Code, Problem},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, changes, error::Failure, exchange::Exchange};
use crate::{
    model::Error,
    service::{self, OperationState as State},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(describe_operation))
}

/// What became of a change that was accepted.
#[utoipa::path(
    get, path = "/v1/operations/{operation}", operation_id = "describe_operation", tag = "changes",
    params(("operation" = ChangeId, Path, description = "The id of the change that was accepted")),
    responses((status = 200, description = "The operation", body = OperationAnswer))
)]
async fn describe_operation(mut exchange: Exchange) -> Result<Response, Failure> {
    let id = exchange.path("operation").await?;
    let operation = exchange.service().describe_operation(exchange.call(), id).await?;
    exchange.answer(operation, |operation, record| answer(&operation, record))
}

pub(super) fn answer(operation: &service::Operation, record: RecordId) -> Result<OperationAnswer, Error> {
    let service::Operation { stored, change } = operation;
    let state = match stored.state {
        State::Running => OperationState::Running,
        State::Succeeded => OperationState::Succeeded,
        State::Failed => OperationState::Failed,
        State::Unknown => OperationState::Unknown,
    };
    let problem = stored.failure.as_ref().map(|(code, detail)| problem(code, detail, stored.request));
    Ok(OperationAnswer {
        operation: Operation {
            change_id: stored.change,
            kind: stored.kind.clone(),
            principal: stored.principal,
            state,
            accepted_at: stored.accepted_at,
            finished_at: stored.finished_at,
            change: change.as_ref().map(changes::view).transpose()?,
            problem,
        },
        record,
    })
}

/// The problem that the request would have been answered with.
fn problem(code: &str, detail: &str, request: RequestId) -> Problem {
    let code = match code {
        // On the wire these are one; see `error`.
        "conflict" => Code::Conflict,
        other => other.parse().unwrap_or(Code::Internal),
    };
    Problem::new(code, detail, request)
}
