//! Master keys and their versions.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::{KeyId, KeyVersion, RecordId},
    wire::{
        key::{
            Algorithm, CreateKey, Key, KeyAnswer, KeyChanged, KeyList, KeyQuery, Purpose, UpdateKey, Version,
            WithReason,
        },
        lifecycle::{Deletion, Rotation},
        name::KeyName,
        tags::Tags,
    },
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, cursor,
    error::Failure,
    exchange::Exchange,
    names::{
        incoming, incoming_option, key_id, key_ref, outgoing, outgoing_option, owner_in, owner_out, receipt, revision,
    },
};
use crate::{
    gate::{Answer, Released},
    model::{self, Error, Operation},
    service::{Changed, KeyFilter, Made, NewKey},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(create_key, list_keys))
        .routes(routes!(describe_key, update_key))
        .routes(routes!(rotate_key))
        .routes(routes!(enable_key))
        .routes(routes!(disable_key))
        .routes(routes!(revoke_key))
        .routes(routes!(revoke_key_version))
}

/// An empty object: what a change without parameters takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Creates a key and its first version.
#[utoipa::path(
    post, path = "/v1/keys", operation_id = "create_key", tag = "keys", request_body = CreateKey,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn create_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let new = new_key(&exchange.json().await?)?;
    let terms = exchange.begin_change()?;
    let changed = exchange.service().create_key(exchange.call(), new, terms).await?;
    answer(&exchange, changed)
}

/// A page of the keys that the caller may describe.
#[utoipa::path(
    get, path = "/v1/keys", operation_id = "list_keys", tag = "keys", params(KeyQuery),
    responses((status = 200, description = "A page of keys, ordered by id", body = KeyList))
)]
async fn list_keys(exchange: Exchange) -> Result<Response, Failure> {
    let mut query: KeyQuery = exchange.query()?;
    let (limit, cursor) = (cursor::limit(query.limit.take())?, query.cursor.take());
    let listing = exchange.listing("keys", &query)?;
    let after = listing.place(cursor.as_ref())?.map(KeyId::from_bytes);
    let filter = filter(&query)?;
    let page = exchange.service().list_keys(exchange.call(), &filter, after, cursor::length(limit)).await?;
    exchange.answer(page, |page, record| {
        let last = page.items.last().filter(|_| page.more);
        Ok(KeyList {
            next_cursor: last.map(|key| listing.cursor(key.id.as_bytes())).transpose()?,
            keys: page.items.iter().map(|key| view(key)).collect::<Result<_, _>>()?,
            record,
        })
    })
}

/// One key.
#[utoipa::path(
    get, path = "/v1/keys/{key}", operation_id = "describe_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")),
    responses((status = 200, description = "The key", body = KeyAnswer))
)]
async fn describe_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = key_ref(&exchange.path("key").await?)?;
    let key = exchange.service().describe_key(exchange.call(), &key).await?;
    exchange.tagged(key, |key, record| Ok(KeyAnswer { key: view(&key)?, record }))
}

/// Changes a key's description, tags, aliases or owner.
#[utoipa::path(
    patch, path = "/v1/keys/{key}", operation_id = "update_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = UpdateKey,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn update_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let UpdateKey { description, tags, aliases, owner, rotation } = exchange.json().await?;
    let operation = Operation::UpdateKey {
        key,
        description: incoming_option(description.as_ref())?,
        owner: owner.as_ref().map(owner_in).transpose()?,
        tags: tags.as_ref().map(tags_in).transpose()?,
        aliases: aliases.map(|aliases| aliases.iter().map(incoming).collect()).transpose()?,
        rotation: rotation.map(rotation_in).transpose()?,
    };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Makes a new version and makes it the primary one.
#[utoipa::path(
    post, path = "/v1/keys/{key}/rotate", operation_id = "rotate_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = Nothing,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn rotate_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let Nothing {} = exchange.json().await?;
    let terms = exchange.begin_change()?;
    let changed = exchange.service().rotate_key(exchange.call(), key, terms).await?;
    answer(&exchange, changed)
}

/// Lets a disabled key be used again.
#[utoipa::path(
    post, path = "/v1/keys/{key}/enable", operation_id = "enable_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = Nothing,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn enable_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let Nothing {} = exchange.json().await?;
    let changed = exchange.change(Operation::EnableKey { key }).await?;
    answer(&exchange, changed)
}

/// Suspends a key until it is enabled again.
#[utoipa::path(
    post, path = "/v1/keys/{key}/disable", operation_id = "disable_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = WithReason,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn disable_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let WithReason { reason } = exchange.json().await?;
    let changed = exchange.change(Operation::DisableKey { key, reason: incoming(&reason)? }).await?;
    answer(&exchange, changed)
}

