//! From the database into memory, believing nothing that is not authenticated.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, watch};

use super::{
    Cluster, JoinError, Parts,
    authentication::{HistoryEntry, RowKey, same},
    lease::Lease,
    ledger::Ledger,
    membership,
    snapshot::{Epochs, Snapshot},
    time::ClusterTime,
};
use crate::{
    model::{self, Change, ControlState, Operation, Revision, Row},
    store::{self, ControlChange, Head, StoredRow, Tx},
};

/// How often the host made or reinstated an administrator, ever.
const RECOVERIES: &str = "keyward_admin_recoveries_total";
/// How many entries of the history are read at a time.
const PAGE: u32 = 1000;
/// How often control state is read before it is believed to be older than what is remembered.
const LOOKS: u32 = 3;

/// Why control state cannot be taken from the database.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// This node cannot be a member.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Something in the database is not what a node of this installation wrote.
    #[error("the control state in the database was altered: {what} (revision {revision})")]
    Altered {
        /// What is wrong.
        what: &'static str,
        /// Where.
        revision: Revision,
    },
    /// The database is older than what this host or token remembers, or has taken another course since.
    #[error(
        "the database is at revision {database}, but the {place} remembers {remembered}{}: it is an older copy. \
         Restore a newer one, or accept this one with `kms-server accept-database --config FILE --reason TEXT`",
        if *forked { " with another history" } else { "" }
    )]
    Older {
        /// The database's revision.
        database: Revision,
        /// The revision remembered.
        remembered: Revision,
        /// What remembers it.
        place: &'static str,
        /// Whether the histories differ at the same revision.
        forked: bool,
    },
    /// The audit log is shorter than what this host or token remembers.
    #[error(
        "the audit log in the database ends before what the {place} remembers: it is an older copy. \
         Restore a newer one, or accept this one with `kms-server accept-database --config FILE --reason TEXT`"
    )]
    LogShorter {
        /// What remembers it.
        place: &'static str,
    },
    /// What is remembered cannot be read.
    #[error("{0}")]
    Anchor(String),
    /// Policy cannot work with the state.
    #[error(transparent)]
    Derive(#[from] model::Error),
}

/// Everything read and found genuine.
struct Loaded {
    head: Head,
    state: ControlState,
    ledger: Ledger,
}

impl<D: Send + Sync + 'static> Cluster<D> {
    /// Loads control state, authenticates it, and compares it with what is remembered outside the database.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; nothing is then served.
    pub async fn load(parts: Parts<D>) -> Result<Self, LoadError> {
        Self::load_with(parts, true).await
    }

    /// Loads without comparing, for the host command that accepts an older database.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn load_unremembered(parts: Parts<D>) -> Result<Self, LoadError> {
        Self::load_with(parts, false).await
    }

    /// Joins, and only then reads: see `membership.rs`.
    async fn load_with(parts: Parts<D>, compare: bool) -> Result<Self, LoadError> {
        let Some(joining) = &parts.joining else { return Box::pin(Self::load_joined(parts, compare)).await };
        membership::join(&parts.store, parts.node, joining, parts.clock.now()).await?;
        let (store, node) = (parts.store.clone(), parts.node);
        let loaded = Box::pin(Self::load_joined(parts, compare)).await;
        if loaded.is_err() {
            // It answers nobody, so it need not be waited for.
            let _left = membership::leave(&store, node).await;
        }
        loaded
    }

    async fn load_joined(parts: Parts<D>, compare: bool) -> Result<Self, LoadError> {
        let mut looks = 0;
        let (loaded, time) = loop {
            let mut tx = parts.store.read().await?;
            let loaded = load(&mut tx, &parts.row_key).await?;
            let compared = if compare {
                parts.anchor.compare(&mut tx, &parts.row_key, loaded.head.revision).await
            } else {
                Ok(())
            };
            looks += 1;
            match compared {
                Ok(()) => break (loaded, tx.time().await?),
                // Another node may have made a change, and the token remember it, since this look began.
                Err(LoadError::Older { forked: false, .. } | LoadError::LogShorter { .. })
                    if parts.store.is_shared() && looks < LOOKS => {}
                Err(error) => return Err(error),
            }
        };
        let derived = (parts.derive)(None, &loaded.state)?;
        (parts.observe)(&loaded.state, &[]);
        let Head { revision, hash, .. } = loaded.head;
        let snapshot = Snapshot { revision, hash, state: loaded.state, derived, ledger: loaded.ledger };
        let terms = parts.joining.as_ref().map(|joining| joining.terms).unwrap_or_default();
        let clock = Arc::clone(&parts.clock);
        let lease = if parts.store.is_shared() { Lease::none(terms, clock) } else { Lease::sole(terms, clock) };
        Ok(Self {
            store: parts.store,
            row_key: parts.row_key,
            time: ClusterTime::new(parts.clock, time),
            node: parts.node,
            joining: parts.joining,
            derive: parts.derive,
            observe: parts.observe,
            anchor: parts.anchor,
            epochs: Epochs::new(snapshot),
            lease,
            making: Mutex::default(),
            following: Mutex::default(),
            installing: std::sync::Mutex::default(),
            silence: std::sync::Mutex::default(),
            drained: watch::Sender::new(revision),
            heard: watch::Sender::new(()),
            renewed: watch::Sender::new(()),
            wanted: Notify::new(),
            in_doubt: false.into(),
            diverged: watch::Sender::new(false),
            unsealed: std::sync::Mutex::default(),
            watched: Mutex::default(),
        })
    }
}

