//! An answer that is read as one of the native API's is written as it was read: whatever stands between server and client
//! may have written it. Problems and the items of batches are among them.

use kms_client::wire::{
    audit::{AuditRecordAnswer, AuditRecords},
    batch::BatchAnswer,
    binding::{BindingAnswer, BindingChanged, BindingList},
    change::{ChangeAnswer, ChangeList},
    data_key::{GeneratedDataKey, RandomBytes, RewrappedDataKey, UnwrappedDataKey, WrappedDataKey},
    explain::{AccessList, Explanation},
    key::{KeyAnswer, KeyChanged, KeyList},
    lifecycle::KeyUsage,
    node::NodeList,
    operation::OperationAnswer,
    policy::{PolicyAnswer, PolicyChanged, PolicyList, PolicyValidated},
    preview::Preview,
    principal::{PrincipalAnswer, PrincipalChanged, PrincipalList},
    problem::Problem,
    receipt::Receipt,
    role::{RoleAnswer, RoleChanged, RoleList},
    trust::{ClientCaChanged, ClientCaList, IssuerChanged, IssuerList},
    whoami::Whoami,
};

use crate::wire::each;

/// Checks it for these bytes.
pub fn check(bytes: &[u8]) {
    each!(
        bytes,
        AccessList,
        AuditRecordAnswer,
        AuditRecords,
        BindingAnswer,
        BindingChanged,
        BindingList,
        ChangeAnswer,
        ChangeList,
        ClientCaChanged,
        ClientCaList,
        Explanation,
        GeneratedDataKey,
        IssuerChanged,
        IssuerList,
        KeyAnswer,
        KeyChanged,
        NodeList,
        KeyList,
        KeyUsage,
        OperationAnswer,
        PolicyAnswer,
        PolicyChanged,
        PolicyList,
        PolicyValidated,
        Preview,
        PrincipalAnswer,
        PrincipalChanged,
        PrincipalList,
        Problem,
        RandomBytes,
        Receipt,
        RewrappedDataKey,
        RoleAnswer,
        RoleChanged,
        RoleList,
        UnwrappedDataKey,
        Whoami,
        WrappedDataKey,
    );
    each!(
        bytes,
        BatchAnswer<GeneratedDataKey>,
        BatchAnswer<RewrappedDataKey>,
        BatchAnswer<UnwrappedDataKey>,
        BatchAnswer<WrappedDataKey>,
    );
}
