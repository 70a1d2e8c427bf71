//! Unwrap: a storage service gets back a data key.

use hsm::Secret;
use kms_client::format::wrapped_key::{InvalidWrappedKey, WrappedKey};

use super::{
    Call, Outcomes, Place, Service, SharedContext, Understood, count,
    line::{Line, Step, carry_out, part},
    usable_key::{Opening, UsableKey},
};
use crate::{
    gate::Facts,
    model::{Action, Error, Key, Target},
    policy::Permit,
};

/// A wrapped data key and the context it was wrapped with.
#[derive(Debug)]
pub struct UnwrapItem {
    /// What the caller sent in place of a wrapped key.
    pub wrapped: Result<WrappedKey, InvalidWrappedKey>,
    /// The context.
    pub context: SharedContext,
}

/// A data key in plain.
#[derive(Debug)]
pub struct Unwrapped {
    /// Where it was wrapped.
    pub place: Place,
    /// The data key.
    pub plaintext: Secret,
}

impl Service {
    /// Unwraps data keys; each item is decided on and recorded by itself.
    ///
    /// # Errors
    ///
    /// Per item: `invalid_wrapped_key`, `not_permitted`, the conflicts of key and version states, `hsm_unavailable`.
    /// For all: `audit_unavailable`, `lease_lost`.
    pub async fn unwrap(&self, call: &Call, items: Vec<Understood<UnwrapItem>>) -> Outcomes<Unwrapped> {
        let line = self.line(call);
        let places: Vec<_> = items.iter().map(|item| item.as_ref().ok()?.wrapped.as_ref().ok().map(place)).collect();
        let steps = line.steps(Action::Unwrap, items, |index, item| {
            line.opening(index, Action::Unwrap, item, |_, _, opening| Ok(opening))
        });
        let (mut asked, work) = part(steps);
        let opened = carry_out(work, async |work| self.material().open(work).await).await;
        for (asked, opened) in asked.iter_mut().flatten().zip(&opened) {
            asked.facts.bytes_out = opened.as_ref().map_or(0, |secret| count(secret.len()));
        }
        let unwrapped = opened.into_iter().zip(places).map(|(plaintext, place)| {
            Ok(Unwrapped { plaintext: plaintext?, place: place.ok_or_else(Error::invalid_wrapped_key)? })
        });
        line.release(asked, unwrapped.collect()).await
    }
}

impl Line<'_> {
    /// Asks to open a wrapped data key. The order is form, key and right, state; the tag is the HSM's to check.
    pub(super) fn opening<W>(
        &self,
        index: usize,
        action: Action,
        item: UnwrapItem,
        prepare: impl FnOnce(&Key, &Permit, Opening) -> Result<W, Error>,
    ) -> Step<W> {
        let Ok(wrapped) = item.wrapped else {
            return self.meaningless(index, action, Facts::default(), Error::invalid_wrapped_key());
        };
        let facts = Facts {
            key_version: Some(wrapped.key_version()),
            data_key: Some(wrapped.data_key_id()),
            bytes_in: count(wrapped.byte_len()),
            ..Facts::default()
        };
        let (key, context) = (wrapped.key_id(), SharedContext::clone(&item.context));
        self.ask(index, action, Target::Key(key), Some(item.context), facts, |permit| {
            let key = self.snapshot.state.key(key).ok_or(Error::Denied)?;
            let usable = UsableKey::version(key, wrapped.key_version(), permit, action)?;
            prepare(key, permit, usable.opens(wrapped, &context)?)
        })
    }
}

/// Where a data key says that it is wrapped.
pub(super) fn place(wrapped: &WrappedKey) -> Place {
    Place { key: wrapped.key_id(), version: wrapped.key_version(), data_key: wrapped.data_key_id() }
}