async fn load(tx: &mut Tx<'_>, key: &RowKey) -> Result<Loaded, LoadError> {
    let Some(head) = tx.head().await? else {
        // An installation that was never made has no head; rows without one were put there by somebody else.
        if !tx.rows().await?.is_empty() || tx.newest_change().await?.is_some() {
            return Err(LoadError::Altered { what: "its head is missing", revision: Revision(0) });
        }
        let head = Head { revision: Revision(0), hash: [0; 32], state_digest: [0; 32], mac: [0; 32] };
        return Ok(Loaded { head, state: ControlState::default(), ledger: Ledger::default() });
    };
    let altered = |what| LoadError::Altered { what, revision: head.revision };
    if !same(&key.head(head.revision, &head.hash, &head.state_digest), &head.mac) {
        return Err(altered("its head is not authentic"));
    }
    let recoveries = check_history(tx, key, &head).await?;
    if recoveries > 0 {
        metrics::counter!(RECOVERIES).absolute(recoveries);
        tracing::warn!(recoveries, "administrators were made or reinstated on the host; the changes say when and who");
    }

    let mut state = ControlState::default();
    let mut ledger = Ledger::default();
    for stored in tx.rows().await? {
        let row = check_row(key, &stored)?;
        ledger.put(key, stored.kind, stored.id, stored.mac);
        state.put(row);
    }
    if !same(&key.state_digest(head.revision, &ledger.sum), &head.state_digest) {
        return Err(altered("a row is missing, or is an older copy of itself"));
    }
    Ok(Loaded { head, state, ledger })
}

/// One row, if it is what a node wrote.
pub(super) fn check_row(key: &RowKey, stored: &StoredRow) -> Result<Row, LoadError> {
    let altered = |what| LoadError::Altered { what, revision: stored.revision };
    if !same(&key.row(stored.kind, stored.id, stored.revision, &stored.body), &stored.mac) {
        return Err(altered("a row is not authentic"));
    }
    let row: Row = serde_json::from_str(&stored.body).map_err(|_| altered("a row cannot be read"))?;
    if (row.kind(), row.id(), row.revision()) != (stored.kind, stored.id, stored.revision) {
        return Err(altered("a row is not the one it says it is"));
    }
    Ok(row)
}

/// Walks the whole history: every entry authentic, each naming the one before, the last being the head. Says how often the
/// host made an administrator.
async fn check_history(tx: &mut Tx<'_>, key: &RowKey, head: &Head) -> Result<u64, LoadError> {
    let mut last = (Revision(0), [0; 32]);
    let mut recoveries = 0;
    loop {
        let page = tx.changes_after(last.0, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for entry in &page {
            let change = check_entry(key, entry, last)?;
            recoveries += u64::from(matches!(change.operation, Operation::RecoverAdmin { .. }));
            last = (entry.revision, entry.hash);
        }
    }
    if last != (head.revision, head.hash) {
        return Err(LoadError::Altered { what: "the history does not end at its head", revision: last.0 });
    }
    Ok(recoveries)
}

pub(super) fn check_entry(
    key: &RowKey,
    entry: &ControlChange,
    (revision, hash): (Revision, [u8; 32]),
) -> Result<Change, LoadError> {
    let altered = |what| LoadError::Altered { what, revision: entry.revision };
    let expected = HistoryEntry {
        revision: entry.revision,
        previous: &entry.previous,
        change_id: entry.change,
        digest: &entry.digest,
        principal: entry.principal,
        committed_at: entry.committed_at.as_microsecond(),
        rows: &entry.rows,
        state_digest: &entry.state_digest,
    };
    if expected.hash() != entry.hash || !same(&key.history(&entry.hash), &entry.mac) {
        return Err(altered("an entry of the history is not authentic"));
    }
    let change: Change = serde_json::from_str(&entry.body).map_err(|_| altered("an entry cannot be read"))?;
    if Change::digest_of(entry.body.as_bytes()) != entry.digest || change.id != entry.change {
        return Err(altered("an entry of the history is not the change it says it is"));
    }
    // Only accepting an older database leaves out numbers: those that were in use in the copy that was lost.
    let follows = match &change.operation {
        Operation::AcceptDatabase { remembered, .. } => entry.revision > revision && entry.revision > *remembered,
        _ => entry.revision == revision.next(),
    };
    if entry.previous != hash || !follows {
        return Err(altered("an entry of the history is missing"));
    }
    Ok(change)
}
