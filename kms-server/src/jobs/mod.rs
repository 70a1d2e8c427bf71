//! What the server does on its own, again and again. A job builds changes like everybody else, and may be repeated.

mod disk;
mod doubt;
mod gone;
mod lifecycle;
mod made_elsewhere;
mod names;
mod unmade;

use crate::{service::Service, supervisor::Supervisor};

/// Starts every job.
pub(crate) fn start(supervisor: &Supervisor, service: &Service) {
    run(supervisor, service, "disk", async |service| disk::watch(&service).await);
    run(supervisor, service, "doubt", async |service| doubt::resolve(&service).await);
    run(supervisor, service, "lifecycle", async |service| lifecycle::run(&service).await);
    run(supervisor, service, "unmade", async |service| unmade::take_back(&service).await);
    run(supervisor, service, "gone", async |service| gone::finish(&service).await);
    run(supervisor, service, "made elsewhere", async |service| made_elsewhere::find(&service).await);
    run(supervisor, service, "names", async |service| names::forget(&service).await);
}

/// Runs a job until the server stops.
fn run<F>(supervisor: &Supervisor, service: &Service, name: &'static str, job: impl FnOnce(Service) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (stopping, job) = (supervisor.clone(), job(service.clone()));
    supervisor.run(name, async move {
        tokio::select! {
            () = job => {}
            () = stopping.stopping() => {}
        }
    });
}
