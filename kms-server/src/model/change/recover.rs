//! The way back in for the host's administrator, once too few persons are left who can administer.

use super::{Applying, Operation};
use crate::model::{Environment, Error, GrantedRole, Role, Row, Scope};

use kms_client::{format::record::PrincipalKind, id::PrincipalId};

impl Applying<'_> {
    /// Makes or reinstates one administrator. The host is the second person of every step.
    pub(super) fn recover_admin(&self, principal: PrincipalId, steps: &[Operation]) -> Result<Vec<Row>, Error> {
        if self.state.installation().is_none() {
            return Err(Error::NotFound("installation"));
        }
        if let Some(stranger) = steps.iter().find(|step| !recovers(step, principal)) {
            let action = stranger.action();
            return Err(Error::invalid(format!("`{}` is no step of recovering an administrator", action.code())));
        }
        if let Some(existing) = self.state.principal(principal)
            && (existing.kind != PrincipalKind::User || existing.environment != Environment::Production)
        {
            return Err(Error::invalid(format!("`{}` is no user of the production environment", existing.name)));
        }
        self.apply_all(Vec::new(), steps)
    }
}

fn recovers(step: &Operation, of: PrincipalId) -> bool {
    match step {
        Operation::CreatePrincipal { principal, kind, environment, .. } => {
            *principal == of && *kind == PrincipalKind::User && *environment == Environment::Production
        }
        Operation::ReinstatePrincipal { principal, .. } | Operation::AddCredential { principal, .. } => {
            *principal == of
        }
        Operation::CreateBinding { principal, role, scope, period, .. } => {
            *principal == of
                && *role == GrantedRole::BuiltIn(Role::KeyAdmin)
                && *scope == Scope::All
                && period.until.is_none()
        }
        _ => false,
    }
}
