//! What a control change answers once no node serves the old rule any more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ChangeId, NodeId};

/// The number of the newest control change: commit order is revision order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = u64))]
pub struct Revision(u64);

impl Revision {
    /// The revision of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The revision of the next change.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The proof that a control change is in force: a request that arrives after this answer never succeeds under the old
/// rule, on any node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// The change, chosen before it was committed.
    pub change_id: ChangeId,
    /// The revision that the change made.
    pub revision: Revision,
    /// When the change was committed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub committed_at: Timestamp,
    /// Each node that was serving, and how it came to serve the change.
    pub nodes: Vec<NodeReceipt>,
}

/// How one node came to serve a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeReceipt {
    /// The node.
    pub node: NodeId,
    /// How it came to serve the change, or stopped serving.
    pub outcome: NodeOutcome,
    /// How long that took after the commit.
    pub milliseconds: u64,
}

/// How a node came to serve no older rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NodeOutcome {
    /// The node applied the change, and no answer under an older rule was still leaving it.
    Acknowledged,
    /// The node did not answer; its lease ran out, without which it serves nothing.
    Expired,
}
