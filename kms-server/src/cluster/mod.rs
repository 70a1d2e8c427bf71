//! Control state in force on this node: one immutable snapshot at one revision, the way to the next, and the protocol by which
//! every node has left the older one behind when a change is acknowledged.
//!
//! A change is committed first, then applied and drained, here and on every other node, then remembered outside the database,
//! and only then acknowledged. A node that says nothing is waited for until its lease is surely over: it renews the lease by
//! a committed write that returns the newest revision, and a renewal counts only once that revision is applied and drained.
//! `keeper.rs` renews, follows and shuts the gate; `receipt.rs` waits for the others; `tests/revocation-model` holds the
//! rules to all orders of events that a small world can have.
//!
//! This module decides nothing about whether a change may be made, and never calls the HSM to make one.

mod anchor;
mod apply;
mod authentication;
mod commit;
mod deletion;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keeper;
mod kill_timer;
mod lease;
mod ledger;
mod load;
mod membership;
mod objects;
mod receipt;
mod secrets;
mod snapshot;
mod time;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use kms_client::id::{ChangeId, KeyId, NodeId};
use tokio::sync::{Mutex, Notify, watch};

pub use self::{
    anchor::{Anchor, AnchorFile, AnchorToken, AuditHead, Remembered, TOKEN_LABEL as ANCHOR_LABEL},
    authentication::RowKey,
    commit::{CommitError, Committed, Proposal},
    kill_timer::Arming,
    lease::{LONGEST_LEASE, LeaseTerms, SHORTEST_LEASE},
    load::LoadError,
    membership::{JoinError, Joining, SeenNode},
    receipt::{Receipt, ReceiptNode},
    secrets::{SecretLabel, SecretsError, SystemSecrets},
    snapshot::{SECTION_GRACE, Section, Snapshot},
};
use self::{lease::Lease, membership::Silence, snapshot::Epochs, time::ClusterTime};
use crate::{
    model::{Clock, ControlState, Error, Refusal, Revision, Row},
    store::Store,
};

/// What a cluster is given by whoever builds the server.
pub struct Parts<D> {
    /// The database.
    pub store: Store,
    /// The key under which control state is authenticated.
    pub row_key: RowKey,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// This run of this process.
    pub node: NodeId,
    /// What it is to the others; `None`: one that only reads.
    pub joining: Option<Joining>,
    /// What policy derives from a state, from what it derived from the one before.
    pub derive: Derive<D>,
    /// Hears of each snapshot before it is in force.
    pub observe: Observe,
    /// What is remembered outside the database.
    pub anchor: Anchor,
}

/// Derives what policy needs from a newer state.
pub type Derive<D> = Box<dyn Fn(Option<&D>, &ControlState) -> Result<D, Error> + Send + Sync>;
/// Hears of a state that is about to be in force, and of the rows that are new in it; of none at the start. It calls no HSM.
pub type Observe = Box<dyn Fn(&ControlState, &[Row]) + Send + Sync>;

/// Control state in force on this node.
pub struct Cluster<D> {
    store: Store,
    row_key: RowKey,
    time: ClusterTime,
    node: NodeId,
    joining: Option<Joining>,
    derive: Derive<D>,
    observe: Observe,
    anchor: Anchor,
    epochs: Epochs<D>,
    lease: Lease,
    /// This node's changes are made one after the other.
    making: Mutex<()>,
    /// What is committed is read by one at a time.
    following: Mutex<()>,
    /// A snapshot is derived and put in force by one at a time; held for that only.
    installing: std::sync::Mutex<()>,
    /// Since when which member has been silent.
    silence: std::sync::Mutex<Silence>,
    /// The newest revision that is applied and drained here.
    drained: watch::Sender<Revision>,
    /// Moves whenever some member may have applied a change.
    heard: watch::Sender<()>,
    /// Moves whenever a renewal has counted.
    renewed: watch::Sender<()>,
    /// The lease is wanted now.
    wanted: Notify,
    /// Set while a commit's outcome is not known: the database may be ahead of the snapshot, so nothing may leave.
    in_doubt: AtomicBool,
    /// Set for good when the database has taken another course than this node.
    diverged: watch::Sender<bool>,
    /// Changes that are or may be committed and whose records this node has not chained.
    unsealed: std::sync::Mutex<Vec<ChangeId>>,
    /// When, by the monotonic clock, this node last added to the watch over a key that waits for its destruction.
    watched: Mutex<HashMap<KeyId, Duration>>,
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot<D>> {
        self.epochs.snapshot()
    }

    /// Opens a release section, then reads the snapshot.
    ///
    /// # Errors
    ///
    /// `lease_lost` while this node cannot know that its snapshot is the newest.
    pub fn enter(&self) -> Result<Section<D>, Error> {
        let section = self.epochs.enter();
        if !self.is_serving() {
            self.wanted.notify_one();
            return Err(Error::unavailable(Refusal::LeaseLost, "this node does not know the newest control state now"));
        }
        Ok(section)
    }

    /// Cluster time: what must depend on time depends on this. It never goes back.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// This run of this process.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Leaves a change to [`Cluster::take_unsealed`].
    pub fn leave_unsealed(&self, change: ChangeId) {
        self.unsealed.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    /// The changes that are or may be committed and whose records this node has not chained; each is handed out once.
    pub fn take_unsealed(&self) -> Vec<ChangeId> {
        std::mem::take(&mut *self.unsealed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether answers may leave now.
    pub fn is_serving(&self) -> bool {
        !self.in_doubt.load(Ordering::SeqCst) && self.lease.holds()
    }

    /// Whether the outcome of a commit is not known.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::SeqCst)
    }

    /// Resolves once this node may answer: its lease is renewed at once if it does not hold.
    pub async fn until_serving(&self) {
        let mut renewed = self.renewed.subscribe();
        while !self.is_serving() {
            self.wanted.notify_one();
            // The sender lives as long as `self`.
            let _closed = renewed.changed().await;
        }
    }

    /// Resolves when the database has taken another course than this node: whatever it says then is not to be served.
    pub async fn diverged(&self) {
        let mut diverged = self.diverged.subscribe();
        // The sender lives as long as `self`, so this can only end by the value.
        let _closed = diverged.wait_for(|diverged| *diverged).await;
    }

    /// The terms of every node's lease.
    pub fn lease_terms(&self) -> LeaseTerms {
        self.lease.terms
    }
}

impl<D> fmt::Debug for Cluster<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).field("epochs", &self.epochs).finish_non_exhaustive()
    }
}

impl<D> fmt::Debug for Parts<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("node", &self.node).finish_non_exhaustive()
    }
}
