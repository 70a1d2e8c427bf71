//! Changes of bindings.

use std::sync::Arc;

use kms_client::format::record::PrincipalKind;

use super::{Applying, Operation};
use crate::model::{Binding, Environment, Error, GrantedRole, Principal, Refusal, Role, Row, Scope};

impl Applying<'_> {
    pub(super) fn binding(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let binding = match operation {
            Operation::CreateBinding { binding, principal, role, scope, period, sponsor, purpose } => Binding {
                id: *binding,
                principal: *principal,
                role: role.clone(),
                scope: scope.clone(),
                period: *period,
                sponsor: *sponsor,
                purpose: purpose.clone(),
                ended_at: None,
                reason: None,
                created_at: self.now,
                revision: self.revision,
            },
            Operation::EndBinding { binding, reason } => {
                let binding = self.state.binding(*binding).ok_or(Error::NotFound("binding"))?;
                self.check_expected(binding.revision)?;
                let ended_at = binding.ended_at.or(Some(self.now));
                let ended = Binding {
                    ended_at,
                    reason: Some(reason.clone()),
                    revision: self.revision,
                    ..Binding::clone(binding)
                };
                return Ok(vec![Row::Binding(Arc::new(ended))]);
            }
            _ => return Ok(Vec::new()),
        };
        self.check_binding(&binding)?;
        Ok(vec![Row::Binding(Arc::new(binding))])
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), Error> {
        if self.state.binding(binding.id).is_some() {
            return Err(Error::conflict(Refusal::AlreadyExists, "a binding of this id exists already"));
        }
        let principal = self.state.principal(binding.principal).ok_or(Error::NotFound("principal"))?;
        if !principal.is_active() {
            return Err(Error::conflict(Refusal::InvalidState, "the principal is suspended"));
        }
        if let Scope::Key(key) = binding.scope
            && self.state.key(key).is_none()
        {
            return Err(Error::NotFound("key"));
        }
        let ends_first =
            matches!((binding.period.from, binding.period.until), (Some(from), Some(until)) if until <= from);
        if ends_first || binding.period.until.is_some_and(|until| until <= self.now) {
            return Err(Error::invalid("the binding would end before it begins"));
        }
        if let GrantedRole::Custom(name) = &binding.role
            && !self.state.role_by_name(name).is_some_and(|role| role.is_active())
        {
            return Err(Error::invalid(format!("there is no role `{name}`; `/v1/roles` lists those there are")));
        }
        self.check_kind(binding, principal)?;
        self.check_duties(binding, principal, self.state.uses_keys(&binding.role))?;
        if binding.role.grant_needs_approval() {
            self.needs_approval(&format!("granting the role `{}`", binding.role.as_str()))?;
        }
        Ok(())
    }

    fn check_kind(&self, binding: &Binding, principal: &Principal) -> Result<(), Error> {
        match principal.kind {
            PrincipalKind::Service if binding.role.built_in() == Some(Role::Approver) => {
                Err(Error::invalid("a service never approves"))
            }
            PrincipalKind::User | PrincipalKind::Service => Ok(()),
            PrincipalKind::Contractor => {
                let sponsor = binding.sponsor.and_then(|sponsor| self.state.principal(sponsor));
                let stands = sponsor.is_some_and(|sponsor| {
                    sponsor.is_active() && sponsor.kind == PrincipalKind::User && sponsor.person != principal.person
                });
                if !stands {
                    return Err(Error::invalid(
                        "a contractor's binding names a sponsor: another person, active, no contractor",
                    ));
                }
                if binding.period.until.is_none() {
                    return Err(Error::invalid("a contractor's binding has an end date"));
                }
                if binding.purpose.as_str().trim().is_empty() {
                    return Err(Error::invalid("a contractor's binding says its purpose"));
                }
                Ok(())
            }
        }
    }

    /// Nobody both administers and uses a key, unless it is for development. `uses` is whether the binding's role does.
    pub(super) fn check_duties(&self, binding: &Binding, principal: &Principal, uses: bool) -> Result<(), Error> {
        if principal.environment == Environment::Development {
            return Ok(());
        }
        let opposed = |other: &Binding| {
            (binding.role.administers_keys() && self.state.uses_keys(&other.role))
                || (uses && other.role.administers_keys())
        };
        let class_of = |key| self.state.key(key).map(|key| key.data_class.clone());
        let conflict =
            self.state.same_person(principal).flat_map(|account| self.state.bindings_of(account)).find(|other| {
                opposed(other) && other.is_live(self.now) && other.scope.overlaps(&binding.scope, class_of)
            });
        match conflict {
            None => Ok(()),
            Some(other) => Err(Error::conflict(
                Refusal::SeparationOfDuties,
                format!(
                    "the same person holds `{}` on some of the same keys, and nobody both administers and uses a key",
                    other.role.as_str()
                ),
            )),
        }
    }
}
