//! The clocks of one process, moved from outside by libfaketime while it runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use tokio::process::Command;

use crate::{Ended, Process, StoppedKms};

/// Which clocks are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// `CLOCK_REALTIME` only: somebody sets the wall clock, and no time passes.
    Wall,
    /// Those too that count what passes, `CLOCK_BOOTTIME` among them: time passes.
    All,
}

/// The clocks of a process that is yet to start.
#[derive(Debug)]
pub struct FakeTime {
    file: PathBuf,
    clocks: Clocks,
    /// Who had them.
    processes: Mutex<Vec<u32>>,
}

impl FakeTime {
    /// Clocks that go right until they are moved. What moves them lies in `folder`.
    pub fn new(folder: &Path, clocks: Clocks) -> Self {
        let time = Self { file: folder.join("fake-time"), clocks, processes: Mutex::default() };
        time.ahead_of_real(0);
        time
    }

    /// From here on they are so many seconds ahead of the machine's, or behind.
    pub fn ahead_of_real(&self, seconds: i64) {
        // The old text or the new one, never a part.
        let draft = self.file.with_extension("new");
        fs::write(&draft, format!("{seconds:+}\n")).unwrap();
        fs::rename(draft, &self.file).unwrap();
    }

    /// Starts a server with these clocks and waits until it serves.
    ///
    /// # Errors
    ///
    /// How it ended, if it did not come to that.
    pub async fn start(&self, stopped: &StoppedKms, mut command: Command) -> Result<Process, Ended> {
        self.lend(&mut command);
        let process = Process::start(command, &stopped.identities.ca_pem).await?;
        self.has(process.id());
        Ok(process)
    }

    /// Gives a command these clocks. Whoever runs it names the process to [`FakeTime::has`].
    pub fn lend(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", if self.clocks == Clocks::Wall { "1" } else { "0" });
    }

    /// What this process leaves behind goes when these clocks do.
    pub fn has(&self, process: u32) {
        self.processes.lock().unwrap().push(process);
    }
}

impl Drop for FakeTime {
    fn drop(&mut self) {
        // A process that was killed leaves libfaketime's shared memory behind.
        for process in self.processes.get_mut().unwrap() {
            for name in ["faketime_shm_", "sem.faketime_sem_"] {
                let _gone = fs::remove_file(format!("/dev/shm/{name}{process}"));
            }
        }
    }
}

/// Debian's package `faketime` puts it into the folder of the machine's architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is not installed: run the tests by tests/run.sh")
}
