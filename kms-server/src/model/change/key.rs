//! Changes of keys.

use std::sync::Arc;

use kms_client::id::{KeyId, KeyVersion};

use super::{Applying, NewKeyVersion, Operation, nothing_to_change};
use crate::model::{
    Algorithm, Alias, Deletion, Error, Key, KeyEvent, KeyState, KeyVersionRecord, Origin, Owner, Purpose, Reason,
    Refusal, Row, VersionState, WAITING_DAYS,
};

const MAX_ALIASES: usize = 32;

impl Applying<'_> {
    pub(super) fn key(&self, operation: &Operation) -> Result<Vec<Row>, Error> {
        let key = match operation {
            Operation::CreateKey { .. } => self.create_key(operation)?,
            Operation::UpdateKey { key, .. } => self.update_key(self.existing_key(*key)?, operation)?,
            Operation::RotateKey { key, version, material, .. } => {
                self.rotate(self.existing_key(*key)?, *version, material)?
            }
            Operation::EnableKey { key } => self.key_event(*key, KeyEvent::Enable, None)?,
            Operation::DisableKey { key, reason } => self.key_event(*key, KeyEvent::Disable, Some(reason))?,
            Operation::RevokeKey { key, reason } => self.key_event(*key, KeyEvent::Revoke, Some(reason))?,
            Operation::RevokeKeyVersion { key, version, reason } => {
                Self::revoke_version(self.existing_key(*key)?, *version, reason)?
            }
            Operation::ScheduleKeyDeletion { key, waiting_days, reason } => {
                self.schedule_deletion(*key, *waiting_days, reason)?
            }
            Operation::CancelKeyDeletion { key } => self.cancel_deletion(*key)?,
            Operation::DestroyKey { key } => self.destroy(*key)?,
            _ => return Ok(Vec::new()),
        };
        Ok(vec![Row::Key(Arc::new(Key { revision: self.revision, ..key }))])
    }

    fn existing_key(&self, id: KeyId) -> Result<Key, Error> {
        let key = self.state.key(id).ok_or(Error::NotFound("key"))?;
        self.check_expected(key.revision)?;
        Ok(Key::clone(key))
    }

    fn create_key(&self, operation: &Operation) -> Result<Key, Error> {
        let Operation::CreateKey {
            key: id,
            aliases,
            description,
            owner,
            tags,
            data_class,
            region,
            environment,
            key_store,
            rotation,
            material,
        } = operation
        else {
            return Err(Error::invalid("not a creation"));
        };
        if self.state.key(*id).is_some() {
            return Err(Error::conflict(Refusal::AlreadyExists, "a key of this id exists already"));
        }
        self.check_owner(owner.as_ref())?;
        Ok(Key {
            id: *id,
            aliases: self.checked_aliases(*id, aliases)?,
            former_aliases: Vec::new(),
            description: description.clone(),
            owner: owner.clone(),
            tags: tags.clone(),
            data_class: data_class.clone(),
            region: region.clone(),
            environment: *environment,
            key_store: key_store.clone(),
            purpose: Purpose::Wrap,
            algorithm: Algorithm::Aes256,
            origin: Origin::Hsm,
            state: KeyState::Enabled,
            reason: None,
            rotation: *rotation,
            deletion: None,
            destroyed_at: None,
            primary_version: KeyVersion::FIRST,
            versions: vec![self.new_version(KeyVersion::FIRST, material)],
            created_at: self.now,
            revision: self.revision,
        })
    }

    fn update_key(&self, mut key: Key, operation: &Operation) -> Result<Key, Error> {
        let Operation::UpdateKey { description, owner, tags, aliases, rotation, .. } = operation else {
            return Err(Error::invalid("not an update"));
        };
        if (description, owner, tags, aliases, rotation) == (&None, &None, &None, &None, &None) {
            return Err(nothing_to_change("`description`, `owner`, `tags`, `aliases` and `rotation`"));
        }
        if key.state == KeyState::Destroyed {
            return Err(Error::conflict(Refusal::KeyDestroyed, "the key is destroyed"));
        }
        self.check_owner(owner.as_ref())?;
        if let Some(description) = description {
            key.description = description.clone();
        }
        if let Some(owner) = owner {
            key.owner = Some(owner.clone());
        }
        if let Some(tags) = tags {
            key.tags = tags.clone();
        }
        if let Some(rotation) = rotation {
            key.rotation = *rotation;
        }
        if let Some(aliases) = aliases {
            let aliases = self.checked_aliases(key.id, aliases)?;
            let dropped = key.aliases.iter().filter(|alias| !aliases.contains(alias)).cloned();
            key.former_aliases.extend(dropped.collect::<Vec<_>>());
            key.former_aliases.retain(|alias| !aliases.contains(alias));
            key.former_aliases.sort();
            key.aliases = aliases;
        }
        Ok(key)
    }

    fn rotate(&self, mut key: Key, version: KeyVersion, material: &NewKeyVersion) -> Result<Key, Error> {
        if key.state != KeyState::Enabled && key.state != KeyState::Disabled {
            key.state.usable()?;
        }
        let newest = key.versions.last().map_or(KeyVersion::FIRST, |newest| newest.version);
        if newest.next() != Some(version) {
            // Two rotations at once: both made material for the same number, and this one came second.
            return Err(Error::conflict(Refusal::Conflict, format!("the newest version is {newest} by now")));
        }
        key.versions.push(self.new_version(version, material));
        key.primary_version = version;
        Ok(key)
    }

    fn key_event(&self, id: KeyId, event: KeyEvent, reason: Option<&Reason>) -> Result<Key, Error> {
        let mut key = self.existing_key(id)?;
        key.state = key.state.transition(event)?;
        key.reason = reason.cloned();
        // A revocation ends the wait: what was compromised may be needed as evidence, and is scheduled anew if not.
        key.deletion = None;
        Ok(key)
    }

    fn schedule_deletion(&self, id: KeyId, waiting_days: u16, reason: &Reason) -> Result<Key, Error> {
        if !WAITING_DAYS.contains(&waiting_days) {
            let (least, most) = (WAITING_DAYS.start(), WAITING_DAYS.end());
            return Err(Error::invalid(format!("`waiting_days` is {least} to {most}")));
        }
        let revoked = self.existing_key(id)?.state == KeyState::Revoked;
        let key = self.key_event(id, KeyEvent::ScheduleDeletion, Some(reason))?;
        let deletion = Deletion { scheduled_at: self.now, scheduled: self.revision, waiting_days, revoked };
        Ok(Key { deletion: Some(deletion), ..key })
    }

    fn cancel_deletion(&self, id: KeyId) -> Result<Key, Error> {
        let key = self.existing_key(id)?;
        let revoked = key.deletion.as_ref().is_some_and(|deletion| deletion.revoked);
        let reason = key.reason.filter(|_| revoked);
        self.key_event(id, KeyEvent::CancelDeletion { revoked }, reason.as_ref())
    }

    /// Whether the time was really waited is for whoever proposes this to know; that it is over is checked here too.
    fn destroy(&self, id: KeyId) -> Result<Key, Error> {
        let mut key = self.existing_key(id)?;
        key.state = key.state.transition(KeyEvent::Destroy)?;
        if key.deletion.as_ref().is_none_or(|deletion| deletion.due_at() > self.now) {
            return Err(Error::conflict(Refusal::InvalidState, "the waiting period is not over"));
        }
        for version in &mut key.versions {
            version.state = VersionState::Destroyed;
        }
        key.destroyed_at = Some(self.now);
        Ok(key)
    }

    fn revoke_version(mut key: Key, version: KeyVersion, reason: &Reason) -> Result<Key, Error> {
        let primary = key.primary_version;
        let record =
            key.versions.iter_mut().find(|record| record.version == version).ok_or(Error::NotFound("key version"))?;
        match record.state {
            VersionState::Enabled | VersionState::Revoked => {}
            VersionState::Destroyed => {
                return Err(Error::conflict(Refusal::InvalidState, format!("version {version} is destroyed")));
            }
        }
        if version == primary && key.state == KeyState::Enabled {
            return Err(Error::conflict(
                Refusal::InvalidState,
                format!("version {version} is the primary one; rotate the key first, or revoke the whole key"),
            ));
        }
        record.state = VersionState::Revoked;
        record.reason = Some(reason.clone());
        Ok(key)
    }

    fn new_version(&self, version: KeyVersion, material: &NewKeyVersion) -> KeyVersionRecord {
        KeyVersionRecord {
            version,
            state: VersionState::Enabled,
            reason: None,
            object: material.object,
            canary: material.canary.clone(),
            created_at: self.now,
        }
    }

    fn check_owner(&self, owner: Option<&Owner>) -> Result<(), Error> {
        match owner {
            Some(Owner::Principal(principal)) if self.state.principal(*principal).is_none() => {
                Err(Error::invalid("the owner is not a known principal"))
            }
            Some(Owner::Principal(_) | Owner::Team(_)) | None => Ok(()),
        }
    }

    /// Sorted, without duplicates, and none that is or was another key's.
    fn checked_aliases(&self, key: KeyId, aliases: &[Alias]) -> Result<Vec<Alias>, Error> {
        let mut sorted = aliases.to_vec();
        sorted.sort();
        sorted.dedup();
        if sorted.len() > MAX_ALIASES {
            return Err(Error::invalid(format!("a key has at most {MAX_ALIASES} aliases")));
        }
        for alias in &sorted {
            if self.state.alias_owner(alias).is_some_and(|owner| owner != key) {
                return Err(Error::conflict(
                    Refusal::AlreadyExists,
                    format!("`alias/{alias}` is or was another key's, and aliases are never used again"),
                ));
            }
        }
        Ok(sorted)
    }
}
