//! Control state in force on this node: one immutable snapshot at one revision, and the way to the next.
//!
//! A change is committed first, then applied here, then drained, then remembered outside the database, and only then
//! acknowledged. This module decides nothing about whether a change may be made, and never calls the HSM to make one.

mod anchor;
mod authentication;
mod commit;
mod deletion;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod load;
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
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::{
    anchor::{Anchor, AnchorFile, AnchorToken, AuditHead, Remembered, TOKEN_LABEL as ANCHOR_LABEL},
    authentication::RowKey,
    commit::{CommitError, Committed, Proposal},
    load::LoadError,
    receipt::{Receipt, ReceiptNode},
    secrets::{SecretLabel, SecretsError, SystemSecrets},
    snapshot::{SECTION_GRACE, Section, Snapshot},
};
use self::{authentication::RowSum, snapshot::Epochs, time::ClusterTime};
use crate::{
    model::{Clock, ControlState, Error, Refusal, RowKind},
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
    /// What policy derives from a state, from what it derived from the one before.
    pub derive: Derive<D>,
    /// Hears of each snapshot before it is in force.
    pub observe: Observe,
    /// What is remembered outside the database.
    pub anchor: Anchor,
}

/// Derives what policy needs from a newer state.
pub type Derive<D> = Box<dyn Fn(Option<&D>, &ControlState) -> Result<D, Error> + Send + Sync>;
/// Hears of a state that is about to be in force.
pub type Observe = Box<dyn Fn(&ControlState) + Send + Sync>;

/// Control state in force on this node.
pub struct Cluster<D> {
    store: Store,
    row_key: RowKey,
    time: ClusterTime,
    node: NodeId,
    derive: Derive<D>,
    observe: Observe,
    anchor: Anchor,
    epochs: Epochs<D>,
    /// What only the maker of the next change needs. Its lock is held from the first look to the acknowledgement.
    ledger: Mutex<Ledger>,
    /// Set while a commit's outcome is not known: the database may be ahead of the snapshot, so nothing may leave.
    in_doubt: AtomicBool,
    /// Changes that are or may be committed and whose records this node has not chained.
    unsealed: std::sync::Mutex<Vec<ChangeId>>,
    /// When, by the monotonic clock, this node last added to the watch over a key that waits for its destruction.
    watched: Mutex<HashMap<KeyId, Duration>>,
}

/// The tag of every row, and their sum.
#[derive(Debug)]
struct Ledger {
    tags: HashMap<(RowKind, Uuid), [u8; 32]>,
    sum: RowSum,
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
        if self.in_doubt.load(Ordering::SeqCst) {
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
        !self.in_doubt.load(Ordering::SeqCst)
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
