//! Creating, loading and destroying keys, and listing what is on the token. Nothing is destroyed here but what the caller
//! names and what we made in the same call and found wanting.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass as Class, ObjectHandle};
use tracing::error;

use crate::attributes::{self, Lifetime};
use crate::error::Error;
use crate::find;
use crate::keys::{Proof, State};
use crate::object::{Canary, ObjectClass, ObjectId, ObjectInfo};
use crate::profile::Verdict;
use crate::session::Token;

/// Which keys were loaded, and why the others were not.
pub(crate) type Loaded = Vec<(ObjectId, Result<(), Error>)>;

impl Token {
    /// Makes an AES-256 key.
    pub(crate) fn create_key(&mut self, id: ObjectId, label: &str) -> Result<Canary, Error> {
        self.refuse_existing(id)?;
        let template = attributes::secret_key(self.profile, id, label, Lifetime::Token);
        let handle = self.session()?.generate_key(&Mechanism::AesKeyGen, &template);
        let handle = handle.map_err(|error| self.fault(error))?;

        let expected = attributes::expected_secret_key(self.profile, id, Lifetime::Token);
        let made = self.check(id, handle, &expected).and_then(|()| self.make_canary(id, handle)).and_then(|canary| {
            self.prove_secret_key(id, handle, &canary)?;
            Ok(canary)
        });
        let canary = made.inspect_err(|_| self.undo(id, handle))?;
        self.keys.insert(id, Proof::Canary(canary.clone()), State::Verified(handle));
        Ok(canary)
    }

    /// Finds and proves a key of an earlier time.
    pub(crate) fn load(&mut self, id: ObjectId, proof: Proof) -> Result<(), Error> {
        let class = match proof {
            Proof::Canary(_) => Class::SECRET_KEY,
            Proof::Public(_) => Class::PRIVATE_KEY,
        };
        // Whatever was known of this id until now no longer counts.
        self.keys.remove(id);
        let handle = self.find_key(class, id)?;
        self.load_found(id, proof, handle)
    }

    /// Finds and proves many keys with one search. The result has the order of the request.
    pub(crate) fn load_keys(&mut self, keys: Vec<(ObjectId, Canary)>) -> Result<Loaded, Error> {
        let found = self.enumerate(Class::SECRET_KEY)?;
        let mut results = Vec::with_capacity(keys.len());
        for (id, canary) in keys {
            self.keys.remove(id);
            let handle = find::one(id, found.get(&id).map_or(&[], Vec::as_slice));
            let result = handle.and_then(|handle| self.load_found(id, Proof::Canary(canary), handle));
            results.push((id, result));
        }
        Ok(results)
    }

    /// Destroys the key of this id; false if there is none.
    pub(crate) fn destroy_key(&mut self, id: ObjectId) -> Result<bool, Error> {
        // Not used again from here on, whatever becomes of the object.
        self.keys.remove(id);
        let mut handles = Vec::new();
        for class in [Class::SECRET_KEY, Class::PRIVATE_KEY] {
            let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.as_bytes().to_vec())];
            handles.extend(self.find(&template)?);
        }
        let handle = match find::one(id, &handles) {
            Err(Error::KeyNotFound(_)) => return Ok(false),
            found => found?,
        };
        let destroyed = self.session()?.destroy_object(handle);
        match destroyed {
            Ok(()) => Ok(true),
            // Another process was faster.
            Err(error) if self.profile.verdict(&error) == Verdict::Stale => Ok(false),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Everything on the token that this user sees.
    pub(crate) fn objects(&mut self) -> Result<Vec<ObjectInfo>, Error> {
        let mut objects = Vec::new();
        for handle in self.find(&[Attribute::Token(true)])? {
            let wanted = [AttributeType::Class, AttributeType::Id, AttributeType::Label];
            let found = self.session()?.get_attributes(handle, &wanted);
            let found = match found {
                // Destroyed since the search.
                Err(error) if self.profile.verdict(&error) == Verdict::Stale => continue,
                found => found.map_err(|error| self.fault(error))?,
            };
            objects.push(info(&found));
        }
        Ok(objects)
    }

    /// Refuses an id that any object of the token carries.
    pub(crate) fn refuse_existing(&mut self, id: ObjectId) -> Result<(), Error> {
        let template = [Attribute::Token(true), Attribute::Id(id.as_bytes().to_vec())];
        if self.find(&template)?.is_empty() { Ok(()) } else { Err(Error::KeyExists(id)) }
    }

    /// Destroys a key that was just made and that nobody heard of: whoever asked for it has been told that it failed.
    pub(crate) fn take_back(&mut self, id: ObjectId) {
        match self.destroy_key(id) {
            Ok(_) => tracing::info!(object.id = %id, "took back a key that was made too late"),
            Err(error) => error!(object.id = %id, %error, "a key that was made too late is left on the token"),
        }
    }

    /// Destroys what this call has just made.
    pub(crate) fn undo(&mut self, id: ObjectId, handle: ObjectHandle) {
        let undone = self.session().and_then(|session| session.destroy_object(handle).map_err(Error::token));
        if let Err(error) = undone {
            error!(object.id = %id, %error, "an unfit key is left on the token");
        }
    }

    fn load_found(&mut self, id: ObjectId, proof: Proof, handle: ObjectHandle) -> Result<(), Error> {
        self.keys.insert(id, proof, State::Found(handle));
        self.verify(id, handle).map(drop).inspect_err(|_| self.keys.remove(id))
    }
}

fn info(attributes: &[Attribute]) -> ObjectInfo {
    let mut info = ObjectInfo { id: None, label: String::new(), class: ObjectClass::Other };
    for attribute in attributes {
        match attribute {
            Attribute::Id(bytes) => info.id = ObjectId::from_bytes(bytes),
            Attribute::Label(bytes) => info.label = String::from_utf8_lossy(bytes).into_owned(),
            Attribute::Class(Class::SECRET_KEY) => info.class = ObjectClass::SecretKey,
            Attribute::Class(Class::PRIVATE_KEY) => info.class = ObjectClass::PrivateKey,
            Attribute::Class(Class::PUBLIC_KEY) => info.class = ObjectClass::PublicKey,
            Attribute::Class(Class::DATA) => info.class = ObjectClass::Data,
            _ => {}
        }
    }
    info
}
