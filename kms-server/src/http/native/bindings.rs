//! Bindings: who holds which role, on what, from when until when.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::BindingId,
    wire::{
        binding::{Binding, BindingAnswer, BindingChanged, BindingList, BindingQuery, CreateBinding, Ended, Scope},
        key::WithReason,
        name::KeyName,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, cursor,
    error::Failure,
    exchange::Exchange,
    names::{incoming, incoming_option, key_id, outgoing, principal_id, receipt, revision},
};
use crate::{
    gate::{Answer, Released},
    model::{self, ControlState, Error, Operation, Period},
    service::{BindingFilter, Made},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(create_binding, list_bindings))
        .routes(routes!(describe_binding))
        .routes(routes!(end_binding))
}

/// Gives a principal a role.
#[utoipa::path(
    post, path = "/v1/bindings", operation_id = "create_binding", tag = "bindings", request_body = CreateBinding,
    responses((status = 200, description = "The binding and the receipt", body = BindingChanged))
)]
async fn create_binding(mut exchange: Exchange) -> Result<Response, Failure> {
    let request: CreateBinding = exchange.json().await?;
    let changed = exchange.change(operation(&exchange, &request)?).await?;
    answer(&exchange, changed)
}

/// A page of bindings.
#[utoipa::path(
    get, path = "/v1/bindings", operation_id = "list_bindings", tag = "bindings", params(BindingQuery),
    responses((status = 200, description = "A page of bindings, ordered by id", body = BindingList))
)]
async fn list_bindings(exchange: Exchange) -> Result<Response, Failure> {
    let mut query: BindingQuery = exchange.query()?;
    let (limit, cursor) = (cursor::limit(query.limit.take())?, query.cursor.take());
    let listing = exchange.listing("bindings", &query)?;
    let after = listing.place(cursor.as_ref())?.map(BindingId::from_bytes);
    let snapshot = exchange.snapshot();
    let filter = BindingFilter {
        principal: query.principal.as_ref().map(|principal| principal_id(principal, &snapshot.state)),
        role: incoming_option(query.role.as_ref())?,
        key: query.key.as_ref().map(|key| key_id(key, &snapshot.state)).transpose()?,
    };
    let page = exchange.service().list_bindings(exchange.call(), &filter, after, cursor::length(limit)).await?;
    exchange.answer(page, |page, record| {
        let last = page.items.last().filter(|_| page.more);
        Ok(BindingList {
            next_cursor: last.map(|binding| listing.cursor(binding.id.as_bytes())).transpose()?,
            bindings: page.items.iter().map(|binding| view(binding)).collect::<Result<_, _>>()?,
            record,
        })
    })
}

/// One binding.
#[utoipa::path(
    get, path = "/v1/bindings/{binding}", operation_id = "describe_binding", tag = "bindings",
    params(("binding" = BindingId, Path, description = "Its id")),
    responses((status = 200, description = "The binding", body = BindingAnswer))
)]
async fn describe_binding(mut exchange: Exchange) -> Result<Response, Failure> {
    let id = exchange.path("binding").await?;
    let binding = exchange.service().describe_binding(exchange.call(), id).await?;
    exchange.tagged(binding, |binding, record| Ok(BindingAnswer { binding: view(&binding)?, record }))
}

/// Takes a role away.
#[utoipa::path(
    post, path = "/v1/bindings/{binding}/end", operation_id = "end_binding", tag = "bindings",
    params(("binding" = BindingId, Path, description = "Its id")), request_body = WithReason,
    responses((status = 200, description = "The binding and the receipt", body = BindingChanged))
)]
async fn end_binding(mut exchange: Exchange) -> Result<Response, Failure> {
    let binding = exchange.path("binding").await?;
    let WithReason { reason } = exchange.json().await?;
    let changed = exchange.change(Operation::EndBinding { binding, reason: incoming(&reason)? }).await?;
    answer(&exchange, changed)
}

/// The change that a request for a binding asks for.
pub(super) fn operation(exchange: &Exchange, request: &CreateBinding) -> Result<Operation, Error> {
    let snapshot = exchange.snapshot();
    Ok(Operation::CreateBinding {
        binding: BindingId::new(exchange.fresh()),
        principal: principal_id(&request.principal, &snapshot.state),
        role: incoming(&request.role)?,
        scope: scope_in(&request.scope, &snapshot.state)?,
        period: Period { from: request.from, until: request.until },
        sponsor: request.sponsor.as_ref().map(|sponsor| principal_id(sponsor, &snapshot.state)),
        purpose: incoming_option(request.purpose.as_ref())?.unwrap_or_default(),
    })
}

fn answer(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        Ok(BindingChanged { binding: view(changed.binding()?)?, receipt: receipt(changed.receipt), record })
    })
}

fn scope_in(scope: &Scope, state: &ControlState) -> Result<model::Scope, Error> {
    Ok(match scope {
        Scope::Key(key) => model::Scope::Key(key_id(key, state)?),
        Scope::DataClass(class) => model::Scope::DataClass(incoming(class)?),
        Scope::All => model::Scope::All,
    })
}

fn scope_out(scope: &model::Scope) -> Result<Scope, Error> {
    Ok(match scope {
        model::Scope::Key(key) => Scope::Key(KeyName::Id(*key)),
        model::Scope::DataClass(class) => Scope::DataClass(outgoing(class.as_str())?),
        model::Scope::All => Scope::All,
    })
}

pub(super) fn view(binding: &model::Binding) -> Result<Binding, Error> {
    let purpose = Some(binding.purpose.as_str()).filter(|purpose| !purpose.is_empty());
    let ended = binding.ended_at.map(|at| {
        let reason = binding.reason.as_ref().ok_or_else(|| Error::internal("a binding was ended without a reason"))?;
        Ok::<_, Error>(Ended { at, reason: outgoing(reason.as_str())? })
    });
    Ok(Binding {
        id: binding.id,
        principal: binding.principal,
        role: outgoing(binding.role.as_str())?,
        scope: scope_out(&binding.scope)?,
        from: binding.period.from.unwrap_or(binding.created_at),
        until: binding.period.until,
        sponsor: binding.sponsor,
        purpose: purpose.map(outgoing).transpose()?,
        ended: ended.transpose()?,
        created_at: binding.created_at,
        revision: revision(binding.revision),
    })
}
