//! The policies, compiled: parsed, validated strictly against the schema, and cut into one small set per action, since
//! the time of a decision grows with the policies that Cedar looks at.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Effect, Entities, EntityId, EntityTypeName, EntityUid, ParseErrors,
    PartialResponse, Policy, PolicyId, PolicySet, Request, Response, Schema, ValidationMode, Validator,
};

use super::{
    Error, PolicyName,
    asking::Vocabulary,
    circumstance::Circumstance,
    custom::{Compiled, DATA, Fault, Grantee},
    cut::Cut,
    roles::actions_of,
    standing::RoleSet,
};
use crate::model::{Action, ControlState, CustomPolicy, Region, Role};

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
    "guard.contractor",
    CUSTOM,
    super::decision::NO_RIGHT,
];
/// The reason of every custom policy that forbids; which one it was, the record names.
const CUSTOM: &str = "forbidden_by_policy";
/// The most policies that one verdict names.
const MOST_NAMED: usize = 32;

/// Policies that may be put in force.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    pub(super) node_region: Region,
    pub(super) vocabulary: Vocabulary,
    /// The schema to hold each request against. Our own types fix their shape, so only tests pay for that.
    pub(super) checked: Option<Schema>,
    schema: Schema,
    authorizer: Authorizer,
    /// INVARIANT: one for each action, in the order of [`Action::ALL`].
    slices: Vec<Slice>,
    known: HashMap<PolicyId, Known>,
    built_in: Arc<[Cut]>,
    /// The custom policies in it, each at its version.
    custom: Vec<(kms_client::id::PolicyId, u32)>,
    /// Whom custom policies let unwrap.
    unwrapping: Vec<Grantee>,
    /// What each of them means, which depends on the schema alone and so outlives revisions.
    compiled: HashMap<(kms_client::id::PolicyId, u32), Arc<Compiled>>,
}

/// What is needed to decide about one action.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) action: EntityUid,
    /// What the policies look at.
    pub(super) sees: Vec<Circumstance>,
    /// The built-in roles that give the action.
    pub(super) giving: RoleSet,
    /// Whom its custom permits name.
    pub(super) grantees: Vec<Grantee>,
    policies: PolicySet,
}

#[derive(Debug, Clone)]
struct Known {
    name: PolicyName,
    /// The place in [`REASONS`] of what a refusal by it is recorded as; `None` for one that permits.
    reason: Option<usize>,
    sees: Arc<[Circumstance]>,
}

/// What the policies say.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Why not; `None`: permitted.
    pub(super) refusal: Option<&'static str>,
    /// The policies that decided.
    pub(super) policies: Vec<PolicyName>,
}

/// What the policies say while something is not known.
#[derive(Debug)]
pub(super) enum Partial {
    /// It does not matter.
    Decided(Verdict),
    /// It depends on these, by these policies.
    Depends { on: Vec<Circumstance>, policies: Vec<PolicyName> },
}

