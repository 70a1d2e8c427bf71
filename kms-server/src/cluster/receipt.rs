//! What the maker of a change gets: the proof that it is in force.

use jiff::Timestamp;
use kms_client::id::{ChangeId, NodeId};
use serde::{Deserialize, Serialize};

use crate::model::Revision;

/// The proof that a change is in force: who has applied it, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The change.
    pub change_id: ChangeId,
    /// The revision it became.
    pub revision: Revision,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Every node that was a member then.
    pub nodes: Vec<ReceiptNode>,
}

/// One node's part in a receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptNode {
    /// The node.
    pub node: NodeId,
    /// Whether it applied and drained the change, or its lease ran out.
    pub acknowledged: bool,
    /// Milliseconds from the commit until then.
    pub milliseconds: f64,
}
