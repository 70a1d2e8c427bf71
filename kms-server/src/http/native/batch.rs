//! Operations on data keys, alone and many at once: decode each item by itself, run one use case, write out each result.

use axum::response::Response;
use kms_client::{
    id::RecordId,
    wire::batch::{BatchAnswer, Item},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{body, error::Failure, exchange::Exchange};
use crate::{
    gate::Answer,
    model::Error,
    service::{Call, Outcomes, Service, Understood},
};

/// One kind of operation on data keys.
pub(super) trait DataOperation {
    /// What a caller sends.
    type Request: DeserializeOwned;
    /// What the use case takes.
    type Item: Send;
    /// What the use case gives.
    type Value;
    /// What a caller gets.
    type Answer: Serialize;
    /// Room for one answer of the usual length.
    const ROOM: usize = 512;

    /// What a request means; its limits have errors of their own.
    fn item(request: Self::Request) -> Result<Self::Item, Error>;

    /// The use case.
    fn run(
        service: &Service,
        call: &Call,
        items: Vec<Understood<Self::Item>>,
    ) -> impl Future<Output = Outcomes<Self::Value>> + Send;

    /// What a caller gets.
    fn view(value: Self::Value, record: RecordId) -> Self::Answer;
}

/// Carries out one operation.
pub(super) async fn one<O: DataOperation>(mut exchange: Exchange) -> Result<Response, Failure> {
    let item = O::item(exchange.json().await?)?;
    let released = O::run(exchange.service(), exchange.call(), vec![Ok(item)]).await?;
    let (mut results, section) = released.into_parts();
    let Answer { value, record } = results.pop().ok_or_else(|| Error::internal("an item without a result"))??;
    exchange.render(&O::view(value, record), section, O::ROOM)
}

/// Carries out many operations. One that cannot be understood is recorded and refused by itself.
pub(super) async fn many<O: DataOperation>(mut exchange: Exchange) -> Result<Response, Failure> {
    let body = exchange.body().await?;
    let understood = body::items(body.as_ref())?;
    exchange.charge_items(understood.len())?;
    let understood = understood.into_iter().map(|item| body::parse(item.get().as_bytes()).and_then(O::item)).collect();
    drop(body);
    let (results, section) = O::run(exchange.service(), exchange.call(), understood).await?.into_parts();
    let items: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            Ok(Answer { value, record }) => Item::Result(O::view(value, record)),
            Err(refused) => Item::Error(Failure::from(refused).into_problem(exchange.id())),
        })
        .collect();
    let room = items.len().saturating_mul(O::ROOM);
    exchange.render(&BatchAnswer { items }, section, room)
}
