//! Around every request: its id, its limits of number and time, its log line and its figures. Whatever goes wrong inside
//! leaves through here as problem details, once it is on record.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, header::HeaderName},
    middleware::Next,
    response::Response,
};
use futures_util::FutureExt as _;
use kms_client::{
    format::record::Surface,
    id::RequestId,
    wire::{
        problem::REQUEST_ID_HEADER,
        trace::{TRACEPARENT, TraceParent},
    },
};
use tokio::time::timeout;
use tracing::{Instrument as _, field::Empty};

use super::{
    arrival::Arrival,
    error::{self, Failure},
    operation::Operations,
};
use crate::{
    authn,
    http::{AppState, Connection, Way},
    model::Error,
};

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// What is around every request.
#[derive(Debug)]
pub(super) struct Boundary {
    app: AppState,
    operations: Operations,
}

impl Boundary {
    pub(super) fn new(app: AppState, operations: Operations) -> Self {
        Self { app, operations }
    }

    fn arrival(&self, request: &Request) -> Arrival {
        let clock = self.app.service.clock();
        let known = authn::Request {
            id: RequestId::new(self.app.service.ids().fresh(clock.now())),
            source: request.extensions().get::<Connection>().map(|connection| connection.source.ip()),
            surface: Surface::Native,
            deadline: clock.boot().saturating_add(self.app.limits.request),
        };
        Arrival::new(known, Arc::clone(self.operations.of(request)))
    }

    async fn answer(&self, arrival: &Arrival, request: Request, next: Next) -> Response {
        let way = Way::of(arrival.operation.action());
        let result = match (self.check_head(&request), self.app.admission.place(way)) {
            (Ok(()), Some(place)) => {
                let result = self.carry_out(arrival, request, next).await;
                drop(place);
                result
            }
            (Err(failure), _) => Err(failure),
            (Ok(()), None) => Err(Failure::overloaded()),
        };
        match result {
            Ok(response) => response,
            Err(failure) => {
                let failure = arrival.note(&self.app.service, 0, failure).await;
                let wait = failure.wait();
                error::response(&failure.into_problem(arrival.request.id), wait)
            }
        }
    }

    /// Hyper's own limits are wider, so that what breaks ours is answered in our form and recorded.
    fn check_head(&self, request: &Request) -> Result<(), Failure> {
        let limits = &self.app.limits;
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        let bytes = fields.sum::<usize>() + request.uri().path().len() + request.uri().query().map_or(0, str::len);
        if request.headers().len() > limits.headers || bytes > limits.header_bytes {
            return Err(Failure::head(limits.headers, limits.header_bytes));
        }
        Ok(())
    }

    async fn carry_out(&self, arrival: &Arrival, request: Request, next: Next) -> Result<Response, Failure> {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
        match timeout(self.app.limits.request, answer).await {
            Ok(Ok(mut response)) => response.extensions_mut().remove::<Failure>().map_or(Ok(response), Err),
            Ok(Err(_panic)) => Err(Error::internal("a handler panicked").into()),
            Err(_elapsed) => Err(arrival.late()),
        }
    }
}

/// The caller's place in a trace; none if it says so twice, or in another form.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    field.to_str().ok()?.parse().ok()
}

/// Answers one request, whatever happens.
pub(super) async fn pass(State(boundary): State<Arc<Boundary>>, mut request: Request, next: Next) -> Response {
    let clock = boundary.app.service.clock();
    let began = clock.boot();
    let arrival = Arc::new(boundary.arrival(&request));
    let parent = trace_parent(request.headers());
    let span = tracing::info_span!(
        "request",
        request.id = %arrival.request.id,
        operation = arrival.operation.code(),
        http.method = %request.method(),
        http.route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str),
        principal.id = Empty,
        trace.id = parent.map(|parent| tracing::field::display(hex::encode(parent.trace))),
        trace.parent = parent.map(tracing::field::display),
    );
    request.extensions_mut().insert(Arc::clone(&arrival));
    async {
        let mut response = boundary.answer(&arrival, request, next).await;
        if let Ok(id) = HeaderValue::try_from(arrival.request.id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let (status, took) = (response.status().as_u16(), clock.boot().saturating_sub(began).as_secs_f64());
        tracing::info!(http.status = status, http.milliseconds = took * 1000.0, "answered");
        arrival.operation.count(status, took);
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_once() {
        let field = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(trace_parent(&headers), None);
        headers.append(TRACEPARENT, field.clone());
        assert!(trace_parent(&headers).is_some_and(|parent| parent.to_string().as_bytes() == field.as_bytes()));
        headers.append(TRACEPARENT, field);
        assert_eq!(trace_parent(&headers), None);
    }
}
