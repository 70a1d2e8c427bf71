//! Roles: those that come with the program, and the installation's own.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::RoleId,
    wire::{
        name::{ActionName, RoleName},
        role::{CreateRole, RoleAnswer, RoleChanged, RoleDescription, RoleList, UpdateRole},
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
    model::{Action, Error, GrantedRole, Operation},
    service::{Made, RoleView},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default().routes(routes!(create_role, list_roles)).routes(routes!(
        describe_role,
        update_role,
        remove_role
    ))
}

/// Makes a role of data actions and the reading of keys.
#[utoipa::path(
    post, path = "/v1/roles", operation_id = "create_role", tag = "policies", request_body = CreateRole,
    responses((status = 200, description = "The role and the receipt", body = RoleChanged))
)]
async fn create_role(mut exchange: Exchange) -> Result<Response, Failure> {
    let CreateRole { name, description, actions } = exchange.json().await?;
    let operation = Operation::CreateRole {
        role: RoleId::new(exchange.fresh()),
        name: incoming(&name)?,
        description: incoming_option(description.as_ref())?.unwrap_or_default(),
        actions: actions_in(&actions)?,
    };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// The roles there are, and what each may do.
#[utoipa::path(
    get, path = "/v1/roles", operation_id = "list_roles", tag = "policies",
    responses((status = 200, description = "All roles, the built-in ones first", body = RoleList))
)]
async fn list_roles(exchange: Exchange) -> Result<Response, Failure> {
    let roles = exchange.service().list_roles(exchange.call()).await?;
    exchange.answer(roles, |roles, record| {
        Ok(RoleList { roles: roles.into_iter().map(view).collect::<Result<_, _>>()?, record })
    })
}

/// One role.
#[utoipa::path(
    get, path = "/v1/roles/{role}", operation_id = "describe_role", tag = "policies",
    params(("role" = RoleName, Path, description = "Its name")),
    responses((status = 200, description = "The role", body = RoleAnswer))
)]
async fn describe_role(mut exchange: Exchange) -> Result<Response, Failure> {
    let name: GrantedRole = incoming(&exchange.path::<RoleName>("role").await?)?;
    let role = exchange.service().describe_role(exchange.call(), &name).await?;
    exchange.tagged(role, |role, record| Ok(RoleAnswer { role: view(role)?, record }))
}

/// Changes a role, for everybody who holds it, at once.
#[utoipa::path(
    patch, path = "/v1/roles/{role}", operation_id = "update_role", tag = "policies",
    params(("role" = RoleName, Path, description = "Its name")), request_body = UpdateRole,
    responses((status = 200, description = "The role and the receipt", body = RoleChanged))
)]
async fn update_role(mut exchange: Exchange) -> Result<Response, Failure> {
    let role = role_id(&mut exchange).await?;
    let UpdateRole { description, actions } = exchange.json().await?;
    let operation = Operation::UpdateRole {
        role,
        description: incoming_option(description.as_ref())?,
        actions: actions.as_deref().map(actions_in).transpose()?,
    };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Takes a role out of use. Refused while a binding that may still count gives it.
#[utoipa::path(
    delete, path = "/v1/roles/{role}", operation_id = "remove_role", tag = "policies",
    params(("role" = RoleName, Path, description = "Its name")),
    responses((status = 200, description = "The role as it was, and the receipt", body = RoleChanged))
)]
async fn remove_role(mut exchange: Exchange) -> Result<Response, Failure> {
    let role = role_id(&mut exchange).await?;
    let changed = exchange.change(Operation::RemoveRole { role }).await?;
    answer(&exchange, changed)
}

/// Built-in roles cannot be changed, and have no id.
async fn role_id(exchange: &mut Exchange) -> Result<RoleId, Error> {
    let name: crate::model::RoleName = incoming(&exchange.path::<RoleName>("role").await?)?;
    Ok(exchange.service().role_id(&name))
}

fn actions_in(names: &[ActionName]) -> Result<Vec<Action>, Error> {
    let known = |name: &ActionName| {
        Action::from_code(name.as_str())
            .ok_or_else(|| Error::invalid("`actions`: there is no such action; `/v1/roles` shows what there is"))
    };
    names.iter().map(known).collect()
}

fn answer(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        let role = view(RoleView::custom(changed.role()?))?;
        Ok(RoleChanged { role, receipt: receipt(changed.receipt), record })
    })
}

fn view(role: RoleView) -> Result<RoleDescription, Error> {
    Ok(RoleDescription {
        name: outgoing(role.name.as_str())?,
        built_in: role.name.built_in().is_some(),
        description: role.description,
        actions: role.actions.iter().map(|action| action.code().to_owned()).collect(),
        id: role.custom.as_ref().map(|role| role.id),
        revision: role.custom.as_ref().map(|role| revision(role.revision)),
    })
}
