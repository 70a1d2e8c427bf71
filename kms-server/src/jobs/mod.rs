//! What the server does on its own, again and again. A job builds changes like everybody else, and may be repeated.

mod doubt;

use crate::{service::Service, supervisor::Supervisor};

/// Starts every job.
pub(crate) fn start(supervisor: &Supervisor, service: &Service) {
    let (stopping, service) = (supervisor.clone(), service.clone());
    supervisor.run("doubt", async move {
        tokio::select! {
            () = doubt::resolve(&service) => {}
            () = stopping.stopping() => {}
        }
    });
}
