//! Everything that can be missing or wrong when a server starts: each gives one clear line, with what, where and what to do,
//! and a failure's exit code; and what can be seen without opening anything, `check-config` says all at once.

use std::fs;

use cryptoki::context::Pkcs11;
use keyward_tests::{Backend, Sql, StoppedKms, TestKms, host_command};

async fn installation(backend: Backend) -> StoppedKms {
    TestKms::start(backend).await.stop().await
}

/// Starts a server that cannot start. What it says has all of these words; its exit code is 1, or 78 where the token refused
/// the PIN, so that nobody offers it again and again.
async fn refused(stopped: &StoppedKms, words: &[&str]) {
    let ended = stopped.process(None).await.expect_err("the server must not start");
    let code = if words.contains(&"refused the PIN") { 78 } else { 1 };
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    // Log lines are JSON.
    let lines: Vec<_> = ended.err.lines().filter(|line| !line.starts_with('{')).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {ended:?}") };
    for word in [&["kms-server: "], words].concat() {
        assert!(line.contains(word), "`{word}` is not in `{line}`");
    }
    assert!(!ended.err.contains("panicked") && !ended.err.contains("backtrace"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_in_one_line() {
    let stopped = installation(Backend::Sqlite).await;
    let file = stopped.config_file();
    let good = fs::read_to_string(&file).unwrap();
    let label = good.lines().find(|line| line.starts_with("token_label")).unwrap();
    let module = good.lines().find(|line| line.starts_with("module")).unwrap();
    let other = installation(Backend::Sqlite).await;
    let others = fs::read_to_string(other.config_file()).unwrap();
    let others = others.lines().find(|line| line.starts_with("token_label")).unwrap();
    fs::write(stopped.folder().join("other.pem"), stopped.identities.server().certificate).unwrap();
    fs::write(stopped.folder().join("empty"), "").unwrap();
    fs::write(stopped.folder().join("wrong-pin"), "00000000").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("api = \"{}\"", taken.local_addr().unwrap());
    let cases: [(&str, &str, &[&str]); 20] = [
        ("[anchor]", "[anchor]\nfiel = 1", &["kms.toml", "line", "unknown field `fiel`", "check-config"]),
        ("[anchor]", "[anchor", &["kms.toml", "line"]),
        ("region = \"eu-test-1\"", "", &["kms.toml", "missing field `region`"]),
        ("api = \"127.0.0.1:0\"", "api = \"localhost\"", &["kms.toml", "line", "api = \"localhost\""]),
        ("anchor/anchor.json", "database/anchor.json", &["[anchor]", "another folder"]),
        ("[key_store]", "[key_store]\ncall_timeout_seconds = 0", &["[key_store]", "call_timeout_seconds"]),
        ("[database]", "[database]\npostgres_url_file = \"x\"", &["[database]", "name one of"]),
        ("server.pem", "nothing.pem", &["nothing.pem", "certificate"]),
        ("server.pem", "empty", &["empty`", "certificate"]),
        ("server.key", "nothing.key", &["nothing.key", "private key"]),
        ("server.key", "server.pem", &["server.pem", "not a private key in PEM"]),
        ("server.pem", "other.pem", &["other.pem", "do not belong together"]),
        ("pin_file = \"pin\"", "pin_file = \"no-pin\"", &["no-pin", "cannot be read", "see that the file is there"]),
        ("pin_file = \"pin\"", "pin_file = \"empty\"", &["[key_store]", "PIN is empty"]),
        ("pin_file = \"pin\"", "pin_file = \"wrong-pin\"", &["refused the PIN", "[key_store] pin_file"]),
        (module, "module = \"/nowhere/module.so\"", &["/nowhere/module.so", "[key_store] module"]),
        (label, "token_label = \"nobody's\"", &["`nobody's`", "[key_store] token_label"]),
        (label, others, &["another token than the installation's", "[key_store]"]),
        ("database/keyward.sqlite", "pin/keyward.sqlite", &["pin` cannot be made", "[database] sqlite"]),
        ("api = \"127.0.0.1:0\"", &taken, &["cannot be listened on", "[listen]"]),
    ];
    for (from, to, words) in cases {
        assert!(good.contains(from), "{from}");
        fs::write(&file, good.replace(from, to)).unwrap();
        refused(&stopped, words).await;
    }
    fs::remove_file(&file).unwrap();
    refused(&stopped, &["kms.toml` cannot be read", "see that the file is there"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_an_installation_or_of_a_newer_program_is_refused() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let stopped = installation(backend).await;
        let mut sql = Sql::connect(&stopped.config).await;
        sql.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'from the future', success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
        )
        .await;
        refused(&stopped, &["the database's tables", "9999", "run the program that made them"]).await;
        sql.execute("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
        sql.execute("DELETE FROM hsm_roots").await;
        sql.close().await;
        refused(&stopped, &["no installation in this database", "kms-server init"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_server_that_lets_nobody_in_is_refused() {
    let stopped = installation(Backend::Postgres).await;
    let file = stopped.folder().join("postgres-url");
    let good = fs::read_to_string(&file).unwrap();
    let (scheme, rest) = good.split_once("://").unwrap();
    let (login, place) = rest.split_once('@').unwrap();
    let user = login.split(':').next().unwrap();
    let (_, name) = place.split_once('/').unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, words) in [
        (format!("{scheme}://{login}@127.0.0.1:{port}/{name}"), "refused"),
        (format!("{scheme}://{user}:wrong@{place}"), "password authentication failed"),
        (format!("{scheme}://{login}@{place}_2"), "does not exist"),
    ] {
        fs::write(&file, url).unwrap();
        refused(&stopped, &["cannot be connected to", words, "[database] postgres_url_file"]).await;
    }
    fs::write(&file, "mysql:somewhere with a p4ssword").unwrap();
    refused(&stopped, &["the URL of the database is not valid", "postgres://USER:PASSWORD@HOST/DATABASE"]).await;
    let ended = stopped.process(None).await.unwrap_err();
    assert!(!ended.err.contains("p4ssword"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_says_everything_at_once() {
    let unmade = StoppedKms::unmade(Backend::Sqlite).await;
    let file = unmade.config_file();
    let good = fs::read_to_string(&file).unwrap();
    let module = good.lines().find(|line| line.starts_with("module")).unwrap();
    let bad = good
        .replace("api = \"127.0.0.1:0\"", "api = \"127.0.0.1:7443\"")
        .replace("operations = \"127.0.0.1:0\"", "operations = \"127.0.0.1:7443\"")
        .replace("server.pem", "nothing.pem")
        .replace("server.key", "nothing.key")
        .replace("database/keyward.sqlite", "pin/keyward.sqlite")
        .replace(module, "module = \"/dev/null\"\nname = \"Not A Name\"\ncall_timeout_seconds = 0")
        .replace("pin_file = \"pin\"", "pin_file = \"no-pin\"")
        .replace("anchor/anchor.json", "pin/anchor.json");
    fs::write(
        &file,
        format!("{bad}\n[cluster]\nlease_milliseconds = 999\n[limits]\nconnections = 0\n[log]\nfilter = \"=,=\"\n"),
    )
    .unwrap();
    let ended = host_command("check-config", &file, &[]).await;
    assert_eq!((ended.status.code(), ended.out.as_str()), (Some(1), ""), "{ended:?}");
    for field in [
        "error: listen.operations: `127.0.0.1:7443` is the API's address too",
        "error: tls.certificate `",
        "error: tls.key `",
        "error: database.sqlite `",
        "error: key_store.module `/dev/null`",
        "error: key_store.name: ",
        "error: key_store.call_timeout_seconds: ",
        "error: key_store.pin_file: ",
        "error: anchor.file: ",
        "error: cluster.lease_milliseconds: ",
        "error: limits.connections: ",
        "warning: log.filter: ",
    ] {
        assert!(ended.err.lines().any(|line| line.starts_with(field) && line.contains("; ")), "{field}: {ended:?}");
    }
    // Nothing was made.
    assert!(!unmade.folder().join("database").exists() && !unmade.folder().join("anchor").exists());
}

/// As the operators' page says: in the token first, then in the file. In between no server starts.
#[tokio::test(flavor = "multi_thread")]
async fn the_pin_can_be_changed() {
    let stopped = installation(Backend::Sqlite).await;
    let old = stopped.config.key_store.pin().unwrap();
    {
        // It holds the module open; what follows goes past our code.
        let _hsm = stopped.hsm().await;
        let pkcs11 = Pkcs11::new(&stopped.config.key_store.module).unwrap();
        let label = &stopped.config.key_store.token_label;
        let ours = |slot: &_| pkcs11.get_token_info(*slot).is_ok_and(|token| token.label() == label);
        let slot = pkcs11.get_slots_with_token().unwrap().into_iter().find(ours).unwrap();
        pkcs11.open_rw_session(slot).unwrap().set_pin(&old, &"2718281828".to_owned().into()).unwrap();
    }
    refused(&stopped, &["refused the PIN", "[key_store] pin_file"]).await;
    fs::write(stopped.config.key_store.pin_file.as_ref().unwrap(), "2718281828\n").unwrap();
    stopped.process(None).await.unwrap().kill().await;
    let sound = host_command("doctor", &stopped.config_file(), &[]).await;
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
}