/// Declares a key compromised, for good.
#[utoipa::path(
    post, path = "/v1/keys/{key}/revoke", operation_id = "revoke_key", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = WithReason,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn revoke_key(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let WithReason { reason } = exchange.json().await?;
    let changed = exchange.change(Operation::RevokeKey { key, reason: incoming(&reason)? }).await?;
    answer(&exchange, changed)
}

/// Declares one version of a key compromised, for good.
#[utoipa::path(
    post, path = "/v1/keys/{key}/versions/{version}/revoke", operation_id = "revoke_key_version", tag = "keys",
    params(
        ("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`"),
        ("version" = KeyVersion, Path, description = "The version's number"),
    ),
    request_body = WithReason,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn revoke_key_version(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let version = KeyVersion::new(exchange.path("version").await?)
        .ok_or_else(|| Error::invalid("in the path: versions are numbered from 1"))?;
    let WithReason { reason } = exchange.json().await?;
    let operation = Operation::RevokeKeyVersion { key, version, reason: incoming(&reason)? };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

pub(super) async fn named(exchange: &mut Exchange) -> Result<KeyId, Error> {
    key_id(&exchange.path("key").await?, &exchange.snapshot().state)
}

pub(super) fn answer(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, key_changed)
}

fn key_changed(changed: Changed, record: RecordId) -> Result<KeyChanged, Error> {
    Ok(KeyChanged { key: view(changed.key()?)?, receipt: receipt(changed.receipt), record })
}

fn new_key(request: &CreateKey) -> Result<NewKey, Error> {
    // There is one purpose and one algorithm; another one will have to be told to the use case.
    let CreateKey { purpose: Purpose::Wrap, algorithm: Algorithm::Aes256, .. } = request;
    let aliases = request.alias.iter().chain(&request.aliases).map(incoming).collect::<Result<_, _>>()?;
    Ok(NewKey {
        aliases,
        description: incoming_option(request.description.as_ref())?.unwrap_or_default(),
        owner: request.owner.as_ref().map(owner_in).transpose()?,
        tags: tags_in(&request.tags)?,
        data_class: incoming(&request.data_class)?,
        region: incoming_option(request.region.as_ref())?,
        environment: request.environment.into(),
        rotation: rotation_in(request.rotation)?,
    })
}

fn rotation_in(rotation: Rotation) -> Result<model::Rotation, Error> {
    model::Rotation::new(rotation.period_days, rotation.max_wraps)
}

fn filter(query: &KeyQuery) -> Result<KeyFilter, Error> {
    Ok(KeyFilter {
        state: query.state.map(Into::into),
        data_class: incoming_option(query.data_class.as_ref())?,
        environment: query.environment.map(Into::into),
        region: incoming_option(query.region.as_ref())?,
        owner: query.owner.as_ref().map(owner_in).transpose()?,
        alias: incoming_option(query.alias.as_ref())?,
    })
}

fn tags_in(tags: &Tags) -> Result<model::Tags, Error> {
    let pairs: std::collections::BTreeMap<_, _> =
        tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(pairs.try_into()?)
}

fn view(key: &model::Key) -> Result<Key, Error> {
    let tags = key.tags.pairs().iter().map(|(name, value)| (name.clone(), value.clone()));
    let version = |version: &model::KeyVersionRecord| {
        Ok::<_, Error>(Version {
            version: version.version,
            state: version.state.into(),
            created_at: version.created_at,
            reason: outgoing_option(version.reason.as_ref())?,
        })
    };
    Ok(Key {
        id: key.id,
        aliases: key.aliases.iter().map(|alias| outgoing(alias.as_str())).collect::<Result<_, _>>()?,
        description: outgoing(key.description.as_str())?,
        tags: Tags::new(tags).map_err(Error::internal)?,
        owner: key.owner.as_ref().map(owner_out).transpose()?,
        data_class: outgoing(key.data_class.as_str())?,
        region: outgoing(key.region.as_str())?,
        environment: key.environment.into(),
        key_store: outgoing(key.key_store.as_str())?,
        purpose: key.purpose.into(),
        algorithm: key.algorithm.into(),
        origin: key.origin.into(),
        state: key.state.into(),
        reason: outgoing_option(key.reason.as_ref())?,
        rotation: Rotation { period_days: key.rotation.period_days(), max_wraps: key.rotation.max_wraps() },
        rotates_at: key.rotates_at(),
        deletion: key.deletion.as_ref().map(|deletion| Deletion {
            scheduled_at: deletion.scheduled_at,
            waiting_days: deletion.waiting_days,
            due_at: deletion.due_at(),
        }),
        destroyed_at: key.destroyed_at,
        primary_version: key.primary_version,
        versions: key.versions.iter().map(version).collect::<Result<_, _>>()?,
        created_at: key.created_at,
        revision: revision(key.revision),
    })
}
