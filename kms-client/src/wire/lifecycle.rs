//! When a key gets a new version by itself, and how it ends.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::name::{ActionName, PrincipalName, Reason};
use crate::id::{KeyId, KeyVersion, PrincipalId, RecordId};

/// The most wraps under one version, 2^31: half of what NIST SP 800-38D allows with random nonces.
pub const MAX_WRAPS: u32 = 1 << 31;

/// How long a key waits for its destruction unless it is said, in days.
pub const DEFAULT_WAITING_DAYS: u16 = 30;

/// When a key gets a new primary version by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rotation {
    /// After so many days, 1 to 3,650; not by age unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 3650))]
    pub period_days: Option<u16>,
    /// After nine tenths of so many wraps under one version, 1 to 2,147,483,648, which it also is unless given. No version
    /// ever wraps more than that.
    #[serde(default = "max_wraps")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_147_483_648_u64))]
    pub max_wraps: u32,
}

/// A destruction that a key waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deletion {
    /// When it was scheduled.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub scheduled_at: Timestamp,
    /// How many days it waits.
    pub waiting_days: u16,
    /// The moment before which nothing is destroyed. It comes later by as long as no server ran.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub due_at: Timestamp,
}

/// Schedules the destruction of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleDeletion {
    /// The reason, kept on record.
    pub reason: Reason,
    /// How many days to wait, 7 to 30; 30 unless given.
    #[serde(default = "waiting_days")]
    #[cfg_attr(feature = "openapi", schema(minimum = 7, maximum = 30))]
    pub waiting_days: u16,
}

/// How far back to look for uses of a key.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
pub struct KeyUsageQuery {
    /// So many days, 1 to 3,650; 90 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 3650))]
    pub days: Option<u16>,
}

/// Who used a key, and when: what would stop working without it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyUsage {
    /// The key.
    pub key: KeyId,
    /// Only operations since then are counted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Each principal and action, the most recent first; at most 1,000.
    pub uses: Vec<KeyUse>,
    /// Each version that has wrapped, by number.
    pub versions: Vec<VersionUsage>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// How often, and when, one principal did one thing with a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyUse {
    /// Who.
    pub principal: PrincipalId,
    /// The principal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PrincipalName>,
    /// What, such as `unwrap`.
    pub action: ActionName,
    /// How often it was permitted.
    pub count: u64,
    /// The first time.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub first_at: Timestamp,
    /// The last time.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_at: Timestamp,
}

/// How often one version has wrapped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionUsage {
    /// The version.
    pub version: KeyVersion,
    /// The wraps that nodes have reserved: at least as many as were made.
    pub wraps_reserved: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { period_days: None, max_wraps: MAX_WRAPS }
    }
}

impl ScheduleDeletion {
    /// A destruction for this reason, after the usual wait.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self { reason, waiting_days: DEFAULT_WAITING_DAYS }
    }
}

const fn max_wraps() -> u32 {
    MAX_WRAPS
}

const fn waiting_days() -> u16 {
    DEFAULT_WAITING_DAYS
}
