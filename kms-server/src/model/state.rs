//! All control state at one revision, in memory, immutable once published. Copies share what did not change.

use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};
use jiff::Timestamp;
use kms_client::id::{BindingId, ClientCaId, CredentialId, IssuerId, KeyId, PolicyId, PrincipalId, RoleId};

use super::{
    Alias, Binding, ClientCa, CredentialMatch, CustomPolicy, CustomRole, Environment, GrantedRole, Installation,
    Issuer, Key, Name, PolicyName, Principal, RoleName, Row, Scope, TrustState,
};

/// Every object of control state, with the indexes that lookups need.
#[derive(Debug, Clone, Default)]
pub struct ControlState {
    installation: Option<Arc<Installation>>,
    keys: OrdMap<KeyId, Arc<Key>>,
    principals: OrdMap<PrincipalId, Arc<Principal>>,
    bindings: OrdMap<BindingId, Arc<Binding>>,
    issuers: OrdMap<IssuerId, Arc<Issuer>>,
    client_cas: OrdMap<ClientCaId, Arc<ClientCa>>,
    /// Current and former aliases; both belong to their key for ever.
    aliases: HashMap<Alias, KeyId>,
    names: HashMap<Name, PrincipalId>,
    persons: HashMap<Name, OrdSet<PrincipalId>>,
    /// Current and former credentials; both belong to their principal for ever.
    credentials: HashMap<CredentialMatch, (PrincipalId, CredentialId)>,
    bindings_of: HashMap<PrincipalId, OrdSet<BindingId>>,
    policies: OrdMap<PolicyId, Arc<CustomPolicy>>,
    policy_names: HashMap<PolicyName, PolicyId>,
    roles: OrdMap<RoleId, Arc<CustomRole>>,
    role_names: HashMap<RoleName, RoleId>,
}

impl ControlState {
    /// Puts an object in place of its older self, if there is one. Rows may come in any order.
    pub fn put(&mut self, row: Row) {
        match row {
            Row::Installation(installation) => self.installation = Some(installation),
            Row::Key(key) => {
                for alias in key.aliases.iter().chain(&key.former_aliases) {
                    self.aliases.insert(alias.clone(), key.id);
                }
                self.keys.insert(key.id, key);
            }
            Row::Principal(principal) => {
                self.names.insert(principal.name.clone(), principal.id);
                if let Some(person) = &principal.person {
                    self.persons.entry(person.clone()).or_default().insert(principal.id);
                }
                for credential in &principal.credentials {
                    self.credentials.insert(credential.matches.clone(), (principal.id, credential.id));
                }
                self.principals.insert(principal.id, principal);
            }
            Row::Binding(binding) => {
                self.bindings_of.entry(binding.principal).or_default().insert(binding.id);
                self.bindings.insert(binding.id, binding);
            }
            Row::Issuer(issuer) => {
                self.issuers.insert(issuer.id, issuer);
            }
            Row::ClientCa(client_ca) => {
                self.client_cas.insert(client_ca.id, client_ca);
            }
            Row::Policy(policy) => {
                self.policy_names.insert(policy.name.clone(), policy.id);
                self.policies.insert(policy.id, policy);
            }
            Row::Role(role) => {
                self.role_names.insert(role.name.clone(), role.id);
                self.roles.insert(role.id, role);
            }
        }
    }

    /// The installation; `None` before it was made.
    #[must_use]
    pub fn installation(&self) -> Option<&Arc<Installation>> {
        self.installation.as_ref()
    }

