//! The audit log of this node. One writer puts records into one hash chain, many to a commit, and says that a record is
//! written only once it is durable.
//!
//! It never loses or reorders what it acknowledged, and it stops for ever rather than continue a chain that is not where it
//! left it. It decides nothing about what is recorded: a [`Draft`] says everything but the record's time and place.

mod batch;
mod draft;
mod error;
mod notes;
mod start;
mod verify;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use kms_client::{
    format::chain::ChainHash,
    id::{ChangeId, NodeId, RecordId},
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::Instrument as _;

use self::{batch::Entry, notes::Notes};
use crate::model::Clock;

pub use self::{
    draft::Draft,
    error::Error,
    verify::{ChainReport, Problem, Report, verify_chains},
};

/// How far this node's chain is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The node.
    pub node: NodeId,
    /// Its newest record.
    pub sequence: u64,
    /// The chain's hash after that record.
    pub hash: ChainHash,
}

/// Seals records. Clones share the one writer of this node.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: mpsc::UnboundedSender<Entry>,
    /// Records of control changes: whoever cut something does not wait for those who use keys.
    urgent: mpsc::UnboundedSender<Entry>,
    shared: Arc<Shared>,
}

/// What the writer and its callers share.
#[derive(Debug)]
struct Shared {
    /// One permit for each record that may wait to be written.
    room: Arc<Semaphore>,
    head: Mutex<ChainHead>,
    notes: Notes,
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Asked to write what is queued, and end.
    Stopping,
    /// Writes nothing any more.
    Stopped,
}

impl Audit {
    /// Appends these records, together and in this order, and answers their ids. They are durable then. If the caller goes
    /// away they may be written all the same.
    ///
    /// # Errors
    ///
    /// None of them may be taken as written: [`Error::Overloaded`] (none is), [`Error::TooLong`] (none is),
    /// [`Error::Unavailable`] (they may be in the log all the same), [`Error::Stopped`].
    pub async fn seal(&self, drafts: Vec<Draft>) -> Result<Vec<RecordId>, Error> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let count = u32::try_from(drafts.len()).map_err(|_| Error::Overloaded)?;
        let room = Arc::clone(&self.shared.room).try_acquire_many_owned(count).map_err(|_| Error::Overloaded)?;
        Self::submit(&self.queue, Entry::new(drafts, None, Some(room))).await
    }

    /// Appends the record of a committed control change and takes its intent away, in one transaction. It never is refused
    /// for load. After an error the writer keeps trying by itself, so the record is written once the database allows.
    ///
    /// # Errors
    ///
    /// [`Error::NoIntent`] if the intent is gone: the record is in a chain already. [`Error::Unavailable`],
    /// [`Error::TooLong`], [`Error::Stopped`].
    pub async fn seal_intent(&self, change: ChangeId, draft: Draft) -> Result<RecordId, Error> {
        let sealed = Self::submit(&self.urgent, Entry::new(vec![draft], Some(change), None)).await?;
        sealed.first().copied().ok_or(Error::Unavailable)
    }

    /// Records a refusal for load, rate, size or form, or before anybody was authenticated.
    ///
    /// Up to a rate each has a record of its own, durable when its id is returned. Beyond, and when the queue is full, it is
    /// only counted, by surface, action, outcome and reason, and `None` is returned; the counts are written as records each
    /// second and when the writer stops. A process that dies first loses the counts of that last second.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::TooLong`], [`Error::Stopped`].
    pub async fn note(&self, draft: Draft) -> Result<Option<RecordId>, Error> {
        if self.shared.notes.allows_one(self.shared.clock.boot()) {
            match self.seal(vec![draft.clone()]).await {
                Ok(sealed) => return Ok(sealed.first().copied()),
                Err(Error::Overloaded) => {}
                Err(error) => return Err(error),
            }
        }
        if *self.shared.state.borrow() == State::Stopped {
            return Err(Error::Stopped);
        }
        self.shared.notes.count(draft);
        Ok(None)
    }

    /// How far this node's chain is durable.
    #[must_use]
    pub fn head(&self) -> ChainHead {
        *self.shared.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued and a last record, closes the chain, and takes no more records. Call it when nothing more will
    /// be answered; a supervisor that stops does it a while later.
    pub async fn stop(&self) {
        self.shared.ask_to_stop();
        let mut state = self.shared.state.subscribe();
        // The sender lives as long as `self`, so this can only end by the value.
        let _closed = state.wait_for(|state| *state == State::Stopped).await;
    }

    async fn submit(queue: &mpsc::UnboundedSender<Entry>, mut entry: Entry) -> Result<Vec<RecordId>, Error> {
        let (done, written) = oneshot::channel();
        entry.done = Some(done);
        queue.send(entry).map_err(|_| Error::Stopped)?;
        let span = tracing::trace_span!(target: "keyward::trace", "audit.seal");
        written.instrument(span).await.map_err(|_| Error::Stopped)?
    }
}

impl Shared {
    fn ask_to_stop(&self) {
        self.state.send_if_modified(|state| {
            let running = *state == State::Running;
            if running {
                *state = State::Stopping;
            }
            running
        });
    }

    fn set_head(&self, head: ChainHead) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// The action of a chain's first record.
const NODE_START: &str = "node_start";
/// The action of the last record of a chain that ended in order.
const NODE_STOP: &str = "node_stop";
/// The actions that a node records of itself.
pub const NODE_ACTIONS: [&str; 2] = [NODE_START, NODE_STOP];
/// The most records that may wait to be written.
const ROOM: usize = 16_384;
