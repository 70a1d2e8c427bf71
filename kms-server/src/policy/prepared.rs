//! Things made once per revision, when they are first asked for, and then read without a lock. What does not fit is
//! made again; nothing is ever changed in place.

use std::{hash::Hash, sync::Arc};

use arc_swap::ArcSwap;
use imbl::HashMap;

/// The most entries kept. Beyond it all are forgotten at once, which costs less than to know which are still needed.
const MOST: usize = 16_384;

/// A map from what is asked for to what was made for it.
#[derive(Debug)]
pub(super) struct Prepared<K, V>(ArcSwap<HashMap<K, Arc<V>>>);

impl<K, V> Default for Prepared<K, V> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::new()))
    }
}

impl<K: Clone + Eq + Hash, V> Prepared<K, V> {
    /// What belongs to `key`, made now unless it was before.
    pub(super) fn get_or_make<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(found) = self.0.load().get(key) {
            return Ok(Arc::clone(found));
        }
        let fresh = Arc::new(make()?);
        self.0.rcu(|map| {
            let mut map = if map.len() < MOST { HashMap::clone(map) } else { HashMap::new() };
            map.insert(key.clone(), Arc::clone(&fresh));
            map
        });
        Ok(fresh)
    }
}
