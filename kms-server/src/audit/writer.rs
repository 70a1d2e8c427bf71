//! The one writer of a node's chain. It takes all that queued while the last commit ran, writes it in one transaction that
//! moves the chain's head by compare-and-set, and only then tells whoever waits.
//!
//! When the answer to a commit is lost it reads the head: its own means written, the one before means to send the same bytes
//! again. Any other head means that somebody else writes this chain, and it stops for ever.

use std::{sync::Arc, time::Duration};

use kms_client::{
    format::chain::SignedHead,
    id::{ChangeId, RequestId},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{ChainHead, Draft, Error, NODE_STOP, Shared, State, batch::Chain, batch::Entry};
use crate::{
    crash_point,
    model::Ids,
    store::{self, CommitError},
    supervisor::Supervisor,
};

/// What the writer's task owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) chain: Chain,
    pub(super) connection: store::Writer,
    pub(super) queue: mpsc::UnboundedReceiver<Entry>,
    /// Records of control changes: each commit takes all there are, before anything else.
    pub(super) urgent: mpsc::UnboundedReceiver<Entry>,
    pub(super) shared: Arc<Shared>,
    pub(super) region: String,
    /// Heads whose commit may yet turn out to have happened; none is left after the next commit.
    pub(super) in_doubt: Vec<SignedHead>,
    /// Intents that could not be chained when they should have been.
    pub(super) owed: Vec<Entry>,
}

/// Why one attempt to commit a batch did not succeed.
#[derive(Debug)]
enum Failure {
    /// Nothing was written.
    Refused(store::Error),
    /// Nothing was written: this change has no intent.
    NoIntent(ChangeId),
    /// Nothing was written: the head is not where it was left.
    Elsewhere,
    /// It may have been written.
    Unknown(Option<sqlx::Error>),
}

/// What became of one batch.
#[derive(Debug)]
enum Sent {
    /// It is written.
    Durable,
    /// It is not written; nor will it be with the intent of this change, which is gone.
    NoIntent(ChangeId),
    /// It is not written: an earlier commit, whose answer was lost, came to pass and moved the head to here.
    Behind(SignedHead),
    /// It may not be taken as written.
    Refused(store::Error),
}

/// Another writer has the chain, or the chain cannot be continued. The writer must end.
#[derive(Debug)]
pub(super) struct Lost;

impl Writer {
    /// Writes until it is asked to stop and has written what was queued, or can write no more.
    pub(super) async fn run(mut self, supervisor: Supervisor) {
        let ended = self.serve(&supervisor).await;
        self.queue.close();
        self.urgent.close();
        self.shared.state.send_replace(State::Stopped);
        if let Ok(()) = ended {
            // To end before then is what the supervisor takes for a failure.
            supervisor.stopping().await;
        }
    }

