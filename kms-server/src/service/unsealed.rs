//! Changes that were committed while their maker was told `outcome_unknown`: their records still have to be chained.

use super::Service;
use crate::{audit::Draft, model::Error};

/// How many intents are looked through; there are as many as changes under way.
const INTENTS: u32 = 1000;

impl Service {
    /// Chains the records that this node left unchained.
    ///
    /// # Errors
    ///
    /// That of the database or the log; what is left stays to be chained.
    pub async fn seal_left(&self) -> Result<(), Error> {
        let left = self.inner.cluster.take_unsealed();
        if left.is_empty() {
            return Ok(());
        }
        let intents: Result<_, Error> = async { Ok(self.inner.store.read().await?.intents(INTENTS).await?) }.await;
        let intents =
            intents.inspect_err(|_| left.iter().for_each(|change| self.inner.cluster.leave_unsealed(*change)))?;
        for intent in intents.into_iter().filter(|intent| left.contains(&intent.change)) {
            let draft = Draft::from_intent(&intent.record).map_err(Error::internal)?;
            self.gate().seal_left(intent.change, draft).await?;
        }
        Ok(())
    }

    /// Chains the records that nodes left unchained which are members no longer.
    ///
    /// # Errors
    ///
    /// That of the database or the log; what is left stays to be chained.
    pub async fn seal_orphaned(&self) -> Result<(), Error> {
        for intent in self.inner.store.read().await?.orphaned_intents(INTENTS).await? {
            let draft = Draft::from_intent(&intent.record).map_err(Error::internal)?;
            self.gate().seal_left(intent.change, draft).await?;
            tracing::info!(change.id = %intent.change, member.id = %intent.node, "chained the record of a change whose node is gone");
        }
        Ok(())
    }
}
