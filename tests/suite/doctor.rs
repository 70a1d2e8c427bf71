//! `kms-server doctor`: every kind of finding, produced for real, in the exit code, the JSON and the table; and that it
//! changes nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use hsm::{ObjectClass, ObjectId};
use jiff::{SignedDuration, Timestamp};
use keyward_tests::{Backend, Sql, StoppedKms, TestKms, copy_sqlite, host_command, put_back_sqlite};
use serde_json::Value;

/// What `doctor` said, without the disk's room: that is the machine's.
pub(crate) struct Seen {
    code: i32,
    findings: Vec<Value>,
}

impl Seen {
    pub(crate) async fn by(config: &Path) -> Self {
        let ended = host_command("doctor", config, &["--output", "json"]).await;
        let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!((report["schema"].as_str(), ended.err.as_str()), (Some("keyward-doctor/1"), ""));
        let code = ended.status.code().unwrap();
        let worst = ["ok", "warning", "error"][usize::try_from(code).unwrap()];
        assert_eq!(report["result"], worst, "{report:#}");
        let mut findings = report["findings"].as_array().unwrap().clone();
        findings.retain(|finding| !["disk.database", "disk.anchor"].contains(&finding["check"].as_str().unwrap()));
        Self { code, findings }
    }

    /// Everything that is not as it should be, as `level check`.
    pub(crate) fn bad(&self) -> Vec<String> {
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        let bad = self.findings.iter().filter(|finding| finding["level"] != "ok");
        bad.map(|finding| {
            assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
            format!("{} {}", text(finding, "level"), text(finding, "check"))
        })
        .collect()
    }

    pub(crate) fn says(&self, check: &str, words: &str) {
        let found = self.findings.iter().filter(|finding| finding["check"] == check);
        let found: Vec<_> = found.map(ToString::to_string).collect();
        assert!(found.iter().any(|finding| finding.contains(words)), "{words}: {found:?}");
    }
}

