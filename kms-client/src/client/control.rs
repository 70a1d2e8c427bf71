//! Control operations: keys, principals, bindings, changes and the audit log.

use super::{Client, error::Result, transport::Repeat};
use crate::{
    id::{BindingId, ChangeId, CredentialId, KeyVersion, RecordId},
    wire::{
        audit::{AuditRecordAnswer, AuditRecords, AuditSearch},
        binding::{BindingAnswer, BindingChanged, BindingList, BindingQuery, CreateBinding},
        change::{ChangeAnswer, ChangeList, ChangeQuery},
        key::{CreateKey, KeyAnswer, KeyChanged, KeyList, KeyQuery, UpdateKey, WithReason},
        lifecycle::{KeyUsage, KeyUsageQuery, ScheduleDeletion},
        name::{KeyName, PrincipalRef, Reason},
        node::NodeList,
        operation::OperationAnswer,
        principal::{
            CreatePrincipal, PrincipalAnswer, PrincipalChanged, PrincipalList, PrincipalQuery, Proof, UpdatePrincipal,
        },
        whoami::Whoami,
    },
};

/// An empty object: what a change without parameters takes.
#[derive(serde::Serialize)]
struct Nothing {}

#[expect(clippy::missing_errors_doc, reason = "each fails when the server refuses or cannot be reached")]
impl Client {
    /// Who the server takes the caller for.
    pub async fn whoami(&self) -> Result<Whoami> {
        self.transport.get(&["whoami"]).await
    }

    /// Creates a key.
    pub async fn create_key(&self, request: &CreateKey) -> Result<KeyChanged> {
        self.create(&["keys"], request).await
    }

    /// A page of keys.
    pub async fn list_keys(&self, query: &KeyQuery) -> Result<KeyList> {
        self.transport.list(&["keys"], query).await
    }

    /// A key as it is.
    pub async fn key(&self, key: &KeyName) -> Result<KeyAnswer> {
        self.transport.get(&["keys", &key.to_string()]).await
    }

    /// Changes what is not fixed about a key.
    pub async fn update_key(&self, key: &KeyName, request: &UpdateKey) -> Result<KeyChanged> {
        self.patch(&["keys", &key.to_string()], request).await
    }

    /// Gives a key a new primary version.
    pub async fn rotate_key(&self, key: &KeyName) -> Result<KeyChanged> {
        self.extend(&["keys", &key.to_string(), "rotate"], &Nothing {}).await
    }

    /// Lets a disabled key work again.
    pub async fn enable_key(&self, key: &KeyName) -> Result<KeyChanged> {
        self.act(&["keys", &key.to_string(), "enable"], &Nothing {}).await
    }

    /// Suspends a key until it is enabled again.
    pub async fn disable_key(&self, key: &KeyName, reason: Reason) -> Result<KeyChanged> {
        self.act(&["keys", &key.to_string(), "disable"], &WithReason { reason }).await
    }

    /// Revokes a key for good.
    pub async fn revoke_key(&self, key: &KeyName, reason: Reason) -> Result<KeyChanged> {
        self.act(&["keys", &key.to_string(), "revoke"], &WithReason { reason }).await
    }

    /// Revokes one version of a key for good.
    pub async fn revoke_version(&self, key: &KeyName, version: KeyVersion, reason: Reason) -> Result<KeyChanged> {
        let (key, version) = (key.to_string(), version.to_string());
        let path = ["keys", &key, "versions", &version, "revoke"];
        self.act(&path, &WithReason { reason }).await
    }

    /// Who used a key, and when.
    pub async fn key_usage(&self, key: &KeyName, query: KeyUsageQuery) -> Result<KeyUsage> {
        self.transport.list(&["keys", &key.to_string(), "usage"], &query).await
    }

    /// Lets a key be destroyed after a waiting period.
    pub async fn schedule_key_deletion(&self, key: &KeyName, request: &ScheduleDeletion) -> Result<KeyChanged> {
        self.act(&["keys", &key.to_string(), "schedule-deletion"], request).await
    }

