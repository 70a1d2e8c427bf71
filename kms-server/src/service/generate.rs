//! Generate: a storage service gets a fresh data key, wrapped and, if it asks and may, in plain.

use hsm::Secret;
use kms_client::format::wrapped_key::WrappedKey;

use super::{
    Call, KeyRef, Outcomes, Service, SharedContext, Understood, count,
    line::{carry_out, part},
    usable_key::{UsableKey, Wrapping},
    wrap::{fresh_data_key, record_wrapped},
};
use crate::model::{Action, Error};

/// A data key to make.
#[derive(Debug)]
pub struct GenerateItem {
    /// Under which key.
    pub key: KeyRef,
    /// How long, 1 to 1,024 bytes.
    pub bytes: usize,
    /// Whether the caller wants to see it.
    pub plaintext: bool,
    /// To be authenticated with it.
    pub context: SharedContext,
}

/// A fresh data key.
#[derive(Debug)]
pub struct Generated {
    /// Wrapped.
    pub wrapped: WrappedKey,
    /// In plain, where asked for.
    pub plaintext: Option<Secret>,
}

struct Making {
    key: UsableKey,
    data_key: kms_client::id::DataKeyId,
    bytes: usize,
    plaintext: bool,
    context: SharedContext,
}

impl Service {
    /// Makes data keys; each item is decided on and recorded by itself.
    ///
    /// # Errors
    ///
    /// Per item: `not_permitted`, the conflicts of key states, `hsm_unavailable`. For all: `audit_unavailable`,
    /// `lease_lost`.
    pub async fn generate(&self, call: &Call, items: Vec<Understood<GenerateItem>>) -> Outcomes<Generated> {
        let line = self.line(call);
        let steps = line.steps(Action::Generate, items, |index, item: GenerateItem| {
            let action = if item.plaintext { Action::Generate } else { Action::GenerateWithoutPlaintext };
            let data_key = fresh_data_key();
            let GenerateItem { key, bytes, plaintext, context } = item;
            let mut step = line.wrapping(index, action, &key, &context.clone(), |key| {
                Ok(Making { key, data_key, bytes, plaintext, context })
            });
            step.facts(|facts| facts.data_key = Some(data_key));
            step
        });
        let (mut asked, work) = part(steps);
        let made = carry_out(work, async |work| self.make(work).await).await;
        let (wrapped, plaintexts): (Vec<_>, Vec<_>) = made
            .into_iter()
            .map(|made| match made {
                Ok((wrapped, plaintext)) => (Ok(wrapped), plaintext),
                Err(error) => (Err(error), None),
            })
            .unzip();
        record_wrapped(&mut asked, &wrapped);
        for (asked, plaintext) in asked.iter_mut().flatten().zip(&plaintexts) {
            asked.facts.bytes_out += plaintext.as_ref().map_or(0, |plaintext| count(plaintext.len()));
        }
        let generated = wrapped
            .into_iter()
            .zip(plaintexts)
            .map(|(wrapped, plaintext)| wrapped.map(|wrapped| Generated { wrapped, plaintext }));
        line.release(asked, generated.collect()).await
    }

    async fn make(&self, makings: Vec<Making>) -> Result<Vec<Result<(WrappedKey, Option<Secret>), Error>>, Error> {
        let material = self.material();
        // One draw for all of them: a draw is a trip to the HSM's thread and back.
        let drawn = material.random(makings.iter().map(|making| making.bytes).sum()).await?;
        let mut rest = drawn.as_bytes();
        let mut plaintexts = Vec::with_capacity(makings.len());
        let mut wrappings = Vec::with_capacity(makings.len());
        for Making { key, data_key, bytes, plaintext, context } in makings {
            let (mine, others) = rest.split_at_checked(bytes).ok_or_else(|| Error::internal("too few random bytes"))?;
            rest = others;
            plaintexts.push(plaintext.then(|| Secret::new(mine.to_vec())));
            wrappings.push(Wrapping { key, data_key, plaintext: Secret::new(mine.to_vec()), context });
        }
        let wrapped = material.wrap(wrappings).await?;
        Ok(wrapped.into_iter().zip(plaintexts).map(|(wrapped, plaintext)| Ok((wrapped?, plaintext))).collect())
    }
}