impl Partial {
    /// What it depends on.
    pub(super) fn depends_on(self) -> Vec<Circumstance> {
        match self {
            Self::Decided(_) => Vec::new(),
            Self::Depends { on, .. } => on,
        }
    }
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
        validate(schema.clone(), &policies)?;
        let mut known = HashMap::with_capacity(policies.len());
        let mut cuts = Vec::with_capacity(policies.len());
        for policy in &policies {
            let cut = Cut::new(policy)?;
            known.insert(policy.id().clone(), Known::new(&cut, reason(policy)?));
            cuts.push(cut);
        }
        let mut bundle = Self {
            node_region,
            vocabulary: Vocabulary::new()?,
            checked: None,
            schema,
            authorizer: Authorizer::new(),
            slices: Vec::new(),
            known,
            built_in: cuts.into(),
            custom: Vec::new(),
            unwrapping: Vec::new(),
            compiled: HashMap::new(),
        };
        bundle.slices = bundle.slices_with(&[])?;
        Ok(bundle)
    }

    /// The same with the custom policies of this state in place of its own; `None` if they are the same.
    pub(super) fn with_custom(&self, state: &ControlState) -> Result<Option<Self>, Error> {
        let active = || state.policies().filter(|policy| policy.is_active());
        let custom: Vec<_> = active().map(|policy| (policy.id, policy.version)).collect();
        if custom == self.custom {
            return Ok(None);
        }
        let mut cuts = Vec::new();
        let mut compiled = HashMap::with_capacity(custom.len());
        for policy in active() {
            let place = (policy.id, policy.version);
            let read = match self.compiled.get(&place) {
                Some(read) => Arc::clone(read),
                None => Arc::new(self.read(&policy.name, &policy.text).map_err(|faults| Error::Custom {
                    policy: policy.name.to_string(),
                    fault: faults.first().map(ToString::to_string).unwrap_or_default(),
                })?),
            };
            cuts.extend(read.cuts.iter().cloned());
            compiled.insert(place, read);
        }
        if cuts.len() > CustomPolicy::MAX_STATEMENTS {
            return Err(Error::Statements(cuts.len()));
        }
        let mut bundle = Self { custom, compiled, ..self.clone() };
        bundle.known.retain(|id, _| !id.to_string().starts_with("custom."));
        let reason = REASONS.iter().position(|reason| *reason == CUSTOM);
        for cut in &cuts {
            let reason = reason.filter(|_| cut.policy.effect() == Effect::Forbid);
            bundle.known.insert(cut.policy.id().clone(), Known::new(cut, reason));
        }
        bundle.unwrapping = grantees(&cuts, Action::Unwrap);
        bundle.slices = bundle.slices_with(&cuts)?;
        Ok(Some(bundle))
    }

    /// What a custom text means.
    pub(super) fn read(&self, name: &crate::model::PolicyName, text: &str) -> Result<Compiled, Vec<Fault>> {
        Compiled::read(&self.schema, name, text)
    }

    /// Whether a custom policy lets one of these unwrap, by the name it gives.
    pub(super) fn lets_unwrap(&self, accounts: &[Arc<crate::model::Principal>]) -> bool {
        accounts.iter().any(|account| self.unwrapping.iter().any(|grantee| grantee.is(account)))
    }

    /// What is needed to decide about `action`; always there.
    pub(super) fn slice(&self, action: Action) -> Option<&Slice> {
        self.slices.get(action as usize)
    }

    /// Asks the policies of one action.
    pub(super) fn decide(&self, slice: &Slice, request: &Request, entities: &Entities) -> Verdict {
        self.verdict(&self.authorizer.is_authorized(request, &slice.policies, entities))
    }

    /// Asks the policies of one action about a request of which something is unknown.
    pub(super) fn decide_partially(&self, slice: &Slice, request: &Request, entities: &Entities) -> Partial {
        let response = self.authorizer.is_authorized_partial(request, &slice.policies, entities);
        if response.decision().is_some() {
            return Partial::Decided(self.verdict(&response.concretize()));
        }
        self.depends(&response)
    }

    fn depends(&self, response: &PartialResponse) -> Partial {
        let open: Vec<PolicyId> = response.nontrivial_residuals().map(|policy| policy.id().clone()).collect();
        let mut on: Vec<Circumstance> =
            open.iter().filter_map(|id| self.known.get(id)).flat_map(|known| known.sees.iter().copied()).collect();
        on.retain(|circumstance| circumstance.varies());
        on.sort_unstable();
        on.dedup();
        let deciding = response.may_be_determining();
        let mut policies: Vec<_> =
            deciding.filter_map(|policy| self.known.get(policy.id()).map(|known| known.name.clone())).collect();
        policies.sort_unstable();
        policies.dedup();
        Partial::Depends { on, policies: bounded(policies) }
    }

    fn verdict(&self, response: &Response) -> Verdict {
        let mut failed = response.diagnostics().errors().peekable();
        if failed.peek().is_some() {
            // The errors' own words can quote what they were evaluated on; the ids are enough to find them.
            let policies =
                failed.filter_map(|error| self.known.get(failing(error))).map(|known| known.name.clone()).collect();
            return Verdict { refusal: Some(super::decision::POLICY_ERROR), policies: bounded(policies) };
        }
        let mut policies = Vec::new();
        let mut reason = REASONS.len();
        for known in response.diagnostics().reason().filter_map(|id| self.known.get(id)) {
            policies.push(known.name.clone());
            reason = reason.min(known.reason.unwrap_or(REASONS.len()));
        }
        policies.sort_unstable();
        let policies = bounded(policies);
        match response.decision() {
            Decision::Allow => Verdict { refusal: None, policies },
            Decision::Deny => {
                Verdict { refusal: Some(REASONS.get(reason).copied().unwrap_or(super::decision::NO_RIGHT)), policies }
            }
        }
    }

    fn slices_with(&self, custom: &[Cut]) -> Result<Vec<Slice>, Error> {
        let kind = entity_type("Action")?;
        let of = |action: &Action| {
            let uid = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(action.code()));
            Slice::new(*action, uid, self.built_in.iter().chain(custom))
        };
        Action::ALL.iter().map(of).collect()
    }
}

