//! One question in Cedar's terms: who, what, to what, under which circumstances. Entities that are the same for every
//! request at one revision are prepared once; what changes from request to request is in the Cedar context.

use std::{net::IpAddr, sync::Arc};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Error, Policies, PolicyName,
    bundle::{Partial, Slice, Verdict, entity_type},
    circumstance::{Circumstance, weekday},
    decision::POLICY_ERROR,
    standing::{Covering, RoleSet, Roles, SliceKey, SliceResource, Standing},
};
use kms_client::format::{context::EncryptionContext, record::Surface};

use crate::{
    authn::Assurance,
    model::{Action, ControlState, DataClass, Environment, Key, KeyState, Region, Role, Scope, Target},
};

/// Names of the schema, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary {
    principal: EntityTypeName,
    key: EntityTypeName,
    team: EntityTypeName,
    kind: EntityTypeName,
    /// INVARIANT: one for each role, in the order of [`Role::ALL`].
    roles: Vec<EntityUid>,
    custom_role: EntityUid,
    installation: EntityUid,
    new_key: EntityUid,
    unknown_key: EntityUid,
    encryption_context: EntityUid,
}

/// What is asked about, as the state has it.
#[derive(Debug, Clone, Copy)]
enum Resource<'a> {
    Key(&'a Key),
    /// Stands for every key that is not there, so that it is refused by the path of those that are.
    UnknownKey,
    NewKey {
        data_class: &'a DataClass,
        region: &'a Region,
        environment: Environment,
    },
    Installation,
}

/// What is known of the circumstances of a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) source: Option<IpAddr>,
    pub(super) surface: Surface,
    pub(super) assurance: &'a Assurance,
    pub(super) context: Option<&'a EncryptionContext>,
    /// What of it is not known; empty for every request that is really made.
    pub(super) unknown: &'a [Circumstance],
}

/// What an action is done to, and what must therefore be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// A key that is there.
    Key,
    /// A key about to be.
    NewKey,
    /// The installation: only bindings over everything count.
    Installation,
    /// Nothing in particular: any binding counts.
    Anything,
}

/// Somebody who stands, about to ask.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) policies: &'a Policies,
    pub(super) state: &'a ControlState,
    pub(super) now: Timestamp,
    pub(super) given: Given<'a>,
    pub(super) standing: Arc<Standing>,
}

/// One question, put together.
struct Question<'a> {
    slice: &'a Slice,
    covering: Covering<'a>,
    roles: Roles,
    request: Request,
    entities: Arc<Entities>,
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, Error> {
        let key = entity_type("Key")?;
        let role = entity_type("Role")?;
        let installation = EntityId::new("installation");
        let encryption_context = EntityId::new("request");
        Ok(Self {
            principal: entity_type("Principal")?,
            team: entity_type("Team")?,
            kind: entity_type("Kind")?,
            custom_role: uid(&role, "custom"),
            roles: Role::ALL.iter().map(|each| uid(&role, each.as_str())).collect(),
            installation: EntityUid::from_type_name_and_id(entity_type("Installation")?, installation),
            new_key: uid(&key, "new"),
            unknown_key: uid(&key, "unknown"),
            encryption_context: EntityUid::from_type_name_and_id(entity_type("EncryptionContext")?, encryption_context),
            key,
        })
    }
}

impl<'a> Asker<'a> {
    /// What the policies say to `action` on `target`. Whatever cannot be asked is refused.
    pub(super) fn ask(&self, action: Action, target: &'a Target) -> Verdict {
        let refused = Verdict { refusal: Some(POLICY_ERROR), policies: Vec::new() };
        let Some(question) = self.question(action, target) else { return refused };
        let verdict = self.policies.bundle.decide(question.slice, &question.request, &question.entities);
        Verdict { policies: name_roles(verdict.policies, &question.roles, action), ..verdict }
    }

    /// The same where something of the circumstances is not known.
    pub(super) fn ask_partially(&self, action: Action, target: &'a Target) -> Partial {
        let Some(question) = self.question(action, target) else {
            return Partial::Decided(Verdict { refusal: Some(POLICY_ERROR), policies: Vec::new() });
        };
        let named = |policies| name_roles(policies, &question.roles, action);
        match self.policies.bundle.decide_partially(question.slice, &question.request, &question.entities) {
            Partial::Decided(Verdict { refusal, policies }) => {
                Partial::Decided(Verdict { refusal, policies: named(policies) })
            }
            Partial::Depends { on, policies } => {
                // A circumstance that is itself a decision hides what that one looks at.
                let hidden = question.slice.sees.contains(&Circumstance::UnwrapsHere);
                let inner = if hidden { self.ask_partially(Action::Unwrap, target).depends_on() } else { Vec::new() };
                let mut on: Vec<_> =
                    on.into_iter().chain(inner).filter(|seen| self.given.unknown.contains(seen)).collect();
                on.sort_unstable();
                on.dedup();
                Partial::Depends { on, policies: named(policies) }
            }
        }
    }

