//! Every task of the server starts here, so that none ends, panics or outlives the server unnoticed.

use std::{
    future::Future,
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tracing::Instrument as _;

/// Starts tasks and notices their end. Clones share the tasks.
#[derive(Debug, Clone)]
pub struct Supervisor {
    tasks: Arc<Mutex<JoinSet<()>>>,
    stopping: watch::Sender<bool>,
    failed: watch::Sender<Option<&'static str>>,
}

/// A task that was to run to its end panicked.
#[derive(Debug, thiserror::Error)]
#[error("the task `{0}` failed")]
pub struct TaskFailed(&'static str);

impl Default for Supervisor {
    fn default() -> Self {
        Self { tasks: Arc::default(), stopping: watch::Sender::new(false), failed: watch::Sender::new(None) }
    }
}

impl Supervisor {
    /// Starts a task that is to run for as long as the server does. Its end before then stops the server.
    pub fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (failed, stopping) = (self.failed.clone(), self.stopping.subscribe());
        self.start(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() || !*stopping.borrow() {
                tracing::error!(task.name = name, task.panicked = ended.is_err(), "a task ended");
                failed.send_replace(Some(name));
            }
        });
    }

    /// Starts a task that is to run for as long as the server does, on a thread and a runtime of its own: no load of the others
    /// can starve it. Its end before then stops the server.
    ///
    /// # Errors
    ///
    /// That of the operating system, if there can be no thread; then nothing runs.
    pub fn run_on_thread<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped with the thread, however that ends.
            let _running = running;
            runtime.block_on(task());
        })?;
        self.run(name, async move {
            let _gone = ended.await;
        });
        Ok(())
    }

    /// Starts a task whose end is nothing to notice, such as a connection. A panic in it is logged.
    pub fn start_short(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.start(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task.name = name, "a task panicked");
            }
        });
    }

    /// Runs `work` to its end even if whoever waits for it goes away.
    ///
    /// # Errors
    ///
    /// [`TaskFailed`] if it panicked.
    pub async fn finish<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TaskFailed> {
        let (done, result) = oneshot::channel();
        let work = work.in_current_span();
        self.start_short(name, async move {
            // Nobody may be waiting any more; the work is done all the same.
            let _unheard = done.send(work.await);
        });
        result.await.map_err(|_| TaskFailed(name))
    }

    /// Resolves when the server is to stop.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`, so this can only end by the value.
        let _closed = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Resolves with the name of the first task that ended before its time.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(name) => name.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Tells every task to stop and waits until all have.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return;
            }
            while tasks.join_next().await.is_some() {}
        }
    }

    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
        // Finished tasks would otherwise be kept until the server stops.
        while tasks.try_join_next().is_some() {}
    }
}
