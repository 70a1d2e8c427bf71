//! Changes of principals and their credentials.

use std::sync::Arc;

use kms_client::{
    format::record::PrincipalKind,
    id::{CredentialId, PrincipalId},
};

use super::{Applying, NewCredential, Operation, nothing_to_change};
use crate::model::{
    Credential, CredentialMatch, Error, Principal, PrincipalState, Refusal, Row, TrustState, installation::Revision,
};

const MAX_CREDENTIALS: usize = 64;
const MAX_SUBJECT: usize = 512;

impl Applying<'_> {
    pub(super) fn principal(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let principal = match operation {
            Operation::CreatePrincipal { .. } => self.create_principal(operation)?,
            Operation::UpdatePrincipal { principal, team, description } => {
                let mut principal = self.existing_principal(*principal)?;
                if (team, description) == (&None, &None) {
                    return Err(nothing_to_change("`team` and `description`"));
                }
                if let Some(team) = team {
                    principal.team = Some(team.clone());
                }
                if let Some(description) = description {
                    principal.description = description.clone();
                }
                principal
            }
            Operation::SuspendPrincipal { principal, reason } => Principal {
                state: PrincipalState::Suspended,
                reason: Some(reason.clone()),
                ..self.existing_principal(*principal)?
            },
            Operation::ReinstatePrincipal { principal, reason } => {
                let principal = self.existing_principal(*principal)?;
                if principal.is_active() {
                    return Err(Error::conflict(Refusal::InvalidState, "the principal is not suspended"));
                }
                self.needs_approval("reinstating a principal")?;
                Principal { state: PrincipalState::Active, reason: Some(reason.clone()), ..principal }
            }
            Operation::AddCredential { principal, credential } => self.add_credential(*principal, credential)?,
            Operation::RemoveCredential { principal, credential } => self.remove_credential(*principal, *credential)?,
            _ => return Ok(Vec::new()),
        };
        Ok(vec![Row::Principal(Arc::new(Principal { revision: self.revision, ..principal }))])
    }

    fn existing_principal(&self, id: PrincipalId) -> Result<Principal, Error> {
        let principal = self.state.principal(id).ok_or(Error::NotFound("principal"))?;
        self.check_expected(principal.revision)?;
        Ok(Principal::clone(principal))
    }

    fn create_principal(&self, operation: &Operation) -> Result<Principal, Error> {
        let Operation::CreatePrincipal { principal: id, name, kind, person, environment, team, description } =
            operation
        else {
            return Err(Error::invalid("not a creation"));
        };
        if self.state.principal_by_name(name).is_some() || self.state.principal(*id).is_some() {
            return Err(Error::conflict(
                Refusal::AlreadyExists,
                format!("`{name}` is or was another principal's name, and names are never used again"),
            ));
        }
        let person = match (kind, person) {
            (PrincipalKind::Service, Some(_)) => return Err(Error::invalid("a service has no person")),
            (PrincipalKind::Service, None) => None,
            // Somebody who is not said to be anybody else is a person of their own.
            (PrincipalKind::User | PrincipalKind::Contractor, person) => {
                Some(person.clone().unwrap_or_else(|| name.clone()))
            }
        };
        Ok(Principal {
            id: *id,
            name: name.clone(),
            kind: *kind,
            person,
            environment: *environment,
            team: team.clone(),
            description: description.clone(),
            state: PrincipalState::Active,
            reason: None,
            credentials: Vec::new(),
            created_at: self.now,
            revision: Revision::default(),
        })
    }

    fn add_credential(&self, principal: PrincipalId, credential: &NewCredential) -> Result<Principal, Error> {
        let mut principal = self.existing_principal(principal)?;
        self.check_match(&credential.matches)?;
        if self.state.credential(&credential.matches).is_some() {
            return Err(Error::conflict(
                Refusal::AlreadyExists,
                "the credential is or was a principal's already, and credentials are never shared or used again",
            ));
        }
        if principal.credentials.len() >= MAX_CREDENTIALS {
            return Err(Error::invalid(format!("a principal has at most {MAX_CREDENTIALS} credentials")));
        }
        let privileged = self
            .state
            .bindings_of(principal.id)
            .any(|binding| binding.role.grant_needs_approval() && binding.is_live(self.now));
        if privileged {
            self.needs_approval("a credential for somebody who administers, offboards or approves")?;
        }
        principal.credentials.push(Credential {
            id: credential.id,
            matches: credential.matches.clone(),
            created_at: self.now,
            removed_at: None,
        });
        Ok(principal)
    }

    fn remove_credential(&self, principal: PrincipalId, id: CredentialId) -> Result<Principal, Error> {
        let mut principal = self.existing_principal(principal)?;
        let credential = principal
            .credentials
            .iter_mut()
            .find(|credential| credential.id == id)
            .ok_or(Error::NotFound("credential"))?;
        // Removing what is removed is the same removal.
        credential.removed_at.get_or_insert(self.now);
        Ok(principal)
    }

    fn check_match(&self, matches: &CredentialMatch) -> Result<(), Error> {
        match matches {
            CredentialMatch::JwtSubject { issuer, subject } => {
                let trusted = self.state.issuer(*issuer).is_some_and(|issuer| issuer.state == TrustState::Trusted);
                if !trusted {
                    return Err(Error::invalid("the credential's issuer is not a trusted one"));
                }
                if subject.is_empty() || subject.len() > MAX_SUBJECT {
                    return Err(Error::invalid(format!("a subject has 1 to {MAX_SUBJECT} bytes")));
                }
            }
            CredentialMatch::CertificateSan { client_ca, san } => {
                let trusted = self.state.client_ca(*client_ca).is_some_and(|ca| ca.state == TrustState::Trusted);
                if !trusted {
                    return Err(Error::invalid("the credential's certification authority is not a trusted one"));
                }
                let name = san.strip_prefix("uri:").or_else(|| san.strip_prefix("dns:"));
                if name.is_none_or(|name| name.is_empty() || name.len() > MAX_SUBJECT) {
                    return Err(Error::invalid("a certificate's name is written `uri:…` or `dns:…`"));
                }
            }
            CredentialMatch::CertificateFingerprint { sha256 } => {
                let hexadecimal = sha256.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
                if sha256.len() != 64 || !hexadecimal {
                    return Err(Error::invalid("a fingerprint is written as 64 lower-case hexadecimal digits"));
                }
            }
        }
        Ok(())
    }
}
