//! One request inside a handler: who asks was found out before anything of the body was read, and what leaves is
//! released.

use std::{
    fmt::{self, Display},
    num::NonZeroU32,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts as _, RawPathParams, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use kms_client::id::RecordId;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Api,
    arrival::Arrival,
    body,
    cursor::Listing,
    error::Failure,
    pending,
    terms::{self, Revised, Stated},
    wiped::Wiped,
};
use crate::{
    authn::Moment,
    cluster::{Section, Snapshot},
    gate::{Answer, Released},
    http::{Admitted, Connection, Way},
    model::{Error, Operation},
    policy::Policies,
    service::{self, Call, Changed, Made, Once, Service, Terms},
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
    stated: Stated,
    /// What an idempotency key stands for, once the body was read.
    digest: Option<[u8; 32]>,
    #[expect(dead_code, reason = "the request counts as under way until this is dropped")]
    admitted: Admitted,
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
        let way = Way::of(arrival.operation.action());
        let admitted = api.app.admission.admit(way, call.caller.principal())?;
        api.app.service.check_room(arrival.operation.action())?;
        let stated = Stated::read(&parts.headers, arrival.operation.action())?;
        let (api, body) = (Arc::clone(api), Mutex::new(body));
        Ok(Self { api, arrival, call, connection, parts, stated, digest: None, admitted, body })
    }
}

impl Exchange {
    pub(super) fn service(&self) -> &Service {
        &self.api.app.service
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }

    /// Counts the items of a batch; the request itself counted as one.
    pub(super) fn charge_items(&self, items: usize) -> Result<(), Failure> {
        let more = u32::try_from(items.saturating_sub(1)).ok().and_then(NonZeroU32::new);
        let way = Way::of(self.arrival.operation.action());
        more.map_or(Ok(()), |more| self.api.app.admission.charge(way, self.call.caller.principal(), more))?;
        Ok(())
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
        let parsed = body::parse(body.as_ref())?;
        if self.stated.once.is_some() {
            self.digest = Some(terms::digest(&self.parts.method, self.parts.uri.path(), body.as_ref())?);
        }
        Ok(parsed)
    }

    /// The query, decoded.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        body::query(&self.parts.uri)
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

    /// Says that control state may change from now on, and on which terms it is asked for.
    pub(super) fn begin_change(&self) -> Result<Terms, Error> {
        let once = match (&self.stated.once, self.digest) {
            (Some(name), Some(digest)) => Some(Once { name: name.clone(), digest }),
            (Some(_), None) => return Err(Error::internal("a creation without a body")),
            (None, _) => None,
        };
        self.arrival.begin_change();
        Ok(Terms { expected: self.stated.expected, once, later: self.stated.later })
    }

    /// Carries out a control change.
    pub(super) async fn change(&self, operation: Operation) -> Result<Released<Answer<Made>>, Failure> {
        let terms = self.begin_change()?;
        Ok(self.service().change(&self.call, operation, terms).await?)
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

    /// Writes out one released answer about one object, with its tag.
    pub(super) fn tagged<T, W: Serialize + Revised>(
        &self,
        released: Released<Answer<T>>,
        view: impl FnOnce(T, RecordId) -> Result<W, Error>,
    ) -> Result<Response, Failure> {
        let (Answer { value, record }, section) = released.into_parts();
        let view = view(value, record)?;
        let mut response = self.render(&view, section, USUAL_ANSWER)?;
        if let Some(tag) = view.revision().and_then(terms::tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        Ok(response)
    }

    /// Writes out the released answer of a control change, with the tag of what was changed; or that it was accepted.
    pub(super) fn changed<W: Serialize + Revised>(
        &self,
        released: Released<Answer<Made>>,
        view: impl FnOnce(Changed, RecordId) -> Result<W, Error>,
    ) -> Result<Response, Failure> {
        let (Answer { value, record }, section) = released.into_parts();
        let changed = match value {
            Made::Now(changed) => changed,
            Made::Later(operation) => return self.accepted(&operation, record, section),
        };
        let repeated = changed.repeated;
        let view = view(changed, record)?;
        let mut response = self.render(&view, section, USUAL_ANSWER)?;
        let headers = response.headers_mut();
        if let Some(tag) = view.revision().and_then(terms::tag) {
            headers.insert(header::ETAG, tag);
        }
        if repeated {
            headers.insert(terms::REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    fn accepted(
        &self,
        operation: &service::Operation,
        record: RecordId,
        section: Section<Policies>,
    ) -> Result<Response, Failure> {
        let mut response = self.render(&pending::answer(operation, record)?, section, USUAL_ANSWER)?;
        *response.status_mut() = StatusCode::ACCEPTED;
        let location = format!("/v1/operations/{}", operation.stored.change);
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, HeaderValue::try_from(location).map_err(Error::internal)?);
        headers.insert(terms::PREFERENCE_APPLIED, HeaderValue::from_static(terms::RESPOND_ASYNC));
        Ok(response)
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
        let body = self.connection.sections.guard(self.call.request.id, bytes.into_bytes(), section, patience);
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
