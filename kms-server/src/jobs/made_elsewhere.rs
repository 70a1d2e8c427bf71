//! Finds the key versions that other nodes make in the token, off the path of the operations that will need them.

use std::time::Duration;

use tokio::time::sleep;

use crate::service::Service;

/// How soon what was not found is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn find(service: &Service) {
    loop {
        service.made_elsewhere().await;
        while !service.find_made_elsewhere().await {
            #[expect(
                clippy::disallowed_methods,
                reason = "a token that does not have it yet tells nobody when it has"
            )]
            sleep(AGAIN).await;
        }
    }
}