    /// Whether the principal holds anything by which it could do this: a role over the target, or a custom permit that
    /// names it. Costs next to nothing.
    pub(super) fn might(&self, action: Action, target: &'a Target) -> bool {
        let reach = reach(action);
        let Some(resource) = resource(self.state, reach, target) else { return false };
        let Some(slice) = self.policies.bundle.slice(action) else { return false };
        !self.standing.roles(covering(reach, resource), self.now).is_empty()
            || slice.grantees.iter().any(|grantee| grantee.is(&self.standing.principal))
    }

    /// Whether a binding of this scope counts for this.
    pub(super) fn covers(&self, scope: &Scope, action: Action, target: &'a Target) -> bool {
        let reach = reach(action);
        let Some(resource) = resource(self.state, reach, target) else { return false };
        match (covering(reach, resource), scope) {
            (Covering::Anything, _) | (_, Scope::All) => true,
            (Covering::Key(key), scope) => scope.covers(key.id, &key.data_class),
            (Covering::Class(class), Scope::DataClass(covered)) => class == covered,
            (Covering::Class(_) | Covering::All, _) => false,
        }
    }

    /// Whether a built-in role gives the action, before any guard.
    pub(super) fn gives(&self, role: Role, action: Action) -> bool {
        self.policies.bundle.slice(action).is_some_and(|slice| slice.giving.contains(role))
    }

