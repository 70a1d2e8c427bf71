//! Master keys and their versions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    lifecycle::{Deletion, Rotation},
    name::{Alias, Cursor, DataClass, Description, KeyStore, Owner, Reason, Region},
    receipt::{Receipt, Revision},
    spelling::words,
    tags::Tags,
};
use crate::id::{KeyId, KeyVersion, RecordId};

words!(
    /// Where a key or principal belongs. Principals of another environment never reach production keys.
    #[derive(Default)]
    Environment, "environment", {
        /// Real data. Nobody both administers and uses a production key.
        #[default]
        Production = "production",
        /// Tests.
        Test = "test",
        /// Development: one principal may administer and use a key.
        Development = "development",
    }
);

words!(
    /// What a key may do now.
    KeyState, "key state", {
        /// Wraps and unwraps.
        Enabled = "enabled",
        /// Suspended: does nothing until it is enabled again.
        Disabled = "disabled",
        /// Compromised: nothing is wrapped or unwrapped with it any more.
        Revoked = "revoked",
        /// Waits for its destruction and does nothing.
        PendingDeletion = "pending_deletion",
        /// Its versions are gone from the key store for ever.
        Destroyed = "destroyed",
    }
);

words!(
    /// What one version of a key may do, as far as the key's own state allows.
    VersionState, "version state", {
        /// Unwraps; wraps too while it is the primary version.
        Enabled = "enabled",
        /// Compromised: nothing is wrapped or unwrapped with it any more.
        Revoked = "revoked",
        /// Gone from the key store for ever.
        Destroyed = "destroyed",
    }
);

words!(
    /// What a key is for.
    #[derive(Default)]
    Purpose, "purpose", {
        /// Wrapping data keys.
        #[default]
        Wrap = "wrap",
    }
);

words!(
    /// A key's algorithm.
    #[derive(Default)]
    Algorithm, "algorithm", {
        /// AES with keys of 256 bits, in GCM.
        #[default]
        Aes256 = "aes-256",
    }
);

words!(
    /// Where a key's material came from.
    Origin, "origin", {
        /// Made in the key store, which it never leaves.
        Hsm = "hsm",
    }
);

/// A customer's master key. Its material lives in a key store and never leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    /// The key's id, never reused.
    pub id: KeyId,
    /// Its other names, in order.
    pub aliases: Vec<Alias>,
    /// What it is for.
    pub description: Description,
    /// What the installation says about it.
    pub tags: Tags,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What kind of data it protects.
    pub data_class: DataClass,
    /// Where it may be used.
    pub region: Region,
    /// Where it belongs.
    pub environment: Environment,
    /// The key store that holds its versions.
    pub key_store: KeyStore,
    /// What it may be used for.
    pub purpose: Purpose,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Where its material came from.
    pub origin: Origin,
    /// What it may do now.
    pub state: KeyState,
    /// Why it is in this state, when someone had to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When it gets a new version by itself.
    pub rotation: Rotation,
    /// When its age next asks for a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub rotates_at: Option<Timestamp>,
    /// The destruction it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// When its material was given up for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub destroyed_at: Option<Timestamp>,
    /// The version that wraps.
    pub primary_version: KeyVersion,
    /// All versions, oldest first.
    pub versions: Vec<Version>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub revision: Revision,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = KeyVersionState))]
pub struct Version {
    /// Its number, from 1.
    pub version: KeyVersion,
    /// What it may do now.
    pub state: VersionState,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// Why it is in this state, when someone had to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Creates a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateKey {
    /// A first alias; the same as one in `aliases`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What the installation says about it.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// What kind of data it protects; fixed.
    pub data_class: DataClass,
    /// Where it may be used; fixed. The server's own region unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Where it belongs; fixed.
    #[serde(default)]
    pub environment: Environment,
    /// What it may be used for; fixed.
    #[serde(default)]
    pub purpose: Purpose,
    /// Its algorithm; fixed.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// When it gets a new version by itself.
    #[serde(default)]
    pub rotation: Rotation,
}

impl CreateKey {
    /// A production key for this class of data; everything else can be set afterwards.
    #[must_use]
    pub fn new(data_class: DataClass) -> Self {
        Self {
            alias: None,
            aliases: Vec::new(),
            description: None,
            owner: None,
            tags: Tags::default(),
            data_class,
            region: None,
            environment: Environment::default(),
            purpose: Purpose::default(),
            algorithm: Algorithm::default(),
            rotation: Rotation::default(),
        }
    }
}

/// Changes what is not fixed about a key. What is left out stays as it is; what is given replaces all of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateKey {
    /// What it is for; empty for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// All its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// All its aliases. One that is taken away is never given to another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<Alias>>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// When it gets a new version by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// Why something is disabled, revoked, suspended, reinstated or ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WithReason {
    /// The reason, kept on record.
    pub reason: Reason,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct KeyQuery {
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
    /// Only those of this data class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub data_class: Option<DataClass>,
    /// Only those of this environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Only those of this region.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub region: Option<Region>,
    /// Only those of this owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub owner: Option<Owner>,
    /// Only the one with this alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub alias: Option<Alias>,
    /// The most to list, 1 to 1,000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where to go on, from `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(value_type = Option<String>))]
    pub cursor: Option<Cursor>,
}

/// A page of keys, ordered by id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<Key>,
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A key as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAnswer {
    /// The key.
    pub key: Key,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// A key after a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyChanged {
    /// The key as it is now.
    pub key: Key,
    /// The proof that the change is in force.
    pub receipt: Receipt,
    /// The audit record of the change.
    pub record: RecordId,
}
