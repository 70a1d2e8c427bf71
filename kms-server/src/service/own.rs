//! What the server does with keys by itself, when it is due: it rotates and it destroys. Nobody asks for these changes, so
//! policy is not asked; the rules of each change hold as for everybody, and each leaves its record.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use kms_client::{
    format::record::Outcome as Recorded,
    id::{ChangeId, KeyVersion, RequestId},
};

use super::{Service, control::detail, keys::fresh_object, usable_key::hsm_error};
use crate::{
    audit::Draft,
    cluster::{CommitError, Proposal, Snapshot},
    crash_point,
    model::{Action, Change, Error, Key, KeyState, Operation, Revision, RotationCause},
    policy::Policies,
    store::HsmObjectState,
};

impl Service {
    /// Resolves once some version has nearly wrapped as often as it may.
    pub async fn wraps_nearly_spent(&self) {
        self.inner.wraps.nearly_spent().await;
    }

    /// Rotates every key of this node's region and key store that is due. One that cannot be does not keep the others.
    ///
    /// # Errors
    ///
    /// The last of those that failed; what failed is due again.
    pub async fn rotate_due(&self) -> Result<(), Error> {
        let reserved: HashMap<_, _> =
            self.inner.wraps.reserved().await?.into_iter().map(|count| ((count.key, count.version), count)).collect();
        let cluster = &self.inner.cluster;
        let (snapshot, now) = (cluster.snapshot(), cluster.now());
        self.inner.wraps.keep(|key| snapshot.state.key(key).map(|key| key.primary_version));
        let accepted_at = snapshot.state.installation().and_then(|installation| installation.accepted_at);
        let mut last = Ok(());
        for key in snapshot.state.keys_after(None).filter(|key| self.is_ours(key)) {
            let wraps = reserved.get(&(key.id, key.primary_version)).map_or(0, |count| count.reserved);
            if let Some(cause) = key.rotation_due(now, wraps, accepted_at)
                && let Err(error) = self.rotate_by_itself(key, cause).await
            {
                tracing::warn!(key.id = %key.id, error = &error as &dyn std::error::Error, "a key that is due was not rotated");
                last = Err(error);
            }
        }
        last
    }

