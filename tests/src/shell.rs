//! A person or a service at a shell: `kms` with one credential, and nothing of this machine's user around it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::process::Command;

use crate::{AUDIENCE, Ended, ISSUER, Leaf, Process, StoppedKms, TestKms, program, run};

/// `kms` with nothing around it but this home.
pub fn kms(home: &Path) -> Command {
    let mut command = program("kms");
    command.env_clear().env("HOME", home);
    command
}

/// Somebody at a shell, as the server knows them.
#[derive(Debug, Clone)]
pub struct Shell {
    home: PathBuf,
    url: String,
    ca: PathBuf,
    proof: Vec<(&'static str, String)>,
}

impl Shell {
    /// Who shows this founder's token to a server in the test's own process.
    pub fn of(kms: &TestKms, name: &str) -> Self {
        Self::new(kms.folder(), kms.url(""), &kms.identities.ca_pem, &kms.token(name))
    }

    /// Who shows a token with this subject to a server that runs by itself.
    pub fn at(server: &Process, stopped: &StoppedKms, subject: &str) -> Self {
        let url = format!("https://{}", server.api);
        Self::new(stopped.folder(), url, &stopped.identities.ca_pem, &stopped.token(subject))
    }

    fn new(folder: &Path, url: String, ca_pem: &str, token: &str) -> Self {
        let ca = folder.join("ca.pem");
        fs::write(&ca, ca_pem).unwrap();
        Self { home: folder.to_owned(), url, ca, proof: vec![("KMS_TOKEN", token.to_owned())] }
    }

    /// The same place, with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { proof: vec![("KMS_TOKEN", token.to_owned())], ..self.clone() }
    }

    /// The same place, with a client certificate.
    #[must_use]
    pub fn with_certificate(&self, name: &str, leaf: &Leaf) -> Self {
        let file = |end: &str, text: &str| {
            let path = self.home.join(format!("{name}.{end}"));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let proof = vec![("KMS_CERT_FILE", file("pem", &leaf.certificate)), ("KMS_KEY_FILE", file("key", &leaf.key))];
        Self { proof, ..self.clone() }
    }

    /// What is typed, run.
    pub async fn run(&self, line: &[&str]) -> Ended {
        let mut command = kms(&self.home);
        command.env("KMS_URL", &self.url).env("KMS_CA_FILE", &self.ca);
        run(command.envs(self.proof.iter().map(|(name, value)| (name, value))).args(line)).await
    }

    /// What it prints when it succeeds.
    pub async fn text(&self, line: &[&str]) -> String {
        let ended = self.run(line).await;
        assert_eq!(ended.status.code(), Some(0), "{line:?}: {ended:?}");
        ended.out
    }

    /// The same, as JSON.
    pub async fn json(&self, line: &[&str]) -> Value {
        let out = self.text(&[line, &["--output", "json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line:?}: {error}: {out}"))
    }

    /// How it fails, and what it then says.
    pub async fn fails(&self, exit: i32, line: &[&str]) -> String {
        let ended = self.run(line).await;
        assert_eq!((ended.status.code(), ended.out.as_str()), (Some(exit), ""), "{line:?}: {ended:?}");
        assert!(ended.err.starts_with("kms: ") || exit == 2, "{line:?}: {ended:?}");
        ended.err
    }
}

impl StoppedKms {
    /// The trust of an `init`: one authority of certificates and one issuer of tokens. Beside it are the files of an
    /// administrator with a certificate (`ada.pem`, `ada.key`), and of the PIN with which the token can be made (`so-pin`).
    pub fn founding(&self) -> Vec<String> {
        let leaf = self.identities.client("spiffe://clinic.example/ada");
        for (name, text) in [
            ("ca.pem", self.identities.ca_pem.clone()),
            ("ada.pem", leaf.certificate),
            ("ada.key", leaf.key),
            ("jwks.json", self.identities.key_set()),
            ("so-pin", "31415926\n".to_owned()),
        ] {
            fs::write(self.folder().join(name), text).unwrap();
        }
        let path = |name: &str| self.folder().join(name).display().to_string();
        let clinic = format!("clinic={}", path("ca.pem"));
        let trust = ["--client-ca", &clinic, "--issuer", ISSUER, "--audience", AUDIENCE, "--jwks", &path("jwks.json")];
        trust.map(str::to_owned).to_vec()
    }
}

/// The files of a folder, by their path in it.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}
