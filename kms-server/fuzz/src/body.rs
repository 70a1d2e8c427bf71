//! A body is decoded or refused without its values; a batch has so many items, each a part of the body; and the digest of a
//! body is that of its meaning.

use kms_client::wire::{
    binding::CreateBinding,
    data_key::{GenerateDataKey, UnwrapDataKey, WrapDataKey},
    key::CreateKey,
    policy::PutPolicy,
    preview::PreviewChange,
    principal::CreatePrincipal,
    trust::{AddClientCa, AddIssuer},
};
use kms_server::http::native::fuzzing::{body, digest, items};
use serde_json::Value;

use crate::marked::assert_unmarked;

fn read<T: serde::de::DeserializeOwned>(json: &[u8]) {
    if let Err(error) = body::<T>(json) {
        assert_eq!(error.code(), "invalid_request", "{error}");
        assert_unmarked(&error.to_string());
    }
}

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    read::<AddClientCa>(bytes);
    read::<AddIssuer>(bytes);
    read::<CreateBinding>(bytes);
    read::<CreateKey>(bytes);
    read::<CreatePrincipal>(bytes);
    read::<GenerateDataKey>(bytes);
    read::<PreviewChange>(bytes);
    read::<PutPolicy>(bytes);
    read::<UnwrapDataKey>(bytes);
    read::<WrapDataKey>(bytes);
    match items(bytes) {
        Ok(items) => {
            assert!((1..=kms_client::wire::batch::MOST_ITEMS).contains(&items.len()));
            for item in &items {
                read::<WrapDataKey>(item.as_bytes());
            }
        }
        Err(error) => {
            assert!(["invalid_request", "batch_size"].contains(&error.code()), "{error}");
            assert_unmarked(&error.to_string());
        }
    }
    if let Ok(of_bytes) = digest(bytes) {
        let value: Value = serde_json::from_slice(bytes).expect("what has a digest is JSON");
        let again = serde_json::to_vec_pretty(&value).expect("and is written as JSON");
        assert_eq!(digest(&again).ok(), Some(of_bytes), "the digest is of the spelling");
    }
}
