//! The installation itself, and the revision that numbers its changes.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of the newest control change, from 1; 0 before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is decided once, when an installation is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// Its identity, authenticated with every wrapped secret.
    pub id: Uuid,
    /// Declared to be run by one person: nothing then waits for a second, and every report says so.
    pub solo: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a database older than what was remembered was last accepted.
    #[serde(default)]
    pub accepted_at: Option<Timestamp>,
    /// The newest change that touched this row.
    pub revision: Revision,
}

impl Installation {
    /// The fewest persons who must remain able to administer.
    #[must_use]
    pub const fn administrators_needed(&self) -> usize {
        if self.solo { 1 } else { 2 }
    }
}
