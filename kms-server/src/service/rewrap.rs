//! Rewrap: a data key moves to the primary version of its own key, with its id and context, and nobody sees it.

use kms_client::{format::wrapped_key::WrappedKey, id::KeyVersion};

use super::{
    Call, Outcomes, Service, SharedContext, Understood, UnwrapItem,
    line::{carry_out, part},
    usable_key::{Opening, UsableKey, Wrapping},
    wrap::record_wrapped,
};
use crate::model::{Action, Error};

/// A wrapped data key and the context it was, and stays, wrapped with.
pub type RewrapItem = UnwrapItem;

/// A data key wrapped again.
#[derive(Debug)]
pub struct Rewrapped {
    /// Wrapped under the primary version.
    pub wrapped: WrappedKey,
    /// The version it was wrapped under before.
    pub previous_version: KeyVersion,
}

/// A data key on its way from one wrapping to another.
pub(super) struct Moving {
    pub(super) from: Opening,
    pub(super) to: UsableKey,
    pub(super) context: SharedContext,
}

impl Service {
    /// Rewraps data keys; each item is decided on and recorded by itself. The record names the version they left.
    ///
    /// # Errors
    ///
    /// As for unwrap.
    pub async fn rewrap(&self, call: &Call, items: Vec<Understood<RewrapItem>>) -> Outcomes<Rewrapped> {
        let line = self.line(call);
        let previous: Vec<_> =
            items.iter().map(|item| item.as_ref().ok()?.wrapped.as_ref().ok().map(WrappedKey::key_version)).collect();
        let steps = line.steps(Action::Rewrap, items, |index, item| {
            let context = SharedContext::clone(&item.context);
            line.opening(index, Action::Rewrap, item, |key, permit, from| {
                let to = UsableKey::primary(key, &line.snapshot.state, permit, Action::Rewrap)?;
                Ok(Moving { from, to, context })
            })
        });
        let (mut asked, work) = part(steps);
        let moved = carry_out(work, async |work| self.move_all(work).await).await;
        record_wrapped(&mut asked, &moved);
        let rewrapped = moved.into_iter().zip(previous).map(|(wrapped, previous)| {
            let previous_version = previous.ok_or_else(Error::invalid_wrapped_key)?;
            Ok(Rewrapped { wrapped: wrapped?, previous_version })
        });
        line.release(asked, rewrapped.collect()).await
    }

    /// Opens and wraps again; data key ids stay.
    pub(super) async fn move_all(&self, moving: Vec<Moving>) -> Result<Vec<Result<WrappedKey, Error>>, Error> {
        let material = self.material();
        let (openings, targets): (Vec<_>, Vec<_>) = moving
            .into_iter()
            .map(|moving| {
                let data_key = moving.from.wrapped.data_key_id();
                (moving.from, (moving.to, data_key, moving.context))
            })
            .unzip();
        let opened = material.open(openings).await?;
        let wrappings = opened.into_iter().zip(targets).map(|(plaintext, (key, data_key, context))| {
            Ok(Wrapping { key, data_key, plaintext: plaintext?, context })
        });
        Ok(carry_out(wrappings.collect(), async |work| material.wrap(work).await).await)
    }
}
