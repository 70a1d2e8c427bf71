//! The server under measurement: a process of the release build with an installation of its own on a real disk, made by
//! `kms-server init` and changed by its API, as an operator would.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use keyward_tests::{Backend, Identities, Leaf, softhsm_module};
use kms_client::client::Client;
use nix::{sys::signal, unistd::Pid};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use serde_json::json;

use super::{Result, calls::from};

/// A running server with a few keys, and a storage service that may use them.
pub struct Server {
    process: Child,
    /// Where it answers.
    pub api: SocketAddr,
    /// The keys.
    pub keys: Vec<String>,
    identities: Identities,
    storage: Leaf,
}

impl Server {
    /// Makes the installation in `folder` and serves it.
    pub async fn start(binary: &Path, folder: &Path, backend: Backend) -> Result<Self> {
        if !binary.is_file() {
            return Err(format!("{} is not there: run this by tests/run.sh bench", binary.display()).into());
        }
        let identities = Identities::new();
        let admin = identities.client(&uri("ada"));
        fs::create_dir_all(folder)?;
        let config = write_files(folder, backend, &identities, &admin).await?;
        initialise(binary, &config, folder)?;

        let log = folder.join("server.log");
        let mut command = Command::new(binary);
        command.args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        let storage = identities.client(&uri("storage"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { process, api: any, keys: Vec::new(), identities, storage };
        server.api = server.address(&log)?;
        server.admit_storage(&admin).await?;
        Ok(server)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A client that shows the storage service's certificate.
    pub fn client(&self) -> Result<Client> {
        self.client_of(&self.storage)
    }

    /// The same for connections that are spoken by hand.
    pub fn tls(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.identities.ca_pem.as_bytes())?)?;
        let chain = vec![CertificateDer::from_pem_slice(self.storage.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(self.storage.key.as_bytes())?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// Stops it in order.
    pub fn stop(mut self) -> Result<()> {
        signal::kill(Pid::from_raw(self.process.id().cast_signed()), signal::SIGTERM)?;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    fn client_of(&self, leaf: &Leaf) -> Result<Client> {
        let client = Client::builder().url(format!("https://{}", self.api)).ca_pem(self.identities.ca_pem.clone());
        Ok(client.certificate(leaf.certificate.clone(), leaf.key.clone()).retries(0).build()?)
    }

    /// Waits until the server says where it serves.
    fn address(&mut self, log: &Path) -> Result<SocketAddr> {
        let started = Instant::now();
        while started.elapsed() < START {
            for line in BufReader::new(File::open(log)?).lines() {
                let line: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
                if let Some(address) = line["server.api"].as_str() {
                    return Ok(address.parse()?);
                }
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the server ended with {status}:\n{}", fs::read_to_string(log)?).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("the server does not begin to serve".into())
    }

    /// Makes the storage service, the keys, and the bindings from one to the other.
    async fn admit_storage(&mut self, admin: &Leaf) -> Result<()> {
        let ada = self.client_of(admin)?;
        ada.create_principal(&from(json!({ "name": "storage", "kind": "service" }))?).await?;
        let cas = ada.list_client_cas().await?.client_cas;
        let client_ca = cas.first().ok_or("the installation trusts no authority")?.id;
        let san = format!("uri:{}", uri("storage"));
        let proof = json!({ "type": "certificate_san", "client_ca": client_ca, "san": san });
        ada.add_credential(&from(json!("storage"))?, &from(proof)?).await?;
        for number in 0..KEYS {
            let key = json!({ "alias": format!("records-{number}"), "data_class": "clinical" });
            let key = ada.create_key(&from(key)?).await?.key.id.to_string();
            for role in ["wrapper", "unwrapper"] {
                let binding = json!({ "principal": "storage", "role": role, "scope": { "key": key } });
                ada.create_binding(&from(binding)?).await?;
            }
            self.keys.push(key);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// Everything that the configuration names, and the configuration. What it does not say is the server's default.
async fn write_files(folder: &Path, backend: Backend, identities: &Identities, admin: &Leaf) -> Result<PathBuf> {
    let server = identities.server();
    let ben = identities.client(&uri("ben"));
    for (name, text) in [
        ("ca.pem", &identities.ca_pem),
        ("server.pem", &server.certificate),
        ("server.key", &server.key),
        ("ada.pem", &admin.certificate),
        ("ben.pem", &ben.certificate),
        ("pin", &"48151623".to_owned()),
        ("so-pin", &"31415926".to_owned()),
    ] {
        fs::write(folder.join(name), text)?;
    }
    hsm::softhsm::write_config(&folder.join("softhsm"))?;
    let text = format!(
        "region = \"eu-test-1\"\n\
         [listen]\napi = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\n\
         [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
         [database]\n{}\n\
         [key_store]\nmodule = \"{}\"\ntoken_label = \"keyward\"\npin_file = \"pin\"\n\
         softhsm_conf = \"softhsm/softhsm2.conf\"\n\
         [anchor]\nfile = \"anchor/anchor.json\"\n",
        backend.section(folder).await,
        softhsm_module().display(),
    );
    let file = folder.join("kms.toml");
    fs::write(&file, text)?;
    Ok(file)
}

fn initialise(binary: &Path, config: &Path, folder: &Path) -> Result<()> {
    let named = |what: &str, file: &str| format!("{what}={}", folder.join(file).display());
    let output = Command::new(binary)
        .args(["init".as_ref(), "--config".as_ref(), config.as_os_str()])
        .args(["--admin", &named("ada", "ada.pem"), "--admin", &named("ben", "ben.pem")])
        .args(["--client-ca", &named("clinic", "ca.pem")])
        .args(["--so-pin-file".as_ref(), folder.join("so-pin").as_os_str()])
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let end = output.status.code().or(output.status.signal()).unwrap_or_default();
    Err(format!("kms-server init ended with {end}:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn uri(name: &str) -> String {
    format!("spiffe://clinic.example/{name}")
}

/// How many keys there are.
const KEYS: usize = 10;
const START: Duration = Duration::from_mins(1);
