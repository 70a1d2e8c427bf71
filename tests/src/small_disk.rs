//! A server whose database lies on a small disk that nobody else has: a tmpfs in a mount namespace of the server's own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use kms_server::store::free_bytes;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    unistd::Uid,
};
use tokio::process::Command;

use crate::{Ended, Process, StoppedKms, process::program, run};

/// A server on a small disk.
#[derive(Debug)]
pub struct SmallDisk {
    /// The server.
    pub server: Process,
    /// The disk, as this process sees it.
    folder: PathBuf,
    config: PathBuf,
}

impl SmallDisk {
    /// Starts the real server on an installation whose SQLite database is moved to a disk of so many MiB.
    ///
    /// # Errors
    ///
    /// How it ended, if it did not come to serve.
    pub async fn start(stopped: &StoppedKms, mib: u32) -> Result<Self, Ended> {
        const MOUNT_AND_RUN: &str = r#"
            mount -t tmpfs -o "size=$1m,mode=0700" keyward "$2" && cp -a "$3/." "$2" && shift 3 && exec "$@"
        "#;
        let database = stopped.config.database.sqlite.as_deref().unwrap().parent().unwrap();
        let moved = stopped.folder().join("moved");
        fs::rename(database, &moved).unwrap();
        fs::create_dir(database).unwrap();
        let mut command = Command::new("unshare");
        command.kill_on_drop(true).args(namespaces());
        command.args(["sh", "-c", MOUNT_AND_RUN, "sh", &mib.to_string()]).arg(database).arg(moved);
        let serve = stopped.command();
        command.arg(serve.as_std().get_program()).args(serve.as_std().get_args());
        let server = Process::start(command, &stopped.identities.ca_pem).await?;
        let root = PathBuf::from(format!("/proc/{}/root", server.id()));
        let folder = root.join(database.strip_prefix("/").unwrap());
        Ok(Self { server, folder, config: stopped.config_file() })
    }

    /// Takes all the disk's room but so many bytes.
    pub fn fill_but(&self, bytes: u64) {
        let file = File::options().create(true).append(true).open(self.filling()).unwrap();
        loop {
            let more = free_bytes(&self.folder).unwrap().saturating_sub(bytes);
            let end = file.metadata().unwrap().len();
            match fallocate(&file, FallocateFlags::empty(), end.try_into().unwrap(), more.max(1).try_into().unwrap()) {
                // The server took of it meanwhile.
                Err(Errno::ENOSPC) if more > 0 => {}
                Err(Errno::ENOSPC) | Ok(()) => return,
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Gives it back.
    pub fn empty(&self) {
        fs::remove_file(self.filling()).unwrap();
    }

    /// Runs a command of `kms-server` that sees the same disk.
    pub async fn host_command(&self, name: &str) -> Ended {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.server.id().to_string(), "--mount"]);
        if !Uid::effective().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program("kms-server").as_std().get_program()).arg(name).arg("--config").arg(&self.config);
        run(&mut command).await
    }

    fn filling(&self) -> PathBuf {
        Path::new(&self.folder).join("filling")
    }
}

fn namespaces() -> &'static [&'static str] {
    if Uid::effective().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] }
}
