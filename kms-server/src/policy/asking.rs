//! One question in Cedar's terms: who, what, to what, under which circumstances. Entities that are the same for every
//! request at one revision are prepared once; what changes from request to request is in the Cedar context.

use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use jiff::Timestamp;

use super::{
    Error, Policies,
    bundle::{Slice, Verdict, entity_type},
    decision::POLICY_ERROR,
    standing::{Covering, RoleSet, SliceKey, SliceResource, Standing},
};
use kms_client::format::context::EncryptionContext;

use crate::{
    authn::{Caller, Request as Circumstances},
    model::{Action, ControlState, DataClass, Environment, Key, KeyState, Region, Role, Target},
};

/// Names of the schema, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary {
    principal: EntityTypeName,
    key: EntityTypeName,
    /// INVARIANT: one for each role, in the order of [`Role::ALL`].
    roles: Vec<EntityUid>,
    installation: EntityUid,
    new_key: EntityUid,
    unknown_key: EntityUid,
    encryption_context: EntityUid,
}

/// What a policy can see of the circumstances. Each costs a little, so a request carries those that the policies for
/// its action mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Circumstance {
    Time,
    Source,
    Surface,
    NodeRegion,
    Methods,
    EncryptionContext,
    PersonAdministers,
    PersonUses,
    PersonUnwraps,
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
    pub(super) caller: &'a Caller,
    /// Where the question comes from, where one request asks it.
    pub(super) request: Option<&'a Circumstances>,
    pub(super) context: Option<&'a EncryptionContext>,
    pub(super) standing: Arc<Standing>,
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, Error> {
        let key = entity_type("Key")?;
        let role = entity_type("Role")?;
        let installation = EntityId::new("installation");
        let encryption_context = EntityId::new("request");
        Ok(Self {
            principal: entity_type("Principal")?,
            roles: Role::ALL.iter().map(|each| uid(&role, each.as_str())).collect(),
            installation: EntityUid::from_type_name_and_id(entity_type("Installation")?, installation),
            new_key: uid(&key, "new"),
            unknown_key: uid(&key, "unknown"),
            encryption_context: EntityUid::from_type_name_and_id(entity_type("EncryptionContext")?, encryption_context),
            key,
        })
    }
}

impl Circumstance {
    pub(super) const ALL: &[Self] = &[
        Self::Time,
        Self::Source,
        Self::Surface,
        Self::NodeRegion,
        Self::Methods,
        Self::EncryptionContext,
        Self::PersonAdministers,
        Self::PersonUses,
        Self::PersonUnwraps,
    ];

    /// The name in the schema.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Source => "source",
            Self::Surface => "surface",
            Self::NodeRegion => "node_region",
            Self::Methods => "methods",
            Self::EncryptionContext => "encryption_context",
            Self::PersonAdministers => "person_administers",
            Self::PersonUses => "person_uses",
            Self::PersonUnwraps => "person_unwraps",
        }
    }
}

impl<'a> Asker<'a> {
    /// What the policies say to `action` on `target`. Whatever cannot be asked is refused.
    pub(super) fn ask(&self, action: Action, target: &'a Target) -> Verdict {
        self.try_ask(action, target).unwrap_or(Verdict { refusal: Some(POLICY_ERROR), policies: Vec::new() })
    }

    fn try_ask(&self, action: Action, target: &'a Target) -> Option<Verdict> {
        let bundle = &self.policies.bundle;
        let slice = bundle.slice(action)?;
        let reach = reach(action);
        let resource = resource(self.state, reach, target)?;
        let covering = covering(reach, resource);
        let entities = self.entities(slice, resource, self.standing.roles(covering, self.now))?;
        let request = Request::new(
            uid(&bundle.vocabulary.principal, &self.standing.id),
            slice.action.clone(),
            self.resource_uid(resource),
            self.context(slice, covering)?,
            bundle.checked.as_ref(),
        );
        Some(bundle.decide(slice, &request.ok()?, &entities))
    }

    fn context(&self, slice: &Slice, covering: Covering<'_>) -> Option<Context> {
        let person = |any: fn(Role) -> bool| self.standing.roles_of_person(covering, self.now).iter().any(any);
        let pairs = slice.sees.iter().filter_map(|circumstance| {
            let value = match circumstance {
                Circumstance::Time => RestrictedExpression::new_long(self.now.as_second()),
                Circumstance::Source => text(&self.request?.source?.to_string()),
                Circumstance::Surface => text(self.request?.surface.as_str()),
                Circumstance::NodeRegion => text(self.policies.bundle.node_region.as_str()),
                Circumstance::Methods => {
                    RestrictedExpression::new_set(self.caller.methods().iter().map(|method| text(method)))
                }
                Circumstance::EncryptionContext => {
                    RestrictedExpression::new_entity_uid(self.policies.bundle.vocabulary.encryption_context.clone())
                }
                Circumstance::PersonAdministers => RestrictedExpression::new_bool(person(Role::administers_keys)),
                Circumstance::PersonUses => RestrictedExpression::new_bool(person(Role::uses_keys)),
                Circumstance::PersonUnwraps => {
                    let roles = self.standing.roles_of_person(Covering::Anything, self.now);
                    RestrictedExpression::new_bool(roles.contains(Role::Unwrapper))
                }
            };
            Some((circumstance.name().to_owned(), value))
        });
        Context::from_pairs(pairs).ok()
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
        if !slice.sees.contains(&Circumstance::EncryptionContext) {
            return Some(prepared);
        }
        let tags = self
            .context
            .into_iter()
            .flat_map(EncryptionContext::iter)
            .map(|(name, value)| (name.to_owned(), text(value)));
        let uid = self.policies.bundle.vocabulary.encryption_context.clone();
        let entity = Entity::new_with_tags(uid, [], [], tags).ok()?;
        Entities::clone(&prepared).add_entities([entity], None).ok().map(Arc::new)
    }

    fn make_entities(&self, resource: Resource<'_>, roles: RoleSet) -> Option<Entities> {
        let vocabulary = &self.policies.bundle.vocabulary;
        let principal = &self.standing.principal;
        let mut attributes = vec![
            ("kind".to_owned(), text(principal.kind.as_str())),
            ("environment".to_owned(), text(principal.environment.as_str())),
        ];
        if let Some(team) = &principal.team {
            attributes.push(("team".to_owned(), text(team.as_str())));
        }
        let roles = roles.iter().filter_map(|role| vocabulary.roles.get(role as usize).cloned());
        let principal = Entity::new_with_tags(uid(&vocabulary.principal, &self.standing.id), attributes, roles, []);
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
            Target::Principal(_) | Target::Binding(_) | Target::Issuer(_) | Target::ClientCa(_) | Target::Installation,
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
        Action::Random | Action::ListKeys | Action::ListRoles | Action::WhoAmI => Reach::Anything,
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
        | Action::DescribeChange
        | Action::ListChanges
        | Action::SearchAudit => Reach::Installation,
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}
