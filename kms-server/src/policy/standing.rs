//! What bindings give: to one principal, and to the person behind it. Pure; it knows no policy.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kms_client::id::{KeyId, PrincipalId};

use crate::model::{Action, ControlState, CustomRole, DataClass, GrantedRole, Key, Period, Principal, Role, Scope};

/// What a right must cover.
#[derive(Debug, Clone, Copy)]
pub(super) enum Covering<'a> {
    /// A key that is there.
    Key(&'a Key),
    /// Some key of a class.
    Class(&'a DataClass),
    /// Everything: only a binding over all does.
    All,
    /// Nothing: any binding does, whatever it covers.
    Anything,
}

/// A set of built-in roles, and whether some custom role gives what is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct RoleSet(u16);

/// The roles that somebody holds over something, now.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    pub(super) built_in: RoleSet,
    pub(super) custom: Vec<Arc<CustomRole>>,
}

/// The rights of one principal and of its person, in the order in which decisions need them.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) principal: Arc<Principal>,
    /// Its id as Cedar knows it.
    pub(super) id: String,
    /// What the principal itself holds.
    own: Rights,
    /// What the person holds through its other accounts.
    others: Rights,
    /// Every account of the person, this one included.
    pub(super) accounts: Vec<Arc<Principal>>,
}

/// What a prepared Cedar slice depends on, besides the revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SliceKey {
    pub(super) principal: PrincipalId,
    pub(super) roles: RoleSet,
    pub(super) resource: SliceResource,
}

/// A resource that is the same for everybody at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SliceResource {
    Key(KeyId),
    UnknownKey,
    Installation,
}

#[derive(Debug, Default)]
struct Rights {
    all: Vec<Right>,
    classes: HashMap<DataClass, Vec<Right>>,
    keys: HashMap<KeyId, Vec<Right>>,
}

#[derive(Debug, Clone)]
struct Right {
    role: Held,
    period: Period,
}

#[derive(Debug, Clone)]
enum Held {
    BuiltIn(Role),
    Custom(Arc<CustomRole>),
}

impl RoleSet {
    const CUSTOM: u16 = 1 << 15;

    pub(super) const fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    pub(super) const fn contains_custom(self) -> bool {
        self.0 & Self::CUSTOM != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.contains(*role))
    }

    pub(super) const fn with(self, role: Role) -> Self {
        Self(self.0 | Self::bit(role))
    }

    pub(super) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn bit(role: Role) -> u16 {
        1 << role as u16
    }
}

impl Roles {
    pub(super) fn is_empty(&self) -> bool {
        self.built_in == RoleSet::default() && self.custom.is_empty()
    }

    /// The roles as they are asked about `action`.
    pub(super) fn asked(&self, action: Action) -> RoleSet {
        let custom = self.custom.iter().any(|role| role.gives(action));
        if custom { RoleSet(self.built_in.0 | RoleSet::CUSTOM) } else { self.built_in }
    }

    pub(super) fn administer_keys(&self) -> bool {
        self.built_in.iter().any(Role::administers_keys)
    }

    pub(super) fn use_keys(&self) -> bool {
        self.built_in.iter().any(Role::uses_keys) || self.custom.iter().any(|role| role.uses_keys())
    }

    pub(super) fn unwrap(&self) -> bool {
        self.built_in.contains(Role::Unwrapper) || self.custom.iter().any(|role| role.gives(Action::Unwrap))
    }

    fn add(&mut self, rights: &[Right], now: Timestamp) {
        for right in rights.iter().filter(|right| right.period.contains(now)) {
            match &right.role {
                Held::BuiltIn(role) => self.built_in = self.built_in.with(*role),
                Held::Custom(role) => self.custom.push(Arc::clone(role)),
            }
        }
    }
}

impl Standing {
    /// The standing of `principal` at this state.
    pub(super) fn new(state: &ControlState, principal: &Arc<Principal>) -> Self {
        let mut others = Rights::default();
        let mut accounts = vec![Arc::clone(principal)];
        for account in state.same_person(principal).filter(|account| *account != principal.id) {
            others.add(state, account);
            accounts.extend(state.principal(account).cloned());
        }
        let mut own = Rights::default();
        own.add(state, principal.id);
        Self { principal: Arc::clone(principal), id: principal.id.to_string(), own, others, accounts }
    }

    /// The roles that the principal holds.
    pub(super) fn roles(&self, covering: Covering<'_>, now: Timestamp) -> Roles {
        let mut roles = Roles::default();
        self.own.collect(&mut roles, covering, now);
        roles
    }

    /// The roles that some account of the person holds. A suspended account counts: it may come back.
    pub(super) fn roles_of_person(&self, covering: Covering<'_>, now: Timestamp) -> Roles {
        let mut roles = self.roles(covering, now);
        self.others.collect(&mut roles, covering, now);
        roles
    }
}

impl Rights {
    fn add(&mut self, state: &ControlState, principal: PrincipalId) {
        for binding in state.bindings_of(principal).filter(|binding| binding.ended_at.is_none()) {
            let role = match &binding.role {
                GrantedRole::BuiltIn(role) => Held::BuiltIn(*role),
                GrantedRole::Custom(name) => match state.role_by_name(name).filter(|role| role.is_active()) {
                    Some(role) => Held::Custom(Arc::clone(role)),
                    None => continue,
                },
            };
            let right = Right { role, period: binding.period };
            match &binding.scope {
                Scope::All => self.all.push(right),
                Scope::DataClass(class) => self.classes.entry(class.clone()).or_default().push(right),
                Scope::Key(key) => self.keys.entry(*key).or_default().push(right),
            }
        }
    }

    fn collect(&self, roles: &mut Roles, covering: Covering<'_>, now: Timestamp) {
        roles.add(&self.all, now);
        let (class, key) = match covering {
            Covering::All => (None, None),
            Covering::Class(class) => (Some(class), None),
            Covering::Key(key) => (Some(&key.data_class), Some(key.id)),
            Covering::Anything => {
                self.classes.values().chain(self.keys.values()).for_each(|rights| roles.add(rights, now));
                return;
            }
        };
        for rights in
            class.and_then(|class| self.classes.get(class)).into_iter().chain(key.and_then(|key| self.keys.get(&key)))
        {
            roles.add(rights, now);
        }
    }
}
