//! The decision without the deed: what policy would say, by which policies and bindings, and what it depends on where the
//! circumstances are not known. It makes no permit.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use kms_client::format::{context::EncryptionContext, record::Surface};

use super::{
    Policies, PolicyName,
    asking::{Asker, Given},
    bundle::Partial,
    circumstance::Circumstance,
};
use crate::{
    authn::Assurance,
    model::{Action, Binding, ControlState, GrantedRole, Principal, Target},
};

/// What is asked, and what is known of the circumstances; `None` is not known.
#[derive(Debug, Clone, Copy)]
pub struct Hypothesis<'a> {
    /// When.
    pub now: Timestamp,
    /// Whether the moment counts; otherwise what depends on it is left open.
    pub moment_known: bool,
    /// From where.
    pub source: Option<IpAddr>,
    /// How the caller was authenticated.
    pub assurance: Option<&'a Assurance>,
    /// With which encryption context.
    pub context: Option<&'a EncryptionContext>,
}

/// What policy would say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It would permit.
    Allowed,
    /// It would refuse, for this reason.
    Denied(&'static str),
    /// It depends on these.
    Conditional(Vec<&'static str>),
}

/// What policy would say, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it would say.
    pub finding: Finding,
    /// The policies that decide, or that may.
    pub policies: Vec<PolicyName>,
    /// The bindings that give the right.
    pub bindings: Vec<Arc<Binding>>,
}

const SUSPENDED: &str = "principal_suspended";

/// What policy would say to `principal` about `action` on `target`.
#[must_use]
pub fn explain(
    state: &ControlState,
    policies: &Policies,
    principal: &Arc<Principal>,
    action: Action,
    target: &Target,
    hypothesis: &Hypothesis<'_>,
) -> Explanation {
    if !principal.is_active() {
        return Explanation { finding: Finding::Denied(SUSPENDED), policies: Vec::new(), bindings: Vec::new() };
    }
    let unknown = hypothesis.unknown();
    let nothing = Assurance::default();
    let given = Given {
        source: hypothesis.source,
        surface: Surface::Native,
        assurance: hypothesis.assurance.unwrap_or(&nothing),
        context: hypothesis.context,
        unknown: &unknown,
    };
    let asker = Asker::about(state, policies, hypothesis.now, principal, given);
    let (finding, deciding) = match asker.ask_partially(action, target) {
        Partial::Decided(verdict) => (verdict.refusal.map_or(Finding::Allowed, Finding::Denied), verdict.policies),
        Partial::Depends { on, policies } => {
            (Finding::Conditional(on.into_iter().map(Circumstance::name).collect()), policies)
        }
    };
    let bindings = state
        .bindings_of(principal.id)
        .filter(|binding| binding.is_effective(hypothesis.now))
        .filter(|binding| asker.covers(&binding.scope, action, target) && gives(state, &asker, binding, action))
        .cloned()
        .collect();
    Explanation { finding, policies: deciding, bindings }
}

/// Who may do something with a key, for one principal; `None` if it may not under any circumstances.
#[must_use]
pub fn access(
    state: &ControlState,
    policies: &Policies,
    principal: &Arc<Principal>,
    action: Action,
    target: &Target,
    now: Timestamp,
) -> Option<Explanation> {
    let assurance = Assurance::default();
    let given = Given { source: None, surface: Surface::Native, assurance: &assurance, context: None, unknown: &[] };
    // Most principals have nothing to do with most keys, and need not be asked about.
    if !principal.is_active() || !Asker::about(state, policies, now, principal, given).might(action, target) {
        return None;
    }
    let open = Hypothesis { now, moment_known: false, source: None, assurance: None, context: None };
    let explanation = explain(state, policies, principal, action, target, &open);
    match explanation.finding {
        Finding::Denied(_) => None,
        Finding::Allowed | Finding::Conditional(_) => Some(explanation),
    }
}

fn gives(state: &ControlState, asker: &Asker<'_>, binding: &Binding, action: Action) -> bool {
    match &binding.role {
        GrantedRole::BuiltIn(role) => asker.gives(*role, action),
        GrantedRole::Custom(name) => state.role_by_name(name).is_some_and(|role| role.gives(action)),
    }
}

impl Hypothesis<'_> {
    fn unknown(&self) -> Vec<Circumstance> {
        let mut unknown = Vec::new();
        if !self.moment_known {
            unknown.extend([Circumstance::Time, Circumstance::Hour, Circumstance::Weekday]);
        }
        if self.source.is_none() {
            unknown.push(Circumstance::Source);
        }
        if self.assurance.is_none() {
            unknown.extend([Circumstance::Mfa, Circumstance::Amr, Circumstance::Acr]);
        }
        if self.context.is_none() {
            unknown.push(Circumstance::EncryptionContext);
        }
        unknown
    }
}
