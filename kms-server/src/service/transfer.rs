//! Transfer: a data key moves to another key or context. It needs a right on both keys and never crosses environment or
//! region; another data class needs an approval.

use kms_client::format::wrapped_key::WrappedKey;

use super::{
    Call, KeyRef, Outcomes, Service, SharedContext, Understood, UnwrapItem,
    line::{Line, Step, carry_out, part},
    rewrap::Moving,
    unwrap::place,
    wrap::record_wrapped,
};
use crate::model::{Action, Error, Refusal};

/// A wrapped data key and where it is to go.
#[derive(Debug)]
pub struct TransferItem {
    /// The data key and the context it was wrapped with.
    pub from: UnwrapItem,
    /// The key to go to; `None`: its own.
    pub target_key: Option<KeyRef>,
    /// The context to go to; `None`: its own.
    pub target_context: Option<SharedContext>,
}

/// A data key that was transferred.
#[derive(Debug)]
pub struct Transferred {
    /// Wrapped where it went.
    pub wrapped: WrappedKey,
    /// Where it was.
    pub previous: super::Place,
}

impl Service {
    /// Transfers data keys; each item is decided on by itself and leaves two records, one for each side.
    ///
    /// # Errors
    ///
    /// As for unwrap, on both keys; `invalid_request` for another environment or region, `approval_required` for another
    /// data class.
    pub async fn transfer(&self, call: &Call, items: Vec<Understood<TransferItem>>) -> Outcomes<Transferred> {
        let line = self.line(call);
        let previous: Vec<_> =
            items.iter().map(|item| item.as_ref().ok()?.from.wrapped.as_ref().ok().map(place)).collect();
        let steps = line.steps(Action::TransferFrom, items, |index, item| line.transfer(index, item));
        let (mut asked, work) = part(steps);
        let moved = carry_out(work, async |work| self.move_all(work).await).await;
        record_wrapped(&mut asked, &moved);
        let transferred = moved.into_iter().zip(previous).map(|(wrapped, previous)| {
            Ok(Transferred { wrapped: wrapped?, previous: previous.ok_or_else(Error::invalid_wrapped_key)? })
        });
        line.release(asked, transferred.collect()).await
    }
}

impl Line<'_> {
    fn transfer(&self, index: usize, item: TransferItem) -> Step<Moving> {
        let Ok(source) = item.from.wrapped.as_ref().map(WrappedKey::key_id) else {
            let error = Error::invalid_wrapped_key();
            return self.meaningless(index, Action::TransferFrom, crate::gate::Facts::default(), error);
        };
        let data_key = item.from.wrapped.as_ref().ok().map(WrappedKey::data_key_id);
        let target = item.target_key.unwrap_or(KeyRef::Id(source));
        let context = item.target_context.unwrap_or_else(|| SharedContext::clone(&item.from.context));
        let from = self.opening(index, Action::TransferFrom, item.from, |_, _, opening| Ok(opening));
        let mut to = self.wrapping(index, Action::TransferTo, &target, &context, Ok);
        to.facts(|facts| facts.data_key = data_key);
        let mut asked = from.asked;
        asked.append(&mut to.asked);
        let work = from.work.and_then(|from| {
            let to = to.work?;
            self.check_transfer(source, &target)?;
            Ok(Moving { from, to, context })
        });
        Step { asked, work }
    }

    fn check_transfer(&self, source: kms_client::id::KeyId, target: &KeyRef) -> Result<(), Error> {
        let state = &self.snapshot.state;
        let source = state.key(source).ok_or(Error::Denied)?;
        let target = state.key(target.resolve(state)).ok_or(Error::Denied)?;
        if source.environment != target.environment || source.region != target.region {
            return Err(Error::conflict(
                Refusal::InvalidState,
                "a data key never moves to another environment or region",
            ));
        }
        if source.data_class != target.data_class {
            return Err(Error::approval_required("moving a data key to another data class"));
        }
        Ok(())
    }
}
