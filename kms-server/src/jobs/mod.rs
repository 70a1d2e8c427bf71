//! What the server does on its own, again and again. A job builds changes like everybody else, and may be repeated.

mod doubt;
mod lifecycle;
mod unmade;

use crate::{service::Service, supervisor::Supervisor};

/// Starts every job.
pub(crate) fn start(supervisor: &Supervisor, service: &Service) {
    let own = service.clone();
    until_stopped(supervisor, "doubt", async move { doubt::resolve(&own).await });
    let own = service.clone();
    until_stopped(supervisor, "lifecycle", async move { lifecycle::run(&own).await });
    let own = service.clone();
    until_stopped(supervisor, "unmade", async move { unmade::take_back(&own).await });
}

fn until_stopped(supervisor: &Supervisor, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
    let stopping = supervisor.clone();
    supervisor.run(name, async move {
        tokio::select! {
            () = job => {}
            () = stopping.stopping() => {}
        }
    });
}
