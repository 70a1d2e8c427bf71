//! The keys that were loaded, with what proves each of them and the handle last found. Shared by the token's threads.
//! It never calls the token.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cryptoki::object::ObjectHandle;

use crate::object::{Canary, ObjectId};
use crate::signing::PublicKey;

/// Loaded keys by id.
#[derive(Debug, Default)]
pub(crate) struct Keys(RwLock<HashMap<ObjectId, Key>>);

#[derive(Debug)]
struct Key {
    proof: Proof,
    state: State,
}

/// What shows that a handle is the key it was.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Canary(Canary),
    Public(PublicKey),
}

/// What we know of a loaded key's handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// To be found again: the login was lost, or the token did not know the handle.
    Unknown,
    /// Found, to be verified before it is used.
    Found(ObjectHandle),
    /// Found and verified.
    Verified(ObjectHandle),
    /// Looked for and not there. Not looked for again until it is loaded again or the session is new.
    Gone,
}

impl Keys {
    pub(crate) fn state(&self, id: ObjectId) -> Option<State> {
        self.read().get(&id).map(|key| key.state)
    }

    pub(crate) fn proof(&self, id: ObjectId) -> Option<Proof> {
        self.read().get(&id).map(|key| key.proof.clone())
    }

    /// Some key that was loaded, to try a session with.
    pub(crate) fn any(&self) -> Option<ObjectId> {
        self.read().keys().next().copied()
    }

    pub(crate) fn insert(&self, id: ObjectId, proof: Proof, state: State) {
        self.write().insert(id, Key { proof, state });
    }

    /// Sets the state of a loaded key; one that was forgotten meanwhile stays forgotten.
    pub(crate) fn set(&self, id: ObjectId, state: State) {
        if let Some(key) = self.write().get_mut(&id) {
            key.state = state;
        }
    }

    pub(crate) fn remove(&self, id: ObjectId) {
        self.write().remove(&id);
    }

    /// The login is gone and all handles with it.
    pub(crate) fn lose_all(&self) {
        for key in self.write().values_mut() {
            key.state = State::Unknown;
        }
    }

    /// The session is new but the login held: handles are good, and proven once more before use.
    pub(crate) fn doubt_all(&self) {
        for key in self.write().values_mut() {
            key.state = match key.state {
                State::Verified(handle) | State::Found(handle) => State::Found(handle),
                State::Unknown | State::Gone => State::Unknown,
            };
        }
    }

    /// The keys to be found again.
    pub(crate) fn unknown(&self) -> Vec<ObjectId> {
        let keys = self.read();
        keys.iter().filter(|(_, key)| matches!(key.state, State::Unknown)).map(|(id, _)| *id).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ObjectId, Key>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ObjectId, Key>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
