//! Ends what nodes that are gone left unfinished: records of their changes that are in no chain yet, objects in the HSM that
//! became no key, accepted changes that will not be made. At its start a node has done so before it serves; this is for those that go later.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{model::Error, service::Service};

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn finish(service: &Service) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !service.cluster().is_serving() {
            continue;
        }
        let finished: Result<(), Error> = async {
            service.seal_orphaned().await?;
            service.take_back_unmade().await?;
            service.settle_operations().await?;
            Ok(())
        }
        .await;
        if let Err(error) = finished {
            tracing::warn!(error = &error as &dyn std::error::Error, "what a node left unfinished stays so for now");
        }
    }
}
