//! One request inside a handler: who asks was found out before anything of the body was read, and what leaves is
//! released.

use std::{
    fmt::{self, Display},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts as _, Query, RawPathParams, Request},
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use kms_client::id::RecordId;
use serde::{Serialize, de::DeserializeOwned};

use super::{Api, arrival::Arrival, body, cursor::Listing, error::Failure, wiped::Wiped};
use crate::{
    authn::Moment,
    cluster::{Section, Snapshot},
    gate::{Answer, Released},
    http::Connection,
    model::{Error, Operation, Revision},
    policy::Policies,
    service::{Call, Changed, Service},
};

/// Room for an answer of the usual length.
const USUAL_ANSWER: usize = 1024;

/// One authenticated request.
pub(super) struct Exchange {
    api: Arc<Api>,
    arrival: Arc<Arrival>,
    call: Call,
    connection: Connection,
    parts: Parts,
    /// Never locked: it only makes of a body, which is not `Sync`, something that references may be held to.
    body: Mutex<Body>,
}

impl FromRequest<Arc<Api>> for Exchange {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let missing = |what| Error::internal(format!("a request without {what}"));
        let arrival = parts.extensions.get::<Arc<Arrival>>().cloned().ok_or_else(|| missing("arrival"))?;
        let connection = parts.extensions.get::<Connection>().cloned().ok_or_else(|| missing("connection"))?;
        let cluster = api.app.service.cluster();
        let snapshot = cluster.snapshot();
        let moment = Moment { state: &snapshot.state, revision: snapshot.revision, now: cluster.now() };
        let peer = connection.peer.as_deref();
        let caller = api.app.authenticator.caller(moment, &parts.headers, peer).await?;
        tracing::Span::current().record("principal.id", tracing::field::display(caller.principal()));
        arrival.authenticated(&caller);
        let call = Call { caller, request: Arc::clone(&arrival.request) };
        Ok(Self { api: Arc::clone(api), arrival, call, connection, parts, body: Mutex::new(body) })
    }
}

impl Exchange {
    pub(super) fn service(&self) -> &Service {
        &self.api.app.service
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    /// The control state in force, for finding what names stand for.
    pub(super) fn snapshot(&self) -> Arc<Snapshot<Policies>> {
        self.service().cluster().snapshot()
    }

    /// A fresh id for something to be made.
    pub(super) fn fresh(&self) -> uuid::Uuid {
        self.service().ids().fresh(self.service().clock().now())
    }

    /// The body as it is.
    pub(super) async fn body(&mut self) -> Result<Wiped, Failure> {
        let body = std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        body::read(&self.parts.headers, body, self.api.app.limits.body).await
    }

    /// The body, decoded.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let body = self.body().await?;
        Ok(body::parse(body.as_ref())?)
    }

    /// The query, decoded.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match Query::try_from_uri(&self.parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(rejection) => Err(body::invalid_query(&rejection.body_text())),
        }
    }

    /// A part of the path, decoded.
    pub(super) async fn path<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, Error> {
        let params = RawPathParams::from_request_parts(&mut self.parts, &())
            .await
            .map_err(|_| Error::invalid("the path is not UTF-8"))?;
        let value = params.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value);
        value.parse().map_err(|error| Error::invalid(format!("in the path: {error}")))
    }

    /// A list of this name, as this caller filters it.
    pub(super) fn listing(&self, name: &str, filter: &impl Serialize) -> Result<Listing<'_>, Error> {
        Listing::new(&self.api.app.cursors, self.call.caller.principal(), name, filter)
    }

    /// Says that control state may change from now on, for use cases that make changes of their own.
    pub(super) fn begin_change(&self) {
        self.arrival.begin_change();
    }

    /// Carries out a control change.
    pub(super) async fn change(
        &self,
        operation: Operation,
        expected: Option<Revision>,
    ) -> Result<Released<Answer<Changed>>, Failure> {
        self.begin_change();
        Ok(self.service().change(&self.call, operation, expected).await?)
    }

    /// What failures name this request by.
    pub(super) fn id(&self) -> kms_client::id::RequestId {
        self.arrival.request.id
    }

    /// Writes out one released answer.
    pub(super) fn answer<T, W: Serialize>(
        &self,
        released: Released<Answer<T>>,
        view: impl FnOnce(T, RecordId) -> Result<W, Error>,
    ) -> Result<Response, Failure> {
        let (Answer { value, record }, section) = released.into_parts();
        self.render(&view(value, record)?, section, USUAL_ANSWER)
    }

    /// Writes out an answer whose section the connection holds until the last byte is in the kernel.
    pub(super) fn render(
        &self,
        answer: &impl Serialize,
        section: Section<Policies>,
        room: usize,
    ) -> Result<Response, Failure> {
        let mut bytes = Wiped::with_capacity(room);
        serde_json::to_writer(&mut bytes, answer).map_err(Error::internal)?;
        let patience = self.call.request.deadline.saturating_sub(self.service().clock().boot());
        let body = self.connection.sections.guard(bytes.into_bytes(), section, patience);
        let mut response = Response::new(Body::new(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("call", &self.call).finish_non_exhaustive()
    }
}
