//! Custom policies and roles: reading them, and checking a policy's text before it is anybody's business.

use std::sync::Arc;

use kms_client::id::{PolicyId, RoleId};

use super::{Call, Outcome, Service};
use crate::{
    model::{
        Action, CustomPolicy, CustomRole, Error, GrantedRole, Operation, PolicyName, Role, RoleName, Row, Target, Text,
    },
    policy::{self, Fault, Statement},
};

/// What a text means, or what is wrong with it.
pub type Validated = Result<Vec<Statement>, Vec<Fault>>;

/// One role, wherever it comes from.
#[derive(Debug, Clone)]
pub struct RoleView {
    /// Its name.
    pub name: GrantedRole,
    /// What it is for.
    pub description: String,
    /// What it gives.
    pub actions: Vec<Action>,
    /// The row of a custom one.
    pub custom: Option<Arc<CustomRole>>,
}

impl Service {
    /// The change that puts this text in force under this name, as the next version if there is one.
    #[must_use]
    pub fn policy_to_put(&self, name: PolicyName, description: Text, text: String) -> Operation {
        let snapshot = self.inner.cluster.snapshot();
        let existing = snapshot.state.policy_by_name(&name).map(|policy| policy.id);
        let policy = existing.unwrap_or_else(|| PolicyId::new(self.inner.ids.fresh(self.inner.clock.now())));
        Operation::PutPolicy { policy, name, description, text }
    }

    /// The id behind a name; one that nobody has behind a name that is not there.
    #[must_use]
    pub fn policy_id(&self, name: &PolicyName) -> PolicyId {
        let snapshot = self.inner.cluster.snapshot();
        snapshot.state.policy_by_name(name).map_or(PolicyId::from_bytes([0; 16]), |policy| policy.id)
    }

    /// The same for a custom role.
    #[must_use]
    pub fn role_id(&self, name: &RoleName) -> RoleId {
        let snapshot = self.inner.cluster.snapshot();
        snapshot.state.role_by_name(name).map_or(RoleId::from_bytes([0; 16]), |role| role.id)
    }

    /// One custom policy, at its newest version or an older one.
    ///
    /// # Errors
    ///
    /// `not_found`, `store_unavailable`.
    pub async fn describe_policy(
        &self,
        call: &Call,
        name: &PolicyName,
        version: Option<u32>,
    ) -> Outcome<Arc<CustomPolicy>> {
        let id = self.policy_id(name);
        let newest = self.inner.cluster.snapshot().state.policy(id).cloned();
        let allowed = self.may(call, Action::DescribePolicy);
        let found = match (newest, version) {
            (None, _) => Err(Error::NotFound("policy")),
            (Some(newest), Some(version)) if allowed && version != newest.version => {
                self.older_version(&newest, version).await
            }
            (Some(newest), _) => Ok(newest),
        };
        self.read(call, Action::DescribePolicy, Target::Policy(id), |_| found).await
    }

    /// From the history of changes, as the change that made it left it.
    async fn older_version(&self, newest: &CustomPolicy, version: u32) -> Result<Arc<CustomPolicy>, Error> {
        let missing = || Error::NotFound("version of the policy");
        let listed = newest.versions.iter().find(|listed| listed.version == version).ok_or_else(missing)?;
        let mut tx = self.inner.store.read().await?;
        let change = tx.change_at(listed.revision).await?.ok_or_else(missing)?;
        let rows: Vec<Row> = serde_json::from_str(&change.rows).map_err(Error::internal)?;
        let older = rows.into_iter().find_map(|row| match row {
            Row::Policy(policy) if policy.id == newest.id && policy.version == version => Some(policy),
            _ => None,
        });
        older.ok_or_else(missing)
    }

    /// The custom policies in force.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_policies(&self, call: &Call) -> Outcome<Vec<Arc<CustomPolicy>>> {
        self.read(call, Action::ListPolicies, Target::Installation, |line| {
            Ok(line.snapshot.state.policies().filter(|policy| policy.is_active()).cloned().collect())
        })
        .await
    }

    /// What a text means, or everything that is wrong with it.
    ///
    /// # Errors
    ///
    /// `not_permitted`, `invalid_request` for a text that is too long.
    pub async fn validate_policy(&self, call: &Call, name: &PolicyName, text: &str) -> Outcome<Validated> {
        self.read(call, Action::ValidatePolicy, Target::Installation, |line| {
            if text.len() > CustomPolicy::MAX_BYTES {
                return Err(Error::invalid(format!("a policy has at most {} bytes", CustomPolicy::MAX_BYTES)));
            }
            Ok(line.snapshot.derived.read(name, text, &line.snapshot.state))
        })
        .await
    }

    /// The roles there are, with what each may do; the built-in ones first.
    ///
    /// # Errors
    ///
    /// `not_permitted`.
    pub async fn list_roles(&self, call: &Call) -> Outcome<Vec<RoleView>> {
        self.read(call, Action::ListRoles, Target::Installation, |line| {
            let custom = line.snapshot.state.roles().filter(|role| role.is_active()).map(RoleView::custom);
            Ok(Role::ALL.iter().copied().map(RoleView::built_in).chain(custom).collect())
        })
        .await
    }

    /// One role.
    ///
    /// # Errors
    ///
    /// `not_found` also where the caller may not describe it.
    pub async fn describe_role(&self, call: &Call, name: &GrantedRole) -> Outcome<RoleView> {
        let target = match name {
            GrantedRole::BuiltIn(_) => Target::Installation,
            GrantedRole::Custom(name) => Target::Role(self.role_id(name)),
        };
        self.read(call, Action::DescribeRole, target, |line| match name {
            GrantedRole::BuiltIn(role) => Ok(RoleView::built_in(*role)),
            GrantedRole::Custom(name) => {
                let role = line.snapshot.state.role_by_name(name).filter(|role| role.is_active());
                role.map(RoleView::custom).ok_or(Error::NotFound("role"))
            }
        })
        .await
    }
}

impl RoleView {
    fn built_in(role: Role) -> Self {
        Self {
            name: role.into(),
            description: role.description().to_owned(),
            actions: policy::actions_of(role),
            custom: None,
        }
    }

    /// A custom role.
    #[must_use]
    pub fn custom(role: &Arc<CustomRole>) -> Self {
        Self {
            name: GrantedRole::Custom(role.name.clone()),
            description: role.description.as_str().to_owned(),
            actions: role.actions.clone(),
            custom: Some(Arc::clone(role)),
        }
    }
}
