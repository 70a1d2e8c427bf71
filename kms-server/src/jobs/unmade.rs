//! An object in the HSM whose control change failed is destroyed at once, unless the HSM fails at that too. This job tries
//! again once it answers; after a restart `Service::take_back_unmade` does the same.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn take_back(service: &Service) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = service.take_back_left().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an unused object still stays");
        }
    }
}
