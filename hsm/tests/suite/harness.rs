//! A token for each test. SoftHSM learns its folder from the environment, which a process cannot safely change for itself:
//! a test that finds none runs itself again in a process that has one.

use std::any::type_name;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use aws_lc_rs::rand;
use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use hsm::{Hsm, Nonce, ObjectId, ProfileName, Secret, Settings};
use secrecy::SecretString;
use tokio::runtime::Builder;

/// A token, open.
pub(crate) struct Fixture {
    pub(crate) hsm: Hsm,
    pub(crate) settings: Settings,
    /// Whether the token is this test's alone.
    pub(crate) own: bool,
    name: String,
}

/// Runs a test with a token, on a runtime of its own.
pub(crate) fn run<F: AsyncFnOnce(Fixture)>(test: F) {
    // The closure's type has the test's path in its name: `suite::module::test::{{closure}}`.
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let name = path.split_once("::").unwrap().1.to_owned();
    let foreign = variable("HSM_TEST_MODULE");
    if foreign.is_none() && variable("SOFTHSM2_CONF").is_none() {
        return run_again(&name);
    }
    let settings = match foreign {
        Some(module) => Settings {
            module: module.into(),
            token_label: text("HSM_TEST_TOKEN"),
            pin: text("HSM_TEST_PIN").into(),
            profile: serde_json::from_value(text("HSM_TEST_PROFILE").into()).unwrap(),
            queue: QUEUE,
            call_timeout: Duration::from_secs(5),
            stuck_limit: Duration::from_secs(30),
            uptime: hsm::Uptime::default(),
        },
        None => fresh_token(),
    };
    let own = variable("HSM_TEST_MODULE").is_none();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let hsm = Hsm::open(settings.clone()).unwrap();
    runtime.block_on(test(Fixture { hsm, settings, own, name }));
}

/// Settings of a new SoftHSM token, which a test in a child process shares with its parent.
fn fresh_token() -> Settings {
    let pin = SecretString::from("1234567890");
    let settings = Settings {
        module: hsm::softhsm::find_module().expect("SoftHSM is not installed"),
        token_label: variable("HSM_TEST_SHARED")
            .map_or_else(|| hex::encode(random::<8>()), |label| label.into_string().unwrap()),
        pin: pin.clone(),
        profile: ProfileName::Softhsm,
        queue: QUEUE,
        call_timeout: Duration::from_secs(5),
        stuck_limit: Duration::from_secs(30),
        uptime: hsm::Uptime::default(),
    };
    if variable("HSM_TEST_SHARED").is_none() {
        hsm::initialise_token(&settings.module, &settings.token_label, &SO_PIN.into(), &pin).unwrap();
    }
    settings
}

fn run_again(name: &str) {
    // In memory where it can be: SoftHSM syncs every object it writes, and no test here is about the disk.
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_owned() } else { env::temp_dir() };
    let dir = root.join(format!("keyward-hsm-{}", hex::encode(random::<8>())));
    let config = hsm::softhsm::write_config(&dir).unwrap();
    let output = again(name).env("SOFTHSM2_CONF", config).output().unwrap();
    fs::remove_dir_all(dir).unwrap();
    assert_passed(&output);
}

/// This test, to be run by another process.
fn again(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    command
}

pub(crate) fn assert_passed(output: &std::process::Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A name that matches no test would succeed too.
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

impl Fixture {
    /// The token in one more process, which runs this same test with these variables.
    pub(crate) fn in_process(&self, variables: &[(&str, String)]) -> Command {
        let mut command = again(&self.name);
        command.env("HSM_TEST_SHARED", &self.settings.token_label).envs(variables.iter().cloned());
        command
    }

    /// Opens the token once more.
    pub(crate) fn open_again(&self) -> Hsm {
        Hsm::open(self.settings.clone()).unwrap()
    }

    /// A session on the token without us; the process is logged in.
    pub(crate) fn raw(&self) -> Session {
        let (pkcs11, slot) = self.raw_slot();
        pkcs11.open_rw_session(slot).unwrap()
    }

    pub(crate) fn raw_slot(&self) -> (Pkcs11, Slot) {
        let pkcs11 = Pkcs11::new(&self.settings.module).unwrap();
        let slots = pkcs11.get_slots_with_token().unwrap();
        let slot = slots
            .into_iter()
            .find(|slot| pkcs11.get_token_info(*slot).unwrap().label() == self.settings.token_label)
            .unwrap();
        (pkcs11, slot)
    }
}

/// The one object of this id.
pub(crate) fn raw_handle(session: &Session, id: ObjectId) -> ObjectHandle {
    let found = session.find_objects(&[Attribute::Id(id.as_bytes().to_vec())]).unwrap();
    assert_eq!(found.len(), 1);
    found[0]
}

pub(crate) fn new_id() -> ObjectId {
    ObjectId::new(random())
}

pub(crate) fn new_nonce() -> Nonce {
    Nonce::new(random())
}

pub(crate) fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

pub(crate) fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    rand::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

pub(crate) fn text(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set")).into_string().unwrap()
}

pub(crate) const SO_PIN: &str = "0987654321";
const QUEUE: usize = 1024;
