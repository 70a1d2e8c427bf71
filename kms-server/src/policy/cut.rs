//! A policy cut to the actions that it is about: a slice has checked those once and for all, where Cedar would walk the
//! list on every request.

use std::sync::Arc;

use cedar_policy::{Effect, Policy};
use serde_json::Value;

use super::{
    Error,
    circumstance::Circumstance,
    custom::{self, Grantee, Statement},
};
use crate::model::Action;

/// A policy without its list of actions.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) policy: Policy,
    /// What it looks at.
    pub(super) sees: Arc<[Circumstance]>,
    /// The actions it is about.
    pub(super) actions: Vec<Action>,
    /// Whom it names, where it is a custom permit.
    pub(super) grantee: Option<Grantee>,
    json: Value,
}

impl Cut {
    pub(super) fn new(policy: &Policy) -> Result<Self, Error> {
        let fault = || Error::Policy { policy: policy.id().to_string(), fault: "cannot be cut to one action" };
        let mut json = policy.to_json().map_err(|_| fault())?;
        let sees =
            Circumstance::ALL.iter().copied().filter(|circumstance| mentions(&json, circumstance.name())).collect();
        let constraint = json.get_mut("action").ok_or_else(fault)?;
        *constraint = serde_json::json!({ "op": "All" });
        let cut = Policy::from_json(Some(policy.id().clone()), json.clone()).map_err(|_| fault())?;
        let actions = custom::actions(&policy.action_constraint()).unwrap_or_else(|| Action::ALL.to_vec());
        Ok(Self { policy: cut, sees, actions, grantee: None, json })
    }

    pub(super) fn with_grantee(self, grantee: Option<Grantee>) -> Self {
        Self { grantee, ..self }
    }

    /// What is said against unwrapping is said against taking a data key out, which would be the detour.
    pub(super) fn widened(mut self) -> Self {
        if self.policy.effect() == Effect::Forbid && self.applies(Action::Unwrap) && !self.applies(Action::TransferFrom)
        {
            self.actions.push(Action::TransferFrom);
        }
        self
    }

    pub(super) fn applies(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// The ids of entities of this type that it names.
    pub(super) fn named(&self, kind: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.json, kind, &mut found);
        found
    }

    pub(super) fn summary(&self) -> Statement {
        Statement {
            id: self.policy.id().to_string(),
            permits: self.policy.effect() == Effect::Permit,
            actions: self.actions.clone(),
            looks_at: self.sees.iter().filter(|seen| seen.varies()).map(|seen| seen.name()).collect(),
        }
    }
}

/// Whether `word` occurs in a policy, as a name or as text: a policy that does not say it cannot look at it.
fn mentions(json: &Value, word: &str) -> bool {
    match json {
        Value::String(text) => text == word,
        Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        Value::Object(members) => members.iter().any(|(name, value)| name == word || mentions(value, word)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn collect(json: &Value, kind: &str, found: &mut Vec<String>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect(item, kind, found)),
        Value::Object(members) => {
            if let (Some(Value::String(of)), Some(Value::String(id))) = (members.get("type"), members.get("id"))
                && of == kind
            {
                found.push(id.clone());
            }
            members.values().for_each(|value| collect(value, kind, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
