//! The native API's types, one file per subject: what `/v1` takes and gives, as JSON.
//!
//! Requests refuse unknown fields; answers may gain fields, which older clients ignore. Every text has its own type that
//! checks its form while it is decoded, so that nothing malformed gets further. What needs the state of the server (does
//! the key exist, may the caller use it, are the batch and the plaintext within the limits) is checked by the server.
//! The documentation comments here are the text of the OpenAPI document.

pub mod audit;
pub mod batch;
pub mod binding;
pub mod bytes;
pub mod change;
pub mod context;
pub mod data_key;
pub mod explain;
pub mod key;
pub mod lifecycle;
pub mod name;
pub mod node;
pub mod operation;
pub mod policy;
pub mod preview;
pub mod principal;
pub mod problem;
pub mod receipt;
pub mod role;
mod spelling;
pub mod tags;
pub mod trace;
pub mod trust;
pub mod whoami;

#[cfg(all(test, feature = "openapi"))]
mod tests {
    use std::collections::BTreeMap;

    use utoipa::{PartialSchema, ToSchema};

    use super::*;

    /// Collects the schemas of these types and of all that they hold.
    macro_rules! schemas {
        ($($name:ty),+ $(,)?) => {{
            let mut schemas = Vec::new();
            $(
                schemas.push((<$name>::name().to_string(), <$name>::schema()));
                <$name as ToSchema>::schemas(&mut schemas);
            )+
            schemas
        }};
    }

    #[test]
    fn no_two_types_share_a_name_in_the_openapi_document() {
        let mut schemas = schemas![
            audit::AuditRecordAnswer,
            audit::AuditRecords,
            audit::AuditSearch,
            binding::BindingChanged,
            binding::CreateBinding,
            change::ChangeAnswer,
            change::ChangeList,
            data_key::GenerateDataKey,
            data_key::GeneratedDataKey,
            data_key::RandomBytes,
            data_key::RewrappedDataKey,
            data_key::TransferDataKey,
            data_key::UnwrapDataKey,
            data_key::UnwrappedDataKey,
            data_key::WrapDataKey,
            data_key::WrappedDataKey,
            explain::AccessList,
            explain::Explain,
            explain::Explanation,
            key::CreateKey,
            key::KeyChanged,
            key::KeyList,
            key::UpdateKey,
            key::WithReason,
            policy::PolicyChanged,
            policy::PolicyList,
            policy::PolicyValidated,
            policy::PutPolicy,
            policy::ValidatePolicy,
            preview::Preview,
            preview::PreviewChange,
            operation::OperationAnswer,
            principal::CreatePrincipal,
            principal::PrincipalChanged,
            principal::Proof,
            problem::Problem,
            role::CreateRole,
            role::RoleChanged,
            role::RoleList,
            role::UpdateRole,
            trust::AddClientCa,
            trust::AddIssuer,
            trust::ClientCaChanged,
            trust::IssuerChanged,
            whoami::Whoami,
        ];
        // Generic types are named after their parameters by whoever refers to them.
        <batch::BatchAnswer<data_key::GeneratedDataKey> as ToSchema>::schemas(&mut schemas);
        <batch::BatchAnswer<data_key::UnwrappedDataKey> as ToSchema>::schemas(&mut schemas);
        let mut seen = BTreeMap::new();
        for (name, schema) in schemas {
            let schema = serde_json::to_value(schema).unwrap();
            if let Some(other) = seen.insert(name.clone(), schema.clone()) {
                assert_eq!(other, schema, "two types are called `{name}`");
            }
        }
        assert!(seen.contains_key("Item_UnwrappedDataKey"), "{:?}", seen.keys());
    }
}
