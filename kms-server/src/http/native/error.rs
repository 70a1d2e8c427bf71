//! What went wrong, as this dialect says it: the one mapping from our errors to codes, statuses and problem details (RFC
//! 9457). Causes go to the log, under the request's id, and nowhere else.

use std::num::NonZeroU32;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kms_client::{
    id::{ChangeId, RecordId, RequestId},
    wire::{
        problem::{Code, MEDIA_TYPE, Problem},
        receipt::Revision,
    },
};

use super::{names, terms};
use crate::{
    authn,
    gate::Refused,
    http::{AnswerBody, TooMuch},
    model::{Error, Refusal},
};

/// Why a request has no answer. As a response it is only carried, to where it is recorded and written out.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    code: Code,
    status: u16,
    detail: Box<str>,
    reason: &'static str,
    change: Option<ChangeId>,
    revision: Option<Revision>,
    /// After how many seconds to ask again, where more is known than "in a moment".
    wait: Option<NonZeroU32>,
    recorded: Recorded,
}

/// Whether the record of a failure exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is still to be written, before the answer leaves.
    NotYet,
    /// It has one of its own.
    As(RecordId),
    /// It has none of its own: it was counted, or says nothing but that no record could be written.
    WithoutId,
}

impl Failure {
    fn new(code: Code, detail: impl Into<Box<str>>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            reason: code.as_str(),
            change: None,
            revision: None,
            wait: None,
            recorded: Recorded::NotYet,
        }
    }

    /// There is no such path.
    pub(super) fn no_such_path() -> Self {
        Self::new(Code::NotFound, "there is no such path; `/v1/openapi.json` lists those there are")
    }

    /// The path does not take this method.
    pub(super) fn method() -> Self {
        let detail = "the path does not take this method; `allow` lists those it takes";
        Self { status: StatusCode::METHOD_NOT_ALLOWED.as_u16(), ..Self::new(Code::InvalidRequest, detail) }
    }

    /// The body is no JSON.
    pub(super) fn media_type() -> Self {
        let detail = "send the body as JSON, with the header `content-type: application/json`";
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(), ..Self::new(Code::InvalidRequest, detail) }
    }

    /// The head of the request breaks a limit.
    pub(super) fn head(fields: usize, bytes: usize) -> Self {
        let detail = format!("path and headers have at most {fields} fields and {bytes} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16();
        Self { status, ..Self::new(Code::InvalidRequest, detail) }
    }

    /// More requests than are taken at once.
    pub(super) fn overloaded() -> Self {
        Self::new(Code::Overloaded, "more requests at once than this node takes; try again in a moment")
    }

    /// One principal asks too much.
    fn too_much(too_much: TooMuch) -> Self {
        match too_much {
            TooMuch::AtOnce => Self::new(
                Code::RateLimited,
                "the caller has as many requests under way as one may; wait for one of their answers",
            ),
            TooMuch::TooOften(wait) => {
                let detail = "the caller asks more often than one may; each item of a batch counts";
                // RFC 9110 section 10.2.3: whole seconds.
                let wait = u32::try_from(wait.as_millis().div_ceil(1000)).ok().and_then(NonZeroU32::new);
                Self { wait, ..Self::new(Code::RateLimited, detail) }
            }
        }
    }

    /// The request took longer than one may.
    pub(super) fn late() -> Self {
        Self::new(Code::DeadlineExceeded, "the request did not arrive, or could not be answered, in time")
    }

    /// A control change took longer than a request may; it goes on.
    pub(super) fn late_change() -> Self {
        let detail =
            "the change goes on, and its outcome is not known yet; look for it by this request's id in the audit log";
        Self::new(Code::OutcomeUnknown, detail)
    }

    /// The failure itself could not be recorded.
    pub(super) fn unrecorded() -> Self {
        let detail = "the refusal of this request could not be recorded";
        Self { recorded: Recorded::WithoutId, ..Self::new(Code::AuditUnavailable, detail) }
    }

    /// What it is.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// Why, as records say it.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    /// Whether its record exists.
    pub(super) fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// The same, once it was recorded.
    pub(super) fn noted(self, record: Option<RecordId>) -> Self {
        Self { recorded: record.map_or(Recorded::WithoutId, Recorded::As), ..self }
    }

    /// When to ask again.
    pub(super) fn wait(&self) -> Option<NonZeroU32> {
        self.wait
    }

    /// The problem details.
    pub(super) fn into_problem(self, request: RequestId) -> Problem {
        let record = match self.recorded {
            Recorded::As(record) => Some(record),
            Recorded::NotYet | Recorded::WithoutId => None,
        };
        let problem = Problem::new(self.code, self.detail.into_string(), request);
        Problem { status: self.status, record, change_id: self.change, revision: self.revision, ..problem }
    }
}

