//! Who may do what, and why, without doing it. What is asked is on record like everything else.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use kms_client::id::{KeyId, PrincipalId};
use serde_json::json;

use super::{Call, KeyRef, Outcome, Page, Service, SharedContext, line::Line};
use crate::{
    authn::Assurance,
    gate::Facts,
    model::{Action, Error, Key, Principal, Revision, Target},
    policy::{self, Explanation, Finding, Hypothesis},
};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Explain {
    /// About whom; `None`: the caller.
    pub principal: Option<PrincipalId>,
    /// About what.
    pub action: Action,
    /// On what: a key as it is named, or anything else.
    pub on: ExplainOn,
    /// With which context, if it is known.
    pub context: Option<SharedContext>,
    /// From where, if it is known.
    pub source: Option<IpAddr>,
    /// How authenticated, if it is known.
    pub assurance: Option<Assurance>,
    /// When; `None`: now.
    pub at: Option<Timestamp>,
}

/// What the action would be done to.
#[derive(Debug, Clone)]
pub enum ExplainOn {
    /// A key.
    Key(KeyRef),
    /// A key about to be, or the installation.
    Other(Target),
}

/// What would become of it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Whose asking it would be.
    pub principal: PrincipalId,
    /// What policy would say.
    pub explanation: Explanation,
    /// The key, if there is one and the caller may know of it.
    pub key: Option<Arc<Key>>,
    /// The error that a data operation would meet all the same.
    pub obstacle: Option<&'static str>,
    /// The revision by which it was judged.
    pub revision: Revision,
}

/// One principal who can do something with a key.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who.
    pub principal: Arc<Principal>,
    /// How.
    pub explanation: Explanation,
}

impl Service {
    /// What policy would say, by which policies and bindings.
    ///
    /// # Errors
    ///
    /// `not_found` for another principal that does not exist or that the caller may not ask about.
    pub async fn explain(&self, call: &Call, asked: Explain) -> Outcome<Explained> {
        let own = call.caller.principal();
        let other = asked.principal.filter(|principal| *principal != own);
        let (action, target) = match other {
            Some(principal) => (Action::ExplainOthers, Target::Principal(principal)),
            None => (Action::Explain, Target::Installation),
        };
        let about = other.unwrap_or(own);
        let detail = json!({ "principal": about, "action": asked.action.code() }).to_string();
        let facts = Facts { detail: Some(detail), ..Facts::default() };
        self.read_with(call, action, target, facts, |line| line.explained(call, about, other.is_some(), &asked)).await
    }

    /// Who may do `action` with a key: principals by id, beginning after `after`.
    ///
    /// # Errors
    ///
    /// `not_found` for a key that does not exist or that the caller may not ask about; `invalid_request` for an action
    /// that is not done with a key.
    pub async fn list_access(
        &self,
        call: &Call,
        key: &KeyRef,
        action: Action,
        after: Option<PrincipalId>,
        limit: usize,
    ) -> Outcome<Page<Access>> {
        let snapshot = self.inner.cluster.snapshot();
        let key = key.resolve(&snapshot.state);
        let found = if !is_done_with_a_key(action) {
            Err(Error::invalid("`action`: this is not done with a key"))
        } else if self.may_on(call, Action::ListAccess, Target::Key(key)) {
            // Thousands of decisions: not on a thread that others' answers wait for.
            let now = self.inner.cluster.now();
            tokio::task::spawn_blocking(move || {
                let target = Target::Key(key);
                let (state, policies) = (&snapshot.state, &snapshot.derived);
                let access = state.principals_after(after).filter_map(|principal| {
                    let explanation = policy::access(state, policies, principal, action, &target, now)?;
                    Some(Access { principal: Arc::clone(principal), explanation })
                });
                super::lists::page(access, limit)
            })
            .await
            .map_err(Error::internal)
        } else {
            Err(Error::NotFound("key"))
        };
        let detail = json!({ "action": action.code() }).to_string();
        let facts = Facts { detail: Some(detail), ..Facts::default() };
        self.read_with(call, Action::ListAccess, Target::Key(key), facts, |_: &Line<'_>| found).await
    }
}

impl Line<'_> {
    fn explained(
        &self,
        call: &Call,
        about: PrincipalId,
        for_another: bool,
        asked: &Explain,
    ) -> Result<Explained, Error> {
        let state = &self.snapshot.state;
        let principal = state.principal(about).ok_or(Error::NotFound("principal"))?;
        let target = match &asked.on {
            ExplainOn::Key(key) => Target::Key(key.resolve(state)),
            ExplainOn::Other(target) => target.clone(),
        };
        let own = (!for_another).then(|| call.caller.assurance());
        let hypothesis = Hypothesis {
            now: asked.at.unwrap_or(self.now),
            moment_known: true,
            source: asked.source.or_else(|| call.source().filter(|_| !for_another)),
            assurance: asked.assurance.as_ref().or(own),
            context: asked.context.as_deref(),
        };
        let explanation = policy::explain(state, &self.snapshot.derived, principal, asked.action, &target, &hypothesis);
        let explained = |explanation, key, obstacle| Explained {
            principal: about,
            explanation,
            key,
            obstacle,
            revision: self.snapshot.revision,
        };
        let Target::Key(key) = target else { return Ok(explained(explanation, None, None)) };
        let known = state.key(key).filter(|_| for_another || self.may_describe(call, key));
        let refused = matches!(explanation.finding, Finding::Denied(_));
        match known {
            Some(key) => {
                let usable = key.usable_version(key.primary_version);
                let obstacle = usable.err().filter(|_| asked.action.uses_key()).map(|error| error.code());
                Ok(explained(explanation, Some(Arc::clone(key)), obstacle))
            }
            // A key that is not there, and one that the caller may not know of: one answer for both.
            None if refused || state.key(key).is_none() => Ok(explained(nothing_to_tell(), None, None)),
            None => Ok(explained(explanation, None, None)),
        }
    }

    pub(super) fn may_describe(&self, call: &Call, key: KeyId) -> bool {
        policy::may_describe(&self.snapshot, self.now, &call.caller, &call.request, key)
    }
}

fn nothing_to_tell() -> Explanation {
    Explanation { finding: Finding::Denied("no_right"), policies: Vec::new(), bindings: Vec::new() }
}

/// Whether the action is done with a key that is there.
#[must_use]
pub fn is_done_with_a_key(action: Action) -> bool {
    action.uses_key()
        || matches!(
            action,
            Action::DescribeKey
                | Action::UpdateKey
                | Action::RotateKey
                | Action::EnableKey
                | Action::DisableKey
                | Action::RevokeKey
                | Action::RevokeKeyVersion
                | Action::ListAccess
        )
}
