//! Control changes: one enum, one function that applies them.
//!
//! A change is chosen in full, identifiers and all, before anything is committed, so that what was asked, approved,
//! recorded and done are the same bytes. Applying one is pure: it yields the rows that replace others, or says why
//! not, and never touches a database or an HSM.

mod binding;
mod key;
mod principal;
mod recover;
mod rule;
mod trust;

use aws_lc_rs::digest;
use hsm::{Canary, ObjectId};
use jiff::Timestamp;
use kms_client::id::{
    BindingId, ChangeId, ClientCaId, CredentialId, IssuerId, KeyId, KeyVersion, PolicyId, PrincipalId, RoleId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Action, Alias, ControlState, CredentialMatch, DataClass, Environment, Error, GrantedRole, Installation, JwksSource,
    Name, Owner, Period, PolicyName, Reason, Refusal, Region, Revision, RoleName, Rotation, RotationCause, Row, Scope,
    Tags, Target, Text,
};

/// A control change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its identity, chosen before it is committed.
    pub id: ChangeId,
    /// The revision that what it touches must still have; `None`: whatever it has.
    pub expected: Option<Revision>,
    /// What is to be done.
    pub operation: Operation,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Operation {
    /// Makes the installation; only the host may.
    Initialise {
        installation: Uuid,
        solo: bool,
        rows: Vec<Operation>,
    },
    /// Takes a database that is older than what this host or token remembers; only the host may.
    AcceptDatabase {
        remembered: Revision,
        reason: Reason,
    },
    /// Makes or reinstates an administrator; only the host may.
    RecoverAdmin {
        principal: PrincipalId,
        steps: Vec<Operation>,
    },

    CreateKey {
        key: KeyId,
        aliases: Vec<Alias>,
        description: Text,
        owner: Option<Owner>,
        tags: Tags,
        data_class: DataClass,
        region: Region,
        environment: Environment,
        key_store: Name,
        // Changes made before there was such a thing are still read.
        #[serde(default)]
        rotation: Rotation,
        material: NewKeyVersion,
    },
    UpdateKey {
        key: KeyId,
        description: Option<Text>,
        owner: Option<Owner>,
        tags: Option<Tags>,
        aliases: Option<Vec<Alias>>,
        #[serde(default)]
        rotation: Option<Rotation>,
    },
    RotateKey {
        key: KeyId,
        version: KeyVersion,
        #[serde(default)]
        cause: RotationCause,
        material: NewKeyVersion,
    },
    EnableKey {
        key: KeyId,
    },
    DisableKey {
        key: KeyId,
        reason: Reason,
    },
    RevokeKey {
        key: KeyId,
        reason: Reason,
    },
    RevokeKeyVersion {
        key: KeyId,
        version: KeyVersion,
        reason: Reason,
    },
    ScheduleKeyDeletion {
        key: KeyId,
        waiting_days: u16,
        reason: Reason,
    },
    CancelKeyDeletion {
        key: KeyId,
    },
    /// Gives a key's material up for ever; only the server itself does, when the waiting period is over.
    DestroyKey {
        key: KeyId,
    },

    CreatePrincipal {
        principal: PrincipalId,
        name: Name,
        kind: kms_client::format::record::PrincipalKind,
        person: Option<Name>,
        environment: Environment,
        team: Option<Name>,
        description: Text,
    },
    UpdatePrincipal {
        principal: PrincipalId,
        team: Option<Name>,
        description: Option<Text>,
    },
    SuspendPrincipal {
        principal: PrincipalId,
        reason: Reason,
    },
    ReinstatePrincipal {
        principal: PrincipalId,
        reason: Reason,
    },
    AddCredential {
        principal: PrincipalId,
        credential: NewCredential,
    },
    RemoveCredential {
        principal: PrincipalId,
        credential: CredentialId,
    },

    CreateBinding {
        binding: BindingId,
        principal: PrincipalId,
        role: GrantedRole,
        scope: Scope,
        period: Period,
        sponsor: Option<PrincipalId>,
        purpose: Text,
    },
    EndBinding {
        binding: BindingId,
        reason: Reason,
    },

    AddIssuer {
        issuer: IssuerId,
        iss: String,
        audiences: Vec<String>,
        jwks: JwksSource,
    },
    RemoveIssuer {
        issuer: IssuerId,
    },
    AddClientCa {
        client_ca: ClientCaId,
        name: Name,
        certificate_pem: String,
    },
    RemoveClientCa {
        client_ca: ClientCaId,
    },

    PutPolicy {
        policy: PolicyId,
        name: PolicyName,
        description: Text,
        text: String,
    },
    RemovePolicy {
        policy: PolicyId,
    },
    CreateRole {
        role: RoleId,
        name: RoleName,
        description: Text,
        actions: Vec<Action>,
    },
    UpdateRole {
        role: RoleId,
        description: Option<Text>,
        actions: Option<Vec<Action>>,
    },
    RemoveRole {
        role: RoleId,
    },
}

