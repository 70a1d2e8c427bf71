//! Finding keys on the token by `CKA_ID` and proving that they are what they were: the wrong key is worse than no key.
//! A handle that was lost is found again here, on the first use after it was lost.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::attributes::{self, Lifetime};
use crate::error::Error;
use crate::keys::{Proof, State};
use crate::object::ObjectId;
use crate::profile::Verdict;
use crate::session::Token;

impl Token {
    /// Calls the token with the handle of a loaded key. A handle the token no longer knows is found again, once.
    ///
    /// The outer error says that there is no such key; the inner one is the call's own.
    pub(crate) fn with_key<T>(
        &mut self,
        id: ObjectId,
        mut call: impl FnMut(&Session, ObjectHandle) -> Result<T, Pkcs11Error>,
    ) -> Result<Result<T, Pkcs11Error>, Error> {
        let handle = self.handle(id)?;
        let result = call(self.session()?, handle);
        match result {
            Err(error) if self.profile.verdict(&error) == Verdict::Stale => {
                self.keys.set(id, State::Unknown);
                let handle = self.handle(id)?;
                Ok(call(self.session()?, handle))
            }
            result => Ok(result),
        }
    }

    /// The handle of a loaded key, found and verified.
    pub(crate) fn handle(&mut self, id: ObjectId) -> Result<ObjectHandle, Error> {
        // First, because opening a session puts the handles in doubt.
        self.session()?;
        match self.keys.state(id) {
            Some(State::Verified(handle)) => Ok(handle),
            Some(State::Found(handle)) => self.verify(id, handle),
            Some(State::Unknown) => {
                let handle = self.find_again(id)?;
                self.verify(id, handle)
            }
            Some(State::Gone) | None => Err(Error::KeyNotFound(id)),
        }
    }

    /// Checks the attributes and the proof of a key, and marks it verified.
    pub(crate) fn verify(&mut self, id: ObjectId, handle: ObjectHandle) -> Result<ObjectHandle, Error> {
        let proof = self.keys.proof(id).ok_or(Error::KeyNotFound(id))?;
        match &proof {
            Proof::Canary(canary) => {
                self.check(id, handle, &attributes::expected_secret_key(self.profile, id, Lifetime::Token))?;
                self.prove_secret_key(id, handle, canary)?;
            }
            Proof::Public(public) => {
                self.check(id, handle, &attributes::expected_private_key(self.profile, public.algorithm, id))?;
                self.prove_signing_key(id, handle, public)?;
            }
        }
        self.keys.set(id, State::Verified(handle));
        Ok(handle)
    }

    /// Reads attributes back and compares them.
    pub(crate) fn check(&mut self, id: ObjectId, handle: ObjectHandle, expected: &[Attribute]) -> Result<(), Error> {
        let found = self.session()?.get_attributes(handle, &attributes::types(expected));
        let found = found.map_err(|error| self.fault(error))?;
        attributes::compare(id, expected, &found)
    }

    /// The one key of this class and id.
    pub(crate) fn find_key(&mut self, class: ObjectClass, id: ObjectId) -> Result<ObjectHandle, Error> {
        let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.as_bytes().to_vec())];
        one(id, &self.find(&template)?)
    }

    /// All handles that match, of all objects the user may see.
    pub(crate) fn find(&mut self, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
        let session = self.session()?;
        // Bound before the match, so that the search is over before the error is looked at.
        let found = session.iter_objects_with_cache_size(template, SEARCH_LEN).and_then(Iterator::collect);
        let found = found.map_err(|error| self.fault(error))?;
        self.require_login()?;
        Ok(found)
    }

    /// Handles of all keys of a class by id. One search, where a search per key would take the token hours: each looks at
    /// every object.
    pub(crate) fn enumerate(&mut self, class: ObjectClass) -> Result<HashMap<ObjectId, Vec<ObjectHandle>>, Error> {
        let handles = self.find(&[Attribute::Class(class), Attribute::Token(true)])?;
        let mut keys: HashMap<ObjectId, Vec<ObjectHandle>> = HashMap::with_capacity(handles.len());
        for handle in handles {
            let found = self.session()?.get_attributes(handle, &[AttributeType::Id]);
            let found = match found {
                // Destroyed by another process since the search.
                Err(error) if self.profile.verdict(&error) == Verdict::Stale => continue,
                found => found.map_err(|error| self.fault(error))?,
            };
            if let Some(Attribute::Id(bytes)) = found.first()
                && let Some(id) = ObjectId::from_bytes(bytes)
            {
                keys.entry(id).or_default().push(handle);
            }
        }
        Ok(keys)
    }

    /// Finds a loaded key whose handle was lost, and with it all others if they are many.
    fn find_again(&mut self, id: ObjectId) -> Result<ObjectHandle, Error> {
        let unknown = self.keys.unknown();
        if unknown.len() > FEW {
            let secret = self.enumerate(ObjectClass::SECRET_KEY)?;
            let private = self.enumerate(ObjectClass::PRIVATE_KEY)?;
            for id in unknown {
                let handles = match self.keys.proof(id) {
                    Some(Proof::Canary(_)) => secret.get(&id),
                    Some(Proof::Public(_)) => private.get(&id),
                    None => continue,
                };
                let found = handles.and_then(|handles| one(id, handles).ok());
                self.keys.set(id, found.map_or(State::Gone, State::Found));
            }
            return match self.keys.state(id) {
                Some(State::Found(handle) | State::Verified(handle)) => Ok(handle),
                Some(State::Gone | State::Unknown) | None => Err(Error::KeyNotFound(id)),
            };
        }

        let class = match self.keys.proof(id) {
            Some(Proof::Canary(_)) => ObjectClass::SECRET_KEY,
            Some(Proof::Public(_)) => ObjectClass::PRIVATE_KEY,
            None => return Err(Error::KeyNotFound(id)),
        };
        let found = self.find_key(class, id);
        if let Err(Error::KeyNotFound(_)) = found {
            self.keys.set(id, State::Gone);
        }
        found
    }
}

/// The only handle, if there is only one.
pub(crate) fn one(id: ObjectId, handles: &[ObjectHandle]) -> Result<ObjectHandle, Error> {
    match handles {
        [] => Err(Error::KeyNotFound(id)),
        [handle] => Ok(*handle),
        _ => Err(Error::AmbiguousKey(id)),
    }
}

/// Up to this many lost keys are searched for one by one.
const FEW: usize = 4;

/// Handles fetched by one `C_FindObjects`.
const SEARCH_LEN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
