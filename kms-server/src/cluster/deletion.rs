//! The waiting period before a destruction, as it was really observed. A clock that jumps ahead, or a database that was
//! edited or put back, must not destroy a key: what counts is time that passed on the monotonic clock of a running node.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Cluster, authentication::same};
use crate::{
    model::{Error, Key},
    store::DeletionWatch,
};

/// For so long a watch is the node's that last kept it; then another node may go on.
const KEPT: SignedDuration = SignedDuration::from_mins(5);

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Adds to the watch over a key that waits for its destruction what passed since this node last did. Answers whether
    /// the waiting period was observed to its end and is over by cluster time too.
    ///
    /// # Errors
    ///
    /// That of the database; what passed since the last time is then not counted.
    pub async fn watch_deletion(&self, key: &Key) -> Result<bool, Error> {
        let Some(deletion) = &key.deletion else { return Ok(false) };
        // One at a time, or what one of two at once observes would be lost.
        let mut watched = self.watched.lock().await;
        let (boot, now) = (self.time.boot(), self.now());
        let last_seen = watched.remove(&key.id);
        let accepted = self.snapshot().state.installation().map(|installation| installation.revision);
        // In what was lost with an older database the deletion may have been cancelled, so the wait begins anew.
        let basis = accepted.map_or(deletion.scheduled, |accepted| accepted.max(deletion.scheduled));
        let mut tx = self.store.begin().await?;
        let stored = tx.deletion_watch(key.id).await?;
        let kept = stored.as_ref().filter(|kept| kept.basis == basis && same(&kept.mac, &self.watch_tag(kept)));
        let observed = match kept {
            Some(kept) if kept.node == self.node => {
                kept.observed.saturating_add(last_seen.map_or(Duration::ZERO, |last| boot.saturating_sub(last)))
            }
            Some(kept) if now.duration_since(kept.seen_at) < KEPT => return Ok(false),
            Some(kept) => kept.observed,
            None => Duration::ZERO,
        };
        // Whole microseconds, as they are stored.
        let observed = Duration::from_micros(u64::try_from(observed.as_micros()).unwrap_or(u64::MAX));
        let mut watch = DeletionWatch { key: key.id, basis, node: self.node, observed, seen_at: now, mac: [0; 32] };
        watch.mac = self.watch_tag(&watch);
        if !tx.put_deletion_watch(&watch, stored.as_ref().map(|stored| &stored.mac)).await? {
            return Ok(false);
        }
        tx.commit().await?;
        watched.insert(key.id, boot);
        let waited = SignedDuration::try_from(observed).unwrap_or(SignedDuration::MAX) >= deletion.waiting();
        if deletion.due_at() <= now && !waited {
            let hours = observed.as_secs() / 3_600;
            tracing::debug!(key.id = %key.id, deletion.observed_hours = hours, "due by the clock, but not yet observed");
        }
        Ok(waited && deletion.due_at() <= now)
    }

    fn watch_tag(&self, watch: &DeletionWatch) -> [u8; 32] {
        self.row_key.deletion_watch(watch.key, watch.basis, watch.node, watch.observed)
    }
}
