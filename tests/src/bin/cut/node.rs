//! One node: a real server with a folder, a way to the database and clocks of its own, started again whenever it ends.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keyward_tests::{Clocks, FakeTime, Process, Proxy, SIGKILL, StoppedKms, program};
use kms_server::config::Config;
use nix::{sys::signal, sys::signal::Signal, unistd::Pid};
use tokio::{process::Command, sync::watch, time::timeout};

use super::{
    judge::Nanos,
    world::{copy_files, now},
};

/// How long a server may take to its first answer, and to leave.
const START: Duration = Duration::from_mins(1);

/// A node, whether it runs now or not.
pub(crate) struct Node {
    pub(crate) number: usize,
    /// Between it and the database, where there are faults.
    pub(crate) proxy: Option<Proxy>,
    /// Its wall clock, where that is set by faults.
    pub(crate) time: Option<FakeTime>,
    folder: PathBuf,
    ca_pem: String,
    /// Where it answers; nothing while it does not run.
    pub(crate) api: watch::Sender<Option<String>>,
    process: AtomicU32,
    ends: Mutex<Vec<Nanos>>,
    wrong: Mutex<Vec<String>>,
}

impl Node {
    /// A node of this installation, in a folder beside it.
    pub(crate) async fn describe(stopped: &StoppedKms, number: usize, faults: bool) -> Self {
        let folder = stopped.folder().join(format!("node-{number}"));
        fs::create_dir(&folder).unwrap();
        let names = ["kms.toml", "server.pem", "server.key", "pin", "postgres-url"];
        copy_files(stopped.folder(), &folder, &names);
        let config = Config::read(&folder.join("kms.toml")).unwrap();
        let proxy = if faults { Some(Proxy::between(&config).await) } else { None };
        // One node whose clock is set says as much as three: what libfaketime does is slow.
        let time = (faults && number == 0).then(|| FakeTime::new(&folder, Clocks::Wall));
        Self {
            number,
            proxy,
            time,
            folder,
            ca_pem: stopped.identities.ca_pem.clone(),
            api: watch::Sender::new(None),
            process: AtomicU32::new(0),
            ends: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    /// Where the server writes when its answers left.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.join("flush-trace")
    }

    /// Waits until it serves for the first time.
    pub(crate) async fn started(&self) {
        let mut api = self.api.subscribe();
        let started = timeout(START, api.wait_for(Option::is_some)).await;
        assert!(started.is_ok(), "node {} does not start: {:?}", self.number, self.wrong.lock().unwrap());
    }

    /// Runs the server, again whenever it ended, until it is to leave.
    pub(crate) async fn keep(&self, mut leave: watch::Receiver<bool>) {
        while !*leave.borrow() {
            if let Some(time) = &self.time {
                time.ahead_of_real(0);
            }
            match Process::start(self.command(), &self.ca_pem).await {
                Ok(server) => self.watch(server, &mut leave).await,
                Err(ended) => {
                    // Its database may be away; who started it waits for it to serve.
                    self.wrong.lock().unwrap().push(format!("it did not start: {ended:?}"));
                    let _left = timeout(Duration::from_millis(200), leave.wait_for(|leave| *leave)).await;
                }
            }
        }
    }

    /// Sends a signal to the server, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.load(Ordering::SeqCst);
        if process != 0 {
            // It may have ended in this moment.
            let _sent = signal::kill(Pid::from_raw(process.cast_signed()), signal);
        }
    }

    /// Whether a server of this node ended by force so soon after an answer that it may not have come to write of it.
    pub(crate) fn was_killed_after(&self, sent: Nanos, answered: Nanos) -> bool {
        const LATEST: Nanos = 10_000_000_000;
        self.ends.lock().unwrap().iter().any(|end| (sent..=answered.saturating_add(LATEST)).contains(end))
    }

    /// How often it ended by force.
    pub(crate) fn kills(&self) -> usize {
        self.ends.lock().unwrap().len()
    }

    /// What went wrong that no fault explains, as far as it is still of interest.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let wrong = self.wrong.lock().unwrap();
        wrong.iter().map(|what| format!("node {}: {what}", self.number)).collect()
    }

    /// Its start-up failures so far were those of a fault.
    pub(crate) fn recovered(&self) {
        self.wrong.lock().unwrap().retain(|what| !what.starts_with("it did not start"));
    }

    async fn watch(&self, mut server: Process, leave: &mut watch::Receiver<bool>) {
        let id = server.id();
        if let Some(time) = &self.time {
            time.has(id);
        }
        self.process.store(id, Ordering::SeqCst);
        self.api.send_replace(Some(server.api.clone()));
        let ended = tokio::select! {
            ended = server.ended() => Some(ended),
            _ = leave.wait_for(|leave| *leave) => None,
        };
        if let Some(status) = ended {
            self.process.store(0, Ordering::SeqCst);
            self.api.send_replace(None);
            self.ends.lock().unwrap().push(now());
            if status.signal() != Some(SIGKILL) {
                self.wrong.lock().unwrap().push(format!("it ended with {status}:\n{}", tail(&server.log())));
            }
            return;
        }
        self.api.send_replace(None);
        server.terminate().await;
        match timeout(START, server.ended()).await {
            Ok(status) if status.success() => {}
            other => self.wrong.lock().unwrap().push(format!("told to stop: {other:?}:\n{}", tail(&server.log()))),
        }
        self.process.store(0, Ordering::SeqCst);
    }

    fn command(&self) -> Command {
        let mut command = program("kms-server");
        command.arg("serve").arg("--config").arg(self.folder.join("kms.toml"));
        command.env("KEYWARD_FLUSH_TRACE", self.trace());
        if let Some(time) = &self.time {
            time.lend(&mut command);
        }
        command
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