    /// Destroys every key of this node's region and key store whose waiting period was observed to its end.
    ///
    /// # Errors
    ///
    /// The last of those that failed; what failed is due again.
    pub async fn destroy_due(&self) -> Result<(), Error> {
        let snapshot = self.inner.cluster.snapshot();
        let waiting = |key: &&Arc<Key>| key.state == KeyState::PendingDeletion && self.is_ours(key);
        let mut last = Ok(());
        for key in snapshot.state.keys_after(None).filter(waiting) {
            let destroyed = async {
                if self.inner.cluster.watch_deletion(key).await? {
                    self.destroy(key).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = destroyed.await {
                tracing::warn!(key.id = %key.id, error = &error as &dyn std::error::Error, "a key that is due was not destroyed");
                last = Err(error);
            }
        }
        last
    }

    /// Destroys what the token still holds of versions that are destroyed: the server may have been stopped in between.
    ///
    /// # Errors
    ///
    /// That of the database or the HSM; what was destroyed until then stays so.
    pub async fn finish_destroyed(&self) -> Result<(), Error> {
        let snapshot = self.inner.cluster.snapshot();
        let destroyed: Vec<_> = snapshot
            .state
            .keys_after(None)
            .filter(|key| key.state == KeyState::Destroyed && self.is_ours(key))
            .collect();
        if destroyed.is_empty() {
            return Ok(());
        }
        let held = self.inner.hsm.objects().await.map_err(hsm_error)?;
        let held: HashSet<_> = held.into_iter().filter_map(|object| object.id).collect();
        let noted = self.inner.store.read().await?.objects_in(HsmObjectState::Live).await?;
        let noted: HashSet<_> = noted.into_iter().map(|object| object.object).collect();
        let left = |key: &&&Arc<Key>| {
            key.versions.iter().any(|version| held.contains(&version.object) || noted.contains(&version.object))
        };
        for key in destroyed.iter().filter(left) {
            self.destroy_objects(key).await?;
        }
        Ok(())
    }

    /// Whether keys like this one are made and destroyed here.
    fn is_ours(&self, key: &Key) -> bool {
        key.region == self.inner.region && key.key_store == self.inner.key_store
    }

    async fn rotate_by_itself(&self, key: &Arc<Key>, cause: RotationCause) -> Result<(), Error> {
        let newest = key.versions.last().map(|newest| newest.version);
        let version = newest.and_then(KeyVersion::next).ok_or_else(|| Error::internal("no version is left"))?;
        let (service, key) = (self.clone(), Arc::clone(key));
        let work = async move {
            let object = fresh_object();
            let material = match service.make_object(object, key.id, version).await {
                Ok(material) => material,
                Err(error) => {
                    service.unmake_object(object).await;
                    service.note_failure(&key, version, cause, &error).await;
                    return Err(error);
                }
            };
            let operation = Operation::RotateKey { key: key.id, version, cause, material };
            let rotated =
                service.own_change(service.new_change(operation, Some(key.revision)), &key, Some(version)).await;
            if rotated.as_ref().is_err_and(|error| !matches!(error, Error::OutcomeUnknown(_))) {
                service.unmake_object(object).await;
            }
            rotated?;
            metrics::counter!("keyward_rotations_total", "cause" => cause.as_str()).increment(1);
            tracing::info!(key.id = %key.id, key.version = %version, rotation.cause = cause.as_str(), "rotated a key that was due");
            Ok(())
        };
        self.inner.supervisor.finish("rotation", work).await.map_err(Error::internal)?
    }

    async fn destroy(&self, key: &Arc<Key>) -> Result<(), Error> {
        let (service, key) = (self.clone(), Arc::clone(key));
        let work = async move {
            let change = service.new_change(Operation::DestroyKey { key: key.id }, Some(key.revision));
            service.own_change(change, &key, None).await?;
            metrics::counter!("keyward_keys_destroyed_total").increment(1);
            tracing::info!(key.id = %key.id, "destroyed a key whose waiting period is over");
            service.destroy_objects(&key).await
        };
        self.inner.supervisor.finish("destruction", work).await.map_err(Error::internal)?
    }

    /// The token first: while a row is there, the object may be.
    async fn destroy_objects(&self, key: &Key) -> Result<(), Error> {
        for version in &key.versions {
            let was_there = self.inner.hsm.destroy_key(version.object).await.map_err(hsm_error)?;
            crash_point!("object.destroyed");
            let mut tx = self.inner.store.begin().await?;
            tx.delete_object(version.object).await?;
            tx.commit().await?;
            tracing::info!(key.id = %key.id, key.version = %version.version, hsm.object = %version.object, was_there, "destroyed an object in the HSM");
        }
        let mut tx = self.inner.store.begin().await?;
        tx.delete_deletion_watch(key.id).await?;
        Ok(tx.commit().await?)
    }

    /// Commits a change that nobody asked for, and chains its record.
    async fn own_change(&self, change: Change, key: &Key, version: Option<KeyVersion>) -> Result<(), Error> {
        let decide = |snapshot: &Snapshot<Policies>, revision: Revision, now: Timestamp| {
            let rows = change.apply(&snapshot.state, revision, now)?;
            let detail = detail(&change, &snapshot.state, &rows);
            let record =
                Draft { detail, ..self.own_record(change.operation.action(), key, version, Some(change.id), revision) };
            let intent = record.to_intent()?;
            Ok::<_, Error>(Proposal { rows, record, intent, once: None })
        };
        match self.inner.cluster.commit(&change, None, decide).await {
            Ok(committed) => self.gate().seal_left(change.id, committed.record).await,
            Err(CommitError::Refused(_, error) | CommitError::Failed(error)) => Err(error),
            Err(CommitError::MadeBefore) => Err(Error::internal("what the server does by itself has no name")),
            Err(CommitError::Unknown) => Err(Error::OutcomeUnknown(change.id)),
        }
    }

    async fn note_failure(&self, key: &Key, version: KeyVersion, cause: RotationCause, error: &Error) {
        metrics::counter!("keyward_rotations_failed_total", "cause" => cause.as_str()).increment(1);
        let record = Draft {
            outcome: Recorded::Failed,
            reason: error.code().to_owned(),
            ..self.own_record(Action::RotateKey, key, Some(version), None, self.inner.cluster.snapshot().revision)
        };
        if let Err(refused) = self.gate().note(record).await {
            tracing::warn!(error = &refused.error as &dyn std::error::Error, "a failed rotation is not on record");
        }
    }

    fn own_record(
        &self,
        action: Action,
        key: &Key,
        version: Option<KeyVersion>,
        change: Option<ChangeId>,
        revision: Revision,
    ) -> Draft {
        let request = RequestId::new(self.inner.ids.fresh(self.inner.clock.now()));
        Draft {
            key: Some(key.id),
            key_version: version,
            key_class: Some(key.data_class.to_string()),
            change,
            ..Draft::system(request, action.code(), self.inner.region.as_str(), revision.0)
        }
    }
}
