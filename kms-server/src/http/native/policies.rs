//! Custom policies.

use std::sync::Arc;

use axum::response::Response;
use kms_client::wire::{
    name::PolicyName,
    policy::{
        Policy, PolicyAnswer, PolicyChanged, PolicyFault, PolicyList, PolicyQuery, PolicyStatement, PolicySummary,
        PolicyValidated, PolicyVersion, PutPolicy, ValidatePolicy,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    error::Failure,
    exchange::Exchange,
    names::{incoming, incoming_option, outgoing, receipt, revision},
};
use crate::{
    gate::{Answer, Released},
    model::{self, Error, Operation},
    service::Made,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(list_policies)).routes(routes!(validate_policy)).routes(routes!(
        put_policy,
        describe_policy,
        remove_policy
    ))
}

/// Adds a custom policy, or replaces it by a new version.
#[utoipa::path(
    put, path = "/v1/policies/{policy}", operation_id = "put_policy", tag = "policies",
    params(("policy" = PolicyName, Path, description = "Its name")), request_body = PutPolicy,
    responses((status = 200, description = "The policy and the receipt", body = PolicyChanged))
)]
async fn put_policy(mut exchange: Exchange) -> Result<Response, Failure> {
    let name = incoming(&exchange.path::<PolicyName>("policy").await?)?;
    let PutPolicy { text, description } = exchange.json().await?;
    let description = incoming_option(description.as_ref())?.unwrap_or_default();
    let operation = exchange.service().policy_to_put(name, description, text);
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// The custom policies in force.
#[utoipa::path(
    get, path = "/v1/policies", operation_id = "list_policies", tag = "policies",
    responses((status = 200, description = "All of them, ordered by id", body = PolicyList))
)]
async fn list_policies(exchange: Exchange) -> Result<Response, Failure> {
    let policies = exchange.service().list_policies(exchange.call()).await?;
    exchange.answer(policies, |policies, record| {
        let summary = |policy: &Arc<model::CustomPolicy>| {
            Ok(PolicySummary {
                id: policy.id,
                name: outgoing(policy.name.as_str())?,
                description: described(policy)?,
                version: policy.version,
                bytes: number(policy.text.len()),
                revision: revision(policy.revision),
            })
        };
        Ok(PolicyList { policies: policies.iter().map(summary).collect::<Result<_, Error>>()?, record })
    })
}

/// One custom policy, at its newest version or an older one.
#[utoipa::path(
    get, path = "/v1/policies/{policy}", operation_id = "describe_policy", tag = "policies",
    params(("policy" = PolicyName, Path, description = "Its name"), PolicyQuery),
    responses((status = 200, description = "The policy", body = PolicyAnswer))
)]
async fn describe_policy(mut exchange: Exchange) -> Result<Response, Failure> {
    let name: model::PolicyName = incoming(&exchange.path::<PolicyName>("policy").await?)?;
    let PolicyQuery { version } = exchange.query()?;
    let snapshot = exchange.snapshot();
    let newest = snapshot.state.policy_by_name(&name);
    let policy = exchange.service().describe_policy(exchange.call(), &name, version).await?;
    exchange.tagged(policy, |policy, record| {
        let in_force = newest.is_some_and(|newest| newest.is_active() && newest.version == policy.version);
        Ok(PolicyAnswer { policy: Policy { in_force, ..view(&policy)? }, record })
    })
}

/// Takes a custom policy out of force.
#[utoipa::path(
    delete, path = "/v1/policies/{policy}", operation_id = "remove_policy", tag = "policies",
    params(("policy" = PolicyName, Path, description = "Its name")),
    responses((status = 200, description = "The policy as it was, and the receipt", body = PolicyChanged))
)]
async fn remove_policy(mut exchange: Exchange) -> Result<Response, Failure> {
    let name = incoming(&exchange.path::<PolicyName>("policy").await?)?;
    let policy = exchange.service().policy_id(&name);
    let changed = exchange.change(Operation::RemovePolicy { policy }).await?;
    answer(&exchange, changed)
}

/// Checks a text without storing it.
#[utoipa::path(
    post, path = "/v1/policies/validate", operation_id = "validate_policy", tag = "policies",
    request_body = ValidatePolicy,
    responses((status = 200, description = "What it means, or what is wrong with it", body = PolicyValidated))
)]
async fn validate_policy(mut exchange: Exchange) -> Result<Response, Failure> {
    let ValidatePolicy { text, name } = exchange.json().await?;
    let name = match &name {
        Some(name) => incoming(name)?,
        None => incoming(&"NAME")?,
    };
    let validated = exchange.service().validate_policy(exchange.call(), &name, &text).await?;
    exchange.answer(validated, |validated, record| {
        let (statements, faults) = match validated {
            Ok(statements) => (statements, Vec::new()),
            Err(faults) => (Vec::new(), faults),
        };
        let statements = statements.into_iter().map(|statement| {
            Ok(PolicyStatement {
                id: statement.id,
                effect: if statement.permits { "permit" } else { "forbid" }.to_owned(),
                actions: statement.actions.iter().map(|action| outgoing(action.code())).collect::<Result<_, _>>()?,
                looks_at: statement.looks_at.into_iter().map(str::to_owned).collect(),
            })
        });
        let faults: Vec<_> = faults
            .into_iter()
            .map(|fault| PolicyFault { line: number(fault.line), column: number(fault.column), message: fault.message })
            .collect();
        let statements = statements.collect::<Result<_, Error>>()?;
        Ok(PolicyValidated { valid: faults.is_empty(), faults, statements, record })
    })
}

fn answer(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        Ok(PolicyChanged { policy: view(changed.policy()?)?, receipt: receipt(changed.receipt), record })
    })
}

fn view(policy: &model::CustomPolicy) -> Result<Policy, Error> {
    let versions = policy.versions.iter().map(|version| PolicyVersion {
        version: version.version,
        revision: revision(version.revision),
        created_at: version.created_at,
    });
    Ok(Policy {
        id: policy.id,
        name: outgoing(policy.name.as_str())?,
        description: described(policy)?,
        text: policy.text.clone(),
        version: policy.version,
        in_force: policy.is_active(),
        versions: versions.collect(),
        created_at: policy.created_at,
        revision: revision(policy.revision),
    })
}

fn described(policy: &model::CustomPolicy) -> Result<Option<kms_client::wire::name::Description>, Error> {
    Some(policy.description.as_str()).filter(|text| !text.is_empty()).map(outgoing).transpose()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
