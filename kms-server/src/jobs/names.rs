//! Names of requests stand for a day, and what became of accepted changes is kept for a month; this job forgets them
//! afterwards.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

const EVERY: Duration = Duration::from_mins(5);

pub(super) async fn forget(service: &Service) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match service.forget_names().await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "idempotency keys have expired"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expired idempotency keys were not forgotten");
            }
        }
        if let Err(error) = service.forget_operations().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "old operations were not forgotten");
        }
    }
}
