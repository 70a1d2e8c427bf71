//! A customer's master key, its versions, and the states both go through.

use hsm::{Canary, ObjectId};
use jiff::Timestamp;
use kms_client::id::{KeyId, KeyVersion};
use serde::{Deserialize, Serialize};

use super::{Alias, DataClass, Deletion, Error, Name, Owner, Reason, Refusal, Region, Revision, Rotation, Tags, Text};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value as it stands in policies, records and on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    $crate::model::Error::invalid(format!("`{text}` is not one of {}", [$(concat!("`", $code, "`"),)*].join(", ")))
                })
            }
        }
    };
}
pub(super) use text_enum;

text_enum! {
    /// For which surroundings a key or principal is meant.
    Environment {
        /// The real thing.
        Production = "production",
        /// Rehearsal with data that is not real.
        Test = "test",
        /// One person's experiments; the same principal may administer and use.
        Development = "development",
    }
}

text_enum! {
    /// The state of a key (NIST SP 800-57 part 1, section 7).
    KeyState {
        /// In use.
        Enabled = "enabled",
        /// Suspended; can be enabled again.
        Disabled = "disabled",
        /// Compromised: nothing is wrapped or unwrapped.
        Revoked = "revoked",
        /// Waits for its destruction.
        PendingDeletion = "pending_deletion",
        /// Its material is gone; the record stays.
        Destroyed = "destroyed",
    }
}

text_enum! {
    /// The state of one version of a key.
    VersionState {
        /// In use.
        Enabled = "enabled",
        /// Compromised.
        Revoked = "revoked",
        /// Its material is gone.
        Destroyed = "destroyed",
    }
}

text_enum! {
    /// What a key is for.
    Purpose {
        /// To wrap data keys.
        Wrap = "wrap",
    }
}

text_enum! {
    /// The algorithm of a key.
    Algorithm {
        /// AES with 256 bits, in GCM.
        Aes256 = "aes-256",
    }
}

text_enum! {
    /// Where a key's material came from.
    Origin {
        /// It was made in the HSM and never left it.
        Hsm = "hsm",
    }
}

/// What can happen to a key's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEvent {
    /// An administrator enables it.
    Enable,
    /// An administrator suspends it.
    Disable,
    /// An administrator declares it compromised.
    Revoke,
    /// An administrator wants it destroyed, after a waiting period.
    ScheduleDeletion,
    /// An administrator does not want that any more.
    CancelDeletion {
        /// Whether it was revoked before.
        revoked: bool,
    },
    /// The waiting period is over.
    Destroy,
}

impl KeyState {
    /// The state after `event`.
    ///
    /// # Errors
    ///
    /// `invalid_state` where the event is not possible, `approval_required` for leaving `revoked`.
    pub fn transition(self, event: KeyEvent) -> Result<Self, Error> {
        use KeyEvent::{CancelDeletion, Destroy, Disable, Enable, Revoke, ScheduleDeletion};
        use KeyState::{Destroyed, Disabled, Enabled, PendingDeletion, Revoked};
        match (self, event) {
            (Enabled | Disabled, Enable) => Ok(Enabled),
            // After a cancelled deletion somebody looks at the key before it is used again.
            (Enabled | Disabled, Disable) | (PendingDeletion, CancelDeletion { revoked: false }) => Ok(Disabled),
            (Enabled | Disabled | Revoked | PendingDeletion, Revoke)
            | (PendingDeletion, CancelDeletion { revoked: true }) => Ok(Revoked),
            (Enabled | Disabled | Revoked, ScheduleDeletion) => Ok(PendingDeletion),
            (PendingDeletion, Destroy) => Ok(Destroyed),
            (Revoked, Enable) => Err(Error::approval_required("using a revoked key again")),
            (Revoked | PendingDeletion, Disable)
            | (PendingDeletion, Enable | ScheduleDeletion)
            | (Enabled | Disabled | Revoked, CancelDeletion { .. } | Destroy)
            | (Destroyed, Enable | Disable | Revoke | ScheduleDeletion | CancelDeletion { .. } | Destroy) => {
                Err(Error::conflict(
                    Refusal::InvalidState,
                    format!("the key is in state `{}`, in which this cannot be done", self.as_str()),
                ))
            }
        }
    }

