//! Operations on data keys, alone and many at once: decode each item by itself, run one use case, write out each result.

use axum::response::Response;
use futures_util::future::join_all;
use kms_client::{
    id::RecordId,
    wire::batch::{BatchAnswer, Item},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{body, error::Failure, exchange::Exchange};
use crate::{
    gate::Answer,
    model::Error,
    service::{Call, Outcomes, Service},
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
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Outcomes<Self::Value>> + Send;

    /// What a caller gets.
    fn view(value: Self::Value, record: RecordId) -> Self::Answer;
}

/// Carries out one operation.
pub(super) async fn one<O: DataOperation>(mut exchange: Exchange) -> Result<Response, Failure> {
    let item = O::item(exchange.json().await?)?;
    let released = O::run(exchange.service(), exchange.call(), vec![item]).await?;
    let (mut results, section) = released.into_parts();
    let Answer { value, record } = results.pop().ok_or_else(|| Error::internal("an item without a result"))??;
    exchange.render(&O::view(value, record), section, O::ROOM)
}

/// Carries out many operations. One that cannot be understood is recorded and refused by itself.
pub(super) async fn many<O: DataOperation>(mut exchange: Exchange) -> Result<Response, Failure> {
    let body = exchange.body().await?;
    let mut places = Vec::new();
    let mut understood = Vec::new();
    for item in body::items(body.as_ref())? {
        let item = body::parse(item.get().as_bytes()).and_then(O::item);
        places.push(item.map(|item| understood.push(item)));
    }
    drop(body);
    let noted = places.into_iter().enumerate().map(async |(index, place)| match place {
        Ok(()) => Ok(()),
        Err(error) => Err(exchange.note(index, error).await),
    });
    let places = join_all(noted).await;
    let (results, section) = O::run(exchange.service(), exchange.call(), understood).await?.into_parts();
    let mut results = results.into_iter();
    let items: Vec<_> = places
        .into_iter()
        .map(|place| {
            place?;
            let Answer { value, record } =
                results.next().ok_or_else(|| Error::internal("an item without a result"))??;
            Ok(O::view(value, record))
        })
        .map(|result: Result<_, Failure>| match result {
            Ok(answer) => Item::Result(answer),
            Err(failure) => Item::Error(failure.into_problem(exchange.id())),
        })
        .collect();
    let room = items.len().saturating_mul(O::ROOM);
    exchange.render(&BatchAnswer { items }, section, room)
}
