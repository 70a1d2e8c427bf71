//! Custom policies and roles, and questions about who may do what.

use super::{Client, error::Result, transport::Repeat};
use crate::wire::{
    explain::{AccessList, AccessQuery, Explain, Explanation},
    name::{KeyName, PolicyName, RoleName},
    policy::{PolicyAnswer, PolicyChanged, PolicyList, PolicyQuery, PolicyValidated, PutPolicy, ValidatePolicy},
    preview::{Preview, PreviewChange},
    role::{CreateRole, RoleAnswer, RoleChanged, RoleList, UpdateRole},
};

#[expect(clippy::missing_errors_doc, reason = "each fails when the server refuses or cannot be reached")]
impl Client {
    /// Adds a custom policy, or replaces it by a new version.
    pub async fn put_policy(&self, name: &PolicyName, request: &PutPolicy) -> Result<PolicyChanged> {
        self.put(&["policies", name.as_str()], request).await
    }

    /// The custom policies in force.
    pub async fn list_policies(&self) -> Result<PolicyList> {
        self.transport.get(&["policies"]).await
    }

    /// A custom policy, at its newest version or an older one.
    pub async fn policy(&self, name: &PolicyName, version: Option<u32>) -> Result<PolicyAnswer> {
        self.transport.list(&["policies", name.as_str()], &PolicyQuery { version }).await
    }

    /// Takes a custom policy out of force.
    pub async fn remove_policy(&self, name: &PolicyName) -> Result<PolicyChanged> {
        self.delete(&["policies", name.as_str()]).await
    }

    /// What a policy's text means, or what is wrong with it.
    pub async fn validate_policy(&self, request: &ValidatePolicy) -> Result<PolicyValidated> {
        self.transport.post(&["policies", "validate"], request, Repeat::Harmless).await
    }

    /// All roles and what they allow.
    pub async fn roles(&self) -> Result<RoleList> {
        self.transport.get(&["roles"]).await
    }

    /// A role as it is.
    pub async fn role(&self, name: &RoleName) -> Result<RoleAnswer> {
        self.transport.get(&["roles", name.as_str()]).await
    }

    /// Makes a role.
    pub async fn create_role(&self, request: &CreateRole) -> Result<RoleChanged> {
        self.create(&["roles"], request).await
    }

    /// Changes a role, for everybody who holds it.
    pub async fn update_role(&self, name: &RoleName, request: &UpdateRole) -> Result<RoleChanged> {
        self.patch(&["roles", name.as_str()], request).await
    }

    /// Takes a role out of use.
    pub async fn remove_role(&self, name: &RoleName) -> Result<RoleChanged> {
        self.delete(&["roles", name.as_str()]).await
    }

    /// What a change would do. Nothing is changed.
    pub async fn preview(&self, request: &PreviewChange) -> Result<Preview> {
        self.transport.post(&["changes", "preview"], request, Repeat::Harmless).await
    }

    /// Whether something would be permitted, and why.
    pub async fn explain(&self, request: &Explain) -> Result<Explanation> {
        self.transport.post(&["explain"], request, Repeat::Harmless).await
    }

    /// A page of those who can do something with a key.
    pub async fn key_access(&self, key: &KeyName, query: &AccessQuery) -> Result<AccessList> {
        self.transport.list(&["keys", &key.to_string(), "access"], query).await
    }
}
