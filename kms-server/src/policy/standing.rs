//! What bindings give: to one principal, and to the person behind it. Pure; it knows no policy.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kms_client::id::{KeyId, PrincipalId};

use crate::model::{ControlState, DataClass, Key, Period, Principal, Role, Scope};

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

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct RoleSet(u16);

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

#[derive(Debug, Clone, Copy)]
struct Right {
    role: Role,
    period: Period,
}

impl RoleSet {
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.iter().copied().filter(move |role| self.contains(*role))
    }

    const fn with(self, role: Role) -> Self {
        Self(self.0 | Self::bit(role))
    }

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn bit(role: Role) -> u16 {
        1 << role as u16
    }
}

impl Standing {
    /// The standing of `principal` at this state.
    pub(super) fn new(state: &ControlState, principal: &Arc<Principal>) -> Self {
        let mut others = Rights::default();
        for account in state.same_person(principal).filter(|account| *account != principal.id) {
            others.add(state, account);
        }
        let mut own = Rights::default();
        own.add(state, principal.id);
        Self { principal: Arc::clone(principal), id: principal.id.to_string(), own, others }
    }

    /// The roles that the principal holds.
    pub(super) fn roles(&self, covering: Covering<'_>, now: Timestamp) -> RoleSet {
        self.own.roles(covering, now)
    }

    /// The roles that some account of the person holds. A suspended account counts: it may come back.
    pub(super) fn roles_of_person(&self, covering: Covering<'_>, now: Timestamp) -> RoleSet {
        self.own.roles(covering, now).union(self.others.roles(covering, now))
    }
}

impl Rights {
    fn add(&mut self, state: &ControlState, principal: PrincipalId) {
        for binding in state.bindings_of(principal).filter(|binding| binding.ended_at.is_none()) {
            let right = Right { role: binding.role, period: binding.period };
            match &binding.scope {
                Scope::All => self.all.push(right),
                Scope::DataClass(class) => self.classes.entry(class.clone()).or_default().push(right),
                Scope::Key(key) => self.keys.entry(*key).or_default().push(right),
            }
        }
    }

    fn roles(&self, covering: Covering<'_>, now: Timestamp) -> RoleSet {
        let all = effective(&self.all, now);
        let class = |class| self.classes.get(class).map_or(RoleSet::default(), |rights| effective(rights, now));
        match covering {
            Covering::All => all,
            Covering::Class(of_key) => all.union(class(of_key)),
            Covering::Key(key) => {
                let own = self.keys.get(&key.id).map_or(RoleSet::default(), |rights| effective(rights, now));
                all.union(class(&key.data_class)).union(own)
            }
            Covering::Anything => self
                .classes
                .values()
                .chain(self.keys.values())
                .fold(all, |roles, rights| roles.union(effective(rights, now))),
        }
    }
}

fn effective(rights: &[Right], now: Timestamp) -> RoleSet {
    rights
        .iter()
        .filter(|right| right.period.contains(now))
        .fold(RoleSet::default(), |roles, right| roles.with(right.role))
}
