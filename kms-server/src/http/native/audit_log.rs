//! The audit log, for those who may read it. Reading it is on record too.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    format::record::Record,
    id::RecordId,
    wire::audit::{AuditRecordAnswer, AuditRecords, AuditSearch, RecordView},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, cursor,
    data_keys::context,
    error::Failure,
    exchange::Exchange,
    names::{key_id, principal_id},
};
use crate::{
    model::{ControlState, Error},
    service,
    service::AuditCursor,
};

/// The bytes of a place in the log.
const PLACE: usize = 24;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(search_audit)).routes(routes!(describe_record))
}

/// A page of the records to which everything given applies.
#[utoipa::path(
    post, path = "/v1/audit/search", operation_id = "search_audit", tag = "audit", request_body = AuditSearch,
    responses((status = 200, description = "A page of records, newest first", body = AuditRecords))
)]
async fn search_audit(mut exchange: Exchange) -> Result<Response, Failure> {
    let mut search: AuditSearch = exchange.json().await?;
    let (limit, cursor) = (cursor::limit(search.limit.take())?, search.cursor.take());
    let context = search.context.take().map(context).transpose()?;
    let canonical = context.as_ref().map(|context| context.canonical());
    let listing = exchange.listing("audit", &(&search, canonical))?;
    let after = listing.place(cursor.as_ref())?.map(place);
    let snapshot = exchange.snapshot();
    let filter = filter(&search, context.map(Arc::unwrap_or_clone), &snapshot.state)?;
    let page = exchange.service().search_audit(exchange.call(), filter, after, limit).await?;
    exchange.answer(page, |page, record| {
        let records = page.records.into_iter().map(|found| view(found, &snapshot.state)).collect();
        let next_cursor = page.next.map(|next| listing.cursor(&place_bytes(next))).transpose()?;
        Ok(AuditRecords { records, next_cursor, record })
    })
}

/// One record.
#[utoipa::path(
    get, path = "/v1/audit/records/{record}", operation_id = "describe_record", tag = "audit",
    params(("record" = RecordId, Path, description = "Its id")),
    responses((status = 200, description = "The record", body = AuditRecordAnswer))
)]
async fn describe_record(mut exchange: Exchange) -> Result<Response, Failure> {
    let id = exchange.path("record").await?;
    let found = exchange.service().describe_record(exchange.call(), id).await?;
    let snapshot = exchange.snapshot();
    exchange.answer(found, |found, record| Ok(AuditRecordAnswer { found: view(found, &snapshot.state), record }))
}

fn filter(
    search: &AuditSearch,
    context: Option<kms_client::format::context::EncryptionContext>,
    state: &ControlState,
) -> Result<service::AuditSearch, Error> {
    let action = |name: &kms_client::wire::name::ActionName| {
        service::recorded_action(name.as_str())
            .ok_or_else(|| Error::invalid("`action`: there is no such action; `/v1/roles` lists those there are"))
    };
    Ok(service::AuditSearch {
        principal: search.principal.as_ref().map(|principal| principal_id(principal, state)),
        key: search.key.as_ref().map(|key| key_id(key, state)).transpose()?,
        data_key: search.data_key,
        action: search.action.as_ref().map(action).transpose()?,
        outcome: search.outcome,
        from: search.from,
        until: search.until,
        request: search.request,
        change: search.change,
        context,
    })
}

/// A record with the name of who asked, as it is now.
fn view(record: Record, state: &ControlState) -> RecordView {
    let principal = record.principal.and_then(|id| state.principal(id));
    let name = principal.and_then(|principal| principal.name.as_str().parse().ok());
    RecordView::new(record, name)
}

fn place(bytes: [u8; PLACE]) -> AuditCursor {
    let (words, _) = bytes.as_chunks::<8>();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    AuditCursor {
        at: i64::from_be_bytes(word(0)),
        chain: u64::from_be_bytes(word(1)),
        sequence: u64::from_be_bytes(word(2)),
    }
}

fn place_bytes(cursor: AuditCursor) -> [u8; PLACE] {
    let words = [cursor.at.to_be_bytes(), cursor.chain.to_be_bytes(), cursor.sequence.to_be_bytes()];
    let mut bytes = [0; PLACE];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_bytes() {
        let cursor = AuditCursor { at: -5, chain: 7, sequence: u64::MAX };
        assert_eq!(place(place_bytes(cursor)), cursor);
    }

    #[test]
    fn an_action_is_one_there_is() {
        let search = |action: &str| AuditSearch { action: Some(action.parse().unwrap()), ..AuditSearch::default() };
        let state = ControlState::default();
        assert_eq!(filter(&search("unwrap"), None, &state).unwrap().action, Some("unwrap"));
        assert_eq!(filter(&search("node_start"), None, &state).unwrap().action, Some("node_start"));
        assert_eq!(filter(&search("unrap"), None, &state).unwrap_err().code(), "invalid_request");
    }
}
