//! What a change would do, seen before it is made.

use std::sync::Arc;

use axum::response::Response;
use kms_client::wire::{
    explain::Finding,
    preview::{Effect, Past, PastRefusals, Preview, PreviewChange, PreviewedChange},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, bindings,
    error::Failure,
    exchange::Exchange,
    explain,
    names::{incoming, key_id, outgoing, outgoing_option, principal_id, revision},
};
use crate::{
    model::{self, Error, Operation, Reason},
    policy, service,
};

/// How many days back, unless the request says otherwise.
const USUAL_DAYS: u32 = 7;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(preview_change))
}

/// What a change would do: who would gain and lose what, and which recorded operations it would have refused.
#[utoipa::path(
    post, path = "/v1/changes/preview", operation_id = "preview_change", tag = "changes", request_body = PreviewChange,
    responses((status = 200, description = "What it would do; nothing was changed", body = Preview))
)]
async fn preview_change(mut exchange: Exchange) -> Result<Response, Failure> {
    let PreviewChange { change, days } = exchange.json().await?;
    let operation = operation(&exchange, &change)?;
    let preview = exchange.service().preview(exchange.call(), operation, days.unwrap_or(USUAL_DAYS)).await?;
    exchange.answer(preview, |preview, record| {
        Ok(Preview {
            effects: preview.effects.iter().map(effect).collect::<Result<_, _>>()?,
            effects_total: preview.total,
            effects_truncated: preview.truncated,
            past: past(&preview.past)?,
            revision: revision(preview.revision),
            record,
        })
    })
}

fn operation(exchange: &Exchange, change: &PreviewedChange) -> Result<Operation, Error> {
    let (snapshot, service) = (exchange.snapshot(), exchange.service());
    let reason = || "preview".parse::<Reason>();
    Ok(match change {
        PreviewedChange::PutPolicy { name, text } => {
            service.policy_to_put(incoming(name)?, model::Text::default(), text.clone())
        }
        PreviewedChange::RemovePolicy { name } => {
            Operation::RemovePolicy { policy: service.policy_id(&incoming(name)?) }
        }
        PreviewedChange::UpdateRole { role, actions } => Operation::UpdateRole {
            role: service.role_id(&incoming(role)?),
            description: None,
            actions: Some(actions.iter().map(explain::known).collect::<Result<_, _>>()?),
        },
        PreviewedChange::RemoveRole { role } => Operation::RemoveRole { role: service.role_id(&incoming(role)?) },
        PreviewedChange::CreateBinding { binding } => bindings::operation(exchange, binding)?,
        PreviewedChange::EndBinding { binding } => Operation::EndBinding { binding: *binding, reason: reason()? },
        PreviewedChange::SuspendPrincipal { principal } => {
            Operation::SuspendPrincipal { principal: principal_id(principal, &snapshot.state), reason: reason()? }
        }
        PreviewedChange::RemoveCredential { principal, credential } => {
            Operation::RemoveCredential { principal: principal_id(principal, &snapshot.state), credential: *credential }
        }
        PreviewedChange::DisableKey { key } => {
            Operation::DisableKey { key: key_id(key, &snapshot.state)?, reason: reason()? }
        }
        PreviewedChange::RevokeKey { key } => {
            Operation::RevokeKey { key: key_id(key, &snapshot.state)?, reason: reason()? }
        }
    })
}

fn effect(effect: &service::Effect) -> Result<Effect, Error> {
    Ok(Effect {
        principal: effect.principal.id,
        name: outgoing(effect.principal.name.as_str())?,
        action: outgoing(effect.action.code())?,
        key: effect.key,
        data_class: outgoing_option(effect.data_class.as_ref())?,
        before: finding(effect.before.as_ref()),
        after: finding(effect.after.as_ref()),
    })
}

const fn finding(finding: Option<&policy::Finding>) -> Finding {
    match finding {
        Some(policy::Finding::Allowed) => Finding::Allowed,
        Some(policy::Finding::Conditional(_)) => Finding::Conditional,
        Some(policy::Finding::Denied(_)) | None => Finding::Denied,
    }
}

fn past(past: &service::Past) -> Result<Past, Error> {
    let by = past.by.iter().map(|((principal, action, key), (count, last))| {
        Ok(PastRefusals {
            principal: *principal,
            action: outgoing(action.code())?,
            key: *key,
            count: *count,
            last: *last,
        })
    });
    Ok(Past {
        examined: past.examined,
        refused: past.refused,
        undetermined: past.undetermined,
        truncated: past.truncated,
        by: by.collect::<Result<_, Error>>()?,
    })
}
