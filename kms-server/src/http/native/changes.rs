//! Control changes, as they were committed.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::ChangeId,
    wire::{
        change::{Change, ChangeAnswer, ChangeList, ChangeQuery},
        receipt::Receipt,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, cursor,
    error::Failure,
    exchange::Exchange,
    names::{receipt, revision},
};
use crate::{
    cluster,
    model::{self, Error, Revision},
    service::ControlChange,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(list_changes)).routes(routes!(describe_change))
}

/// A page of control changes.
#[utoipa::path(
    get, path = "/v1/changes", operation_id = "list_changes", tag = "changes", params(ChangeQuery),
    responses((status = 200, description = "A page of changes, newest first", body = ChangeList))
)]
async fn list_changes(exchange: Exchange) -> Result<Response, Failure> {
    let ChangeQuery { limit, cursor } = exchange.query()?;
    let limit = cursor::limit(limit)?;
    let listing = exchange.listing("changes", &())?;
    let before = listing.place(cursor.as_ref())?.map(|place| Revision(u64::from_be_bytes(place)));
    let page = exchange.service().list_changes(exchange.call(), before, cursor::length(limit)).await?;
    exchange.answer(page, |page, record| {
        let last = page.items.last().filter(|_| page.more);
        Ok(ChangeList {
            next_cursor: last.map(|change| listing.cursor(&change.revision.0.to_be_bytes())).transpose()?,
            changes: page.items.iter().map(view).collect::<Result<_, _>>()?,
            record,
        })
    })
}

/// One control change, by which an unknown outcome is looked up.
#[utoipa::path(
    get, path = "/v1/changes/{change}", operation_id = "describe_change", tag = "changes",
    params(("change" = ChangeId, Path, description = "Its id")),
    responses((status = 200, description = "The change", body = ChangeAnswer))
)]
async fn describe_change(mut exchange: Exchange) -> Result<Response, Failure> {
    let id = exchange.path("change").await?;
    let change = exchange.service().describe_change(exchange.call(), id).await?;
    exchange.answer(change, |change, record| {
        let before = (!change.before.is_empty()).then_some(change.before.into());
        Ok(ChangeAnswer { change: Change { before, ..view(&change.change)? }, record })
    })
}

pub(super) fn view(stored: &ControlChange) -> Result<Change, Error> {
    let change: model::Change = serde_json::from_str(&stored.body).map_err(Error::internal)?;
    let acknowledged: Option<cluster::Receipt> =
        stored.receipt.as_deref().map(serde_json::from_str).transpose().map_err(Error::internal)?;
    // Committed, but not known to be in force on any node yet.
    let unacknowledged = || Receipt {
        change_id: stored.change,
        revision: revision(stored.revision),
        committed_at: stored.committed_at,
        nodes: Vec::new(),
    };
    Ok(Change {
        change_id: stored.change,
        revision: revision(stored.revision),
        committed_at: stored.committed_at,
        kind: change.operation.action().code().to_owned(),
        principal: stored.principal,
        before: None,
        after: Some(serde_json::from_str(&stored.rows).map_err(Error::internal)?),
        receipt: acknowledged.map_or_else(unacknowledged, receipt),
    })
}
