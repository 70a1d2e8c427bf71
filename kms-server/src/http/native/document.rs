//! What the OpenAPI document says of the API as a whole, and of what can go wrong with each operation.

use std::collections::BTreeMap;

use kms_client::wire::{
    operation::OperationAnswer,
    problem::{Code, MEDIA_TYPE, Problem},
};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Components, ContentBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required,
        ResponseBuilder, Type,
        path::{Operation, ParameterBuilder, ParameterIn, PathItem},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::Tag,
    },
};

use super::operation::{action, methods};
use crate::model::Action;

/// The document before any operation.
pub(super) fn base() -> OpenApi {
    let mut info = Info::new("Keyward", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let mut components = Components::new();
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer()));
    components.add_security_scheme(
        "mutual_tls",
        SecurityScheme::MutualTls {
            description: Some("A client certificate of a trusted certification authority.".to_owned()),
            deprecated: None,
            extensions: None,
        },
    );
    OpenApiBuilder::new()
        .info(info)
        .paths(Paths::new())
        .components(Some(components))
        .security(Some([
            SecurityRequirement::new("bearer", [] as [&str; 0]),
            SecurityRequirement::new("mutual_tls", [] as [&str; 0]),
        ]))
        .tags(Some(TAGS.map(|(name, description)| {
            let mut tag = Tag::new(name);
            tag.description = Some(description.to_owned());
            tag
        })))
        .build()
}

/// Adds to each operation what can go wrong with it.
pub(super) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let problems: Vec<_> = methods(item).map(|(method, operation)| (method, problems(operation))).collect();
        for (method, problems) in problems {
            if let Some(operation) = operation_mut(item, &method) {
                add_terms(operation);
                add_problems(operation, &problems);
            }
        }
    }
}

/// Adds the header fields by which a caller states terms.
fn add_terms(operation: &mut Operation) {
    let Some(action) = operation.operation_id.as_deref().and_then(action) else { return };
    let mut fields = Vec::new();
    if action.is_edit() {
        fields.push(("if-match", IF_MATCH));
    }
    if action.is_creation() {
        fields.push(("idempotency-key", IDEMPOTENCY_KEY));
    }
    if action.is_control() {
        fields.push(("prefer", PREFER));
        let accepted = Ref::from_schema_name(OperationAnswer::name());
        let content = ContentBuilder::new().schema(Some(accepted)).build();
        let response = ResponseBuilder::new().description(ACCEPTED).content("application/json", content).build();
        operation.responses.responses.insert("202".to_owned(), RefOr::T(response));
    }
    let parameters = fields.into_iter().map(|(name, description)| {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(text))
            .build();
        RefOr::T(parameter)
    });
    operation.parameters.get_or_insert_default().extend(parameters);
    if operation.parameters.as_ref().is_some_and(Vec::is_empty) {
        operation.parameters = None;
    }
}

fn bearer() -> Http {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.bearer_format = Some("JWT".to_owned());
    bearer.description = Some("A JSON Web Token of a trusted issuer.".to_owned());
    bearer
}

fn operation_mut<'a>(item: &'a mut PathItem, method: &utoipa::openapi::HttpMethod) -> Option<&'a mut Operation> {
    use utoipa::openapi::HttpMethod::{Delete, Patch, Post, Put};
    match method {
        Post => item.post.as_mut(),
        Put => item.put.as_mut(),
        Patch => item.patch.as_mut(),
        Delete => item.delete.as_mut(),
        _ => item.get.as_mut(),
    }
}

/// The codes that an operation can fail with.
fn problems(operation: &Operation) -> Vec<Code> {
    let mut codes = vec![Code::DeadlineExceeded, Code::AuditUnavailable, Code::Overloaded, Code::Internal];
    let Some(action) = operation.operation_id.as_deref().and_then(action) else { return codes };
    codes.push(Code::RateLimited);
    codes.extend([Code::Unauthenticated, Code::NotPermitted, Code::LeaseLost, Code::InvalidRequest]);
    if action.is_data() {
        codes.push(Code::DiskReserve);
    }
    let takes_body = operation.request_body.is_some();
    if takes_body {
        codes.push(Code::BodySize);
    }
    if operation.operation_id.as_deref().is_some_and(|id| id.ends_with("_batch")) {
        codes.push(Code::BatchSize);
    }
    codes.extend_from_slice(of_kind(action));
    if action.is_edit() {
        codes.push(Code::RevisionMismatch);
    }
    if action.is_creation() {
        codes.extend([Code::IdempotencyKeyReused, Code::IdempotencyInProgress]);
    }
    codes
}

