//! Custom policies and custom roles: what an installation adds to the rules that come with the program. Texts are kept
//! as they were written; what they mean is for `policy` to say, which reads every text before a change is made of it.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use kms_client::id::{PolicyId, RoleId};
use serde::{Deserialize, Serialize};

use super::{Action, Error, Revision, Role, Text, key::text_enum, name::text_type};

text_type!(
    /// The name of a custom policy. It becomes part of ids such as `custom.NAME.2`, so it has no dot.
    PolicyName, "a policy's name", "1 to 64 letters, digits, `_` or `-`, beginning with a letter or digit",
    |text| super::name::is_token(text, 64, b"_-")
);
text_type!(
    /// The name of a custom role.
    RoleName, "a role's name", "1 to 64 letters, digits, `_` or `-`, beginning with a letter or digit",
    |text| super::name::is_token(text, 64, b"_-")
);

text_enum! {
    /// Whether a custom policy or role counts.
    RuleState {
        /// It does.
        Active = "active",
        /// It did, once.
        Removed = "removed",
    }
}

/// A Cedar text that an administrator added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomPolicy {
    /// Its identity.
    pub id: PolicyId,
    /// Its name, never another's.
    pub name: PolicyName,
    /// What it is for.
    pub description: Text,
    /// The text of the newest version.
    pub text: String,
    /// The newest version's number, from 1.
    pub version: u32,
    /// The newest versions, oldest first: where in the history each is.
    pub versions: Vec<PolicyVersion>,
    /// Whether it counts.
    pub state: RuleState,
    /// When its first version was made.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

/// One version of a custom policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its number.
    pub version: u32,
    /// The change that put it there, which holds its text.
    pub revision: Revision,
    /// When.
    pub created_at: Timestamp,
}

/// A role that an administrator made: data actions and reading keys, never administration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomRole {
    /// Its identity.
    pub id: RoleId,
    /// Its name, never another's.
    pub name: RoleName,
    /// What it is for.
    pub description: Text,
    /// What it gives, sorted.
    pub actions: Vec<Action>,
    /// Whether it counts.
    pub state: RuleState,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

/// The role that a binding gives: one that comes with the program, or one of the installation's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GrantedRole {
    /// It comes with the program.
    BuiltIn(Role),
    /// It is this installation's.
    Custom(RoleName),
}

impl CustomPolicy {
    /// The most bytes of a text.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The most policies that count at once.
    pub const MAX_ACTIVE: usize = 200;
    /// The most statements of all policies together: the time of a decision grows with them.
    pub const MAX_STATEMENTS: usize = 1_000;
    /// How many versions a policy lists; older ones are in the history of changes.
    pub const VERSIONS_LISTED: usize = 100;

    /// Whether it counts.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == RuleState::Active
    }
}

impl CustomRole {
    /// The most roles that count at once.
    pub const MAX_ACTIVE: usize = 100;

    /// What a custom role may give.
    #[must_use]
    pub fn may_give(action: Action) -> bool {
        action.is_data() || matches!(action, Action::DescribeKey | Action::ListKeys)
    }

    /// Whether it counts.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == RuleState::Active
    }

    /// Whether it counts and gives this action.
    #[must_use]
    pub fn gives(&self, action: Action) -> bool {
        self.is_active() && self.actions.contains(&action)
    }

    /// Whether whoever holds it uses keys.
    #[must_use]
    pub fn uses_keys(&self) -> bool {
        self.is_active() && self.actions.iter().any(|action| action.uses_key())
    }
}

impl GrantedRole {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::BuiltIn(role) => role.as_str(),
            Self::Custom(name) => name.as_str(),
        }
    }

    /// The role that comes with the program, if it is one.
    #[must_use]
    pub const fn built_in(&self) -> Option<Role> {
        match self {
            Self::BuiltIn(role) => Some(*role),
            Self::Custom(_) => None,
        }
    }

    /// Whether the role administers keys.
    #[must_use]
    pub fn administers_keys(&self) -> bool {
        self.built_in().is_some_and(Role::administers_keys)
    }

    /// Whether granting the role needs a second person.
    #[must_use]
    pub fn grant_needs_approval(&self) -> bool {
        self.built_in().is_some_and(Role::grant_needs_approval)
    }
}

impl From<Role> for GrantedRole {
    fn from(role: Role) -> Self {
        Self::BuiltIn(role)
    }
}

impl FromStr for GrantedRole {
    type Err = super::InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Role::from_str(text).map_or_else(|_: Error| text.parse().map(Self::Custom), |role| Ok(Self::BuiltIn(role)))
    }
}

impl TryFrom<String> for GrantedRole {
    type Error = super::InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GrantedRole> for String {
    fn from(role: GrantedRole) -> Self {
        role.as_str().to_owned()
    }
}

impl fmt::Display for GrantedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
