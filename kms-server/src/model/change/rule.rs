//! Changes of custom policies and custom roles. That a policy's text means something was found out before: this module
//! counts, names and numbers.

use std::sync::Arc;

use super::{Applying, Operation, nothing_to_change};
use crate::model::{
    Action, CustomPolicy, CustomRole, Error, GrantedRole, PolicyVersion, Refusal, Role, RoleName, Row, RuleState,
};

impl Applying<'_> {
    pub(super) fn policy(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let policy = match operation {
            Operation::PutPolicy { .. } => self.put_policy(operation)?,
            Operation::RemovePolicy { policy } => {
                let policy = self.state.policy(*policy).ok_or(Error::NotFound("policy"))?;
                self.check_expected(policy.revision)?;
                // Removing what is removed is the same removal.
                CustomPolicy { state: RuleState::Removed, ..CustomPolicy::clone(policy) }
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![Row::Policy(Arc::new(CustomPolicy { revision: self.revision, ..policy }))])
    }

    fn put_policy(&self, operation: &Operation) -> Result<CustomPolicy, Error> {
        let Operation::PutPolicy { policy: id, name, description, text } = operation else {
            return Err(Error::invalid("not a policy"));
        };
        let older = self.state.policy_by_name(name);
        if older.is_some_and(|older| older.id != *id) || (older.is_none() && self.state.policy(*id).is_some()) {
            return Err(Error::conflict(
                Refusal::Conflict,
                format!("the policy `{name}` was made in the meantime; look at it and put yours again"),
            ));
        }
        match (older, self.expected) {
            (Some(older), _) => self.check_expected(older.revision)?,
            (None, Some(_)) => return Err(Error::NotFound("policy")),
            (None, None) => {}
        }
        if name.as_str() == "validate" {
            return Err(Error::invalid("`validate` stands for something else where policies are named"));
        }
        if text.len() > CustomPolicy::MAX_BYTES {
            return Err(Error::invalid(format!("a policy has at most {} bytes", CustomPolicy::MAX_BYTES)));
        }
        let others = self.state.policies().filter(|other| other.is_active() && other.id != *id).count();
        if others >= CustomPolicy::MAX_ACTIVE {
            return Err(Error::invalid(format!("there are at most {} policies in force", CustomPolicy::MAX_ACTIVE)));
        }
        let version = older.map_or(0, |older| older.version).saturating_add(1);
        let mut versions = older.map_or_else(Vec::new, |older| older.versions.clone());
        versions.push(PolicyVersion { version, revision: self.revision, created_at: self.now });
        let surplus = versions.len().saturating_sub(CustomPolicy::VERSIONS_LISTED);
        versions.drain(..surplus);
        Ok(CustomPolicy {
            id: *id,
            name: name.clone(),
            description: description.clone(),
            text: text.clone(),
            version,
            versions,
            state: RuleState::Active,
            created_at: older.map_or(self.now, |older| older.created_at),
            revision: self.revision,
        })
    }

    pub(super) fn role(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let role = match operation {
            Operation::CreateRole { role: id, name, description, actions } => {
                self.check_role_name(name)?;
                if self.state.role(*id).is_some() {
                    return Err(Error::conflict(Refusal::AlreadyExists, "a role of this id exists already"));
                }
                if self.state.roles().filter(|role| role.is_active()).count() >= CustomRole::MAX_ACTIVE {
                    return Err(Error::invalid(format!("there are at most {} custom roles", CustomRole::MAX_ACTIVE)));
                }
                CustomRole {
                    id: *id,
                    name: name.clone(),
                    description: description.clone(),
                    actions: checked_actions(actions)?,
                    state: RuleState::Active,
                    created_at: self.now,
                    revision: self.revision,
                }
            }
            Operation::UpdateRole { role, description, actions } => {
                let mut role = self.existing_role(*role)?;
                if (description, actions) == (&None, &None) {
                    return Err(nothing_to_change("`description` and `actions`"));
                }
                let used = role.uses_keys();
                if let Some(description) = description {
                    role.description = description.clone();
                }
                if let Some(actions) = actions {
                    role.actions = checked_actions(actions)?;
                }
                if role.uses_keys() && !used {
                    self.check_duties_of_holders(&role)?;
                }
                role
            }
            Operation::RemoveRole { role } => {
                let role = self.existing_role(*role)?;
                let granted = GrantedRole::Custom(role.name.clone());
                let live = self.state.bindings_after(None).filter(|b| b.role == granted && b.is_live(self.now)).count();
                if live > 0 {
                    return Err(Error::conflict(
                        Refusal::InUse,
                        format!("{live} bindings give the role `{}`; end them first", role.name),
                    ));
                }
                CustomRole { state: RuleState::Removed, ..role }
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![Row::Role(Arc::new(CustomRole { revision: self.revision, ..role }))])
    }

    fn existing_role(&self, id: kms_client::id::RoleId) -> Result<CustomRole, Error> {
        let role = self.state.role(id).ok_or(Error::NotFound("role"))?;
        self.check_expected(role.revision)?;
        if !role.is_active() {
            return Err(Error::conflict(Refusal::InvalidState, format!("the role `{}` was removed", role.name)));
        }
        Ok(CustomRole::clone(role))
    }

    fn check_role_name(&self, name: &RoleName) -> Result<(), Error> {
        // `custom` stands for all of them where policies are written.
        if name.as_str() == "custom" || name.as_str().parse::<Role>().is_ok() {
            return Err(Error::conflict(Refusal::AlreadyExists, format!("`{name}` is the name of a built-in role")));
        }
        if self.state.role_by_name(name).is_some() {
            return Err(Error::conflict(
                Refusal::AlreadyExists,
                format!("`{name}` is or was another role's name, and names are never used again"),
            ));
        }
        Ok(())
    }

    /// A role that uses keys from now on makes its holders use them: none of them may administer the same ones.
    fn check_duties_of_holders(&self, role: &CustomRole) -> Result<(), Error> {
        let granted = GrantedRole::Custom(role.name.clone());
        for binding in self.state.bindings_after(None).filter(|b| b.role == granted && b.is_live(self.now)) {
            let principal = self.state.principal(binding.principal).ok_or(Error::NotFound("principal"))?;
            self.check_duties(binding, principal, true)?;
        }
        Ok(())
    }
}

fn checked_actions(actions: &[Action]) -> Result<Vec<Action>, Error> {
    let mut sorted = actions.to_vec();
    sorted.sort();
    sorted.dedup();
    if sorted.is_empty() {
        return Err(Error::invalid("a role gives at least one action"));
    }
    if let Some(action) = sorted.iter().find(|action| !CustomRole::may_give(**action)) {
        return Err(Error::invalid(format!(
            "`{}` is not an action that a custom role gives: those are data actions, `describe_key` and `list_keys`",
            action.code()
        )));
    }
    Ok(sorted)
}
