//! From one snapshot to the next: what was committed, here or by another node, is found genuine, derived and put in force.
//! Nothing here calls the HSM, and readers never wait.

use std::sync::{PoisonError, atomic::Ordering};

use super::{Cluster, LoadError, ledger::Ledger, load::check_entry, snapshot::Snapshot};
use crate::{
    model::{Error, Revision, Row},
    store::Store,
};

/// How many changes are read at a time.
const PAGE: u32 = 100;

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Applies and drains what was committed since the snapshot in force.
    pub(super) async fn catch_up(&self, store: &Store) -> Result<(), LoadError> {
        // The connection first: nobody waits here for another's. What it sees is of the moment of the first question.
        let mut tx = store.read().await?;
        let _following = self.following.lock().await;
        loop {
            let snapshot = self.snapshot();
            let entries = tx.changes_after(snapshot.revision, PAGE).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let snapshot = self.snapshot();
                if entry.revision <= snapshot.revision {
                    continue; // This node made it, and was quicker.
                }
                check_entry(&self.row_key, &entry, (snapshot.revision, snapshot.hash))?;
                let rows: Vec<Row> = serde_json::from_str(&entry.rows).map_err(|_| LoadError::Altered {
                    what: "an entry's rows cannot be read",
                    revision: entry.revision,
                })?;
                let mut ledger = snapshot.ledger.clone();
                for row in &rows {
                    ledger.make(&self.row_key, row, entry.revision)?;
                }
                self.install(snapshot.revision, &rows, (entry.revision, entry.hash), &ledger)?;
            }
        }
        drop(tx);
        self.in_doubt.store(false, Ordering::SeqCst);
        self.drain().await;
        Ok(())
    }

    /// Puts the snapshot after `base` in force, unless that is done already.
    pub(super) fn install(
        &self,
        base: Revision,
        rows: &[Row],
        (revision, hash): (Revision, [u8; 32]),
        ledger: &Ledger,
    ) -> Result<(), LoadError> {
        let _one_at_a_time = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let older = self.snapshot();
        if older.revision != base {
            return Ok(());
        }
        let mut state = older.state.clone();
        for row in rows {
            state.put(row.clone());
        }
        let derived = (self.derive)(Some(&older.derived), &state).inspect_err(|_: &Error| {
            // Without what policy needs there is no newer snapshot, and the older one is no longer true.
            self.in_doubt.store(true, Ordering::SeqCst);
        })?;
        (self.observe)(&state, rows);
        self.epochs.replace(Snapshot { revision, hash, state, derived, ledger: ledger.clone() });
        metrics::counter!("keyward_control_revision").absolute(revision.0);
        Ok(())
    }

    /// Waits until nothing leaves this node any more under a snapshot older than the one in force now.
    pub(super) async fn drain(&self) {
        let revision = self.snapshot().revision;
        self.epochs.drained().await;
        self.drained.send_if_modified(|drained| {
            let newer = revision > *drained;
            if newer {
                *drained = revision;
            }
            newer
        });
    }
}