    fn question(&self, action: Action, target: &'a Target) -> Option<Question<'a>> {
        let bundle = &self.policies.bundle;
        let slice = bundle.slice(action)?;
        let reach = reach(action);
        let resource = resource(self.state, reach, target)?;
        let covering = covering(reach, resource);
        let roles = self.standing.roles(covering, self.now);
        let entities = self.entities(slice, resource, roles.asked(action))?;
        let mut question = Question { slice, covering, roles, request: Request::builder().build(), entities };
        let request = Request::new(
            uid(&bundle.vocabulary.principal, &self.standing.id),
            slice.action.clone(),
            self.resource_uid(resource),
            self.context(&question, action, target)?,
            bundle.checked.as_ref(),
        );
        question.request = request.ok()?;
        Some(question)
    }

    fn context(&self, question: &Question<'a>, action: Action, target: &'a Target) -> Option<Context> {
        let pairs = question.slice.sees.iter().filter_map(|circumstance| {
            let value = if self.given.unknown.contains(circumstance) {
                RestrictedExpression::new_unknown(circumstance.name())
            } else {
                self.value(*circumstance, question, action, target)?
            };
            Some((circumstance.name().to_owned(), value))
        });
        Context::from_pairs(pairs).ok()
    }

    /// `None` where there is none, as with the address of somebody who has none.
    fn value(
        &self,
        circumstance: Circumstance,
        question: &Question<'a>,
        action: Action,
        target: &'a Target,
    ) -> Option<RestrictedExpression> {
        let (given, bundle) = (&self.given, &self.policies.bundle);
        let person = || self.standing.roles_of_person(question.covering, self.now);
        let utc = || self.now.to_zoned(TimeZone::UTC);
        Some(match circumstance {
            Circumstance::Time => RestrictedExpression::new_long(self.now.as_second()),
            Circumstance::Hour => RestrictedExpression::new_long(utc().hour().into()),
            Circumstance::Weekday => text(weekday(utc().weekday())),
            Circumstance::Source => RestrictedExpression::new_ip(given.source?.to_canonical().to_string()),
            Circumstance::Surface => text(given.surface.as_str()),
            Circumstance::NodeRegion => text(bundle.node_region.as_str()),
            Circumstance::Mfa => RestrictedExpression::new_bool(given.assurance.is_multi_factor()),
            Circumstance::Amr => RestrictedExpression::new_set(given.assurance.amr.iter().map(|method| text(method))),
            Circumstance::Acr => text(given.assurance.acr.as_ref()?),
            Circumstance::EncryptionContext => {
                RestrictedExpression::new_entity_uid(bundle.vocabulary.encryption_context.clone())
            }
            Circumstance::PersonAdministers => RestrictedExpression::new_bool(person().administer_keys()),
            Circumstance::PersonUses => RestrictedExpression::new_bool(person().use_keys()),
            Circumstance::PersonUnwraps => RestrictedExpression::new_bool(
                self.standing.roles_of_person(Covering::Anything, self.now).unwrap()
                    || bundle.lets_unwrap(&self.standing.accounts),
            ),
            // Of unwrapping itself there is nothing to say.
            Circumstance::UnwrapsHere if action == Action::Unwrap => RestrictedExpression::new_bool(false),
            Circumstance::UnwrapsHere if given.unknown.is_empty() => {
                RestrictedExpression::new_bool(self.ask(Action::Unwrap, target).refusal.is_none())
            }
            Circumstance::UnwrapsHere => match self.ask_partially(Action::Unwrap, target) {
                Partial::Decided(verdict) => RestrictedExpression::new_bool(verdict.refusal.is_none()),
                Partial::Depends { .. } => RestrictedExpression::new_unknown(circumstance.name()),
            },
            Circumstance::Bound => {
                let asked = question.roles.asked(action);
                RestrictedExpression::new_bool(asked.intersects(question.slice.giving) || asked.contains_custom())
            }
        })
    }

    fn entities(&self, slice: &Slice, resource: Resource<'_>, roles: RoleSet) -> Option<Arc<Entities>> {
        let resource_key = match resource {
            Resource::Key(key) => Some(SliceResource::Key(key.id)),
            Resource::UnknownKey => Some(SliceResource::UnknownKey),
            Resource::Installation => Some(SliceResource::Installation),
            Resource::NewKey { .. } => None,
        };
        let prepared = match resource_key {
            Some(resource_key) => {
                let key = SliceKey { principal: self.standing.principal.id, roles, resource: resource_key };
                self.policies.slices.get_or_make(&key, || self.make_entities(resource, roles).ok_or(())).ok()?
            }
            None => Arc::new(self.make_entities(resource, roles)?),
        };
        let seen = Circumstance::EncryptionContext;
        if !slice.sees.contains(&seen) || self.given.unknown.contains(&seen) {
            return Some(prepared);
        }
        let pairs = self.given.context.into_iter().flat_map(EncryptionContext::iter);
        let tags = pairs.map(|(name, value)| (name.to_owned(), text(value)));
        let uid = self.policies.bundle.vocabulary.encryption_context.clone();
        let entity = Entity::new_with_tags(uid, [], [], tags).ok()?;
        Entities::clone(&prepared).add_entities([entity], None).ok().map(Arc::new)
    }

    fn make_entities(&self, resource: Resource<'_>, roles: RoleSet) -> Option<Entities> {
        let vocabulary = &self.policies.bundle.vocabulary;
        let principal = &self.standing.principal;
        let mut attributes = vec![
            ("name".to_owned(), text(principal.name.as_str())),
            ("kind".to_owned(), text(principal.kind.as_str())),
            ("environment".to_owned(), text(principal.environment.as_str())),
        ];
        if let Some(team) = &principal.team {
            attributes.push(("team".to_owned(), text(team.as_str())));
        }
        let custom = roles.contains_custom().then(|| vocabulary.custom_role.clone());
        let roles = roles.iter().filter_map(|role| vocabulary.roles.get(role as usize).cloned());
        let team = principal.team.as_ref().map(|team| uid(&vocabulary.team, team.as_str()));
        let kind = uid(&vocabulary.kind, principal.kind.as_str());
        let parents = roles.chain(custom).chain(team).chain([kind]);
        let principal = Entity::new_with_tags(uid(&vocabulary.principal, &self.standing.id), attributes, parents, []);
        let mut entities = vec![principal.ok()?];
        if let Some((class, region, environment, state)) = resource.attributes() {
            let attributes = [("class", class), ("region", region), ("environment", environment), ("state", state)];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), text(value)));
            let tags = match resource {
                Resource::Key(key) => {
                    key.tags.pairs().iter().map(|(name, value)| (name.clone(), text(value))).collect()
                }
                Resource::UnknownKey | Resource::NewKey { .. } | Resource::Installation => Vec::new(),
            };
            entities.push(Entity::new_with_tags(self.resource_uid(resource), attributes, [], tags).ok()?);
        }
        Entities::from_entities(entities, self.policies.bundle.checked.as_ref()).ok()
    }

    fn resource_uid(&self, resource: Resource<'_>) -> EntityUid {
        let vocabulary = &self.policies.bundle.vocabulary;
        match resource {
            Resource::Key(key) => uid(&vocabulary.key, &key.id.to_string()),
            Resource::UnknownKey => vocabulary.unknown_key.clone(),
            Resource::NewKey { .. } => vocabulary.new_key.clone(),
            Resource::Installation => vocabulary.installation.clone(),
        }
    }
}

