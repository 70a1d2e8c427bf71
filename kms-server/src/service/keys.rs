//! Making key material: creation and rotation. The object's row is committed before the HSM makes the object, and the
//! control change makes both known, so that a crash leaves the state before or after.

use std::sync::PoisonError;

use hsm::ObjectId;
use kms_client::id::{KeyId, KeyVersion};

use super::{Call, Made, Once, Outcome, Service, Terms, control::Changed, operations::Order, usable_key::hsm_error};
use crate::{
    crash_point,
    model::{
        Alias, Change, DataClass, Environment, Error, NewKeyVersion, Operation, Owner, Region, Rotation, RotationCause,
        Tags, Text,
    },
    store::{HsmObject, HsmObjectState},
};

/// A key to create.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its names.
    pub aliases: Vec<Alias>,
    /// What it is, in words.
    pub description: Text,
    /// Who answers for it.
    pub owner: Option<Owner>,
    /// Free labels.
    pub tags: Tags,
    /// The class of the data it protects.
    pub data_class: DataClass,
    /// Where it may be used; `None`: this node's region.
    pub region: Option<Region>,
    /// For which surroundings it is meant.
    pub environment: Environment,
    /// When it gets a new version by itself.
    pub rotation: Rotation,
}

impl Service {
    /// Creates a key and its first version.
    ///
    /// # Errors
    ///
    /// As for every control change, and `hsm_unavailable`.
    pub async fn create_key(&self, call: &Call, new: NewKey, terms: Terms) -> Outcome<Made> {
        let key = KeyId::new(self.inner.ids.fresh(self.inner.clock.now()));
        let region = new.region.unwrap_or_else(|| self.inner.region.clone());
        let key_store = self.inner.key_store.clone();
        let NewKey { aliases, description, owner, tags, data_class, environment, rotation, .. } = new;
        let operation = move |material| Operation::CreateKey {
            key,
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
        };
        self.with_new_object(call, key, KeyVersion::FIRST, terms, operation).await
    }

    /// Makes a new version of a key and makes it the primary one.
    ///
    /// # Errors
    ///
    /// As for every control change, and `hsm_unavailable`.
    pub async fn rotate_key(&self, call: &Call, key: KeyId, terms: Terms) -> Outcome<Made> {
        let snapshot = self.inner.cluster.snapshot();
        // For a key that does not exist any number does: the change is refused before anything is made.
        let newest = snapshot.state.key(key).and_then(|key| key.versions.last()).map(|newest| newest.version);
        let version = newest.map_or(Some(KeyVersion::FIRST), KeyVersion::next).unwrap_or(KeyVersion::FIRST);
        let cause = RotationCause::Requested;
        let operation = move |material| Operation::RotateKey { key, version, cause, material };
        self.with_new_object(call, key, version, terms, operation).await
    }

    async fn with_new_object(
        &self,
        call: &Call,
        key: KeyId,
        version: KeyVersion,
        terms: Terms,
        operation: impl FnOnce(NewKeyVersion) -> Operation + Send + 'static,
    ) -> Outcome<Made> {
        let object = fresh_object();
        // The canary is all zeroes until the object exists; its length is the same, and so is the verdict.
        let unmade = NewKeyVersion { object, canary: hsm::Canary::from_bytes(&[]) };
        let change = self.new_change(operation(unmade), terms.expected);
        let order = Order { call: call.clone(), change, once: terms.once.clone(), later: terms.later };
        let (service, call, once) = (self.clone(), call.clone(), terms.once);
        let work = move |change| async move {
            let make =
                async |change| service.make_with_object(&call, change, (object, key, version), once.as_ref()).await;
            service.once(&call, change, once.clone(), make).await
        };
        self.carry_out("key material", order, work).await
    }

    async fn make_with_object(
        &self,
        call: &Call,
        mut change: Change,
        (object, key, version): (ObjectId, KeyId, KeyVersion),
        once: Option<&Once>,
    ) -> Outcome<Changed> {
        if let Some((snapshot, attempt)) = self.refusal(call, &change) {
            return self.refuse(call, &snapshot, attempt, once).await;
        }
        match self.make_object(object, key, version).await {
            Ok(material) => put_material(&mut change, material),
            Err(error) => {
                self.unmake_object(object).await;
                return self.failed_change(call, &change, error).await;
            }
        }
        let outcome = self.carry_out_change(call, change, once).await;
        // What was made before has an object of its own.
        let undone = match &outcome {
            Ok(released) => released.value().value.repeated,
            Err(refused) => !matches!(refused.error, Error::OutcomeUnknown(_)),
        };
        if undone {
            self.unmake_object(object).await;
        }
        outcome
    }