    /// Whether keys in this state may wrap and unwrap.
    ///
    /// # Errors
    ///
    /// The conflict that callers see for each other state.
    pub fn usable(self) -> Result<(), Error> {
        let (code, detail) = match self {
            Self::Enabled => return Ok(()),
            Self::Disabled => (Refusal::KeyDisabled, "the key is disabled"),
            Self::Revoked => (Refusal::KeyRevoked, "the key is revoked"),
            Self::PendingDeletion => (Refusal::KeyPendingDeletion, "the key waits for its deletion"),
            Self::Destroyed => (Refusal::KeyDestroyed, "the key is destroyed"),
        };
        Err(Error::conflict(code, detail))
    }
}

/// One version of a key: one object in the HSM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersionRecord {
    /// Its number.
    pub version: KeyVersion,
    /// Its state.
    pub state: VersionState,
    /// Why it is in this state, where somebody put it there.
    pub reason: Option<Reason>,
    /// `CKA_ID` of its object.
    pub object: ObjectId,
    /// Proves that the object still holds the same material.
    pub canary: Canary,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A customer's master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its identity.
    pub id: KeyId,
    /// Its names, sorted, without the prefix `alias/`.
    pub aliases: Vec<Alias>,
    /// Names it had: they never name another key.
    pub former_aliases: Vec<Alias>,
    /// What it is, in words.
    pub description: Text,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Free labels.
    pub tags: Tags,
    /// The class of the data it protects; fixed.
    pub data_class: DataClass,
    /// Where it may be used; fixed.
    pub region: Region,
    /// For which surroundings it is meant; fixed.
    pub environment: Environment,
    /// The key store that holds its versions; fixed.
    pub key_store: Name,
    /// What it is for; fixed.
    pub purpose: Purpose,
    /// Its algorithm; fixed.
    pub algorithm: Algorithm,
    /// Where its material came from; fixed.
    pub origin: Origin,
    /// Its state.
    pub state: KeyState,
    /// Why it is in this state, where somebody put it there.
    pub reason: Option<Reason>,
    /// When it gets a new version by itself.
    #[serde(default)]
    pub rotation: Rotation,
    /// The destruction it waits for, in state `pending_deletion` and after.
    #[serde(default)]
    pub deletion: Option<Deletion>,
    /// When its material was given up for ever.
    #[serde(default)]
    pub destroyed_at: Option<Timestamp>,
    /// The version that wraps.
    pub primary_version: KeyVersion,
    /// Every version, by number.
    pub versions: Vec<KeyVersionRecord>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The newest change that touched it.
    pub revision: Revision,
}

impl Key {
    /// The version of this number.
    #[must_use]
    pub fn version(&self, version: KeyVersion) -> Option<&KeyVersionRecord> {
        // Versions are numbered from 1 without gaps, so the number is the place.
        let place = usize::try_from(version.number()).ok()?.checked_sub(1)?;
        self.versions.get(place).filter(|record| record.version == version)
    }

    /// The version of this number, if this key and it may be used now.
    ///
    /// # Errors
    ///
    /// The conflict of the key's or version's state; `invalid_wrapped_key` if there is no such version.
    pub fn usable_version(&self, version: KeyVersion) -> Result<&KeyVersionRecord, Error> {
        self.state.usable()?;
        let record = self.version(version).ok_or_else(Error::invalid_wrapped_key)?;
        let (code, word) = match record.state {
            VersionState::Enabled => return Ok(record),
            VersionState::Revoked => (Refusal::VersionRevoked, "revoked"),
            VersionState::Destroyed => (Refusal::KeyDestroyed, "destroyed"),
        };
        Err(Error::conflict(code, format!("version {version} of the key is {word}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revoked_has_no_way_back_without_approval() {
        for event in [KeyEvent::Enable, KeyEvent::Disable] {
            assert!(KeyState::Revoked.transition(event).is_err());
        }
        assert_eq!(KeyState::Revoked.transition(KeyEvent::Enable).unwrap_err().code(), "approval_required");
    }

    #[test]
    fn destroyed_is_final() {
        let cancel = KeyEvent::CancelDeletion { revoked: false };
        let schedule = KeyEvent::ScheduleDeletion;
        for event in [KeyEvent::Enable, KeyEvent::Disable, KeyEvent::Revoke, schedule, cancel, KeyEvent::Destroy] {
            assert_eq!(KeyState::Destroyed.transition(event).unwrap_err().code(), "invalid_state");
        }
    }

    #[test]
    fn only_enabled_keys_are_usable() {
        let usable: Vec<_> = KeyState::ALL.iter().filter(|state| state.usable().is_ok()).collect();
        assert_eq!(usable, [&KeyState::Enabled]);
    }
}