/// A version whose object is already in the HSM and waits to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKeyVersion {
    /// `CKA_ID` of its object.
    pub object: ObjectId,
    /// Proves that the object still holds the same material.
    pub canary: Canary,
}

/// A credential about to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCredential {
    /// Its identity.
    pub id: CredentialId,
    /// What it matches.
    #[serde(rename = "match")]
    pub matches: CredentialMatch,
}

/// What every part of `apply` needs to know.
struct Applying<'a> {
    state: &'a ControlState,
    now: Timestamp,
    revision: Revision,
    expected: Option<Revision>,
    /// Whether whoever asks may do alone what otherwise needs two.
    alone: bool,
}

impl Change {
    /// The bytes that stand for this change wherever it is hashed, stored or approved: JSON in the order of the
    /// declarations above, without white space, maps sorted by key.
    ///
    /// # Errors
    ///
    /// None that the types above can cause; a failure of the encoder is `internal`.
    pub fn canonical(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(Error::internal)
    }

    /// SHA-256 of [`Change::canonical`] under a domain tag.
    ///
    /// # Errors
    ///
    /// As [`Change::canonical`].
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        Ok(Self::digest_of(&self.canonical()?))
    }

    /// The same of a change that was written before, by its bytes: a program that knows more fields would write others.
    #[must_use]
    pub fn digest_of(canonical: &[u8]) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"keyward/change/v1\0");
        context.update(canonical);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }

    /// The rows that replace others when this change becomes `revision` at `now`.
    ///
    /// # Errors
    ///
    /// Why the state does not allow the change: not found, conflict, invalid, or `approval_required`.
    pub fn apply(&self, state: &ControlState, revision: Revision, now: Timestamp) -> Result<Vec<Row>, Error> {
        let alone = state.installation().is_some_and(|installation| installation.solo);
        let applying = Applying { state, now, revision, expected: self.expected, alone };
        let rows = self.operation.apply(&applying)?;
        if self.operation.may_cut_administrators() {
            applying.keep_administrators(&rows)?;
        }
        Ok(rows)
    }
}

impl Operation {
    fn apply(&self, applying: &Applying<'_>) -> Result<Vec<Row>, Error> {
        match self {
            Self::Initialise { installation, solo, rows } => applying.initialise(*installation, *solo, rows),
            Self::AcceptDatabase { .. } => applying.accept(),
            Self::RecoverAdmin { principal, steps } => applying.recover_admin(*principal, steps),
            Self::CreateKey { .. }
            | Self::UpdateKey { .. }
            | Self::RotateKey { .. }
            | Self::EnableKey { .. }
            | Self::DisableKey { .. }
            | Self::RevokeKey { .. }
            | Self::RevokeKeyVersion { .. }
            | Self::ScheduleKeyDeletion { .. }
            | Self::CancelKeyDeletion { .. }
            | Self::DestroyKey { .. } => applying.key(self),
            Self::CreatePrincipal { .. }
            | Self::UpdatePrincipal { .. }
            | Self::SuspendPrincipal { .. }
            | Self::ReinstatePrincipal { .. }
            | Self::AddCredential { .. }
            | Self::RemoveCredential { .. } => applying.principal(self),
            Self::CreateBinding { .. } | Self::EndBinding { .. } => applying.binding(self),
            Self::AddIssuer { .. }
            | Self::RemoveIssuer { .. }
            | Self::AddClientCa { .. }
            | Self::RemoveClientCa { .. } => applying.trust(self),
            Self::PutPolicy { .. } | Self::RemovePolicy { .. } => applying.policy(self),
            Self::CreateRole { .. } | Self::UpdateRole { .. } | Self::RemoveRole { .. } => applying.role(self),
        }
    }

