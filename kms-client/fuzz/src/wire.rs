//! A request that is read as one of the native API's is written as it was read, and no error repeats what was sent at length.

use std::fmt::Debug;

use kms_client::wire::{
    audit::AuditSearch,
    batch::Batch,
    binding::{BindingQuery, CreateBinding},
    change::ChangeQuery,
    data_key::{GenerateDataKey, GenerateRandom, RewrapDataKey, TransferDataKey, UnwrapDataKey, WrapDataKey},
    explain::{AccessQuery, Explain},
    key::{CreateKey, KeyQuery, UpdateKey, WithReason},
    lifecycle::{KeyUsageQuery, ScheduleDeletion},
    policy::{PolicyQuery, PutPolicy, ValidatePolicy},
    preview::PreviewChange,
    principal::{CreatePrincipal, PrincipalQuery, Proof, UpdatePrincipal},
    role::{CreateRole, UpdateRole},
    trust::{AddClientCa, AddIssuer},
};
use serde::{Serialize, de::DeserializeOwned};

/// Reads JSON as this type; what it is written as reads back as the same.
pub(crate) fn read<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("what was read has JSON");
    let again = serde_json::from_slice::<T>(&written)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    assert_eq!(serde_json::to_vec(&again).expect("and once more"), written);
}

macro_rules! each {
    ($bytes:expr, $($name:ty),+ $(,)?) => {$(
        $crate::wire::read::<$name>($bytes);
    )+};
}
pub(crate) use each;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    each!(
        bytes,
        AccessQuery,
        AddClientCa,
        AddIssuer,
        AuditSearch,
        BindingQuery,
        ChangeQuery,
        CreateBinding,
        CreateKey,
        CreatePrincipal,
        CreateRole,
        Explain,
        GenerateDataKey,
        GenerateRandom,
        KeyQuery,
        KeyUsageQuery,
        PolicyQuery,
        PreviewChange,
        PrincipalQuery,
        Proof,
        PutPolicy,
        RewrapDataKey,
        ScheduleDeletion,
        TransferDataKey,
        UnwrapDataKey,
        UpdateKey,
        UpdatePrincipal,
        UpdateRole,
        ValidatePolicy,
        WithReason,
        WrapDataKey,
    );
    each!(bytes, Batch<GenerateDataKey>, Batch<RewrapDataKey>, Batch<UnwrapDataKey>, Batch<WrapDataKey>);
}
