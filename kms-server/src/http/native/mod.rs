//! The native REST API under `/v1`: JSON in, one use case, JSON out. Its types are those of `kms_client::wire`, and every
//! operation stands in its OpenAPI document, because route and documentation are registered together.
//!
//! A request passes the `boundary`, which gives it an id and limits; the handler takes an `exchange::Exchange`, which
//! authenticates before anything of the body is read. Nothing here decides what a caller may do.

mod arrival;
mod audit_log;
mod batch;
mod bindings;
mod body;
mod boundary;
mod changes;
mod cursor;
mod data_keys;
mod document;
mod error;
mod exchange;
mod explain;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod key_deletion;
mod keys;
mod names;
mod nodes;
mod operation;
mod pending;
mod policies;
mod preview;
mod principals;
mod roles;
mod terms;
mod trust;
mod whoami;
mod wiped;
mod words;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    middleware,
    response::Response,
};
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{boundary::Boundary, error::Failure, operation::Operations};
use super::{AnswerBody, AppState};

/// What every handler is given.
#[derive(Debug)]
struct Api {
    app: AppState,
    document: Bytes,
}

/// Every route of the API. It expects a [`Connection`](super::Connection) in each request's extensions.
pub fn routes(state: AppState) -> Router {
    let (router, mut document) = documented().split_for_parts();
    document::complete(&mut document);
    let boundary = Arc::new(Boundary::new(state.clone(), Operations::new(&document)));
    // The document is made of text and numbers, which always can be written as JSON.
    let document = serde_json::to_vec(&document).unwrap_or_default().into();
    router
        .fallback(async || Failure::no_such_path())
        .method_not_allowed_fallback(async || Failure::method())
        .layer(middleware::from_fn_with_state(boundary, boundary::pass))
        .with_state(Arc::new(Api { app: state, document }))
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, mut document) = documented().split_for_parts();
    document::complete(&mut document);
    document
}

fn documented() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(openapi_document))
        .routes(routes!(whoami::whoami))
        .merge(keys::routes())
        .merge(key_deletion::routes())
        .merge(data_keys::routes())
        .merge(principals::routes())
        .merge(bindings::routes())
        .merge(policies::routes())
        .merge(roles::routes())
        .merge(explain::routes())
        .merge(trust::routes())
        .merge(changes::routes())
        .merge(nodes::routes())
        .merge(preview::routes())
        .merge(pending::routes())
        .merge(audit_log::routes())
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "openapi", tag = "about", security(()),
    responses((status = 200, description = "The OpenAPI document", body = Object))
)]
async fn openapi_document(State(api): State<Arc<Api>>) -> Response {
    let mut response = Response::new(Body::new(AnswerBody::open(api.document.clone())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Action;

    fn operations() -> Vec<(String, utoipa::openapi::path::Operation)> {
        let document = openapi();
        let items = document.paths.paths.iter();
        items
            .flat_map(|(path, item)| operation::methods(item).map(move |(_, found)| (path.clone(), found.clone())))
            .collect()
    }

    #[test]
    fn every_action_that_callers_can_ask_for_has_an_operation() {
        let asked: BTreeSet<_> = operations()
            .iter()
            .filter_map(|(_, operation)| operation.operation_id.as_deref().and_then(operation::action))
            .collect();
        let missing: Vec<_> = Action::ALL.iter().filter(|action| !asked.contains(action)).collect();
        // Which of the two generations it is, and both sides of a transfer, stand in the body, and so does whom one asks about;
        // the host's and the server's own are no caller's.
        let elsewhere = [
            Action::GenerateWithoutPlaintext,
            Action::TransferTo,
            Action::DestroyKey,
            Action::ExplainOthers,
            Action::Initialise,
            Action::AcceptDatabase,
            Action::RecoverAdmin,
        ];
        assert_eq!(missing, elsewhere.iter().collect::<Vec<_>>());
    }

    #[test]
    fn every_operation_is_named_once_and_says_what_can_go_wrong() {
        let mut names = BTreeSet::new();
        for (path, operation) in operations() {
            let id = operation.operation_id.clone().unwrap();
            assert!(names.insert(id.clone()), "{id} is there twice");
            let statuses: Vec<_> = operation.responses.responses.keys().map(String::as_str).collect();
            for status in ["200", "429", "500", "503"] {
                assert!(statuses.contains(&status), "{path}: {statuses:?}");
            }
            assert_eq!(statuses.contains(&"401"), id != "openapi", "{path}");
            assert_eq!(statuses.contains(&"415"), operation.request_body.is_some(), "{path}");
        }
        assert_eq!(names.len(), 63, "{names:?}");
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let json = serde_json::to_string(&openapi()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&json).unwrap();
        let named = json.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
