//! An installation that an older program made, served by this one: `fixtures/first-schema` is a database, an anchor and a
//! SoftHSM token as the program at commit 337f16f left them, whose tables were those of `0001_initial.sql` alone.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use keyward_tests::{Identities, Process, from, host_command, program, softhsm_module};
use kms_client::{
    client::{self, Client},
    format::record::Outcome,
    wire::{
        audit::AuditSearch,
        change::ChangeQuery,
        data_key::{GenerateDataKey, GeneratedDataKey, UnwrapDataKey},
        key::{KeyState, VersionState},
        lifecycle::ScheduleDeletion,
        name::KeyName,
        problem::Code,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{crash::whole, doctor::Seen};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/first-schema");

/// A copy of the old installation, and what its maker told of it.
struct Old {
    folder: TempDir,
    told: Value,
    identities: Identities,
}

impl Old {
    fn copy() -> Self {
        let folder = TempDir::new().unwrap();
        let told: Value = serde_json::from_slice(&fs::read(Path::new(FIXTURE).join("told.json")).unwrap()).unwrap();
        for part in ["database", "anchor", "tokens"] {
            copy(&Path::new(FIXTURE).join(part), &folder.path().join(part));
        }
        let identities = Identities::with_issuer(told["issuer_key"].as_str().unwrap());
        let server = identities.server();
        let tokens = folder.path().join("tokens");
        let softhsm = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        let config = format!(
            "region = \"eu-test-1\"\n\
             [listen]\napi = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [database]\nsqlite = \"database/keyward.sqlite\"\n\
             [key_store]\nmodule = \"{}\"\ntoken_label = {}\npin_file = \"pin\"\nsofthsm_conf = \"softhsm2.conf\"\n\
             [anchor]\nfile = \"anchor/anchor.json\"\n",
            softhsm_module().display(),
            told["token_label"],
        );
        for (name, text) in [
            ("server.pem", server.certificate.as_str()),
            ("server.key", &server.key),
            ("pin", "48151623"),
            ("softhsm2.conf", &softhsm),
            ("kms.toml", &config),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { folder, told, identities }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("kms.toml")
    }

    async fn serve(&self) -> Process {
        let mut command = program("kms-server");
        command.arg("serve").arg("--config").arg(self.config());
        Process::start(command, &self.identities.ca_pem).await.unwrap()
    }

    fn client(&self, server: &Process, name: &str) -> Client {
        server.client(&self.identities.token(&self.identities.claims(name, Timestamp::now())))
    }

    /// The data keys that were made under a key's first and second version.
    fn data_keys(&self, alias: &str) -> Vec<GeneratedDataKey> {
        from(self.told["data_keys"][alias].clone())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

async fn unwrap(storage: &Client, made: &GeneratedDataKey) -> client::Result<()> {
    let request = UnwrapDataKey { wrapped: made.wrapped.clone(), context: from(json!({ "patient": "4711" })) };
    let found = storage.unwrap_data_key(&request).await?;
    let then = made.plaintext.as_ref().unwrap();
    assert_eq!(found.plaintext.expose(), then.expose());
    assert_eq!((found.version, found.data_key), (made.version, made.data_key));
    Ok(())
}

fn named(alias: &str) -> KeyName {
    format!("alias/{alias}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_of_the_first_schema_is_served() {
    let old = Old::copy();
    // Before anything is changed: the log is whole, and the doctor says what will be done.
    whole(&old.config(), "as it was left").await;
    let seen = Seen::by(&old.config()).await;
    assert_eq!(seen.bad(), ["warning database.schema"]);
    seen.says("database.schema", "steps are not yet done: [2, 3, 4]");

    let server = old.serve().await;
    let [ada, audrey, storage] = ["ada", "audrey", "storage"].map(|name| old.client(&server, name));
    let told: u64 = from(old.told["revision"].clone());
    assert_eq!(ada.whoami().await.unwrap().revision.number(), told);

    // Every key is in the state in which it was left, and every data key opens or is refused accordingly.
    for (alias, state, first, refused) in [
        ("records", KeyState::Enabled, VersionState::Enabled, [None, None]),
        ("images", KeyState::Disabled, VersionState::Enabled, [Some(Code::KeyDisabled); 2]),
        ("lab", KeyState::Enabled, VersionState::Revoked, [Some(Code::VersionRevoked), None]),
        ("old", KeyState::Revoked, VersionState::Enabled, [Some(Code::KeyRevoked); 2]),
    ] {
        let key = ada.key(&named(alias)).await.unwrap().key;
        assert_eq!((key.state, key.versions[0].state, key.versions.len()), (state, first, 2), "{alias}");
        assert_eq!((key.rotation, key.deletion), (kms_client::wire::lifecycle::Rotation::default(), None), "{alias}");
        for (made, refused) in old.data_keys(alias).iter().zip(refused) {
            assert_eq!(unwrap(&storage, made).await.err().and_then(|error| error.code()), refused, "{alias}");
        }
    }
    let suspended = old.client(&server, "stranger").whoami().await.unwrap_err();
    assert_eq!(suspended.code(), Some(Code::Unauthenticated));

    // What happened then is still told.
    let changes = audrey.list_changes(&ChangeQuery { limit: Some(1000), cursor: None }).await.unwrap().changes;
    assert_eq!(changes.len() as u64, told);
    let search = AuditSearch { action: Some("generate".parse().unwrap()), ..AuditSearch::default() };
    let records = audrey.search_audit(&search).await.unwrap().records;
    let of = |outcome| records.iter().filter(|view| view.record.outcome == outcome).count();
    assert_eq!((of(Outcome::Allowed), of(Outcome::Denied)), (8, 1));

    // And all that is new works on it.
    let generate: GenerateDataKey = from(json!({ "key": named("records"), "context": { "patient": "4711" } }));
    let rotation = from(json!({ "rotation": { "max_wraps": 1_000_000 } }));
    assert_eq!(ada.update_key(&named("records"), &rotation).await.unwrap().key.rotation.max_wraps, 1_000_000);
    assert_eq!(storage.generate_data_key(&generate).await.unwrap().version.number(), 2);
    ada.rotate_key(&named("records")).await.unwrap();
    let newest = storage.generate_data_key(&generate).await.unwrap();
    assert_eq!(newest.version.number(), 3);
    let deletion = ScheduleDeletion::new("past its retention".parse().unwrap());
    let pending = ada.schedule_key_deletion(&named("old"), &deletion).await.unwrap().key;
    assert_eq!(pending.state, KeyState::PendingDeletion);

    server.terminate().await;
    let mut server = server;
    assert!(server.ended().await.success(), "{}", server.log());
    whole(&old.config(), "served").await;
    assert_eq!(Seen::by(&old.config()).await.bad(), Vec::<String>::new());
    let server = old.serve().await;
    unwrap(&old.client(&server, "storage"), &newest).await.unwrap();
    for made in old.data_keys("records") {
        unwrap(&old.client(&server, "storage"), &made).await.unwrap();
    }
}

/// `kms-server migrate` does the same by itself, and nothing the second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_first_schema_is_migrated() {
    let old = Old::copy();
    for _ in 0..2 {
        let migrated = host_command("migrate", &old.config(), &[]).await;
        assert!(migrated.status.success(), "{migrated:?}");
        assert_eq!(Seen::by(&old.config()).await.bad(), Vec::<String>::new());
    }
    whole(&old.config(), "migrated").await;
    let server = old.serve().await;
    unwrap(&old.client(&server, "storage"), &old.data_keys("records")[0]).await.unwrap();
}