    /// The action under which policy decides and the log records this operation.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::Initialise { .. } => Action::Initialise,
            Self::AcceptDatabase { .. } => Action::AcceptDatabase,
            Self::RecoverAdmin { .. } => Action::RecoverAdmin,
            Self::CreateKey { .. } => Action::CreateKey,
            Self::UpdateKey { .. } => Action::UpdateKey,
            Self::RotateKey { .. } => Action::RotateKey,
            Self::EnableKey { .. } => Action::EnableKey,
            Self::DisableKey { .. } => Action::DisableKey,
            Self::RevokeKey { .. } => Action::RevokeKey,
            Self::RevokeKeyVersion { .. } => Action::RevokeKeyVersion,
            Self::ScheduleKeyDeletion { .. } => Action::ScheduleKeyDeletion,
            Self::CancelKeyDeletion { .. } => Action::CancelKeyDeletion,
            Self::DestroyKey { .. } => Action::DestroyKey,
            Self::CreatePrincipal { .. } => Action::CreatePrincipal,
            Self::UpdatePrincipal { .. } => Action::UpdatePrincipal,
            Self::SuspendPrincipal { .. } => Action::SuspendPrincipal,
            Self::ReinstatePrincipal { .. } => Action::ReinstatePrincipal,
            Self::AddCredential { .. } => Action::AddCredential,
            Self::RemoveCredential { .. } => Action::RemoveCredential,
            Self::CreateBinding { .. } => Action::CreateBinding,
            Self::EndBinding { .. } => Action::EndBinding,
            Self::AddIssuer { .. } => Action::AddIssuer,
            Self::RemoveIssuer { .. } => Action::RemoveIssuer,
            Self::AddClientCa { .. } => Action::AddClientCa,
            Self::RemoveClientCa { .. } => Action::RemoveClientCa,
            Self::PutPolicy { .. } => Action::PutPolicy,
            Self::RemovePolicy { .. } => Action::RemovePolicy,
            Self::CreateRole { .. } => Action::CreateRole,
            Self::UpdateRole { .. } => Action::UpdateRole,
            Self::RemoveRole { .. } => Action::RemoveRole,
        }
    }

    /// What the operation is done to.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::Initialise { .. }
            | Self::AcceptDatabase { .. }
            | Self::CreatePrincipal { .. }
            | Self::CreateBinding { .. }
            | Self::RecoverAdmin { .. }
            | Self::AddIssuer { .. }
            | Self::AddClientCa { .. }
            | Self::PutPolicy { .. }
            | Self::CreateRole { .. } => Target::Installation,
            Self::CreateKey { data_class, region, environment, .. } => {
                Target::NewKey { data_class: data_class.clone(), region: region.clone(), environment: *environment }
            }
            Self::UpdateKey { key, .. }
            | Self::RotateKey { key, .. }
            | Self::EnableKey { key }
            | Self::DisableKey { key, .. }
            | Self::RevokeKey { key, .. }
            | Self::RevokeKeyVersion { key, .. }
            | Self::ScheduleKeyDeletion { key, .. }
            | Self::CancelKeyDeletion { key }
            | Self::DestroyKey { key } => Target::Key(*key),
            Self::UpdatePrincipal { principal, .. }
            | Self::SuspendPrincipal { principal, .. }
            | Self::ReinstatePrincipal { principal, .. }
            | Self::AddCredential { principal, .. }
            | Self::RemoveCredential { principal, .. } => Target::Principal(*principal),
            Self::EndBinding { binding, .. } => Target::Binding(*binding),
            Self::RemoveIssuer { issuer } => Target::Issuer(*issuer),
            Self::RemoveClientCa { client_ca } => Target::ClientCa(*client_ca),
            Self::RemovePolicy { policy } => Target::Policy(*policy),
            Self::UpdateRole { role, .. } | Self::RemoveRole { role } => Target::Role(*role),
        }
    }

    /// The key that the operation makes, changes or gives rights on, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::CreateKey { key, .. } | Self::CreateBinding { scope: Scope::Key(key), .. } => Some(*key),
            other => other.target().key(),
        }
    }

    const fn may_cut_administrators(&self) -> bool {
        // A suspension is never refused for the last administrators' sake: DESIGN has `recover-admin` for that.
        matches!(
            self,
            Self::RemoveCredential { .. }
                | Self::EndBinding { .. }
                | Self::RemoveIssuer { .. }
                | Self::RemoveClientCa { .. }
                | Self::Initialise { .. }
        )
    }
}