    /// The key of this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.get(&id)
    }

    /// The key that has this alias now.
    #[must_use]
    pub fn key_by_alias(&self, alias: &Alias) -> Option<&Arc<Key>> {
        let key = self.keys.get(self.aliases.get(alias)?)?;
        key.aliases.contains(alias).then_some(key)
    }

    /// The key to which this alias belongs, now or once.
    #[must_use]
    pub fn alias_owner(&self, alias: &Alias) -> Option<KeyId> {
        self.aliases.get(alias).copied()
    }

    /// Every key by id, beginning after `after`.
    pub fn keys_after(&self, after: Option<KeyId>) -> impl Iterator<Item = &Arc<Key>> {
        page(&self.keys, after)
    }

    /// The principal of this id.
    #[must_use]
    pub fn principal(&self, id: PrincipalId) -> Option<&Arc<Principal>> {
        self.principals.get(&id)
    }

    /// The principal of this name.
    #[must_use]
    pub fn principal_by_name(&self, name: &Name) -> Option<&Arc<Principal>> {
        self.principals.get(self.names.get(name)?)
    }

    /// Every principal by id, beginning after `after`.
    pub fn principals_after(&self, after: Option<PrincipalId>) -> impl Iterator<Item = &Arc<Principal>> {
        page(&self.principals, after)
    }

    /// The principals of the person behind `principal`, itself included.
    pub fn same_person<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = PrincipalId> + 'a {
        let others = principal.person.as_ref().and_then(|person| self.persons.get(person));
        std::iter::once(principal.id)
            .chain(others.into_iter().flatten().copied().filter(|other| *other != principal.id))
    }

    /// Whose credential this is, removed ones included.
    #[must_use]
    pub fn credential(&self, matches: &CredentialMatch) -> Option<(PrincipalId, CredentialId)> {
        self.credentials.get(matches).copied()
    }

    /// The binding of this id.
    #[must_use]
    pub fn binding(&self, id: BindingId) -> Option<&Arc<Binding>> {
        self.bindings.get(&id)
    }

    /// Every binding by id, beginning after `after`.
    pub fn bindings_after(&self, after: Option<BindingId>) -> impl Iterator<Item = &Arc<Binding>> {
        page(&self.bindings, after)
    }

    /// The bindings of one principal, ended ones included.
    pub fn bindings_of(&self, principal: PrincipalId) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings_of.get(&principal).into_iter().flatten().filter_map(|id| self.bindings.get(id))
    }

    /// The issuer of this id, removed ones included.
    #[must_use]
    pub fn issuer(&self, id: IssuerId) -> Option<&Arc<Issuer>> {
        self.issuers.get(&id)
    }

    /// Every issuer by id, removed ones included.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// The trusted issuer whose `iss` this is.
    #[must_use]
    pub fn trusted_issuer(&self, issuer: &str) -> Option<&Arc<Issuer>> {
        self.issuers().find(|row| row.state == TrustState::Trusted && row.issuer == issuer)
    }

    /// The client certification authority of this id, removed ones included.
    #[must_use]
    pub fn client_ca(&self, id: ClientCaId) -> Option<&Arc<ClientCa>> {
        self.client_cas.get(&id)
    }

    /// Every client certification authority by id, removed ones included.
    pub fn client_cas(&self) -> impl Iterator<Item = &Arc<ClientCa>> {
        self.client_cas.values()
    }

    /// The custom policy of this id, removed ones included.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> Option<&Arc<CustomPolicy>> {
        self.policies.get(&id)
    }

    /// The custom policy of this name, removed ones included.
    #[must_use]
    pub fn policy_by_name(&self, name: &PolicyName) -> Option<&Arc<CustomPolicy>> {
        self.policies.get(self.policy_names.get(name)?)
    }

    /// Every custom policy by id, removed ones included.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<CustomPolicy>> {
        self.policies.values()
    }

    /// The custom role of this id, removed ones included.
    #[must_use]
    pub fn role(&self, id: RoleId) -> Option<&Arc<CustomRole>> {
        self.roles.get(&id)
    }

    /// The custom role of this name, removed ones included.
    #[must_use]
    pub fn role_by_name(&self, name: &RoleName) -> Option<&Arc<CustomRole>> {
        self.roles.get(self.role_names.get(name)?)
    }

    /// Every custom role by id, removed ones included.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<CustomRole>> {
        self.roles.values()
    }

    /// Whether whoever holds the role uses keys.
    #[must_use]
    pub fn uses_keys(&self, role: &GrantedRole) -> bool {
        match role {
            GrantedRole::BuiltIn(role) => role.uses_keys(),
            GrantedRole::Custom(name) => self.role_by_name(name).is_some_and(|role| role.uses_keys()),
        }
    }

    /// How many persons could administer the whole installation at this moment of cluster time: active users of the
    /// production environment with a credential that is believed and a `key-admin` binding over everything without end.
    /// Custom policies do not count: none can forbid what takes it back (see [`Action::is_always_open`](super::Action::is_always_open)), so whoever is
    /// counted here can administer after at most one more step.
    #[must_use]
    pub fn administrators(&self, now: Timestamp) -> usize {
        let mut persons: Vec<&str> = self
            .bindings
            .values()
            .filter(|binding| {
                binding.role.administers_keys()
                    && binding.scope == Scope::All
                    && binding.is_effective(now)
                    && binding.period.until.is_none()
            })
            .filter_map(|binding| self.principal(binding.principal))
            .filter(|principal| {
                principal.is_active()
                    && principal.environment == Environment::Production
                    && self.can_authenticate(principal)
            })
            .map(|principal| principal.person.as_ref().unwrap_or(&principal.name).as_str())
            .collect();
        persons.sort_unstable();
        persons.dedup();
        persons.len()
    }

    /// Whether the principal has a credential that is believed.
    #[must_use]
    pub fn can_authenticate(&self, principal: &Principal) -> bool {
        principal.credentials.iter().any(|credential| {
            credential.removed_at.is_none()
                && match &credential.matches {
                    CredentialMatch::JwtSubject { issuer, .. } => {
                        self.issuer(*issuer).is_some_and(|issuer| issuer.state == TrustState::Trusted)
                    }
                    CredentialMatch::CertificateSan { client_ca, .. } => {
                        self.client_ca(*client_ca).is_some_and(|ca| ca.state == TrustState::Trusted)
                    }
                    CredentialMatch::CertificateFingerprint { .. } => {
                        self.client_cas().any(|ca| ca.state == TrustState::Trusted)
                    }
                }
        })
    }
}

fn page<K: Ord + Copy, V>(map: &OrdMap<K, V>, after: Option<K>) -> impl Iterator<Item = &V> {
    use std::ops::Bound::{Excluded, Unbounded};
    map.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, value)| value)
}
