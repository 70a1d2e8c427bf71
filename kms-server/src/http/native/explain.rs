//! Who may do what, and why.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::PrincipalId,
    wire::{
        explain::{Access, AccessList, AccessQuery, Explain, ExplainedKey, ExplainedNewKey, Explanation, Finding},
        name::{ActionName, KeyName},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, bindings, cursor,
    data_keys::context,
    error::Failure,
    exchange::Exchange,
    names::{incoming, incoming_option, key_ref, outgoing, principal_id, revision},
};
use crate::{
    authn::Assurance,
    model::{Action, Binding, Environment, Error, Target},
    policy,
    service::{self, ExplainOn},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(explain)).routes(routes!(list_access))
}

/// Whether something would be permitted, by which policies and bindings, without doing it.
#[utoipa::path(
    post, path = "/v1/explain", operation_id = "explain", tag = "policies", request_body = Explain,
    responses((status = 200, description = "What would become of it", body = Explanation))
)]
async fn explain(mut exchange: Exchange) -> Result<Response, Failure> {
    let request: Explain = exchange.json().await?;
    let snapshot = exchange.snapshot();
    let action = known(&request.action)?;
    let asked = service::Explain {
        principal: request.principal.as_ref().map(|principal| principal_id(principal, &snapshot.state)),
        action,
        on: on(&exchange, action, request.key.as_ref(), request.new_key)?,
        context: request.context.map(context).transpose()?,
        source: request.source,
        assurance: match (request.amr, request.acr) {
            (None, None) => None,
            (amr, acr) => Some(Assurance { amr: amr.unwrap_or_default(), acr }),
        },
        at: request.at,
    };
    let explained = exchange.service().explain(exchange.call(), asked).await?;
    exchange.answer(explained, |explained, record| {
        let (decision, reason, depends_on) = finding(explained.explanation.finding);
        let key = explained.key.map(|key| ExplainedKey {
            id: key.id,
            state: key.state.into(),
            primary_version: key.primary_version,
            obstacle: explained.obstacle.map(str::to_owned),
        });
        Ok(Explanation {
            principal: explained.principal,
            action: request.action,
            decision,
            reason,
            policies: explained.explanation.policies.iter().map(ToString::to_string).collect(),
            bindings: views(&explained.explanation.bindings)?,
            depends_on,
            key,
            revision: revision(explained.revision),
            record,
        })
    })
}

/// Who can do something with a key, by which bindings and policies.
#[utoipa::path(
    get, path = "/v1/keys/{key}/access", operation_id = "list_access", tag = "policies",
    params(("key" = String, Path, description = "Its id, or `alias%2FNAME`"), AccessQuery),
    responses((status = 200, description = "A page of those who can, ordered by id", body = AccessList))
)]
async fn list_access(mut exchange: Exchange) -> Result<Response, Failure> {
    let key: KeyName = exchange.path("key").await?;
    let mut query: AccessQuery = exchange.query()?;
    let (limit, cursor) = (cursor::limit(query.limit.take())?, query.cursor.take());
    let listing = exchange.listing("access", &(&key, &query))?;
    let after = listing.place(cursor.as_ref())?.map(PrincipalId::from_bytes);
    let action = known(&query.action)?;
    let limit = cursor::length(limit);
    let page = exchange.service().list_access(exchange.call(), &key_ref(&key)?, action, after, limit).await?;
    exchange.answer(page, |page, record| {
        let last = page.items.last().filter(|_| page.more);
        let next_cursor = last.map(|access| listing.cursor(access.principal.id.as_bytes())).transpose()?;
        let access = page.items.into_iter().map(|access| {
            let (decision, _, depends_on) = finding(access.explanation.finding);
            Ok(Access {
                principal: access.principal.id,
                name: outgoing(access.principal.name.as_str())?,
                kind: access.principal.kind,
                decision,
                bindings: views(&access.explanation.bindings)?,
                policies: access.explanation.policies.iter().map(ToString::to_string).collect(),
                depends_on,
            })
        });
        Ok(AccessList { access: access.collect::<Result<_, Error>>()?, next_cursor, record })
    })
}

fn on(
    exchange: &Exchange,
    action: Action,
    key: Option<&KeyName>,
    new_key: Option<ExplainedNewKey>,
) -> Result<ExplainOn, Error> {
    match (action, key, new_key) {
        (Action::CreateKey, None, Some(new)) => Ok(ExplainOn::Other(Target::NewKey {
            data_class: incoming(&new.data_class)?,
            region: incoming_option(new.region.as_ref())?.unwrap_or_else(|| exchange.service().region().clone()),
            environment: new.environment.map_or(Environment::Production, Into::into),
        })),
        (Action::CreateKey, ..) => Err(Error::invalid("`new_key`: say what the key would be")),
        (_, Some(key), None) if service::is_done_with_a_key(action) => Ok(ExplainOn::Key(key_ref(key)?)),
        (_, None, None) if !service::is_done_with_a_key(action) => Ok(ExplainOn::Other(Target::Installation)),
        (_, None, None) => Err(Error::invalid("`key`: say with which key")),
        _ => Err(Error::invalid("`key`: this action is done with none; `new_key` is for `create_key`")),
    }
}

pub(super) fn known(name: &ActionName) -> Result<Action, Error> {
    Action::from_code(name.as_str())
        .ok_or_else(|| Error::invalid("`action`: there is no such action; `/v1/roles` shows those there are"))
}

fn finding(finding: policy::Finding) -> (Finding, Option<String>, Vec<String>) {
    match finding {
        policy::Finding::Allowed => (Finding::Allowed, None, Vec::new()),
        policy::Finding::Denied(reason) => (Finding::Denied, Some(reason.to_owned()), Vec::new()),
        policy::Finding::Conditional(on) => (Finding::Conditional, None, on.into_iter().map(str::to_owned).collect()),
    }
}

fn views(bindings: &[Arc<Binding>]) -> Result<Vec<kms_client::wire::binding::Binding>, Error> {
    bindings.iter().map(|binding| bindings::view(binding)).collect()
}
