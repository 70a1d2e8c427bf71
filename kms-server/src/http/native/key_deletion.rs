//! The end of a key: who still uses it, and its destruction after a waiting period.

use std::sync::Arc;

use axum::response::Response;
use kms_client::wire::{
    key::KeyChanged,
    lifecycle::{KeyUsage, KeyUsageQuery, KeyUse, ScheduleDeletion, VersionUsage},
    name::KeyName,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    error::Failure,
    exchange::Exchange,
    keys::{Nothing, answer, named},
    names::{incoming, key_ref, outgoing, outgoing_option},
};
use crate::{
    model::{self, Error, Operation},
    service,
};

/// How many days are looked back unless it is said, and at most.
const DAYS: u16 = 90;
const MOST_DAYS: u16 = 3_650;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(describe_key_usage))
        .routes(routes!(schedule_key_deletion))
        .routes(routes!(cancel_key_deletion))
}

/// Who used a key, and when: what would stop working without it.
#[utoipa::path(
    get, path = "/v1/keys/{key}/usage", operation_id = "describe_key_usage", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`"), KeyUsageQuery),
    responses((status = 200, description = "Who used the key", body = KeyUsage))
)]
async fn describe_key_usage(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = key_ref(&exchange.path("key").await?)?;
    let days = exchange.query::<KeyUsageQuery>()?.days.unwrap_or(DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Error::invalid(format!("query parameter `days`: 1 to {MOST_DAYS}")).into());
    }
    let usage = exchange.service().describe_key_usage(exchange.call(), &key, days).await?;
    exchange.answer(usage, |usage, record| {
        let used = |(used, name): &(service::KeyUse, Option<model::Name>)| {
            Ok::<_, Error>(KeyUse {
                principal: used.principal,
                name: outgoing_option(name.as_ref())?,
                action: outgoing(&used.action)?,
                count: used.count,
                first_at: used.first_at,
                last_at: used.last_at,
            })
        };
        Ok(KeyUsage {
            key: usage.key,
            since: usage.since,
            uses: usage.uses.iter().map(used).collect::<Result<_, _>>()?,
            versions: usage
                .versions
                .iter()
                .map(|count| VersionUsage { version: count.version, wraps_reserved: count.reserved })
                .collect(),
            record,
        })
    })
}

/// Schedules the destruction of a key. Until it is cancelled or due, the key does nothing.
#[utoipa::path(
    post, path = "/v1/keys/{key}/schedule-deletion", operation_id = "schedule_key_deletion", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = ScheduleDeletion,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn schedule_key_deletion(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let ScheduleDeletion { reason, waiting_days } = exchange.json().await?;
    let operation = Operation::ScheduleKeyDeletion { key, waiting_days, reason: incoming(&reason)? };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Cancels the destruction of a key. It is then disabled, or revoked if it was before.
#[utoipa::path(
    post, path = "/v1/keys/{key}/cancel-deletion", operation_id = "cancel_key_deletion", tag = "keys",
    params(("key" = KeyName, Path, description = "Its id, or `alias%2FNAME`")), request_body = Nothing,
    responses((status = 200, description = "The key and the receipt", body = KeyChanged))
)]
async fn cancel_key_deletion(mut exchange: Exchange) -> Result<Response, Failure> {
    let key = named(&mut exchange).await?;
    let Nothing {} = exchange.json().await?;
    let changed = exchange.change(Operation::CancelKeyDeletion { key }).await?;
    answer(&exchange, changed)
}