fn of_kind(action: Action) -> &'static [Code] {
    const STATES: &[Code] =
        &[Code::KeyDisabled, Code::KeyRevoked, Code::KeyPendingDeletion, Code::KeyDestroyed, Code::VersionRevoked];
    const READ: &[Code] = &[Code::NotFound, Code::StoreUnavailable];
    match action {
        Action::Random => &[Code::PlaintextSize, Code::HsmUnavailable],
        Action::Generate | Action::GenerateWithoutPlaintext | Action::Wrap => WRAPPING,
        Action::TransferFrom | Action::TransferTo => TRANSFER,
        Action::Unwrap | Action::Rewrap => UNWRAPPING,
        Action::PutPolicy => POLICY,
        Action::RemoveRole => ROLE,
        action if action.is_control() => CONTROL,
        action if action.is_data() => STATES,
        _ => READ,
    }
}

fn add_problems(operation: &mut Operation, codes: &[Code]) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(*code);
    }
    if operation.request_body.is_some() {
        by_status.insert(415, vec![Code::InvalidRequest]);
    }
    for (status, codes) in by_status {
        let words: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
        let response = ResponseBuilder::new().description(words.join(", ")).content(MEDIA_TYPE, content).build();
        operation.responses.responses.insert(status.to_string(), RefOr::T(response));
    }
}

const WRAPPING: &[Code] = &[
    Code::PlaintextSize,
    Code::ContextSize,
    Code::ContextPairs,
    Code::KeyDisabled,
    Code::KeyRevoked,
    Code::KeyPendingDeletion,
    Code::KeyDestroyed,
    Code::VersionRevoked,
    Code::HsmUnavailable,
];
const UNWRAPPING: &[Code] = &[
    Code::InvalidWrappedKey,
    Code::ContextSize,
    Code::ContextPairs,
    Code::KeyDisabled,
    Code::KeyRevoked,
    Code::KeyPendingDeletion,
    Code::KeyDestroyed,
    Code::VersionRevoked,
    Code::HsmUnavailable,
];
const TRANSFER: &[Code] = &[
    Code::InvalidWrappedKey,
    Code::ContextSize,
    Code::ContextPairs,
    Code::ApprovalRequired,
    Code::InvalidState,
    Code::KeyDisabled,
    Code::KeyRevoked,
    Code::KeyPendingDeletion,
    Code::KeyDestroyed,
    Code::VersionRevoked,
    Code::HsmUnavailable,
];
const CONTROL: &[Code] = &[
    Code::NotFound,
    Code::Conflict,
    Code::AlreadyExists,
    Code::ApprovalRequired,
    Code::InvalidState,
    Code::KeyDestroyed,
    Code::LastAdministrators,
    Code::SeparationOfDuties,
    Code::StoreUnavailable,
    Code::HsmUnavailable,
    Code::OutcomeUnknown,
];

const IF_MATCH: &str =
    "The change is made only if its object is still at this revision: the `etag` of an answer, or `*`.";
const PREFER: &str = "With `respond-async` the change is accepted if nothing speaks against it now, and made while the caller does not wait.";
const ACCEPTED: &str =
    "Accepted, as asked for by `prefer: respond-async`; `location` is where to ask what became of it";
const IDEMPOTENCY_KEY: &str = "\
A name that the caller gives this request. For 24 hours the same request under the same name makes nothing more and \
answers what the first one did, with the header `idempotency-replayed: true` and a record of its own.";

const POLICY: &[Code] = &[Code::InvalidPolicy, Code::Conflict, Code::StoreUnavailable, Code::OutcomeUnknown];
const ROLE: &[Code] = &[Code::NotFound, Code::InUse, Code::InvalidState, Code::StoreUnavailable, Code::OutcomeUnknown];

const TAGS: [(&str, &str); 10] = [
    ("about", "This API, and who its caller is."),
    ("keys", "Master keys and their versions. Their material never leaves the HSM."),
    ("data keys", "Data keys: generated, wrapped, unwrapped and wrapped again; each also as a batch."),
    ("principals", "Users, services and contractors, and how they prove who they are."),
    ("bindings", "Who holds which role, on what, from when until when."),
    ("policies", "Custom policies in Cedar, custom roles, and who may do what."),
    ("trust", "Whose tokens and certificates say who a caller is."),
    ("changes", "Control changes as they were committed."),
    ("nodes", "The nodes that control changes wait for."),
    ("audit", "The audit log. Reading it is on record too."),
];

const DESCRIPTION: &str = "\
A key management service whose master keys live in a PKCS#11 HSM.

Every operation leaves an audit record that is durable before its answer leaves; answers and errors name it. Errors are \
problem details (RFC 9457) with a `code` that never changes. Every answer carries the header `keyward-request-id`. A key \
is named by its id or as `alias/NAME`; in a path the slash is written `%2F`. An answer about one object carries its \
revision as `etag`. The answer to a control change is its receipt: \
a request that arrives after it never succeeds under the old rule.";
