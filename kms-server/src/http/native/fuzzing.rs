//! The parsers of this surface that nobody else needs, for the fuzz targets. No release has this module.

use axum::http::{HeaderMap, Method, Uri};
use kms_client::{
    id::PrincipalId,
    wire::{name::Cursor, trace::TraceParent},
};
use serde::de::DeserializeOwned;

use super::{body, boundary, cursor::Listing, terms};
use crate::{
    http::CursorKey,
    model::{Action, Error, Revision},
};

/// The revision that the head of a request for `action` expects.
///
/// # Errors
///
/// What is wrong with the terms.
pub fn expected(headers: &HeaderMap, action: Action) -> Result<Option<Revision>, Error> {
    terms::Stated::read(headers, Some(action)).map(|stated| stated.expected)
}

/// The trace that the head of a request belongs to.
#[must_use]
pub fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    boundary::trace_parent(headers)
}

/// What an idempotency key stands for, with this body.
///
/// # Errors
///
/// The body is not a JSON object.
pub fn digest(json: &[u8]) -> Result<[u8; 32], Error> {
    terms::digest(&Method::POST, "/v1/keys", json)
}

/// A body, decoded.
///
/// # Errors
///
/// What is wrong with it, without any value of it.
pub fn body<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    body::parse(json)
}

/// The items of a batch.
///
/// # Errors
///
/// What is wrong with it, without any value of it.
pub fn items(json: &[u8]) -> Result<Vec<&str>, Error> {
    body::items(json).map(|items| items.into_iter().map(serde_json::value::RawValue::get).collect())
}

/// A query, decoded.
///
/// # Errors
///
/// What is wrong with it, without any value of it.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    body::query(uri)
}

/// The place in a list of keys that a cursor stands for.
///
/// # Errors
///
/// It is not one of ours.
pub fn place(key: &CursorKey, caller: PrincipalId, cursor: &Cursor) -> Result<Option<[u8; 16]>, Error> {
    Listing::new(key, caller, "keys", &())?.place(Some(cursor))
}

/// The cursor that stands for a place in a list of keys.
///
/// # Errors
///
/// A fault of ours.
pub fn cursor(key: &CursorKey, caller: PrincipalId, place: [u8; 16]) -> Result<Cursor, Error> {
    Listing::new(key, caller, "keys", &())?.cursor(&place)
}
