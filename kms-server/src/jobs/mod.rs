//! What the server does on its own, again and again. A job builds changes like everybody else, and may be repeated.

mod doubt;
mod unmade;

use crate::{service::Service, supervisor::Supervisor};

/// Starts every job.
pub(crate) fn start(supervisor: &Supervisor, service: &Service) {
    let (stopping, doubtful) = (supervisor.clone(), service.clone());
    supervisor.run("doubt", async move {
        tokio::select! {
            () = doubt::resolve(&doubtful) => {}
            () = stopping.stopping() => {}
        }
    });
    let (stopping, service) = (supervisor.clone(), service.clone());
    supervisor.run("unmade", async move {
        tokio::select! {
            () = unmade::take_back(&service) => {}
            () = stopping.stopping() => {}
        }
    });
}