    /// The row, then the object.
    pub(super) async fn make_object(
        &self,
        object: ObjectId,
        key: KeyId,
        version: KeyVersion,
    ) -> Result<NewKeyVersion, Error> {
        let node = self.inner.cluster.node();
        let mut tx = self.inner.store.begin().await?;
        let created_at = self.inner.clock.now();
        let row = HsmObject { object, key, version, state: HsmObjectState::Creating, maker: node, created_at };
        tx.insert_creating(&row).await?;
        tx.commit().await?;
        crash_point!("object.row");
        let canary = self
            .inner
            .hsm
            .create_key(object, &self.inner.cluster.object_label(object, key, version))
            .await
            .map_err(hsm_error)?;
        crash_point!("object.made");
        Ok(NewKeyVersion { object, canary })
    }

    /// Takes back an object whose change was refused. One that stays now is tried again by a job, or at the next start.
    pub(super) async fn unmake_object(&self, object: ObjectId) {
        if let Err(error) = self.try_unmake(object).await {
            tracing::warn!(hsm.object = %object, error = &error as &dyn std::error::Error, "an unused object stays for now");
            self.inner.unmade.lock().unwrap_or_else(PoisonError::into_inner).push(object);
        }
    }

    /// Only while its row still says that it was being made.
    async fn try_unmake(&self, object: ObjectId) -> Result<(), Error> {
        let mut tx = self.inner.store.begin().await?;
        if tx.delete_creating(object).await? {
            self.inner.hsm.destroy_key(object).await.map_err(hsm_error)?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Takes back what this node made for changes that failed and could not take back then. Does nothing while the HSM is
    /// away.
    ///
    /// # Errors
    ///
    /// That of the database or the HSM; what is left is kept for the next time.
    pub async fn take_back_left(&self) -> Result<(), Error> {
        while self.hsm_status().is_up() {
            let Some(object) = self.inner.unmade.lock().unwrap_or_else(PoisonError::into_inner).pop() else { break };
            if let Err(error) = self.try_unmake(object).await {
                self.inner.unmade.lock().unwrap_or_else(PoisonError::into_inner).push(object);
                return Err(error);
            }
            tracing::info!(hsm.object = %object, "took back an unused object");
        }
        Ok(())
    }

    /// Takes back what makers that are gone left behind.
    ///
    /// # Errors
    ///
    /// That of the database or the HSM; what was taken back until then stays so.
    pub async fn take_back_unmade(&self) -> Result<usize, Error> {
        let mut tx = self.inner.store.read().await?;
        let left = tx.creating().await?;
        let present = self.inner.cluster.present(&mut tx).await?;
        drop(tx);
        let gone: Vec<_> = left.into_iter().filter(|object| !present.contains(&object.maker)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let held = self.inner.hsm.objects().await.map_err(hsm_error)?;
        for HsmObject { object, key, .. } in &gone {
            let ours = |label: &str| self.inner.cluster.may_take_back(*object, label);
            if !held.iter().filter(|held| held.id == Some(*object)).all(|held| ours(&held.label)) {
                tracing::error!(hsm.object = %object, "the database lists an object as unfinished that is not; it is left alone");
                continue;
            }
            let mut tx = self.inner.store.begin().await?;
            if tx.delete_creating(*object).await? {
                let was_there = self.inner.hsm.destroy_key(*object).await.map_err(hsm_error)?;
                tx.commit().await?;
                tracing::info!(hsm.object = %object, key.id = %key, was_there, "took back an unfinished key");
            }
        }
        Ok(gone.len())
    }
}

fn put_material(change: &mut Change, made: NewKeyVersion) {
    match &mut change.operation {
        Operation::CreateKey { material, .. } | Operation::RotateKey { material, .. } => *material = made,
        _ => {}
    }
}

/// A `CKA_ID` that nothing else has: 16 random bytes.
#[expect(clippy::disallowed_methods, reason = "object ids are random by design, not ordered by time")]
pub(super) fn fresh_object() -> ObjectId {
    ObjectId::new(uuid::Uuid::new_v4().into_bytes())
}