    async fn serve(&mut self, supervisor: &Supervisor) -> Result<(), Lost> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let asked_to_stop = until_asked_to_stop(&shared, supervisor);
        tokio::pin!(asked_to_stop);
        let mut taken = Vec::with_capacity(MAX_RECORDS);
        loop {
            tokio::select! {
                received = self.queue.recv_many(&mut taken, MAX_RECORDS) => {
                    if received == 0 {
                        break;
                    }
                    self.write_all(&mut taken).await?;
                }
                Some(entry) = self.urgent.recv() => {
                    taken.push(entry);
                    self.write_all(&mut taken).await?;
                }
                _ = tick.tick() => self.catch_up().await?,
                () = &mut asked_to_stop => break,
            }
        }
        self.queue.close();
        self.urgent.close();
        while self.queue.recv_many(&mut taken, MAX_RECORDS).await > 0 {
            self.write_all(&mut taken).await?;
        }
        self.write_all(&mut taken).await?;
        self.catch_up().await?;
        self.close().await
    }

    /// Writes entries in batches of about [`MAX_RECORDS`], with every urgent one that comes meanwhile.
    pub(super) async fn write_all(&mut self, taken: &mut Vec<Entry>) -> Result<(), Lost> {
        let (mut batch, mut records) = (self.take_urgent(), 0_usize);
        for entry in taken.drain(..) {
            self.no_longer_owed(&entry);
            records = records.saturating_add(entry.rows.len());
            batch.push(entry);
            if records >= MAX_RECORDS {
                self.write(std::mem::take(&mut batch)).await?;
                batch = self.take_urgent();
                records = 0;
            }
        }
        self.write(batch).await
    }

    fn take_urgent(&mut self) -> Vec<Entry> {
        let mut urgent = Vec::new();
        while let Ok(entry) = self.urgent.try_recv() {
            self.no_longer_owed(&entry);
            urgent.push(entry);
        }
        urgent
    }

    /// Asked for again: whoever asks now is answered.
    fn no_longer_owed(&mut self, entry: &Entry) {
        if let Some(change) = entry.intent {
            self.owed.retain(|owed| owed.intent != Some(change));
        }
    }

    /// Writes what is due without anybody waiting: intents that are owed, and counts.
    async fn catch_up(&mut self) -> Result<(), Lost> {
        let owed = std::mem::take(&mut self.owed);
        if !owed.is_empty() {
            self.write(owed).await?;
        }
        for mut draft in self.shared.notes.take() {
            draft.request = RequestId::new(Ids.fresh(self.shared.clock.now()));
            if self.write_one(draft.clone()).await? == Sealed::No {
                self.shared.notes.count(draft);
            }
        }
        Ok(())
    }

    /// Writes the last record and closes the chain.
    async fn close(&mut self) -> Result<(), Lost> {
        let request = RequestId::new(Ids.fresh(self.shared.clock.now()));
        self.write_one(Draft::system(request, NODE_STOP, &self.region, 0)).await?;
        let closed = async {
            let mut tx = self.connection.begin().await?;
            tx.close_chain(self.chain.head.node).await?;
            tx.commit().await.map_err(Error::from)
        };
        let closed: Result<(), Error> = closed.await;
        if let Err(error) = closed {
            tracing::warn!(error = &error as &dyn std::error::Error, "the audit chain was not closed");
        }
        Ok(())
    }

    async fn write_one(&mut self, draft: Draft) -> Result<Sealed, Lost> {
        let (done, mut written) = oneshot::channel();
        let mut entry = Entry::new(vec![draft], None, None);
        entry.done = Some(done);
        self.write(vec![entry]).await?;
        Ok(if matches!(written.try_recv(), Ok(Ok(_))) { Sealed::Yes } else { Sealed::No })
    }

    /// Writes entries in one commit and tells each how it ended. Entries that the database will not have are found one by one.
    async fn write(&mut self, entries: Vec<Entry>) -> Result<(), Lost> {
        let Err((mut refused, error)) = self.write_together(entries).await? else { return Ok(()) };
        if refused.len() > 1 && !error.is_transient() {
            for entry in refused {
                if let Err((refused, error)) = self.write_together(vec![entry]).await? {
                    self.give_up(refused, &error);
                }
            }
            return Ok(());
        }
        self.give_up(std::mem::take(&mut refused), &error);
        Ok(())
    }

    /// Writes entries in one commit, through everything that can be cleared up. What remains comes back, with the reason.
    async fn write_together(
        &mut self,
        mut entries: Vec<Entry>,
    ) -> Result<Result<(), (Vec<Entry>, store::Error)>, Lost> {
        loop {
            let placed = self.chain.extend(&mut entries, self.shared.clock.now());
            let Some(head) = placed.map_err(|_| Lost)? else { return Ok(Ok(())) };
            match self.send(&entries, head).await? {
                Sent::Durable => {
                    self.release(entries, head);
                    return Ok(Ok(()));
                }
                Sent::NoIntent(change) => entries.retain_mut(|entry| !entry.fail_without_intent(change)),
                Sent::Behind(earlier) => self.settle(earlier),
                Sent::Refused(error) => return Ok(Err((entries, error))),
            }
        }
    }

    /// Sends one batch, the same bytes again if need be, until its outcome is known or cannot be learnt.
    async fn send(&mut self, entries: &[Entry], head: SignedHead) -> Result<Sent, Lost> {
        for _ in 0..SENDS {
            match self.attempt(entries, &head).await {
                Ok(()) => return Ok(Sent::Durable),
                Err(Failure::NoIntent(change)) => return Ok(Sent::NoIntent(change)),
                Err(Failure::Refused(error)) => {
                    self.connection.discard();
                    return Ok(Sent::Refused(error));
                }
                Err(Failure::Unknown(error)) => {
                    let error = error.as_ref().map(|error| error as &dyn std::error::Error);
                    tracing::warn!(error, "the outcome of an audit commit is not known");
                    self.in_doubt.push(head);
                }
                Err(Failure::Elsewhere) => {}
            }
            let found = match self.find_head().await {
                Ok(found) => found,
                Err(error) => return Ok(Sent::Refused(error)),
            };
            if found == head {
                return Ok(Sent::Durable);
            }
            if self.in_doubt.contains(&found) {
                return Ok(Sent::Behind(found));
            }
            if (found.sequence, found.hash) != (self.chain.head.sequence, self.chain.head.hash) {
                return Err(self.lost(found));
            }
        }
        Ok(Sent::Refused(store::Error::TimedOut))
    }

    async fn attempt(&mut self, entries: &[Entry], head: &SignedHead) -> Result<(), Failure> {
        let started = self.shared.clock.boot();
        let written = timeout(WRITE_TIMEOUT, transact(&mut self.connection, &self.chain, entries, head)).await;
        let written = written.unwrap_or(Err(Failure::Unknown(None)));
        if let Err(Failure::Unknown(_)) = &written {
            self.connection.discard();
        }
        let elapsed = self.shared.clock.boot().saturating_sub(started);
        metrics::histogram!("keyward_audit_commit_seconds").record(elapsed.as_secs_f64());
        written
    }

    /// Where the database says the chain is.
    async fn find_head(&mut self) -> Result<SignedHead, store::Error> {
        let found = async {
            let mut tx = self.connection.begin().await?;
            let chain = tx.chain(self.chain.head.node).await?;
            tx.rollback().await?;
            chain.map(|chain| chain.chain.head).ok_or(store::Error::Corrupt("audit_chains.node"))
        };
        let found = timeout(WRITE_TIMEOUT, found).await.unwrap_or(Err(store::Error::TimedOut));
        found.inspect_err(|_| self.connection.discard())
    }

    fn release(&mut self, entries: Vec<Entry>, head: SignedHead) {
        self.settle(head);
        let records: usize = entries.iter().map(|entry| entry.rows.len()).sum();
        metrics::counter!("keyward_audit_records_total").increment(u64::try_from(records).unwrap_or(u64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a batch has a few thousand records at most")]
        metrics::histogram!("keyward_audit_batch_records").record(records as f64);
        entries.into_iter().for_each(Entry::release);
    }

    /// The chain is durable up to this head: whatever was in doubt is so no longer.
    fn settle(&mut self, head: SignedHead) {
        self.chain.head = ChainHead { node: self.chain.head.node, sequence: head.sequence, hash: head.hash };
        self.in_doubt.clear();
        self.shared.set_head(self.chain.head);
    }

    fn give_up(&mut self, entries: Vec<Entry>, error: &store::Error) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            entries = entries.len(),
            "audit records were not written"
        );
        metrics::counter!("keyward_audit_failures_total").increment(1);
        for mut entry in entries {
            entry.fail(Error::Unavailable);
            if entry.intent.is_some() {
                self.owed.push(entry);
            }
        }
    }

    fn lost(&self, found: SignedHead) -> Lost {
        tracing::error!(
            chain.left_at = self.chain.head.sequence,
            chain.found_at = found.sequence,
            "ALARM: the audit chain is not where this node left it; nothing more is recorded or answered"
        );
        Lost
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However it ended, a panic included: nobody waits for it any longer.
        self.shared.state.send_replace(State::Stopped);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sealed {
    Yes,
    No,
}

/// One transaction: the intents go, the head moves, the records come.
async fn transact(
    connection: &mut store::Writer,
    chain: &Chain,
    entries: &[Entry],
    head: &SignedHead,
) -> Result<(), Failure> {
    let mut tx = connection.begin().await?;
    // The head goes first: a commit of ours that is still under way holds it, so this waits for its end.
    if !tx.advance_chain(chain.head.node, (chain.head.sequence, chain.head.hash), head).await? {
        return Err(Failure::Elsewhere);
    }
    for change in entries.iter().filter_map(|entry| entry.intent) {
        if !tx.delete_intent(change).await? {
            return Err(Failure::NoIntent(change));
        }
    }
    let rows: Vec<_> = entries.iter().flat_map(|entry| &entry.rows).collect();
    tx.append_records(chain.number, &rows).await?;
    crash_point!("audit.before_commit");
    tx.commit().await.map_err(|error| match error {
        CommitError::Refused(error) => Failure::Refused(error),
        CommitError::Unknown(error) => Failure::Unknown(Some(error)),
    })?;
    crash_point!("audit.committed");
    Ok(())
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Refused(error)
    }
}

/// Resolves when somebody asks the writer to stop, or a while after the server began to: what it has begun to answer needs
/// its records.
async fn until_asked_to_stop(shared: &Shared, supervisor: &Supervisor) {
    let mut state = shared.state.subscribe();
    tokio::select! {
        _closed = state.wait_for(|state| *state != State::Running) => return,
        () = supervisor.stopping() => {}
    }
    let _elapsed = timeout(GRACE, state.wait_for(|state| *state != State::Running)).await;
}

/// About how many records one commit holds at most.
const MAX_RECORDS: usize = 1_024;
/// How often one batch is sent while its outcome is not known.
const SENDS: usize = 3;
/// How often counts are written, and owed intents tried again.
const TICK: Duration = Duration::from_secs(1);
/// How long a commit may take until its outcome counts as not known.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the writer outlives the order to stop while others still hold it.
const GRACE: Duration = Duration::from_secs(10);
