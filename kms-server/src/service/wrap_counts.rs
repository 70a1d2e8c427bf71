//! Counts wraps. Nonces are random, so no version may wrap more than [`MAX_WRAPS`](crate::model::MAX_WRAPS) times; a node
//! reserves wraps in blocks, durably and before the first of a block is made, so that the count in the database is never
//! lower than the truth. What is reserved and not used when the node stops is lost.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use kms_client::id::{KeyId, KeyVersion};
use tokio::sync::Notify;

use crate::{
    model::{Error, Rotation},
    store::{Store, WrapCount},
};

/// The wraps that this node has reserved and not made.
pub struct WrapCounts {
    store: Store,
    /// How many are reserved at once.
    block: u32,
    blocks: Mutex<HashMap<(KeyId, KeyVersion), Arc<Block>>>,
    nearly_spent: Notify,
}

/// What is reserved under one version.
#[derive(Debug, Default)]
struct Block {
    left: AtomicU32,
    /// The limit at which nothing more could be reserved; 0 before.
    spent_at: AtomicU32,
    /// Whoever reserves holds it, so that those who wait for a block get the same one.
    turn: tokio::sync::Mutex<()>,
}

impl WrapCounts {
    /// Reserves `block` wraps at a time, at least one.
    #[must_use]
    pub fn new(store: Store, block: u32) -> Self {
        Self { store, block: block.max(1), blocks: Mutex::default(), nearly_spent: Notify::new() }
    }

    /// Takes one wrap.
    ///
    /// # Errors
    ///
    /// `rotation_pending` if the version may not wrap any more, `store_unavailable`.
    pub(super) async fn take(&self, key: KeyId, version: KeyVersion, rotation: Rotation) -> Result<(), Error> {
        let block = self.block(key, version);
        loop {
            if block.take() {
                return Ok(());
            }
            let _turn = block.turn.lock().await;
            if block.left.load(Ordering::Acquire) > 0 {
                continue;
            }
            if block.spent_at.load(Ordering::Acquire) >= rotation.max_wraps() {
                return Err(Error::rotation_pending());
            }
            let more = self.reserve(key, version, rotation).await?;
            if more == 0 {
                block.spent_at.store(rotation.max_wraps(), Ordering::Release);
                return Err(Error::rotation_pending());
            }
            block.left.store(more, Ordering::Release);
        }
    }

    /// Resolves once a version has nearly wrapped as often as it may.
    pub async fn nearly_spent(&self) {
        self.nearly_spent.notified().await;
    }

    /// What all nodes have reserved.
    ///
    /// # Errors
    ///
    /// `store_unavailable`.
    pub(super) async fn reserved(&self) -> Result<Vec<WrapCount>, Error> {
        Ok(self.store.read().await?.wrap_counts().await?)
    }

    /// Gives up what is reserved under versions that wrap no more.
    pub(super) fn keep(&self, primary: impl Fn(KeyId) -> Option<KeyVersion>) {
        self.blocks().retain(|(key, version), _| primary(*key) == Some(*version));
    }

    /// Reserves the next block, or what is left of it below the limit; 0 if nothing is.
    async fn reserve(&self, key: KeyId, version: KeyVersion, rotation: Rotation) -> Result<u32, Error> {
        loop {
            let mut tx = self.store.begin().await?;
            let from = tx.wraps_reserved(key, version).await?;
            let to = from.saturating_add(self.block).min(rotation.max_wraps());
            // Another node may have been here in between.
            if to > from && !tx.reserve_wraps(key, version, from, to).await? {
                continue;
            }
            // After an unknown outcome the block may be reserved: it is lost then, which is on the safe side.
            tx.commit().await?;
            if rotation.nearly_spent(to) {
                // Only now: whoever is woken looks at what is committed.
                self.nearly_spent.notify_one();
            }
            return Ok(to.saturating_sub(from));
        }
    }

    fn block(&self, key: KeyId, version: KeyVersion) -> Arc<Block> {
        Arc::clone(self.blocks().entry((key, version)).or_default())
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, HashMap<(KeyId, KeyVersion), Arc<Block>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }
}

impl fmt::Debug for WrapCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapCounts").field("block", &self.block).finish_non_exhaustive()
    }
}
