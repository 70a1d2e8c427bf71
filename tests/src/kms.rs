//! A server in the test's own process: everything real, on free ports, in a folder that goes with the test.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use kms_client::{
    client::Client,
    id::{ClientCaId, IssuerId},
    wire::name::KeyName,
};
use kms_server::{
    cluster::Arming,
    config::Config,
    host,
    model::{Clock as _, Ids, JwksSource, Operation},
    serve::{ServeError, Server},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
};

use crate::{
    Backend, Faults, Founders, Identities, Leaf, Newcomer, Sql, TestClock, Trust, identities, people::uri, until,
};

/// A running server and all that belongs to it.
pub struct TestKms {
    /// The server.
    pub server: Server,
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// Who can show what.
    pub identities: Arc<Identities>,
    /// Its configuration.
    pub config: Config,
    folder: Arc<TempDir>,
}

/// Tests in one process create tokens one after the other: SoftHSM shows its slots anew after each.
static TOKENS: Mutex<()> = Mutex::const_new(());

impl TestKms {
    /// A fresh installation on a fresh database and token, served.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, false, "").await
    }

    /// The same, run by one person or not, with more lines of configuration.
    pub async fn start_with(backend: Backend, solo: bool, more: &str) -> Self {
        Self::start_with_founders(backend, solo, more, |_| Vec::new()).await
    }

    /// The same, with more in the first change than the [`Founders`] and their trust.
    pub async fn start_with_founders(
        backend: Backend,
        solo: bool,
        more: &str,
        besides: impl FnOnce(Trust) -> Vec<Operation>,
    ) -> Self {
        Self::start_on(softhsm_module(), backend, solo, more, besides).await
    }

    /// A fresh installation on a token that fails and hangs as the test says.
    pub async fn start_with_faults(backend: Backend) -> (Self, Faults) {
        let faults = Faults::new();
        (Self::start_on(Faults::module(), backend, false, "", |_| Vec::new()).await, faults)
    }

    async fn start_on(
        module: PathBuf,
        backend: Backend,
        solo: bool,
        more: &str,
        besides: impl FnOnce(Trust) -> Vec<Operation>,
    ) -> Self {
        let folder = Arc::new(TempDir::new_in(scratch()).unwrap());
        let identities = Arc::new(Identities::new());
        let clock = Arc::new(TestClock::default());
        let config = write_config(folder.path(), &module, backend, &identities, more).await;
        make_token(&config).await;
        let (trust, mut operations) = operations(&identities, &clock);
        operations.extend(besides(trust));
        host::initialise(&config, clock.clone(), solo, operations).await.unwrap();
        let server = Server::start(&config, clock.clone(), metrics(), Arming::Never).await.unwrap();
        Self { server, clock, identities, config, folder }
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another node on the same database and token, by this clock, after `edit` of its configuration.
    pub async fn another_node(&self, clock: Arc<TestClock>, edit: impl FnOnce(&mut Config)) -> Self {
        self.try_another_node(clock, edit).await.unwrap()
    }

    /// The same, if it may start.
    pub async fn try_another_node(
        &self,
        clock: Arc<TestClock>,
        edit: impl FnOnce(&mut Config),
    ) -> Result<Self, ServeError> {
        let mut config = self.config.clone();
        // Each host remembers for itself.
        config.anchor.file = self.folder().join(format!("anchor-{}", uuid::Uuid::new_v4())).join("anchor.json");
        edit(&mut config);
        let server = Server::start(&config, clock.clone(), metrics(), Arming::Never).await?;
        Ok(Self { server, clock, identities: Arc::clone(&self.identities), config, folder: Arc::clone(&self.folder) })
    }

    /// Lets time pass, and waits until the node has its lease again.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.server.service.cluster().until_serving().await;
    }

    /// Stops the server in order and starts it again.
    pub async fn restart(self) -> Self {
        self.stop().await.start_again().await.unwrap()
    }

    /// Stops the server in order.
    pub async fn stop(self) -> StoppedKms {
        let Self { server, clock, identities, config, folder } = self;
        server.stop().await;
        StoppedKms { clock, identities, config, folder }
    }

    /// The address of an API path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.api)
    }

    /// What the operators' address answers: the status, and the head and body as they came.
    pub async fn operations(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.server.operations).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    /// Waits until `/readyz` says this.
    pub async fn until_ready(&self, ready: bool) -> String {
        loop {
            let (status, answer) = self.operations("/readyz").await;
            if (status == 200) == ready {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A client that shows this founder's token.
    pub fn client(&self, name: &str) -> Client {
        self.client_with_token(&self.token(name))
    }

    /// A client that shows a token.
    pub fn client_with_token(&self, token: &str) -> Client {
        self.builder().token(token).build().unwrap()
    }

    /// A client that shows a certificate.
    pub fn client_with_certificate(&self, leaf: &Leaf) -> Client {
        self.builder().certificate(leaf.certificate.clone(), leaf.key.clone()).build().unwrap()
    }

    /// A client that shows nothing.
    pub fn builder(&self) -> kms_client::client::Builder {
        Client::builder().url(self.url("")).ca_pem(self.identities.ca_pem.clone()).retries(0)
    }

    /// A good token of this subject.
    pub fn token(&self, name: &str) -> String {
        self.identities.token(&self.identities.claims(name, self.server.service.cluster().now()))
    }

    /// Waits until nothing is left of nodes that were killed: they are members for as long as their lease could last.
    pub async fn until_settled(&self) {
        let mut sql = Sql::connect(&self.config).await;
        for left in [
            "SELECT COUNT(*) FROM members",
            "SELECT COUNT(*) + 1 FROM audit_intents",
            "SELECT COUNT(*) + 1 FROM hsm_objects WHERE state = 'creating'",
            "SELECT COUNT(*) + 1 FROM operations WHERE state IN ('running', 'unknown')",
        ] {
            until(async || (sql.number(left).await == 1).then_some(())).await;
        }
        sql.close().await;
    }

    /// A certificate of this founder.
    pub fn certificate(&self, name: &str) -> Leaf {
        self.identities.client(&uri(name))
    }

    /// Creates a key as `ada` and gives `storage` every right to use it.
    pub async fn usable_key(&self, alias: &str, class: &str) -> KeyName {
        let ada = self.client("ada");
        let request = serde_json::from_value(serde_json::json!({ "alias": alias, "data_class": class })).unwrap();
        let created = ada.create_key(&request).await.unwrap();
        for role in ["wrapper", "unwrapper", "rewrapper"] {
            let request = serde_json::json!({
                "principal": "storage", "role": role, "scope": { "key": created.key.id },
            });
            ada.create_binding(&serde_json::from_value(request).unwrap()).await.unwrap();
        }
        KeyName::Id(created.key.id)
    }
}

/// What is left of a server that stopped.
pub struct StoppedKms {
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// Who can show what.
    pub identities: Arc<Identities>,
    /// Its configuration.
    pub config: Config,
    folder: Arc<TempDir>,
}

impl StoppedKms {
    /// One that never was: a configuration, and neither token nor installation.
    pub async fn unmade(backend: Backend) -> Self {
        let folder = Arc::new(TempDir::new_in(scratch()).unwrap());
        let identities = Arc::new(Identities::new());
        let config = write_config(folder.path(), &softhsm_module(), backend, &identities, "").await;
        Self { clock: Arc::default(), identities, config, folder }
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A good token of this subject.
    pub fn token(&self, name: &str) -> String {
        self.identities.token(&self.identities.claims(name, self.clock.now()))
    }

    /// The HSM's token, opened past the server.
    pub async fn hsm(&self) -> hsm::Hsm {
        let settings = self.config.key_store.settings().unwrap();
        tokio::task::spawn_blocking(|| hsm::Hsm::open(settings)).await.unwrap().unwrap()
    }

    /// The configuration's file.
    pub fn config_file(&self) -> PathBuf {
        self.folder().join("kms.toml")
    }

    /// Starts the server again.
    pub async fn start_again(self) -> Result<TestKms, ServeError> {
        let Self { clock, identities, config, folder } = self;
        let server = Server::start(&config, clock.clone(), metrics(), Arming::Never).await?;
        Ok(TestKms { server, clock, identities, config, folder })
    }

    /// Tries to start, and tells why it cannot.
    pub async fn refusal(&self) -> ServeError {
        Server::start(&self.config, self.clock.clone(), metrics(), Arming::Never)
            .await
            .expect_err("the server must not start")
    }
}

/// Where SoftHSM is.
pub fn softhsm_module() -> PathBuf {
    assert!(std::env::var_os("SOFTHSM2_CONF").is_some(), "SOFTHSM2_CONF: run the tests by tests/run.sh");
    hsm::softhsm::find_module().expect("SoftHSM is not installed")
}

fn scratch() -> PathBuf {
    // Memory, where there is such a folder: what is tested is the order of writes, not the disk.
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).clone()
}

async fn write_config(folder: &Path, module: &Path, backend: Backend, identities: &Identities, more: &str) -> Config {
    let server = identities.server();
    std::fs::write(folder.join("server.pem"), server.certificate).unwrap();
    write_secret(&folder.join("server.key"), &server.key);
    write_secret(&folder.join("pin"), "48151623");
    let label = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..24]);
    let text = format!(
        "region = \"eu-test-1\"\n\
         [listen]\napi = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\n\
         [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
         [database]\n{}\n\
         [key_store]\nmodule = \"{}\"\ntoken_label = \"{label}\"\npin_file = \"pin\"\n\
         [anchor]\nfile = \"anchor/anchor.json\"\n",
        backend.section(folder).await,
        module.display(),
    );
    let file = folder.join("kms.toml");
    std::fs::write(&file, with_more(text, more)).unwrap();
    Config::read(&file).unwrap()
}

