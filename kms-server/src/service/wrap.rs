//! Wrap: a storage service brings a data key of its own.

use hsm::Secret;
use kms_client::{format::wrapped_key::WrappedKey, id::DataKeyId};

use super::{
    Call, KeyRef, Outcomes, Service, SharedContext, Understood, count,
    line::{Line, Step, carry_out, part},
    usable_key::{UsableKey, Wrapping},
};
use crate::{
    gate::{Asked, Facts},
    model::{Action, Error, Target},
};

/// A data key to wrap.
#[derive(Debug)]
pub struct WrapItem {
    /// Under which key.
    pub key: KeyRef,
    /// The data key, 1 to 4,096 bytes.
    pub plaintext: Secret,
    /// To be authenticated with it.
    pub context: SharedContext,
}

/// A wrapped data key.
#[derive(Debug)]
pub struct Wrapped(pub WrappedKey);

impl Service {
    /// Wraps data keys; each item is decided on and recorded by itself.
    ///
    /// # Errors
    ///
    /// Per item: `not_permitted`, the conflicts of key states, `hsm_unavailable`. For all: `audit_unavailable`,
    /// `lease_lost`.
    pub async fn wrap(&self, call: &Call, items: Vec<Understood<WrapItem>>) -> Outcomes<Wrapped> {
        let line = self.line(call);
        let steps = line.steps(Action::Wrap, items, |index, item| {
            let (data_key, bytes) = (fresh_data_key(), item.plaintext.len());
            let mut step = line.wrapping(index, Action::Wrap, &item.key, &item.context, |key| {
                Ok(Wrapping { key, data_key, plaintext: item.plaintext, context: SharedContext::clone(&item.context) })
            });
            step.facts(|facts| {
                facts.bytes_in = count(bytes);
                facts.data_key = Some(data_key);
            });
            step
        });
        let (mut asked, work) = part(steps);
        let wrapped = carry_out(work, async |work| self.material().wrap(work).await).await;
        record_wrapped(&mut asked, &wrapped);
        line.release(asked, wrapped.into_iter().map(|wrapped| wrapped.map(Wrapped)).collect()).await
    }
}

impl Line<'_> {
    /// Asks to wrap under a key's primary version.
    pub(super) fn wrapping<W>(
        &self,
        index: usize,
        action: Action,
        key: &KeyRef,
        context: &SharedContext,
        prepare: impl FnOnce(UsableKey) -> Result<W, Error>,
    ) -> Step<W> {
        let key = self
            .snapshot
            .state
            .key(key.resolve(&self.snapshot.state))
            .map_or_else(|| Err(key.resolve(&self.snapshot.state)), Ok);
        let (id, version) = match &key {
            Ok(key) => (key.id, Some(key.primary_version)),
            Err(unknown) => (*unknown, None),
        };
        let facts = Facts { key_version: version, ..Facts::default() };
        self.ask(index, action, Target::Key(id), Some(SharedContext::clone(context)), facts, |permit| {
            prepare(UsableKey::primary(key.map_err(|_| Error::Denied)?, &self.snapshot.state, permit, action)?)
        })
    }
}

/// A random data key id (RFC 9562 version 4): it says nothing of when or where.
#[expect(clippy::disallowed_methods, reason = "data key ids are random by design, not ordered by time")]
pub(super) fn fresh_data_key() -> DataKeyId {
    DataKeyId::new(uuid::Uuid::new_v4())
}

/// Completes the records with what was wrapped.
pub(super) fn record_wrapped(asked: &mut [Vec<Asked>], wrapped: &[Result<WrappedKey, Error>]) {
    for (asked, wrapped) in asked.iter_mut().zip(wrapped) {
        if let (Some(asked), Ok(wrapped)) = (asked.last_mut(), wrapped) {
            asked.facts.bytes_out = count(wrapped.byte_len());
        }
    }
}