impl Slice {
    fn new<'a>(action: Action, uid: EntityUid, policies: impl Iterator<Item = &'a Cut>) -> Result<Self, Error> {
        let mut set = PolicySet::new();
        let (mut sees, mut grantees) = (Vec::new(), Vec::new());
        for cut in policies.filter(|cut| cut.applies(action)) {
            sees.extend(cut.sees.iter().copied());
            grantees.extend(cut.grantee.clone());
            set.add(cut.policy.clone()).map_err(|error| Error::Syntax(error.to_string()))?;
        }
        sees.sort_unstable();
        sees.dedup();
        let giving = Role::ALL.iter().filter(|role| actions_of(**role).contains(&action));
        let giving = giving.fold(RoleSet::default(), |set, role| set.with(*role));
        Ok(Self { action: uid, sees, giving, grantees, policies: set })
    }
}

impl Known {
    fn new(cut: &Cut, reason: Option<usize>) -> Self {
        Self { name: PolicyName(cut.policy.id().to_string().into()), reason, sees: Arc::clone(&cut.sees) }
    }
}

impl Grantee {
    /// Whether it is this principal.
    pub(super) fn is(&self, principal: &crate::model::Principal) -> bool {
        match self {
            Self::Principal(id) => principal.id.to_string() == *id,
            Self::Team(team) => principal.team.as_ref().is_some_and(|of| of.as_str() == team),
            Self::Kind(kind) => principal.kind.as_str() == kind,
        }
    }
}

fn grantees(cuts: &[Cut], action: Action) -> Vec<Grantee> {
    let permits = cuts.iter().filter(|cut| cut.policy.effect() == Effect::Permit && cut.applies(action));
    permits.filter_map(|cut| cut.grantee.clone()).collect()
}

/// No more than a record can bear.
fn bounded(mut policies: Vec<PolicyName>) -> Vec<PolicyName> {
    if let Some(surplus) = policies.len().checked_sub(MOST_NAMED).filter(|surplus| *surplus > 0) {
        policies.truncate(MOST_NAMED);
        policies.push(PolicyName(format!("and {surplus} more").into()));
    }
    policies
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
    // The slices know what is in the one group that they know. Any other would let a policy apply to actions that its
    // own text does not name, and the slices would miss it.
    if let Some(group) = schema.action_groups().find(|group| group.id().unescaped() != DATA) {
        return Err(Error::Schema(format!("`{group}` is a group of actions")));
    }
    check_group(&schema)?;
    let set = PolicySet::from_policies(policies.iter().cloned()).map_err(|error| Error::Syntax(error.to_string()))?;
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let faults: Vec<String> = result
        .validation_errors()
        .map(ToString::to_string)
        .chain(result.validation_warnings().map(ToString::to_string))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::Validation(faults.join("; "))) }
}

/// The group of data actions holds what [`Action::uses_key`] says, no less and no more.
fn check_group(schema: &Schema) -> Result<(), Error> {
    let entities = schema.action_entities().map_err(|error| Error::Schema(error.to_string()))?;
    let kind = entity_type("Action")?;
    let uid = |code: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(code));
    let group = uid(DATA);
    match Action::ALL.iter().find(|action| entities.is_ancestor_of(&group, &uid(action.code())) != action.uses_key()) {
        Some(action) => Err(Error::Schema(format!("`{}` is on the wrong side of the group `{DATA}`", action.code()))),
        None => Ok(()),
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
        Self::built_in(node_region).unwrap().uncut_with(Vec::new())
    }

    /// The same for this bundle, whose custom policies are these.
    pub(super) fn uncut_with(self, custom: Vec<Policy>) -> Self {
        let mut bundle = self;
        let mut policies = policies(BUILT_IN).unwrap();
        policies.extend(custom);
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
