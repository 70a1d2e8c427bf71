//! The policies, compiled: parsed, validated strictly against the schema, and cut into one small set per action, since
//! the time of a decision grows with the policies that Cedar looks at.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision, Effect, Entities, EntityId, EntityTypeName, EntityUid,
    ParseErrors, Policy, PolicyId, PolicySet, Request, Schema, ValidationMode, Validator,
};

use super::{
    Error, PolicyName,
    asking::{Circumstance, Vocabulary},
};
use crate::model::{Action, Region};

const SCHEMA: &str = include_str!("cedar/keyward.cedarschema");
const BUILT_IN: &[&str] = &[include_str!("cedar/roles.cedar"), include_str!("cedar/guards.cedar")];

/// The reasons that a forbidding policy may give, in the order in which one is chosen when several forbid.
const REASONS: &[&str] = &[
    "guard.environment",
    "guard.region",
    "guard.separation_of_duties",
    "guard.transfer",
    "guard.host",
    "guard.server",
    super::decision::NO_RIGHT,
];

/// Policies that may be put in force.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    pub(super) node_region: Region,
    pub(super) vocabulary: Vocabulary,
    /// The schema to hold each request against. Our own types fix their shape, so only tests pay for that.
    pub(super) checked: Option<Schema>,
    authorizer: Authorizer,
    /// INVARIANT: one for each action, in the order of [`Action::ALL`].
    slices: Vec<Slice>,
    known: HashMap<PolicyId, Known>,
}

/// What is needed to decide about one action.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) action: EntityUid,
    /// What the policies look at.
    pub(super) sees: Vec<Circumstance>,
    policies: PolicySet,
}

/// A policy without its list of actions: a slice has checked it once and for all, where Cedar would walk it on every
/// request.
#[derive(Debug)]
struct Cut {
    policy: Policy,
    sees: Vec<Circumstance>,
    actions: ActionConstraint,
}

#[derive(Debug, Clone)]
struct Known {
    name: PolicyName,
    /// The place in [`REASONS`] of what a refusal by it is recorded as; `None` for one that permits.
    reason: Option<usize>,
}

/// What the policies say.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Why not; `None`: permitted.
    pub(super) refusal: Option<&'static str>,
    /// The policies that decided.
    pub(super) policies: Vec<PolicyName>,
}

impl Bundle {
    /// The policies that come with this program.
    pub(super) fn built_in(node_region: Region) -> Result<Self, Error> {
        Self::compile(BUILT_IN, node_region)
    }

    /// The policies of these texts, all or none.
    pub(super) fn compile(texts: &[&str], node_region: Region) -> Result<Self, Error> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| Error::Schema(error.to_string()))?;
        let policies = policies(texts)?;
        validate(schema, &policies)?;
        let mut known = HashMap::with_capacity(policies.len());
        for policy in &policies {
            let name = PolicyName(policy.id().to_string().into());
            known.insert(policy.id().clone(), Known { name, reason: reason(policy)? });
        }
        let kind = entity_type("Action")?;
        let cut = policies.iter().map(Cut::new).collect::<Result<Vec<_>, _>>()?;
        let slices = Action::ALL
            .iter()
            .map(|action| {
                Slice::new(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(action.code())), &cut)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            node_region,
            vocabulary: Vocabulary::new()?,
            checked: None,
            authorizer: Authorizer::new(),
            slices,
            known,
        })
    }

    /// What is needed to decide about `action`; always there.
    pub(super) fn slice(&self, action: Action) -> Option<&Slice> {
        self.slices.get(action as usize)
    }

    /// Asks the policies of one action.
    pub(super) fn decide(&self, slice: &Slice, request: &Request, entities: &Entities) -> Verdict {
        let response = self.authorizer.is_authorized(request, &slice.policies, entities);
        let mut failed = response.diagnostics().errors().peekable();
        if failed.peek().is_some() {
            // The errors' own words can quote what they were evaluated on; the ids are enough to find them.
            let policies =
                failed.filter_map(|error| self.known.get(failing(error))).map(|known| known.name.clone()).collect();
            return Verdict { refusal: Some(super::decision::POLICY_ERROR), policies };
        }
        let mut policies = Vec::new();
        let mut reason = REASONS.len();
        for known in response.diagnostics().reason().filter_map(|id| self.known.get(id)) {
            policies.push(known.name.clone());
            reason = reason.min(known.reason.unwrap_or(REASONS.len()));
        }
        policies.sort_unstable();
        match response.decision() {
            Decision::Allow => Verdict { refusal: None, policies },
            Decision::Deny => {
                Verdict { refusal: Some(REASONS.get(reason).copied().unwrap_or(super::decision::NO_RIGHT)), policies }
            }
        }
    }
}

impl Slice {
    fn new(action: EntityUid, policies: &[Cut]) -> Result<Self, Error> {
        let mut set = PolicySet::new();
        let mut sees = Vec::new();
        for cut in policies.iter().filter(|cut| cut.applies(&action)) {
            sees.extend(&cut.sees);
            set.add(cut.policy.clone()).map_err(|error| Error::Syntax(error.to_string()))?;
        }
        sees.sort_unstable();
        sees.dedup();
        Ok(Self { action, sees, policies: set })
    }
}