impl<'a> Resource<'a> {
    /// Class, region, environment and state, where it is a key.
    fn attributes(self) -> Option<(&'a str, &'a str, &'a str, &'a str)> {
        match self {
            Self::Key(key) => {
                Some((key.data_class.as_str(), key.region.as_str(), key.environment.as_str(), key.state.as_str()))
            }
            Self::UnknownKey => Some(("", "", Environment::Production.as_str(), KeyState::Destroyed.as_str())),
            Self::NewKey { data_class, region, environment } => {
                Some((data_class.as_str(), region.as_str(), environment.as_str(), KeyState::Enabled.as_str()))
            }
            Self::Installation => None,
        }
    }
}

/// The resource that an action of this reach has in `target`; `None` if they do not belong together.
fn resource<'a>(state: &'a ControlState, reach: Reach, target: &'a Target) -> Option<Resource<'a>> {
    match (reach, target) {
        (Reach::Key, Target::Key(key)) => Some(state.key(*key).map_or(Resource::UnknownKey, |key| Resource::Key(key))),
        (Reach::NewKey, Target::NewKey { data_class, region, environment }) => {
            Some(Resource::NewKey { data_class, region, environment: *environment })
        }
        (
            Reach::Installation | Reach::Anything,
            Target::Principal(_)
            | Target::Binding(_)
            | Target::Issuer(_)
            | Target::ClientCa(_)
            | Target::Policy(_)
            | Target::Role(_)
            | Target::Installation,
        ) => Some(Resource::Installation),
        (Reach::Key | Reach::NewKey | Reach::Installation | Reach::Anything, _) => None,
    }
}

const fn covering(reach: Reach, resource: Resource<'_>) -> Covering<'_> {
    match (reach, resource) {
        (Reach::Anything, _) => Covering::Anything,
        (_, Resource::Key(key)) => Covering::Key(key),
        (_, Resource::NewKey { data_class, .. }) => Covering::Class(data_class),
        (_, Resource::UnknownKey | Resource::Installation) => Covering::All,
    }
}

const fn reach(action: Action) -> Reach {
    match action {
        Action::Generate
        | Action::GenerateWithoutPlaintext
        | Action::Wrap
        | Action::Unwrap
        | Action::Rewrap
        | Action::TransferFrom
        | Action::TransferTo
        | Action::DescribeKey
        | Action::ListAccess
        | Action::UpdateKey
        | Action::RotateKey
        | Action::EnableKey
        | Action::DisableKey
        | Action::RevokeKey
        | Action::RevokeKeyVersion
        | Action::ScheduleKeyDeletion
        | Action::CancelKeyDeletion
        | Action::DestroyKey
        | Action::DescribeKeyUsage => Reach::Key,
        Action::CreateKey => Reach::NewKey,
        Action::Random
        | Action::ListKeys
        | Action::ListRoles
        | Action::DescribeRole
        | Action::WhoAmI
        | Action::Explain => Reach::Anything,
        Action::CreatePrincipal
        | Action::DescribePrincipal
        | Action::ListPrincipals
        | Action::UpdatePrincipal
        | Action::SuspendPrincipal
        | Action::ReinstatePrincipal
        | Action::AddCredential
        | Action::RemoveCredential
        | Action::CreateBinding
        | Action::DescribeBinding
        | Action::ListBindings
        | Action::EndBinding
        | Action::AddIssuer
        | Action::ListIssuers
        | Action::RemoveIssuer
        | Action::AddClientCa
        | Action::ListClientCas
        | Action::RemoveClientCa
        | Action::Initialise
        | Action::AcceptDatabase
        | Action::RecoverAdmin
        | Action::CreateRole
        | Action::UpdateRole
        | Action::RemoveRole
        | Action::PutPolicy
        | Action::DescribePolicy
        | Action::ListPolicies
        | Action::RemovePolicy
        | Action::ValidatePolicy
        | Action::ExplainOthers
        | Action::PreviewChange
        | Action::DescribeChange
        | Action::ListChanges
        | Action::ListNodes
        | Action::SearchAudit => Reach::Installation,
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// The one policy that stands for all custom roles, by the names of those that were meant.
fn name_roles(mut policies: Vec<PolicyName>, roles: &Roles, action: Action) -> Vec<PolicyName> {
    if let Some(place) = policies.iter().position(|policy| policy.as_str() == "role.custom") {
        policies.remove(place);
        let giving = roles.custom.iter().filter(|role| role.gives(action));
        policies.extend(giving.map(|role| PolicyName(format!("role.{}", role.name).into())));
        policies.sort_unstable();
        policies.dedup();
    }
    policies
}
