//! While the outcome of a commit is not known this node serves nothing. This job asks the database until it knows, and
//! then chains the records of changes whose makers were not told how they ended.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

const EVERY: Duration = Duration::from_millis(250);

pub(super) async fn resolve(service: &Service) {
    let cluster = service.cluster();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if cluster.is_in_doubt() {
            match cluster.resolve_doubt().await {
                Ok(()) => {
                    tracing::info!(revision = cluster.snapshot().revision.0, "the newest control state is known again");
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the newest control state is still not known"
                    );
                    continue;
                }
            }
        }
        if let Err(error) = service.seal_left().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the record of a change is still not chained");
        }
    }
}
