//! The real programs, as processes of their own: what a kill -9 does, and what a shell sees, only they can show.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use kms_client::client::{Builder, Client};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::StoppedKms;

/// What ends a process at a crash point, and what `kill -9` sends.
pub const SIGKILL: i32 = 9;

/// A command that runs one of the workspace's programs. It is killed when the test is done with it.
pub fn program(name: &str) -> Command {
    let path = programs().join(name);
    let advice = "run the tests by tests/run.sh, or first `cargo build --workspace --bins`";
    assert!(path.is_file(), "`{}` is not built: {advice}", path.display());
    let mut command = Command::new(path);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs a program to its end.
pub async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { status: output.status, out: text(output.stdout), err: text(output.stderr) }
}

/// A program that ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

/// A `kms-server` that runs by itself.
#[derive(Debug)]
pub struct Process {
    /// The address of its API, as `HOST:PORT`.
    pub api: String,
    child: Child,
    log: Arc<Mutex<String>>,
    ca_pem: String,
}

impl Process {
    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    ///
    /// How it ended, if it did not come to that.
    pub async fn start(mut command: Command, ca_pem: &str) -> Result<Self, Ended> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (log, (heard, mut serving)) = (Arc::<Mutex<String>>::default(), watch::channel(None));
        let kept = Arc::clone(&log);
        #[expect(clippy::disallowed_methods, reason = "it ends with the process, and the process with the test")]
        let reader = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                let address = address(&line);
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if address.is_some() {
                    heard.send_replace(address);
                }
            }
        });
        // It ends without an address when the process closed its standard error, which is when it ended.
        if let Ok(address) = serving.wait_for(Option::is_some).await {
            let api = address.clone().unwrap();
            drop(address);
            return Ok(Self { api, child, log, ca_pem: ca_pem.to_owned() });
        }
        reader.await.unwrap();
        let status = child.wait().await.unwrap();
        let err = log.lock().unwrap().clone();
        Err(Ended { status, out: String::new(), err })
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Asks it to stop, as systemd does.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Sends it this signal.
    pub async fn signal(&self, name: &str) {
        let process = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &process]).status().await.unwrap().success());
    }

    /// Asks it to read its certificate again, as `systemctl reload` does.
    pub async fn hang_up(&self) {
        let process = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &process]).status().await.unwrap().success());
    }

    /// Ends it on the spot.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its id. It has one until [`Process::ended`] has answered.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it has written to standard error until now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The certificate of the CA that its own is of.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Describes a client of it.
    pub fn builder(&self) -> Builder {
        Client::builder().url(format!("https://{}", self.api)).ca_pem(self.ca_pem.clone()).retries(0)
    }

    /// A client of it that shows a token.
    pub fn client(&self, token: &str) -> Client {
        self.builder().token(token).build().unwrap()
    }
}

impl StoppedKms {
    /// Runs the real server on this installation, killed at this crash point if one is named.
    ///
    /// # Errors
    ///
    /// How it ended, if it did not come to serve.
    pub async fn process(&self, crash_at: Option<&str>) -> Result<Process, Ended> {
        let mut command = self.command();
        if let Some(place) = crash_at {
            command.env("KEYWARD_CRASH_AT", place);
        }
        Process::start(command, &self.identities.ca_pem).await
    }

    /// The command that runs the real server on this installation.
    pub fn command(&self) -> Command {
        let mut command = program("kms-server");
        command.arg("serve").arg("--config").arg(self.config_file());
        command
    }
}

/// Runs a command of `kms-server` on a configuration, with these arguments besides.
pub async fn host_command(name: &str, config: &Path, more: &[&str]) -> Ended {
    run(program("kms-server").arg(name).arg("--config").arg(config).args(more)).await
}

/// Where the workspace's programs are built: beside this one, or above the folder of test programs.
pub(crate) fn programs() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { folder.to_owned() }
}

/// The API's address, from the line by which a server says that it serves.
fn address(line: &str) -> Option<String> {
    if let Some((_, rest)) = line.split_once("kms-server dev: serving https://") {
        return rest.split_once(';').map(|(address, _)| address.to_owned());
    }
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    (event["message"] == "serving").then(|| event["server.api"].as_str().unwrap().to_owned())
}
