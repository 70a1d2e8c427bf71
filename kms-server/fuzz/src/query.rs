//! A query string is read or refused without its values, and no cursor is taken that was not given.

use std::{fmt::Debug, sync::LazyLock};

use axum::http::Uri;
use kms_client::wire::{
    audit::AuditSearch, binding::BindingQuery, change::ChangeQuery, explain::AccessQuery, key::KeyQuery,
    lifecycle::KeyUsageQuery, name::Cursor, policy::PolicyQuery, principal::PrincipalQuery,
};
use kms_server::http::{
    CursorKey,
    native::fuzzing::{cursor, place, query},
};
use serde_json::Value;

use crate::{marked::assert_unmarked, world::ALICE};

static KEY: LazyLock<CursorKey> = LazyLock::new(|| CursorKey::new(&vec![7; 32].into()));

fn read<T: serde::de::DeserializeOwned + serde::Serialize + Debug>(uri: &Uri) -> Option<Value> {
    match query::<T>(uri) {
        Ok(read) => Some(serde_json::to_value(read).expect("a query has JSON")),
        Err(error) => {
            assert_eq!(error.code(), "invalid_request", "{error}");
            assert_unmarked(&error.to_string());
            None
        }
    }
}

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(taken) = text.parse::<Cursor>()
            && let Ok(place) = place(&KEY, ALICE, &taken)
        {
            let place = place.expect("there was a cursor");
            assert_eq!(cursor(&KEY, ALICE, place).expect("a place has a cursor"), taken);
        }
        if let Ok(uri) = format!("/v1/keys?{text}").parse::<Uri>() {
            read::<KeyQuery>(&uri);
            read::<AuditSearch>(&uri);
            read::<BindingQuery>(&uri);
            read::<ChangeQuery>(&uri);
            read::<PrincipalQuery>(&uri);
            read::<KeyUsageQuery>(&uri);
            read::<PolicyQuery>(&uri);
            read::<AccessQuery>(&uri);
        }
    }
    if let Some((bytes, _)) = bytes.split_first_chunk::<16>() {
        let cursor = cursor(&KEY, ALICE, *bytes).expect("a place has a cursor");
        assert_eq!(place(&KEY, ALICE, &cursor).ok().flatten(), Some(*bytes));
    }
}