/// The problem as an answer, and when to ask again.
pub(super) fn response(problem: &Problem, wait: Option<NonZeroU32>) -> Response {
    // A problem is text and numbers, which always can be written as JSON.
    let bytes = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(axum::body::Body::new(AnswerBody::open(bytes.into())));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(tag) = problem.revision.and_then(terms::tag) {
        headers.insert(header::ETAG, tag);
    }
    if problem.code == Code::Unauthenticated {
        // RFC 9110 section 15.5.2: a 401 "MUST send a WWW-Authenticate header field".
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    // Whoever does not know whether a change was made must look before trying again.
    let passes = matches!(problem.status, 429 | 503) || problem.code == Code::IdempotencyInProgress;
    if passes && problem.code != Code::OutcomeUnknown {
        headers.insert(header::RETRY_AFTER, wait.unwrap_or(NonZeroU32::MIN).get().into());
    }
    response
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Error::Internal(source) = &error {
            let source: &(dyn std::error::Error + 'static) = source.as_ref();
            tracing::error!(error = source, "an operation failed");
        }
        let change = if let Error::OutcomeUnknown(change) = &error { Some(*change) } else { None };
        let revision =
            if let Error::RevisionMismatch { actual } = &error { Some(names::revision(*actual)) } else { None };
        let detail = if let Error::Denied = error { NOT_PERMITTED.to_owned() } else { error.to_string() };
        Self { change, revision, reason: error.code(), ..Self::new(code(&error), detail) }
    }
}

impl From<Refused> for Failure {
    fn from(Refused { error, record }: Refused) -> Self {
        let failure = Self::from(error);
        // What says nothing but that there is no record, or not yet, needs none; whatever else has none gets it now.
        let silent = matches!(failure.code, Code::AuditUnavailable | Code::LeaseLost | Code::OutcomeUnknown);
        if record.is_some() || silent { failure.noted(record) } else { failure }
    }
}

impl From<TooMuch> for Failure {
    fn from(too_much: TooMuch) -> Self {
        Self::too_much(too_much)
    }
}

impl From<authn::Refused> for Failure {
    fn from(refused: authn::Refused) -> Self {
        Self { reason: refused.reason(), ..Self::from(Error::from(refused)) }
    }
}

const fn code(error: &Error) -> Code {
    match error {
        Error::Unauthenticated(_) => Code::Unauthenticated,
        Error::Denied => Code::NotPermitted,
        Error::NotFound(_) => Code::NotFound,
        Error::RevisionMismatch { .. } => Code::RevisionMismatch,
        Error::Invalid { code, .. } | Error::Conflict { code, .. } | Error::Unavailable { code, .. } => match code {
            Refusal::InvalidRequest => Code::InvalidRequest,
            Refusal::InvalidWrappedKey => Code::InvalidWrappedKey,
            Refusal::PlaintextSize => Code::PlaintextSize,
            Refusal::ContextSize => Code::ContextSize,
            Refusal::ContextPairs => Code::ContextPairs,
            Refusal::BatchSize => Code::BatchSize,
            Refusal::BodySize => Code::BodySize,
            Refusal::AlreadyExists => Code::AlreadyExists,
            Refusal::Conflict => Code::Conflict,
            Refusal::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Refusal::IdempotencyInProgress => Code::IdempotencyInProgress,
            Refusal::InvalidState => Code::InvalidState,
            Refusal::KeyDisabled => Code::KeyDisabled,
            Refusal::KeyRevoked => Code::KeyRevoked,
            Refusal::VersionRevoked => Code::VersionRevoked,
            Refusal::KeyPendingDeletion => Code::KeyPendingDeletion,
            Refusal::KeyDestroyed => Code::KeyDestroyed,
            Refusal::ApprovalRequired => Code::ApprovalRequired,
            Refusal::InUse => Code::InUse,
            Refusal::InvalidPolicy => Code::InvalidPolicy,
            Refusal::LastAdministrators => Code::LastAdministrators,
            Refusal::SeparationOfDuties => Code::SeparationOfDuties,
            Refusal::AuditUnavailable => Code::AuditUnavailable,
            Refusal::LeaseLost => Code::LeaseLost,
            Refusal::HsmUnavailable => Code::HsmUnavailable,
            Refusal::StoreUnavailable => Code::StoreUnavailable,
            Refusal::Interrupted => Code::Interrupted,
            Refusal::DiskReserve => Code::DiskReserve,
            Refusal::Overloaded => Code::Overloaded,
            Refusal::RotationPending => Code::RotationPending,
        },
        Error::OutcomeUnknown(_) => Code::OutcomeUnknown,
        Error::Internal(_) => Code::Internal,
    }
}

/// One answer for both, so that nobody learns which keys there are.
const NOT_PERMITTED: &str =
    "the caller has no right to this, or there is no such key; `/v1/whoami` lists the caller's roles";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kms_client::id::NodeId;

    use super::*;

    const REQUEST: RequestId = RequestId::from_bytes([1; 16]);
    const RECORD: RecordId = RecordId { node: NodeId::from_bytes([2; 16]), sequence: 3 };

    fn status_of(error: Error) -> (u16, &'static str) {
        let problem = Failure::from(error).into_problem(REQUEST);
        assert_eq!(response(&problem, None).status().as_u16(), problem.status);
        (problem.status, problem.code.as_str())
    }

    #[test]
    fn every_error_has_its_status_and_code() {
        assert_eq!(status_of(Error::Unauthenticated("who")), (401, "unauthenticated"));
        assert_eq!(status_of(Error::Denied), (403, "not_permitted"));
        assert_eq!(status_of(Error::NotFound("key")), (404, "not_found"));
        assert_eq!(status_of(Error::invalid("x")), (400, "invalid_request"));
        assert_eq!(status_of(Error::invalid_wrapped_key()), (400, "invalid_wrapped_key"));
        assert_eq!(status_of(Error::approval_required("it")), (403, "approval_required"));
        assert_eq!(status_of(Error::conflict(Refusal::Conflict, "x")), (409, "conflict"));
        assert_eq!(
            status_of(Error::RevisionMismatch { actual: crate::model::Revision(3) }),
            (412, "revision_mismatch")
        );
        assert_eq!(status_of(Error::conflict(Refusal::LastAdministrators, "x")), (409, "last_administrators"));
        assert_eq!(status_of(Error::unavailable(Refusal::Overloaded, "x")), (429, "overloaded"));
        assert_eq!(status_of(Error::unavailable(Refusal::StoreUnavailable, "x")), (503, "store_unavailable"));
        assert_eq!(status_of(Error::internal("secret cause")), (500, "internal"));
        let too_long = Error::Invalid { code: Refusal::BodySize, detail: "x".to_owned() };
        assert_eq!(status_of(too_long), (413, "body_size"));
    }

    #[test]
    fn causes_stay_here() {
        let problem = Failure::from(Error::internal("secret cause")).into_problem(REQUEST);
        assert_eq!(problem.detail, "an internal error occurred");
    }

    #[test]
    fn an_unknown_outcome_names_the_change_and_invites_no_repetition() {
        let change = ChangeId::from_bytes([4; 16]);
        let failure = Failure::from(Refused { error: Error::OutcomeUnknown(change), record: None });
        assert_eq!(failure.recorded(), Recorded::WithoutId);
        let problem = failure.into_problem(REQUEST);
        assert_eq!(problem.change_id, Some(change));
        assert!(!response(&problem, None).headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn what_the_gate_recorded_is_not_recorded_again() {
        let failure = Failure::from(Refused { error: Error::Denied, record: Some(RECORD) });
        assert_eq!(failure.into_problem(REQUEST).record, Some(RECORD));
        let without = Failure::from(Refused { error: Error::internal("x"), record: None });
        assert_eq!(without.recorded(), Recorded::NotYet);
        let lease = Error::unavailable(Refusal::LeaseLost, "x");
        assert_eq!(Failure::from(Refused { error: lease, record: None }).recorded(), Recorded::WithoutId);
    }

    #[test]
    fn headers_say_what_to_do() {
        let unknown = Failure::from(authn::Refused::TokenSignature);
        assert_eq!(unknown.reason(), "token_signature");
        let response_of = |failure: Failure| {
            let wait = failure.wait();
            response(&failure.into_problem(REQUEST), wait)
        };
        assert_eq!(response_of(unknown).headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response_of(Failure::overloaded()).headers()[header::RETRY_AFTER], "1");
        let limited = Failure::from(TooMuch::TooOften(Duration::from_millis(2001)));
        assert_eq!(response_of(limited).headers()[header::RETRY_AFTER], "3");
        assert_eq!(response_of(Failure::from(TooMuch::AtOnce)).headers()[header::RETRY_AFTER], "1");
        assert_eq!(response_of(Failure::method()).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
