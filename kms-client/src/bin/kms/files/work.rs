//! The work on files itself: a few at once, with progress, and an account of each.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kms_client::{
    client::{Client, Error, Existing, NewFile, Result},
    format::context::EncryptionContext,
    id::{DataKeyId, KeyId, KeyVersion, RecordId},
    wire::{name::KeyName, problem::Code},
};
use serde::Serialize;
use tokio::{fs, task::JoinSet};

use super::plan::{Job, Plan};
use crate::{
    failure::{Exit, Failure},
    output::Output,
};

/// What is done to each file.
#[derive(Debug)]
pub(super) enum Operation {
    Encrypt { key: KeyName, context: EncryptionContext },
    Decrypt { context: EncryptionContext },
    Rewrap { context: EncryptionContext },
}

/// How a plan is carried out.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) client: Client,
    pub(super) operation: Operation,
    pub(super) existing: Existing,
    pub(super) jobs: usize,
}

/// What became of all files.
#[derive(Default, Serialize)]
struct Account {
    files: Vec<Done>,
    failures: Vec<Failed>,
    #[serde(skip)]
    exits: Vec<Exit>,
    skipped: usize,
}

/// A file that was made.
#[derive(Serialize)]
struct Done {
    from: PathBuf,
    to: PathBuf,
    key: KeyId,
    version: KeyVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_version: Option<KeyVersion>,
    data_key: DataKeyId,
    bytes: u64,
    record: RecordId,
}

/// A file that was not.
#[derive(Serialize)]
struct Failed {
    path: PathBuf,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
}

impl Work {
    pub(super) async fn run(self, plan: Plan, output: Output) -> std::result::Result<(), Failure> {
        let mut account = Account { skipped: plan.skipped, ..Account::default() };
        let bar = progress(plan.jobs.iter().map(|job| job.size).sum());
        for (path, failure) in plan.failures {
            account.fail(path, &failure, &bar);
        }
        let work = Arc::new(self);
        let mut waiting = plan.jobs.into_iter();
        let mut running = JoinSet::new();
        let mut interrupt = std::pin::pin!(interrupted());
        loop {
            while running.len() < work.jobs
                && let Some(job) = waiting.next()
            {
                let (work, bar) = (Arc::clone(&work), bar.clone());
                running.spawn(async move { (job.from.clone(), work.perform(&job, &bar).await) });
            }
            let finished = tokio::select! {
                finished = running.join_next() => finished,
                () = &mut interrupt => {
                    // Each drops its unfinished file, which removes it.
                    running.shutdown().await;
                    bar.finish_and_clear();
                    return Err(Failure::Interrupted);
                }
            };
            match finished {
                None => break,
                Some(Ok((_, Ok(done)))) => account.files.push(done),
                Some(Ok((path, Err(error)))) => account.fail(path, &Failure::Client(error), &bar),
                Some(Err(error)) => return Err(Failure::Runtime(error.into())),
            }
        }
        bar.finish_and_clear();
        account.files.sort_by(|a, b| a.from.cmp(&b.from));
        if output == Output::Json || account.exits.is_empty() || !account.files.is_empty() {
            output.print(&account, |account| account.summary(&work.operation))?;
        }
        account.result()
    }

    async fn perform(&self, job: &Job, bar: &ProgressBar) -> Result<Done> {
        match &self.operation {
            Operation::Encrypt { key, context } => {
                let (file, mut new) = self.open(job).await?;
                let permissions = permissions(&job.from, &file).await?;
                let mut reader = bar.wrap_async_read(file);
                let done = self.client.encrypt_stream(key, context, &mut reader, new.writer()).await?;
                new.commit(Some(permissions)).await?;
                Ok(job.done(done.key, done.version, None, done.data_key, done.bytes, done.record))
            }
            Operation::Decrypt { context } => {
                let (file, mut new) = self.open(job).await?;
                let permissions = permissions(&job.from, &file).await?;
                let mut reader = bar.wrap_async_read(file);
                let done = self.client.decrypt_stream(context, &mut reader, new.writer()).await?;
                new.commit(Some(permissions)).await?;
                Ok(job.done(done.key, done.version, None, done.data_key, done.bytes, done.record))
            }
            Operation::Rewrap { context } => {
                let done = self.client.rewrap_file(context, &job.from).await?;
                bar.inc(job.size);
                let previous = Some(done.previous_version);
                Ok(job.done(done.key, done.version, previous, done.data_key, job.size, done.record))
            }
        }
    }

    async fn open(&self, job: &Job) -> Result<(fs::File, NewFile)> {
        let failed = |action, path: &Path, source| Error::File { action, path: path.to_owned(), source };
        let file = fs::File::open(&job.from).await.map_err(|source| failed("read", &job.from, source))?;
        if let Some(folder) = job.to.parent() {
            fs::create_dir_all(folder).await.map_err(|source| failed("make the folder", folder, source))?;
        }
        Ok((file, NewFile::create(&job.to, self.existing).await?))
    }
}

impl Job {
    fn done(
        &self,
        key: KeyId,
        version: KeyVersion,
        previous_version: Option<KeyVersion>,
        data_key: DataKeyId,
        bytes: u64,
        record: RecordId,
    ) -> Done {
        let (from, to) = (self.from.clone(), self.to.clone());
        Done { from, to, key, version, previous_version, data_key, bytes, record }
    }
}

impl Account {
    fn fail(&mut self, path: PathBuf, failure: &Failure, bar: &ProgressBar) {
        let (error, code, name) = (failure.to_string(), failure.code(), path.display().to_string());
        // Most errors of files name them already.
        let subject = (!error.contains(&name)).then_some(name);
        bar.suspend(|| failure.tell(subject.as_deref()));
        self.exits.push(failure.exit());
        self.failures.push(Failed { path, error, code });
    }

    fn summary(&self, operation: &Operation) -> String {
        let bytes = HumanBytes(self.files.iter().map(|done| done.bytes).sum());
        let (files, skipped) = (self.files.len(), self.skipped);
        let text = match operation {
            Operation::Encrypt { .. } => format!("encrypted {} ({bytes})", count(files)),
            Operation::Decrypt { .. } => format!("decrypted {} ({bytes})", count(files)),
            Operation::Rewrap { .. } => {
                let moved = self.files.iter().filter(|done| done.previous_version != Some(done.version)).count();
                format!("rewrapped {}, {} had the newest version already", count(moved), count(files - moved))
            }
        };
        if skipped == 0 { text } else { format!("{text}; left {skipped} symbolic links and special files alone") }
    }

    fn result(self) -> std::result::Result<(), Failure> {
        let Some(first) = self.exits.first().copied() else { return Ok(()) };
        let exit = if self.exits.iter().all(|exit| *exit == first) { first } else { Exit::Failed };
        let failed = self.exits.len();
        Err(Failure::Some { failed, total: failed + self.files.len(), exit })
    }
}

/// Ends when the user or the system asks the program to stop.
pub(super) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}

async fn permissions(path: &Path, file: &fs::File) -> Result<std::fs::Permissions> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    Ok(file.metadata().await.map_err(failed)?.permissions())
}

/// A bar on standard error when that is a terminal; nothing otherwise.
fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let template = "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}
