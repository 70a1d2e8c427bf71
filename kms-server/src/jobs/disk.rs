//! Looks at the disk, so that what is left of it is known before it is needed.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn watch(service: &Service) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        service.look_at_disk();
    }
}