async fn installation(backend: Backend) -> StoppedKms {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    kms.client("ada").rotate_key(&key).await.unwrap();
    kms.stop().await
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

async fn meddle(stopped: &StoppedKms, sql: &str) {
    let mut connection = Sql::connect(&stopped.config).await;
    connection.execute(sql).await;
    connection.close().await;
}

async fn a_good_installation(backend: Backend) {
    let kms = TestKms::start(backend).await;
    let key = kms.usable_key("records", "clinical").await;
    let ada = kms.client("ada");
    ada.rotate_key(&key).await.unwrap();
    let before = ada.whoami().await.unwrap().revision;
    // Beside the server that runs.
    let file = kms.folder().join("kms.toml");
    let seen = Seen::by(&file).await;
    assert_eq!(seen.bad(), Vec::<String>::new());
    seen.says("token.key_versions", "2 of 2");
    seen.says("objects.unknown", "all 5 objects");
    let table = host_command("doctor", &file, &[]).await;
    assert!(table.out.contains("token.self_test") && table.out.contains(" 0 errors"), "{}", table.out);
    // Nothing changed, and the server goes on.
    assert_eq!(ada.whoami().await.unwrap().revision, before);
    ada.rotate_key(&key).await.unwrap();
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_installation_on_sqlite() {
    a_good_installation(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_installation_on_postgres() {
    a_good_installation(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_others_may_touch_are_found() {
    let stopped = installation(Backend::Sqlite).await;
    let file = stopped.config_file();
    let at = |name: &str| stopped.folder().join(name);
    for (path, mode, good, found) in [
        ("pin", 0o644, 0o600, "error config.key_store"),
        ("pin", 0o640, 0o600, "warning config.key_store"),
        ("server.key", 0o604, 0o600, "error config.tls"),
        ("server.pem", 0o646, 0o644, "error config.tls"),
        ("kms.toml", 0o666, 0o644, "error config.file"),
        ("database/keyward.sqlite", 0o660, 0o600, "error config.database"),
        ("anchor/anchor.json", 0o644, 0o600, "error config.anchor"),
        ("anchor", 0o777, 0o700, "error config.anchor"),
    ] {
        chmod(&at(path), mode);
        let seen = Seen::by(&file).await;
        assert_eq!(seen.bad(), [found], "{path} {mode:o}");
        assert_eq!(seen.code, if found.starts_with("error") { 2 } else { 1 });
        chmod(&at(path), good);
    }
    let tokens = std::env::var_os("SOFTHSM2_CONF").map(|conf| Path::new(&conf).with_file_name("tokens")).unwrap();
    chmod(&tokens, 0o755);
    assert_eq!(Seen::by(&file).await.bad(), ["error config.key_store"]);
    chmod(&tokens, 0o700);
    // Only root can give a file away.
    if std::os::unix::fs::chown(at("pin"), Some(65_534), None).is_ok() {
        let seen = Seen::by(&file).await;
        assert_eq!(seen.bad(), ["error config.key_store"]);
        seen.says("config.key_store", "belongs to user 65534");
        std::os::unix::fs::chown(at("pin"), Some(0), None).unwrap();
    }
    assert_eq!(Seen::by(&file).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_or_does_not_fit_is_found() {
    let stopped = installation(Backend::Sqlite).await;
    let (file, now) = (stopped.config_file(), Timestamp::now());
    let day = SignedDuration::from_hours(24);
    for (until, found, words) in [
        (now + day * 400, None, "good"),
        (now + day * 20, Some("warning config.tls"), "expires on"),
        (now - day, Some("error config.tls"), "expired on"),
    ] {
        let leaf = stopped.identities.server_until(until);
        fs::write(stopped.folder().join("server.pem"), leaf.certificate).unwrap();
        fs::write(stopped.folder().join("server.key"), leaf.key).unwrap();
        let seen = Seen::by(&file).await;
        assert_eq!(seen.bad(), found.into_iter().collect::<Vec<_>>());
        seen.says("config.tls", words);
    }
    fs::write(stopped.folder().join("server.pem"), stopped.identities.server().certificate).unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!(seen.bad(), ["error config.tls"]);
    seen.says("config.tls", "does not belong to the key");
}

async fn objects_that_are_not_as_they_were(backend: Backend) {
    let stopped = installation(backend).await;
    let file = stopped.config_file();
    let kept = |objects: &[hsm::ObjectInfo]| objects.iter().filter(|object| object.class != ObjectClass::Data).count();

    let foreign = ObjectId::new([0xf0; ObjectId::LEN]);
    stopped.hsm().await.create_key(foreign, "somebody else's").await.unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!((seen.bad(), seen.code), (vec!["warning objects.unknown".to_owned()], 1));
    seen.says("objects.unknown", "somebody else's");
    assert_eq!(kept(&stopped.hsm().await.objects().await.unwrap()), 5, "it was touched");
    stopped.hsm().await.destroy_key(foreign).await.unwrap();

    // A version's object is another key of the same id, and then it is gone.
    let store = kms_server::store::Store::open_to_read(&stopped.config.database.database().unwrap()).await.unwrap();
    let live = store.read().await.unwrap().objects_in(kms_server::store::HsmObjectState::Live).await.unwrap();
    store.close().await;
    let hsm = stopped.hsm().await;
    hsm.destroy_key(live[0].object).await.unwrap();
    hsm.create_key(live[0].object, "another").await.unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!(seen.bad(), ["error token.key_versions"]);
    seen.says("token.key_versions", "canary");
    seen.says("token.key_versions", &live[0].key.to_string());
    hsm.destroy_key(live[0].object).await.unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!(seen.bad(), ["error token.key_versions"]);
    seen.says("token.key_versions", "no key");

    meddle(&stopped, "UPDATE hsm_objects SET state = 'creating', created_at = 1").await;
    let seen = Seen::by(&file).await;
    assert_eq!(seen.bad(), ["error token.key_versions", "warning objects.unfinished", "warning objects.unfinished"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_not_as_they_were_on_sqlite() {
    objects_that_are_not_as_they_were(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_not_as_they_were_on_postgres() {
    objects_that_are_not_as_they_were(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_or_pin_is_found() {
    let stopped = installation(Backend::Sqlite).await;
    let (file, other) = (stopped.config_file(), installation(Backend::Sqlite).await);
    let text = fs::read_to_string(&file).unwrap();
    let label = |text: &str| text.lines().find(|line| line.starts_with("token_label")).unwrap().to_owned();
    let others = label(&fs::read_to_string(other.config_file()).unwrap());
    fs::write(&file, text.replace(&label(&text), &others)).unwrap();
    let seen = Seen::by(&file).await;
    assert!(seen.bad().contains(&"error token.system_key".to_owned()), "{:?}", seen.bad());
    assert!(seen.bad().contains(&"error token.audit_key".to_owned()), "{:?}", seen.bad());
    for (from, to, words) in [
        (label(&text), "token_label = \"nobody's\"".to_owned(), "no token labelled"),
        ("pin_file = \"pin\"".to_owned(), "pin_file = \"kms.toml\"".to_owned(), "PIN"),
    ] {
        chmod(&file, 0o600);
        fs::write(&file, text.replace(&from, &to)).unwrap();
        let seen = Seen::by(&file).await;
        assert_eq!((seen.bad(), seen.code), (vec!["error token.open".to_owned()], 2));
        seen.says("token.open", words);
    }
}

async fn a_database_that_is_not_as_it_should_be(backend: Backend) {
    let stopped = installation(backend).await;
    let file = stopped.config_file();
    let undo = "DELETE FROM _sqlx_migrations WHERE version = 9999";
    for (meddling, found, restored) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'from the future', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
            "error database.schema",
            undo,
        ),
        (
            "UPDATE _sqlx_migrations SET version = 9998 WHERE version = 1",
            "error database.schema,warning database.schema",
            "UPDATE _sqlx_migrations SET version = 1 WHERE version = 9998",
        ),
        (
            "UPDATE control_rows SET body = body || ' '",
            "error database.control_state",
            "UPDATE control_rows SET body = substr(body, 1, length(body) - 1)",
        ),
    ] {
        meddle(&stopped, meddling).await;
        assert_eq!(Seen::by(&file).await.bad().join(","), found);
        meddle(&stopped, restored).await;
        assert_eq!(Seen::by(&file).await.bad(), Vec::<String>::new());
    }
    fs::remove_file(stopped.folder().join("anchor/anchor.json")).unwrap();
    assert_eq!(Seen::by(&file).await.bad(), ["warning anchor"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_database_that_is_not_as_it_should_be() {
    a_database_that_is_not_as_it_should_be(Backend::Sqlite).await;

    let stopped = installation(Backend::Sqlite).await;
    let (file, copy) = (stopped.config_file(), stopped.folder().join("copy"));
    meddle(&stopped, "PRAGMA journal_mode = DELETE").await;
    assert_eq!(Seen::by(&file).await.bad(), ["warning database.journal_mode"]);

    // An older copy, and a copy that the disk has damaged.
    copy_sqlite(&stopped.config, &copy);
    let kms = stopped.start_again().await.unwrap();
    kms.usable_key("newer", "clinical").await;
    let stopped = kms.stop().await;
    let newest = stopped.folder().join("newest");
    copy_sqlite(&stopped.config, &newest);
    put_back_sqlite(&stopped.config, &copy);
    let seen = Seen::by(&file).await;
    assert!(seen.bad().contains(&"error anchor".to_owned()) && seen.code == 2, "{:?}", seen.bad());
    seen.says("anchor", "older copy");
    put_back_sqlite(&stopped.config, &newest);
    let path = stopped.config.database.sqlite.as_deref().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 4096].fill(0xaa);
    fs::write(path, bytes).unwrap();
    let seen = Seen::by(&file).await;
    assert!(seen.bad()[0].starts_with("error database."), "{:?}", seen.bad());

    fs::remove_file(path).unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!((seen.bad(), seen.code), (vec!["error database.open".to_owned()], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_database_that_is_not_as_it_should_be() {
    a_database_that_is_not_as_it_should_be(Backend::Postgres).await;

    let stopped = installation(Backend::Postgres).await;
    let url = fs::read_to_string(stopped.folder().join("postgres-url")).unwrap();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    for value in ["off", "local", "remote_write"] {
        meddle(&stopped, &format!("ALTER DATABASE {name} SET synchronous_commit = {value}")).await;
        let seen = Seen::by(&stopped.config_file()).await;
        assert_eq!((seen.bad(), seen.code), (vec!["warning database.synchronous_commit".to_owned()], 1), "{value}");
        seen.says("database.synchronous_commit", &format!("its default is `{value}`"));
    }
    // Whoever does not say that nothing takes the server's place is told what would be lost.
    let (file, text) = (stopped.config_file(), fs::read_to_string(stopped.config_file()).unwrap());
    meddle(&stopped, &format!("ALTER DATABASE {name} RESET synchronous_commit")).await;
    fs::write(&file, text.replace("single = true\n", "")).unwrap();
    let seen = Seen::by(&file).await;
    assert_eq!((seen.bad(), seen.code), (vec!["warning database.standbys".to_owned()], 1));
    seen.says("database.standbys", "no standby is synchronous");
    fs::write(&file, text).unwrap();
    // The server asks for its own, so that default does not stop it.
    stopped.start_again().await.unwrap().stop().await;
}

/// Of a role it is the same as of the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_role_with_a_default_of_its_own() {
    let stopped = installation(Backend::Postgres).await;
    let role = format!("keyward_{}", uuid::Uuid::new_v4().simple());
    let url = fs::read_to_string(stopped.folder().join("postgres-url")).unwrap();
    let mut theirs = reqwest::Url::parse(url.trim()).unwrap();
    meddle(&stopped, &format!("CREATE ROLE {role} LOGIN PASSWORD 'quiet' IN ROLE pg_read_all_data")).await;
    theirs.set_username(&role).unwrap();
    theirs.set_password(Some("quiet")).unwrap();
    let file = stopped.folder().join("postgres-url");
    fs::write(&file, theirs.as_str()).unwrap();
    assert_eq!(Seen::by(&stopped.config_file()).await.bad(), Vec::<String>::new());
    fs::write(&file, &url).unwrap();
    meddle(&stopped, &format!("ALTER ROLE {role} SET synchronous_commit = local")).await;
    fs::write(&file, theirs.as_str()).unwrap();
    let seen = Seen::by(&stopped.config_file()).await;
    fs::write(&file, &url).unwrap();
    meddle(&stopped, &format!("DROP ROLE {role}")).await;
    assert_eq!(seen.bad(), ["warning database.synchronous_commit"]);
}

/// What only a whole server can be set to, said by this database alone: its path leads to functions and views that answer
/// before those of the catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_server_that_promises_too_little() {
    let stopped = installation(Backend::Postgres).await;
    let url = fs::read_to_string(stopped.folder().join("postgres-url")).unwrap();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let mut sql = Sql::connect(&stopped.config).await;
    for statement in [
        "CREATE SCHEMA says",
        "CREATE TABLE says.settings (name TEXT, value TEXT)",
        "CREATE FUNCTION says.current_setting(TEXT) RETURNS TEXT LANGUAGE sql STABLE AS \
         'SELECT COALESCE((SELECT value FROM says.settings WHERE name = $1), pg_catalog.current_setting($1))'",
        "CREATE VIEW says.pg_stat_replication AS \
         SELECT value AS sync_state FROM says.settings WHERE name = 'standby'",
        &format!("ALTER DATABASE {name} SET search_path = says, pg_catalog, public"),
    ] {
        sql.execute(statement).await;
    }
    assert_eq!(Seen::by(&stopped.config_file()).await.bad(), Vec::<String>::new());
    for (setting, value, found, words) in [
        ("fsync", "off", "error database.fsync", "lost with the power"),
        ("full_page_writes", "off", "error database.full_page_writes", "lost with the power"),
        ("server_version_num", "130004", "warning database.version", "PostgreSQL 13"),
        ("synchronous_standby_names", "other", "error database.standbys", "every commit waits"),
    ] {
        sql.execute(&format!("INSERT INTO says.settings VALUES ('{setting}', '{value}')")).await;
        let seen = Seen::by(&stopped.config_file()).await;
        assert_eq!(seen.bad(), [found]);
        seen.says(found.split_once(' ').unwrap().1, words);
        if ["fsync", "full_page_writes"].contains(&setting) {
            let refusal = stopped.refusal().await.to_string();
            assert!(refusal.contains(setting), "{refusal}");
        }
        if setting == "synchronous_standby_names" {
            sql.execute("INSERT INTO says.settings VALUES ('standby', 'quorum')").await;
            let seen = Seen::by(&stopped.config_file()).await;
            assert_eq!(seen.bad(), Vec::<String>::new());
            seen.says("database.standbys", "1 have every commit");
        }
        sql.execute("DELETE FROM says.settings").await;
    }
    sql.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_has_a_code_of_its_own() {
    let ended = host_command("doctor", Path::new("/nowhere/kms.toml"), &[]).await;
    assert_eq!((ended.status.code(), ended.out.as_str()), (Some(3), ""));
    assert!(ended.err.contains("`/nowhere/kms.toml` cannot be read"), "{ended:?}");

    // No token and no installation: both are findings.
    let unmade = StoppedKms::unmade(Backend::Sqlite).await;
    let seen = Seen::by(&unmade.config_file()).await;
    assert_eq!((seen.bad().join(","), seen.code), ("error database.open,error token.open".to_owned(), 2));
    let table = host_command("doctor", &unmade.config_file(), &[]).await;
    assert!(
        table.out.contains("ERROR    token.open") && table.out.contains("-> see `[key_store] token_label`"),
        "{}",
        table.out
    );
}
