//! Rotates keys that are due and destroys those whose waiting period is over.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{model::Error, service::Service};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the keys are, by that clock.
const EVERY: Duration = Duration::from_mins(1);
/// How soon after a failure.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(service: &Service) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut next, mut unfinished) = (Duration::ZERO, true);
    loop {
        tokio::select! {
            _ = looks.tick() => if service.clock().boot() < next { continue },
            () = service.wraps_nearly_spent() => {}
        }
        if !service.cluster().is_serving() {
            continue;
        }
        let rotated = service.rotate_due().await;
        let destroyed = service.destroy_due().await;
        unfinished |= destroyed.is_err();
        if unfinished {
            unfinished = finish(service).await.is_err();
        }
        let failed = rotated.is_err() || destroyed.is_err() || unfinished;
        next = service.clock().boot().saturating_add(if failed { AGAIN } else { EVERY });
    }
}

async fn finish(service: &Service) -> Result<(), Error> {
    service.finish_destroyed().await.inspect_err(|error| {
        tracing::warn!(error = error as &dyn std::error::Error, "the HSM still holds objects of destroyed keys");
    })
}
