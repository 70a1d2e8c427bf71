//! The decision itself, and the two things it can end in.

use std::{convert::Infallible, sync::Arc};

use jiff::Timestamp;
use kms_client::{format::context::EncryptionContext, id::KeyId};

use super::{
    Policies, PolicyName,
    asking::{Asker, Given},
    standing::Standing,
};
use crate::{
    authn::{Caller, Intent, Request},
    cluster::Snapshot,
    model::{Action, ControlState, Error, Principal, Revision, Target},
};

/// No policy permits it.
pub(super) const NO_RIGHT: &str = "no_right";
/// A policy failed to evaluate.
pub(super) const POLICY_ERROR: &str = "policy_error";
const NO_SUCH_TARGET: &str = "no_such_target";
const NO_LONGER_STANDS: &str = "caller_no_longer_stands";

/// That a caller may do one thing, decided at one revision. Only this module makes one.
#[derive(Debug)]
pub struct Permit {
    action: Action,
    key: Option<KeyId>,
    revision: Revision,
    policies: Vec<PolicyName>,
}

/// That a caller may not.
#[derive(Debug)]
pub struct Denial {
    /// What the caller sees; it says no more than the caller may know.
    pub error: Error,
    /// Why, as a stable code for the record.
    pub reason: &'static str,
    /// The policies that decided; none where nothing permitted it.
    pub policies: Vec<PolicyName>,
}

impl Permit {
    /// What is permitted.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// With which key, where the action is done to one that is there.
    #[must_use]
    pub const fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// The revision at which it was decided.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The policies that permitted it, sorted.
    #[must_use]
    pub fn policies(&self) -> &[PolicyName] {
        &self.policies
    }
}

/// Whether the caller may do what it intends, at this snapshot and moment of cluster time.
///
/// # Errors
///
/// What the caller is told, and what the record says. For data operations an unknown key and one that the caller may
/// not use give the same answer; for all others, what the caller may not read and what is not there do.
pub fn authorise(snapshot: &Snapshot<Policies>, now: Timestamp, intent: &Intent) -> Result<Permit, Denial> {
    let asker = Asker::new(snapshot, now, &intent.caller, &intent.request, intent.context.as_deref())
        .map_err(|error| Denial { error, reason: NO_LONGER_STANDS, policies: Vec::new() })?;
    // What is not there is asked about too, so that the way to a refusal is the same.
    let verdict = asker.ask(intent.action, &intent.target);
    let exists = exists(&snapshot.state, &intent.target);
    match verdict.refusal {
        None if exists => Ok(Permit {
            action: intent.action,
            key: intent.target.key(),
            revision: snapshot.revision,
            policies: verdict.policies,
        }),
        refusal => Err(Denial {
            error: asker.refusal(intent, exists),
            reason: if exists { refusal.unwrap_or(NO_RIGHT) } else { NO_SUCH_TARGET },
            policies: verdict.policies,
        }),
    }
}

/// Whether a list that the caller asks for in this request may show `key`.
#[must_use]
pub fn may_describe(
    snapshot: &Snapshot<Policies>,
    now: Timestamp,
    caller: &Caller,
    request: &Request,
    key: KeyId,
) -> bool {
    let Ok(asker) = Asker::new(snapshot, now, caller, request, None) else { return false };
    let target = Target::Key(key);
    // Nothing but a role permits this, and a long list is mostly keys on which the caller has none.
    asker.might(Action::DescribeKey, &target) && asker.ask(Action::DescribeKey, &target).refusal.is_none()
}

impl<'a> Asker<'a> {
    /// The caller, if it still stands.
    pub(super) fn new(
        snapshot: &'a Snapshot<Policies>,
        now: Timestamp,
        caller: &'a Caller,
        request: &'a Request,
        context: Option<&'a EncryptionContext>,
    ) -> Result<Self, Error> {
        let principal = caller.stands(&snapshot.state, now)?;
        let Request { source, surface, .. } = *request;
        let given = Given { source, surface, assurance: caller.assurance(), context, unknown: &[] };
        Ok(Self::about(&snapshot.state, &snapshot.derived, now, principal, given))
    }

    /// Anybody, in circumstances as they are given.
    pub(super) fn about(
        state: &'a ControlState,
        policies: &'a Policies,
        now: Timestamp,
        principal: &Arc<Principal>,
        given: Given<'a>,
    ) -> Self {
        let make = || Ok::<_, Infallible>(Standing::new(state, principal));
        let Ok(standing) = policies.standings.get_or_make(&principal.id, make);
        Self { policies, state, now, given, standing }
    }

    /// What a caller is told who may not do what it intends.
    fn refusal(&self, intent: &'a Intent, exists: bool) -> Error {
        let Some((what, reading)) = reading(&intent.target) else { return Error::Denied };
        if intent.action.is_data() {
            return Error::Denied;
        }
        let may_read = self.ask(reading, &intent.target).refusal.is_none();
        if exists && may_read { Error::Denied } else { Error::NotFound(what) }
    }
}

/// What the target is called, and the action that shows that it is there.
const fn reading(target: &Target) -> Option<(&'static str, Action)> {
    match target {
        Target::Key(_) => Some(("key", Action::DescribeKey)),
        Target::Principal(_) => Some(("principal", Action::DescribePrincipal)),
        Target::Binding(_) => Some(("binding", Action::DescribeBinding)),
        Target::Issuer(_) => Some(("issuer", Action::ListIssuers)),
        Target::ClientCa(_) => Some(("client CA", Action::ListClientCas)),
        Target::Policy(_) => Some(("policy", Action::DescribePolicy)),
        Target::Role(_) => Some(("role", Action::DescribeRole)),
        Target::NewKey { .. } | Target::Installation => None,
    }
}

fn exists(state: &ControlState, target: &Target) -> bool {
    match target {
        Target::Key(key) => state.key(*key).is_some(),
        Target::Principal(principal) => state.principal(*principal).is_some(),
        Target::Binding(binding) => state.binding(*binding).is_some(),
        Target::Issuer(issuer) => state.issuer(*issuer).is_some(),
        Target::ClientCa(client_ca) => state.client_ca(*client_ca).is_some(),
        Target::Policy(policy) => state.policy(*policy).is_some(),
        Target::Role(role) => state.role(*role).is_some(),
        Target::NewKey { .. } | Target::Installation => true,
    }
}