impl Cut {
    fn new(policy: &Policy) -> Result<Self, Error> {
        let fault = || Error::Policy { policy: policy.id().to_string(), fault: "cannot be cut to one action" };
        let mut json = policy.to_json().map_err(|_| fault())?;
        let sees =
            Circumstance::ALL.iter().copied().filter(|circumstance| mentions(&json, circumstance.name())).collect();
        let constraint = json.get_mut("action").ok_or_else(fault)?;
        *constraint = serde_json::json!({ "op": "All" });
        let cut = Policy::from_json(Some(policy.id().clone()), json).map_err(|_| fault())?;
        Ok(Self { policy: cut, sees, actions: policy.action_constraint() })
    }

    fn applies(&self, action: &EntityUid) -> bool {
        match &self.actions {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(only) => only == action,
            ActionConstraint::In(actions) => actions.contains(action),
        }
    }
}

fn failing(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

/// The type of this name.
pub(super) fn entity_type(name: &str) -> Result<EntityTypeName, Error> {
    name.parse().map_err(|error: ParseErrors| Error::Schema(error.to_string()))
}

fn policies(texts: &[&str]) -> Result<Vec<Policy>, Error> {
    let mut policies = Vec::new();
    for text in texts {
        let set: PolicySet = text.parse().map_err(|error: ParseErrors| Error::Syntax(error.to_string()))?;
        if let Some(template) = set.templates().next() {
            return Err(Error::Policy {
                policy: template.id().to_string(),
                fault: "is a template, which nothing fills in",
            });
        }
        for policy in set.policies() {
            policies.push(named(policy)?);
        }
    }
    Ok(policies)
}

/// The policy under the id that it gives itself: positions in a file would change with the file.
fn named(policy: &Policy) -> Result<Policy, Error> {
    match policy.annotation("id") {
        Some(id) => Ok(policy.new_id(PolicyId::new(id))),
        None => Err(Error::Policy { policy: policy.id().to_string(), fault: "has no `@id`" }),
    }
}

fn reason(policy: &Policy) -> Result<Option<usize>, Error> {
    let fault = |fault| Error::Policy { policy: policy.id().to_string(), fault };
    match (policy.effect(), policy.annotation("reason")) {
        (Effect::Permit, None) => Ok(None),
        (Effect::Permit, Some(_)) => Err(fault("permits, but gives a `@reason` to refuse")),
        (Effect::Forbid, None) => Err(fault("forbids, but gives no `@reason`")),
        (Effect::Forbid, Some(text)) => {
            let place = REASONS.iter().position(|reason| *reason == text);
            place.map(Some).ok_or_else(|| fault("gives a `@reason` that records do not know"))
        }
    }
}

fn validate(schema: Schema, policies: &[Policy]) -> Result<(), Error> {
    for action in Action::ALL {
        if !schema.actions().any(|known| known.id().unescaped() == action.code()) {
            return Err(Error::Schema(format!("it does not know the action `{}`", action.code())));
        }
    }
    // An action group would let a policy apply to actions that its own text does not name, and the slices would miss it.
    if let Some(group) = schema.action_groups().next() {
        return Err(Error::Schema(format!("`{group}` is a group of actions")));
    }
    let set = PolicySet::from_policies(policies.iter().cloned()).map_err(|error| Error::Syntax(error.to_string()))?;
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let faults: Vec<String> = result
        .validation_errors()
        .map(ToString::to_string)
        .chain(result.validation_warnings().map(ToString::to_string))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::Validation(faults.join("; "))) }
}

/// Whether `word` occurs in a policy, as a name or as text: a policy that does not say it cannot look at it.
fn mentions(json: &serde_json::Value, word: &str) -> bool {
    match json {
        serde_json::Value::String(text) => text == word,
        serde_json::Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        serde_json::Value::Object(members) => members.iter().any(|(name, value)| name == word || mentions(value, word)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
    }
}

#[cfg(test)]
impl Bundle {
    /// With these policies besides the built-in ones.
    pub(super) fn with(text: &str, node_region: Region) -> Result<Self, Error> {
        Self::compile(&[BUILT_IN, &[text]].concat(), node_region)
    }

    /// Whole: every policy is asked about every action, sees everything, and each request is held against the schema.
    pub(super) fn uncut(node_region: Region) -> Self {
        let mut bundle = Self::built_in(node_region).unwrap();
        let policies = policies(BUILT_IN).unwrap();
        let whole = PolicySet::from_policies(policies).unwrap();
        for slice in &mut bundle.slices {
            slice.policies = whole.clone();
            slice.sees = Circumstance::ALL.to_vec();
        }
        bundle.checked = Some(Schema::from_cedarschema_str(SCHEMA).unwrap().0);
        bundle
    }

    /// Broken: this policy no longer covers this action.
    pub(super) fn without(mut self, policy: &str, action: Action) -> Self {
        self.slices[action as usize].policies.remove_static(PolicyId::new(policy)).unwrap();
        self
    }

    /// Every policy with each action that it covers.
    pub(super) fn covers(&self) -> Vec<(String, Action)> {
        let covered = |action: &Action| {
            let policies = self.slices[*action as usize].policies.policies();
            policies.map(|policy| (policy.id().to_string(), *action)).collect::<Vec<_>>()
        };
        Action::ALL.iter().flat_map(covered).collect()
    }
}
