//! Rights: a principal holds a role within a scope, from one moment until another.

use jiff::Timestamp;
use kms_client::id::{BindingId, KeyId, PrincipalId};
use serde::{Deserialize, Serialize};

use super::{DataClass, GrantedRole, Reason, Revision, Text, key::text_enum};

text_enum! {
    /// The built-in roles.
    Role {
        /// Creates, rotates, disables and revokes keys; never uses one.
        KeyAdmin = "key-admin",
        /// Generates and wraps data keys.
        Wrapper = "wrapper",
        /// Unwraps data keys.
        Unwrapper = "unwrapper",
        /// Rewraps data keys without seeing them.
        Rewrapper = "rewrapper",
        /// Reads control state and the audit log.
        Auditor = "auditor",
        /// Cuts the access of principals.
        Offboarder = "offboarder",
        /// Approves what needs a second person.
        Approver = "approver",
    }
}

impl Role {
    /// Whether the role uses keys.
    #[must_use]
    pub const fn uses_keys(self) -> bool {
        match self {
            Self::Wrapper | Self::Unwrapper | Self::Rewrapper => true,
            Self::KeyAdmin | Self::Auditor | Self::Offboarder | Self::Approver => false,
        }
    }

    /// Whether the role administers keys.
    #[must_use]
    pub const fn administers_keys(self) -> bool {
        match self {
            Self::KeyAdmin => true,
            Self::Wrapper | Self::Unwrapper | Self::Rewrapper | Self::Auditor | Self::Offboarder | Self::Approver => {
                false
            }
        }
    }

    /// Whether granting the role needs a second person.
    #[must_use]
    pub const fn grant_needs_approval(self) -> bool {
        match self {
            Self::KeyAdmin | Self::Offboarder | Self::Approver => true,
            Self::Wrapper | Self::Unwrapper | Self::Rewrapper | Self::Auditor => false,
        }
    }

    /// What the role is for, in one line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::KeyAdmin => {
                "creates, rotates, disables and revokes keys, manages principals and bindings; never uses a key"
            }
            Self::Wrapper => "generates and wraps data keys",
            Self::Unwrapper => "unwraps data keys",
            Self::Rewrapper => "rewraps data keys without seeing them",
            Self::Auditor => "reads keys, principals, bindings, changes and the audit log",
            Self::Offboarder => "suspends principals, removes their credentials and ends their bindings",
            Self::Approver => "approves changes that need a second person",
        }
    }
}

/// What a binding covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One key.
    Key(KeyId),
    /// Every key of one data class.
    DataClass(DataClass),
    /// Everything.
    All,
}

impl Scope {
    /// Whether the scope covers this key.
    #[must_use]
    pub fn covers(&self, key: KeyId, data_class: &DataClass) -> bool {
        match self {
            Self::Key(covered) => *covered == key,
            Self::DataClass(covered) => covered == data_class,
            Self::All => true,
        }
    }

    /// Whether some key could be covered by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self, class_of: impl Fn(KeyId) -> Option<DataClass>) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => true,
            (Self::Key(a), Self::Key(b)) => a == b,
            (Self::DataClass(a), Self::DataClass(b)) => a == b,
            (Self::Key(key), Self::DataClass(class)) | (Self::DataClass(class), Self::Key(key)) => {
                class_of(*key).is_some_and(|of_key| of_key == *class)
            }
        }
    }
}

/// From when until when; `until` is the first moment outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// The first moment; `None`: always.
    pub from: Option<Timestamp>,
    /// The first moment after; `None`: for ever.
    pub until: Option<Timestamp>,
}

impl Period {
    /// Whether the period contains this moment of cluster time.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// A principal's role within a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its identity.
    pub id: BindingId,
    /// Who holds the role.
    pub principal: PrincipalId,
    /// The role.
    pub role: GrantedRole,
    /// What it covers.
    pub scope: Scope,
    /// When it counts.
    pub period: Period,
    /// Who answers for a contractor.
    pub sponsor: Option<PrincipalId>,
    /// What a contractor needs it for.
    pub purpose: Text,
    /// When it was ended before its time.
    pub ended_at: Option<Timestamp>,
    /// Why it was ended.
    pub reason: Option<Reason>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

impl Binding {
    /// Whether the binding counts at this moment of cluster time.
    #[must_use]
    pub fn is_effective(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.period.contains(now)
    }

    /// Whether the binding counts now or may count later.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.period.until.is_none_or(|until| now < until)
    }
}