impl Applying<'_> {
    fn initialise(&self, id: Uuid, solo: bool, operations: &[Operation]) -> Result<Vec<Row>, Error> {
        if self.state.installation().is_some() {
            return Err(Error::conflict(Refusal::AlreadyExists, "the installation exists already"));
        }
        let installation = Installation { id, solo, created_at: self.now, accepted_at: None, revision: self.revision };
        self.apply_all(vec![Row::Installation(installation.into())], operations)
    }

    /// One operation after the other, each on what those before it made. The host's administrator is the second person of
    /// whatever needs one here.
    fn apply_all(&self, mut rows: Vec<Row>, operations: &[Operation]) -> Result<Vec<Row>, Error> {
        let mut state = self.state.clone();
        for row in &rows {
            state.put(row.clone());
        }
        for operation in operations {
            let step = Applying { state: &state, expected: None, alone: true, ..*self };
            let made = operation.apply(&step)?;
            for row in &made {
                state.put(row.clone());
            }
            rows.retain(|row| !made.iter().any(|new| (new.kind(), new.id()) == (row.kind(), row.id())));
            rows.extend(made);
        }
        Ok(rows)
    }

    /// The installation begins anew at this revision, as far as leftovers in the token, counts of wraps and waiting
    /// periods go.
    fn accept(&self) -> Result<Vec<Row>, Error> {
        let installation = self.state.installation().ok_or(Error::NotFound("installation"))?;
        let accepted =
            Installation { accepted_at: Some(self.now), revision: self.revision, ..Installation::clone(installation) };
        Ok(vec![Row::Installation(accepted.into())])
    }

    fn keep_administrators(&self, rows: &[Row]) -> Result<(), Error> {
        let mut after = self.state.clone();
        for row in rows {
            after.put(row.clone());
        }
        let needed = after.installation().map_or(0, |installation| installation.administrators_needed());
        let left = after.administrators(self.now);
        // What was already too few is not made worse by an edit that leaves the number as it is.
        if left < needed && left < self.state.administrators(self.now).max(1) {
            return Err(Error::conflict(
                Refusal::LastAdministrators,
                format!("{left} persons could administer afterwards; {needed} are needed"),
            ));
        }
        Ok(())
    }

    fn check_expected(&self, actual: Revision) -> Result<(), Error> {
        match self.expected {
            Some(expected) if expected != actual => Err(Error::RevisionMismatch { actual }),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses what needs a second person, unless one person runs the installation.
    fn needs_approval(&self, what: &str) -> Result<(), Error> {
        if self.alone { Ok(()) } else { Err(Error::approval_required(what)) }
    }
}

/// An update that names none of what can be changed would be a revision that did nothing.
fn nothing_to_change(fields: &str) -> Error {
    Error::invalid(format!("there is nothing to change: give at least one of {fields}"))
}