/// A file for its owner's eyes only.
pub(crate) fn write_secret(path: &Path, text: &str) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The configuration with more lines, each in its section.
fn with_more(mut text: String, more: &str) -> String {
    let mut end = text.len();
    for line in more.lines() {
        if line.starts_with('[') {
            if !text.contains(line) {
                text.push_str(line);
                text.push('\n');
            }
            end = text.find(line).unwrap() + line.len() + 1;
        } else {
            text.insert_str(end, &format!("{line}\n"));
        }
    }
    text
}

async fn make_token(config: &Config) {
    let _one_at_a_time = TOKENS.lock().await;
    let so_pin = "31415926".to_owned().into();
    let pin = config.key_store.pin().unwrap();
    hsm::initialise_token(&config.key_store.module, &config.key_store.token_label, &so_pin, &pin).unwrap();
}

fn operations(identities: &Identities, clock: &TestClock) -> (Trust, Vec<Operation>) {
    let now = clock.now();
    let trust = Trust { client_ca: ClientCaId::new(Ids.fresh(now)), issuer: IssuerId::new(Ids.fresh(now)) };
    let mut operations = vec![
        Operation::AddClientCa {
            client_ca: trust.client_ca,
            name: "clinic".parse().unwrap(),
            certificate_pem: identities.ca_pem.clone(),
        },
        Operation::AddIssuer {
            issuer: trust.issuer,
            iss: identities::ISSUER.to_owned(),
            audiences: vec![identities::AUDIENCE.to_owned()],
            jwks: JwksSource::Inline(identities.key_set()),
        },
    ];
    for (name, kind, role) in Founders::ALL {
        operations.extend(Newcomer::new(name, kind, role.as_slice()).operations(trust, now));
    }
    (trust, operations)
}
