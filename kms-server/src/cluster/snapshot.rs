//! What is in force at one revision, and the release sections of answers given under it.
//!
//! A *release section* lasts from the last look at the snapshot until the answer's bytes are in the kernel. A change
//! is drained once no section of an older snapshot is open any more: from then on nothing leaves this node under the
//! old rules.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::ledger::Ledger;
use crate::model::{ControlState, Revision};

/// How long an open section may hold up a waiting change before its connection is aborted.
pub const SECTION_GRACE: Duration = Duration::from_millis(50);

/// Control state at one revision, with what policy derived from it. Never changes; a newer one takes its place.
#[derive(Debug)]
pub struct Snapshot<D> {
    /// The newest change in it.
    pub revision: Revision,
    /// The hash of that change's entry in the history.
    pub hash: [u8; 32],
    /// The objects.
    pub state: ControlState,
    /// What policy prepared from them.
    pub derived: D,
    /// What authenticates them.
    pub(super) ledger: Ledger,
}

#[cfg(test)]
impl<D> Snapshot<D> {
    /// One of this state that no database holds.
    pub(crate) fn of(state: ControlState, derived: D) -> Self {
        Self { revision: Revision(1), hash: [0; 32], state, derived, ledger: Ledger::default() }
    }
}

/// One snapshot and the sections that are open under it.
struct Epoch<D> {
    snapshot: Arc<Snapshot<D>>,
    open: AtomicUsize,
    emptied: Notify,
    closing: watch::Sender<bool>,
}

/// The snapshot in force, and the way to replace it.
pub(super) struct Epochs<D> {
    current: ArcSwap<Epoch<D>>,
    /// Those that were in force before, and may have open sections.
    older: Mutex<Vec<Arc<Epoch<D>>>>,
}

/// An open release section. While it lives, no change is acknowledged that its snapshot does not contain.
pub struct Section<D> {
    epoch: Arc<Epoch<D>>,
}

impl<D> Epochs<D> {
    pub(super) fn new(snapshot: Snapshot<D>) -> Self {
        Self { current: ArcSwap::from_pointee(Epoch::new(Arc::new(snapshot))), older: Mutex::default() }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot<D>> {
        Arc::clone(&self.current.load().snapshot)
    }

    /// Opens a section, *then* reads the snapshot.
    ///
    /// INVARIANT: a section counts in the epoch that was current after it was counted. Counting first and looking
    /// again closes the race with a replacement: either the replacement sees the count, or we see the replacement.
    pub(super) fn enter(&self) -> Section<D> {
        loop {
            let epoch = self.current.load_full();
            epoch.open.fetch_add(1, Ordering::SeqCst);
            let section = Section { epoch };
            if Arc::ptr_eq(&section.epoch, &self.current.load()) {
                return section;
            }
        }
    }

    /// Puts a newer snapshot in force.
    pub(super) fn replace(&self, snapshot: Snapshot<D>) {
        self.turn(Arc::new(snapshot));
    }

    /// Leaves the snapshot in force, and hurries the sections that are open under it as if there were a newer one.
    pub(super) fn turn_over(&self) {
        self.turn(self.snapshot());
    }

    /// Resolves once no section is open that was opened before the last [`Epochs::replace`] or [`Epochs::turn_over`] before
    /// the call.
    pub(super) async fn drained(&self) {
        let older = self.older.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for epoch in &older {
            epoch.emptied().await;
        }
        // INVARIANT: a section that is counted in an epoch after it was replaced is given up at once, so one that was seen
        // empty stays so in all that matters.
        let done = |epoch: &Arc<Epoch<D>>| older.iter().any(|other| Arc::ptr_eq(epoch, other));
        self.older.lock().unwrap_or_else(PoisonError::into_inner).retain(|epoch| !done(epoch));
    }

    fn turn(&self, snapshot: Arc<Snapshot<D>>) {
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = self.current.swap(Arc::new(Epoch::new(snapshot)));
        replaced.closing.send_replace(true);
        older.push(replaced);
    }
}

impl<D> Epoch<D> {
    fn new(snapshot: Arc<Snapshot<D>>) -> Self {
        Self { snapshot, open: AtomicUsize::new(0), emptied: Notify::new(), closing: watch::Sender::new(false) }
    }

    /// Resolves once no section is open.
    async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Listen before looking, so that a section that ends in between is not missed.
            emptied.as_mut().enable();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl<D> Section<D> {
    /// The snapshot under which the section was opened.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot<D>> {
        &self.epoch.snapshot
    }

    /// Resolves when the section may last no longer: a change has waited for it for [`SECTION_GRACE`].
    pub fn overdue(&self) -> impl Future<Output = ()> + Send + Sync + use<D> {
        let mut closing = self.epoch.closing.subscribe();
        async move {
            // A lost sender means that nobody waits for the section any more, which is no reason to hurry.
            if closing.wait_for(|closing| *closing).await.is_err() {
                std::future::pending::<()>().await;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a bound on somebody else's slowness, not a wait for an event"
            )]
            tokio::time::sleep(SECTION_GRACE).await;
        }
    }
}

impl<D> Drop for Section<D> {
    fn drop(&mut self) {
        if self.epoch.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.epoch.emptied.notify_waiters();
        }
    }
}

impl<D> fmt::Debug for Section<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("revision", &self.epoch.snapshot.revision).finish()
    }
}

impl<D> fmt::Debug for Epochs<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("revision", &self.current.load().snapshot.revision).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn snapshot(revision: u64) -> Snapshot<()> {
        Snapshot {
            revision: Revision(revision),
            hash: [0; 32],
            state: ControlState::default(),
            derived: (),
            ledger: Ledger::default(),
        }
    }

    #[test]
    fn a_replacement_is_drained_only_when_older_sections_ended() {
        let epochs = Epochs::new(snapshot(1));
        let (first, second) = (epochs.enter(), epochs.enter());
        epochs.replace(snapshot(2));
        let mut drained = Box::pin(epochs.drained());
        let newer = epochs.enter();
        assert_eq!(newer.snapshot().revision, Revision(2));
        drop(first);
        assert!(drained.as_mut().now_or_never().is_none(), "one older section is still open");
        drop(second);
        assert!(drained.as_mut().now_or_never().is_some(), "a newer section holds nothing up");
    }

    #[test]
    fn a_turn_over_hurries_sections_and_keeps_the_snapshot() {
        let epochs = Epochs::new(snapshot(1));
        let section = epochs.enter();
        epochs.turn_over();
        let mut drained = Box::pin(epochs.drained());
        assert!(drained.as_mut().now_or_never().is_none(), "a section is still open");
        assert_eq!(epochs.enter().snapshot().revision, Revision(1));
        drop(section);
        assert!(drained.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_section_is_overdue_only_after_a_change_waited_for_the_grace() {
        let epochs = Epochs::new(snapshot(1));
        let section = epochs.enter();
        let overdue = section.overdue();
        tokio::pin!(overdue);
        assert!(tokio::time::timeout(SECTION_GRACE * 100, &mut overdue).await.is_err(), "no change waits");
        epochs.replace(snapshot(2));
        assert!(tokio::time::timeout(SECTION_GRACE / 2, &mut overdue).await.is_err(), "the grace has not passed");
        assert!(tokio::time::timeout(SECTION_GRACE, &mut overdue).await.is_ok());
    }
}
