//! Who used a key, and when: what would stop working if it were destroyed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kms_client::id::KeyId;

use super::{Call, KeyRef, Outcome, Service};
use crate::{
    model::{Action, Error, Name, Target},
    store::{KeyUse, WrapCount},
};

/// The most pairs of principal and action that are listed.
const USES: u32 = 1_000;

/// Who used a key.
#[derive(Debug)]
pub struct KeyUsage {
    /// The key.
    pub key: KeyId,
    /// Since when.
    pub since: Timestamp,
    /// Each principal and action, with the principal's name.
    pub uses: Vec<(KeyUse, Option<Name>)>,
    /// The wraps reserved under each version that has wrapped.
    pub versions: Vec<WrapCount>,
}

impl Service {
    /// Who used a key within the last `days`.
    ///
    /// # Errors
    ///
    /// `not_found` for a key that does not exist or whose use the caller may not see, `store_unavailable`.
    pub async fn describe_key_usage(&self, call: &Call, key: &KeyRef, days: u16) -> Outcome<KeyUsage> {
        let id = key.resolve(&self.inner.cluster.snapshot().state);
        let found = if self.may_on(call, Action::DescribeKeyUsage, Target::Key(id)) {
            self.find_uses(id, days).await
        } else {
            Err(Error::NotFound("key"))
        };
        self.read(call, Action::DescribeKeyUsage, Target::Key(id), |line| {
            line.snapshot.state.key(id).ok_or(Error::NotFound("key"))?;
            found
        })
        .await
    }

    async fn find_uses(&self, key: KeyId, days: u16) -> Result<KeyUsage, Error> {
        let snapshot = self.inner.cluster.snapshot();
        let span = SignedDuration::from_hours(24 * i64::from(days));
        let since = self.inner.cluster.now().checked_sub(span).unwrap_or(Timestamp::MIN);
        let mut tx = self.inner.store.read().await?;
        let uses = tx.key_uses(key, since, USES).await?;
        let mut versions = Vec::new();
        for version in snapshot.state.key(key).map(Arc::clone).iter().flat_map(|key| &key.versions) {
            let reserved = tx.wraps_reserved(key, version.version).await?;
            if reserved > 0 {
                versions.push(WrapCount { key, version: version.version, reserved });
            }
        }
        let named = |used: KeyUse| {
            let name = snapshot.state.principal(used.principal).map(|principal| principal.name.clone());
            (used, name)
        };
        Ok(KeyUsage { key, since, uses: uses.into_iter().map(named).collect(), versions })
    }
}