    /// Does not let a key be destroyed.
    pub async fn cancel_key_deletion(&self, key: &KeyName) -> Result<KeyChanged> {
        self.act(&["keys", &key.to_string(), "cancel-deletion"], &Nothing {}).await
    }

    /// Creates a principal.
    pub async fn create_principal(&self, request: &CreatePrincipal) -> Result<PrincipalChanged> {
        self.create(&["principals"], request).await
    }

    /// A page of principals.
    pub async fn list_principals(&self, query: &PrincipalQuery) -> Result<PrincipalList> {
        self.transport.list(&["principals"], query).await
    }

    /// A principal as it is.
    pub async fn principal(&self, principal: &PrincipalRef) -> Result<PrincipalAnswer> {
        self.transport.get(&["principals", &principal.to_string()]).await
    }

    /// Changes what is not fixed about a principal.
    pub async fn update_principal(
        &self,
        principal: &PrincipalRef,
        request: &UpdatePrincipal,
    ) -> Result<PrincipalChanged> {
        self.patch(&["principals", &principal.to_string()], request).await
    }

    /// Cuts all access of a principal.
    pub async fn suspend_principal(&self, principal: &PrincipalRef, reason: Reason) -> Result<PrincipalChanged> {
        let path = ["principals", &principal.to_string(), "suspend"];
        self.act(&path, &WithReason { reason }).await
    }

    /// Gives a suspended principal its access back.
    pub async fn reinstate_principal(&self, principal: &PrincipalRef, reason: Reason) -> Result<PrincipalChanged> {
        let path = ["principals", &principal.to_string(), "reinstate"];
        self.act(&path, &WithReason { reason }).await
    }

    /// Adds a way for a principal to prove who it is.
    pub async fn add_credential(&self, principal: &PrincipalRef, proof: &Proof) -> Result<PrincipalChanged> {
        self.extend(&["principals", &principal.to_string(), "credentials"], proof).await
    }

    /// Takes a credential away from a principal.
    pub async fn remove_credential(
        &self,
        principal: &PrincipalRef,
        credential: CredentialId,
    ) -> Result<PrincipalChanged> {
        let (principal, credential) = (principal.to_string(), credential.to_string());
        self.delete(&["principals", &principal, "credentials", &credential]).await
    }

    /// Gives a principal a role.
    pub async fn create_binding(&self, request: &CreateBinding) -> Result<BindingChanged> {
        self.create(&["bindings"], request).await
    }

    /// A page of bindings.
    pub async fn list_bindings(&self, query: &BindingQuery) -> Result<BindingList> {
        self.transport.list(&["bindings"], query).await
    }

    /// A binding as it is.
    pub async fn binding(&self, binding: BindingId) -> Result<BindingAnswer> {
        self.transport.get(&["bindings", &binding.to_string()]).await
    }

    /// Ends a binding.
    pub async fn end_binding(&self, binding: BindingId, reason: Reason) -> Result<BindingChanged> {
        let path = ["bindings", &binding.to_string(), "end"];
        self.act(&path, &WithReason { reason }).await
    }

    /// A page of control changes.
    pub async fn list_changes(&self, query: &ChangeQuery) -> Result<ChangeList> {
        self.transport.list(&["changes"], query).await
    }

    /// The nodes that changes wait for.
    pub async fn list_nodes(&self) -> Result<NodeList> {
        self.transport.get(&["nodes"]).await
    }

    /// A control change, by which an unknown outcome is looked up.
    pub async fn change(&self, change: ChangeId) -> Result<ChangeAnswer> {
        self.transport.get(&["changes", &change.to_string()]).await
    }

    /// What became of a change that was accepted.
    pub async fn operation(&self, change: ChangeId) -> Result<OperationAnswer> {
        self.transport.get(&["operations", &change.to_string()]).await
    }

    /// A page of audit records.
    pub async fn search_audit(&self, search: &AuditSearch) -> Result<AuditRecords> {
        self.transport.post(&["audit", "search"], search, Repeat::Harmless).await
    }

    /// One audit record.
    pub async fn audit_record(&self, record: RecordId) -> Result<AuditRecordAnswer> {
        self.transport.get(&["audit", "records", &record.to_string()]).await
    }
}
