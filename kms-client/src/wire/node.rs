//! The nodes of an installation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name::Region, receipt::Revision};
use crate::id::{NodeId, RecordId};

/// One node that changes wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    /// Its id, new at every start.
    pub id: NodeId,
    /// Server, or a command on a host.
    pub kind: NodeKind,
    /// Where it listens, as its configuration says; empty for a host command.
    pub address: String,
    /// Where it runs.
    pub region: Region,
    /// The version of its program.
    pub version: String,
    /// When it joined.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub joined_at: Timestamp,
    /// The newest revision that it has applied, and under whose elders nothing leaves it any more, when it last renewed.
    pub revision: Revision,
    /// Its lease, as the answering node sees it.
    pub lease: LeaseState,
    /// How long ago, by the answering node's own clock, it was last seen to renew its lease.
    pub silent_milliseconds: u64,
}

/// What kind of process a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NodeKind {
    /// It answers, so changes wait for it.
    Server,
    /// It answers nobody.
    Host,
}

/// What is known of a node's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LeaseState {
    /// It renewed within the lease.
    Held,
    /// It has been silent for a whole lease, and answers nothing until it is heard from again.
    Ended,
}

/// All nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeList {
    /// How long a change waits for a node that says nothing.
    pub lease_milliseconds: u64,
    /// The nodes, ordered by id.
    pub nodes: Vec<Node>,
    /// The audit record of this answer.
    pub record: RecordId,
}
