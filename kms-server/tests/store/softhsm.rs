//! A SoftHSM token for this process, and an audit writer on it.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use hsm::{Hsm, ObjectId, ProfileName, PublicKey, Settings};
use kms_client::id::{NodeId, RequestId};
use kms_server::{
    audit::{Audit, Draft, Error, Report, verify_chains},
    model::{Clock, SystemClock},
    store::Store,
    supervisor::Supervisor,
};
use secrecy::SecretString;

/// The installation's audit key, in a real token.
#[derive(Clone)]
pub(crate) struct AuditKey {
    pub(crate) hsm: Hsm,
    pub(crate) object: ObjectId,
    pub(crate) public: PublicKey,
}

/// One run of a node.
pub(crate) struct Node {
    pub(crate) audit: Audit,
    pub(crate) supervisor: Supervisor,
    pub(crate) id: NodeId,
}

impl AuditKey {
    pub(crate) async fn create() -> Self {
        let (hsm, object) = (token(), ObjectId::new(fresh_bytes()));
        let public = hsm.create_signing_key(object, "audit").await.unwrap();
        Self { hsm, object, public }
    }

    pub(crate) async fn start(&self, store: &Store) -> Node {
        self.try_start(store, Arc::new(SystemClock)).await.unwrap()
    }

    pub(crate) async fn try_start(&self, store: &Store, clock: Arc<dyn Clock>) -> Result<Node, Error> {
        let (supervisor, id) = (Supervisor::default(), NodeId::from_bytes(fresh_bytes()));
        let key = (self.object, self.public.clone());
        let region = "eu-1".parse().unwrap();
        let audit = Audit::start(store, &self.hsm, key, id, &region, clock, &supervisor).await?;
        Ok(Node { audit, supervisor, id })
    }

    pub(crate) async fn verify(&self, store: &Store) -> Report {
        let mut tx = store.read().await.unwrap();
        verify_chains(&mut tx, &self.public).await.unwrap()
    }

    pub(crate) async fn assert_intact(&self, store: &Store) -> Report {
        let report = self.verify(store).await;
        assert!(report.is_intact(), "{report:?}");
        report
    }
}

impl Node {
    pub(crate) async fn stop(self) {
        self.audit.stop().await;
        self.supervisor.stop().await;
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct StillClock(pub(crate) Mutex<std::time::Duration>);

impl Clock for StillClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn boot(&self) -> std::time::Duration {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn draft(action: &str) -> Draft {
    Draft::system(RequestId::from_bytes(fresh_bytes()), action, "eu-1", 1)
}

pub(crate) fn fresh_bytes() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let (process, count) = (u64::from(std::process::id()), COUNT.fetch_add(1, Ordering::Relaxed));
    ((u128::from(process) << 64) | u128::from(count)).to_be_bytes()
}

fn token() -> Hsm {
    static TOKEN: OnceLock<Hsm> = OnceLock::new();
    TOKEN.get_or_init(open_token).clone()
}

#[expect(clippy::disallowed_methods, reason = "where SoftHSM keeps its tokens")]
fn open_token() -> Hsm {
    assert!(std::env::var("SOFTHSM2_CONF").is_ok(), "set SOFTHSM2_CONF (`tests/run.sh` does)");
    let pin = SecretString::from("1234567890");
    let settings = Settings {
        module: hsm::softhsm::find_module().expect("SoftHSM is not installed"),
        token_label: format!("keyward-store-{}", std::process::id()),
        pin: pin.clone(),
        profile: ProfileName::Softhsm,
        queue: 1_024,
        call_timeout: std::time::Duration::from_secs(5),
        stuck_limit: std::time::Duration::from_secs(30),
        uptime: hsm::Uptime::default(),
    };
    hsm::initialise_token(&settings.module, &settings.token_label, &"0987654321".into(), &pin).unwrap();
    // Opening blocks, and the runtimes of tests come and go.
    std::thread::spawn(|| Hsm::open(settings)).join().unwrap().unwrap()
}
