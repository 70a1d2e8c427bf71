//! Random bytes of the HSM, combined with the kernel's.

use hsm::Secret;

use super::{
    Call, Outcomes, Service, Understood, count,
    line::{carry_out, part},
};
use crate::{
    gate::Facts,
    model::{Action, Error, Target},
};

impl Service {
    /// Draws random bytes: as many draws as `lengths`, each of 1 to 1,024 bytes.
    ///
    /// # Errors
    ///
    /// Per draw: `not_permitted`, `hsm_unavailable`. For all: `audit_unavailable`, `lease_lost`.
    pub async fn random(&self, call: &Call, lengths: Vec<Understood<usize>>) -> Outcomes<Secret> {
        let line = self.line(call);
        let steps = line.steps(Action::Random, lengths, |index, bytes| {
            let facts = Facts { bytes_out: count(bytes), ..Facts::default() };
            line.ask(index, Action::Random, Target::Installation, None, facts, |_| Ok(bytes))
        });
        let (asked, work) = part(steps);
        let drawn = carry_out(work, async |lengths: Vec<usize>| {
            let drawn = self.material().random(lengths.iter().sum()).await?;
            let mut rest = drawn.as_bytes();
            let split = |bytes: usize| {
                let (mine, others) =
                    rest.split_at_checked(bytes).ok_or_else(|| Error::internal("too few random bytes"))?;
                rest = others;
                Ok(Secret::new(mine.to_vec()))
            };
            Ok(lengths.into_iter().map(split).collect())
        })
        .await;
        line.release(asked, drawn).await
    }
}
