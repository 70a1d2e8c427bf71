//! The PKCS#11 module that fails or hangs when a test says so: SoftHSM behind `tests/pkcs11-faults`.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe,
};

/// Return codes, as PKCS#11 2.40 numbers them.
pub mod rv {
    pub const HOST_MEMORY: u32 = 0x02;
    pub const GENERAL_ERROR: u32 = 0x05;
    pub const DEVICE_ERROR: u32 = 0x30;
    pub const DEVICE_MEMORY: u32 = 0x31;
    pub const DEVICE_REMOVED: u32 = 0x32;
    pub const PIN_INCORRECT: u32 = 0xa0;
    pub const PIN_EXPIRED: u32 = 0xa3;
    pub const PIN_LOCKED: u32 = 0xa4;
    pub const SESSION_CLOSED: u32 = 0xb0;
    pub const SESSION_HANDLE_INVALID: u32 = 0xb3;
    pub const TOKEN_NOT_PRESENT: u32 = 0xe0;
    pub const USER_NOT_LOGGED_IN: u32 = 0x101;
    pub const CRYPTOKI_NOT_INITIALIZED: u32 = 0x190;
}

/// What the module of this test's process does. Without rules it does what SoftHSM does.
#[derive(Debug)]
pub struct Faults {
    folder: PathBuf,
    blocked: Lines<BufReader<pipe::Receiver>>,
    /// Open until the process ends: a call that is released a moment before it waits does not miss it, and one that hangs
    /// when the test is over does not come back into a module that is being taken down.
    release: &'static File,
    rules: String,
}

impl Faults {
    /// The module's file.
    pub fn module() -> PathBuf {
        let path = crate::process::programs().join("libpkcs11_faults.so");
        let advice = "run the tests by tests/run.sh, or first `cargo build --workspace`";
        assert!(path.is_file(), "`{}` is not built: {advice}", path.display());
        path
    }

    /// Takes control of the module in this process, and in those that it starts.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        let folder = std::env::var_os("KEYWARD_PKCS11_FAULTS");
        let folder = PathBuf::from(folder.expect("KEYWARD_PKCS11_FAULTS: run the tests by tests/run.sh"));
        for name in ["blocked", "release"] {
            mkfifo(&folder.join(name), Mode::S_IRWXU).unwrap();
        }
        let blocked = pipe::OpenOptions::new().read_write(true).open_receiver(folder.join("blocked")).unwrap();
        let release = OpenOptions::new().read(true).write(true).open(folder.join("release")).unwrap();
        let release = Box::leak(Box::new(release));
        Self { blocked: BufReader::new(blocked).lines(), release, rules: String::new(), folder }
    }

    /// Every call of this function fails from here on; `*` is every function.
    pub fn fail(&mut self, function: &str, code: u32) -> &mut Self {
        self.rule(format_args!("{function} fail {code:#x}"))
    }

    /// So many calls fail, after so many that do not.
    pub fn fail_some(&mut self, function: &str, code: u32, times: u32, after: u32) -> &mut Self {
        self.rule(format_args!("{function} fail {code:#x} {times} {after}"))
    }

    /// The next call of this function hangs.
    pub fn block(&mut self, function: &str) -> &mut Self {
        self.rule(format_args!("{function} block 1"))
    }

    /// Calls of this function are counted from here on.
    pub fn count(&mut self, function: &str) -> &mut Self {
        self.rule(format_args!("{function} pass"))
    }

    /// No more faults. A call that hangs goes on hanging.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.write();
    }

    /// Waits until a call hangs, and answers of which function.
    pub async fn blocked(&mut self) -> String {
        self.blocked.next_line().await.unwrap().unwrap()
    }

    /// Lets a call that hangs go on.
    pub fn release(&self) {
        let mut release = self.release;
        release.write_all(&[1]).unwrap();
    }

    /// How many calls of this function met a rule.
    pub fn calls(&self, function: &str) -> usize {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| *call == function).count()
    }

    fn rule(&mut self, rule: std::fmt::Arguments<'_>) -> &mut Self {
        writeln!(self.rules, "{rule}").unwrap();
        self.write();
        self
    }

    /// The old rules or the new ones, never a part.
    fn write(&self) {
        let draft = self.folder.join("rules.new");
        fs::write(&draft, &self.rules).unwrap();
        fs::rename(draft, self.folder.join("rules")).unwrap();
    }
}
