//! Key versions that other nodes made. Applying a change never calls the HSM, so their objects are found in the token
//! afterwards: by a job as soon as it can, or by the first operation that needs one, whichever comes first.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hsm::{Canary, Hsm, ObjectId};
use tokio::sync::Notify;

use crate::model::{Key, Name, Region, Row, VersionState};

/// How soon an object that was not found is looked for again.
const AGAIN: Duration = Duration::from_millis(250);

/// The versions whose objects are yet to be found.
#[derive(Debug)]
pub struct MadeElsewhere {
    hsm: Hsm,
    region: Region,
    key_store: Name,
    waiting: Mutex<HashMap<ObjectId, Canary>>,
    /// Whether there are any: all that most operations ask.
    any: AtomicBool,
    came: Notify,
    /// Held while the token is searched; when it last was, in vain.
    looking: tokio::sync::Mutex<Option<Duration>>,
}

impl MadeElsewhere {
    /// None yet; those of this region and key store are in this token.
    #[must_use]
    pub fn new(hsm: Hsm, region: Region, key_store: Name) -> Self {
        Self {
            hsm,
            region,
            key_store,
            waiting: Mutex::default(),
            any: AtomicBool::new(false),
            came: Notify::new(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Hears of rows that a change made or replaced. Calls no HSM.
    pub fn observe(&self, rows: &[Row]) {
        let ours = |key: &&Arc<Key>| key.region == self.region && key.key_store == self.key_store;
        let keys = rows.iter().filter_map(|row| if let Row::Key(key) = row { Some(key) } else { None }).filter(ours);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for version in keys.flat_map(|key| &key.versions) {
            if version.state == VersionState::Destroyed {
                waiting.remove(&version.object);
                self.hsm.forget_key(version.object);
            } else if !self.hsm.knows_key(version.object) {
                waiting.insert(version.object, version.canary.clone());
            }
        }
        self.any.store(!waiting.is_empty(), Ordering::Release);
        if !waiting.is_empty() {
            self.came.notify_one();
        }
    }

    /// Resolves when there is something to find.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }

    /// Finds what an operation needs, if it is yet to be found. What cannot be found the operation itself will hear of.
    pub(super) async fn find(&self, objects: impl Iterator<Item = ObjectId>, now: Duration) {
        if self.any.load(Ordering::Acquire) {
            let waits = |object: &ObjectId| self.canary(*object).is_some();
            if objects.into_iter().any(|object| waits(&object)) {
                self.find_all(now).await;
            }
        }
    }

    /// Finds everything that is yet to be found. One search at a time, and after one in vain not at once again. Answers whether
    /// nothing is left.
    pub(super) async fn find_all(&self, now: Duration) -> bool {
        let mut looked = self.looking.lock().await;
        let waiting: Vec<_> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().map(|(object, canary)| (*object, canary.clone())).collect()
        };
        if waiting.is_empty() || looked.is_some_and(|looked| now.saturating_sub(looked) < AGAIN) {
            return waiting.is_empty();
        }
        *looked = Some(now);
        let found = match self.hsm.load_keys(waiting).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the token cannot be searched for new key versions"
                );
                return false;
            }
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = true;
        for (object, loaded) in found {
            match loaded {
                Ok(()) => {
                    waiting.remove(&object);
                }
                Err(error) => {
                    all = false;
                    tracing::warn!(hsm.object = %object, error = &error as &dyn std::error::Error, "a new key version is not found in the token yet");
                }
            }
        }
        if all {
            *looked = None;
        }
        self.any.store(!waiting.is_empty(), Ordering::Release);
        waiting.is_empty()
    }

    fn canary(&self, object: ObjectId) -> Option<Canary> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&object).cloned()
    }
}
