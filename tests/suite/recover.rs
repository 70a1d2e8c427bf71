//! The way back in on the host: with the token's PIN, on record, heard of by everybody, whole or not at all.

use std::{os::unix::process::ExitStatusExt as _, process::Stdio};

use keyward_tests::{Ask, Backend, SIGKILL, StoppedKms, TestKms, host_command, program, run};
use kms_client::{
    format::record::{Outcome, Surface},
    wire::{audit::AuditSearch, change::ChangeQuery},
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

/// An installation whose administrators are both suspended, which is never refused.
async fn locked_out(backend: Backend) -> StoppedKms {
    let kms = TestKms::start(backend).await;
    let olaf = kms.client("olaf");
    for name in ["ada", "ben"] {
        olaf.suspend_principal(&name.parse().unwrap(), "left".parse().unwrap()).await.unwrap();
    }
    let refused = kms.ask(&Ask::new("GET", "/v1/principals").token(&kms.token("ada"))).await;
    assert_eq!(refused.status, 401);
    kms.stop().await
}

fn pin_file(stopped: &StoppedKms) -> String {
    stopped.config.key_store.pin_file.as_ref().unwrap().display().to_string()
}

async fn comes_back(backend: Backend) {
    let stopped = locked_out(backend).await;
    let certificate = stopped.folder().join("new.pem");
    std::fs::write(&certificate, stopped.identities.client("spiffe://clinic.example/nora").certificate).unwrap();
    let certificate = certificate.display().to_string();
    let pin = pin_file(&stopped);

    // Without the PIN, with a wrong one, or with a proof that proves nothing: nothing.
    let new = ["--name", "nora", "--certificate", &certificate];
    let none = host_command("recover-admin", &stopped.config_file(), &new).await;
    assert!(!none.status.success() && none.err.contains("the token's PIN is needed"), "{none:?}");
    let wrong = stopped.folder().join("wrong-pin");
    std::fs::write(&wrong, "0000").unwrap();
    let wrong = [&new[..], &["--pin-file", wrong.to_str().unwrap()]].concat();
    let wrong = host_command("recover-admin", &stopped.config_file(), &wrong).await;
    assert!(!wrong.status.success() && wrong.err.contains("PIN"), "{wrong:?}");
    let stranger = stopped.folder().join("stranger.pem");
    let other = keyward_tests::Identities::new();
    std::fs::write(&stranger, other.client("spiffe://clinic.example/nora").certificate).unwrap();
    let stranger = ["--name", "nora", "--certificate", stranger.to_str().unwrap(), "--pin-file", &pin];
    let stranger = host_command("recover-admin", &stopped.config_file(), &stranger).await;
    assert!(!stranger.status.success() && stranger.err.contains("would prove nothing"), "{stranger:?}");

    // A new person by certificate, with the PIN typed; then an old one by the subject of its tokens.
    let mut command = program("kms-server");
    command.args(["recover-admin", "--config"]).arg(stopped.config_file()).args(new);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let typed = std::fs::read(&pin).unwrap();
    child.stdin.take().unwrap().write_all(&typed).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out.contains("`nora` is an administrator"), "{out}{err}");
    assert!(err.contains("ALARM"), "{err}");
    let old = ["--name", "ada", "--issuer", keyward_tests::ISSUER, "--subject", "ada", "--pin-file", &pin];
    let old = host_command("recover-admin", &stopped.config_file(), &old).await;
    assert!(old.status.success(), "{old:?}");
    let again = ["--name", "ada", "--issuer", keyward_tests::ISSUER, "--subject", "ada", "--pin-file", &pin];
    let again = host_command("recover-admin", &stopped.config_file(), &again).await;
    assert!(!again.status.success() && again.err.contains("already"), "{again:?}");

    let kms = stopped.start_again().await.unwrap();
    kms.client("ada").create_principal(&keyward_tests::from(json!({ "name": "x", "kind": "user" }))).await.unwrap();
    let audrey = kms.client("audrey");
    let changes = audrey.list_changes(&ChangeQuery::default()).await.unwrap().changes;
    let kinds: Vec<_> = changes.iter().map(|change| (change.kind.as_str(), change.principal.is_some())).collect();
    assert_eq!(kinds[..3], [("create_principal", true), ("recover_admin", false), ("recover_admin", false)]);
    let search = AuditSearch { action: Some("recover_admin".parse().unwrap()), ..AuditSearch::default() };
    let records = audrey.search_audit(&search).await.unwrap().records;
    assert_eq!(records.len(), 2);
    assert!(
        records
            .iter()
            .all(|record| { (record.record.surface, record.record.outcome) == (Surface::Host, Outcome::Allowed) })
    );
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_comes_back_on_sqlite() {
    comes_back(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_comes_back_on_postgres() {
    comes_back(Backend::Postgres).await;
}

/// Killed on its way, it has happened or not, and the record is there when it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_is_killed_is_whole_or_nothing() {
    let mut stopped = locked_out(Backend::Sqlite).await;
    for (place, happened) in [("change.before_commit", 0), ("change.committed", 1)] {
        let mut command = program("kms-server");
        command.args(["recover-admin", "--config"]).arg(stopped.config_file());
        command.args(["--name", "ada", "--issuer", keyward_tests::ISSUER, "--subject", "ada"]);
        command.args(["--pin-file", &pin_file(&stopped)]).env("KEYWARD_CRASH_AT", place);
        let ended = run(&mut command).await;
        assert_eq!(ended.status.signal(), Some(SIGKILL), "{place}: {ended:?}");
        let kms = stopped.start_again().await.unwrap();
        let whoami = kms.ask(&Ask::new("GET", "/v1/whoami").token(&kms.token("ada"))).await;
        assert_eq!(whoami.status, if happened == 1 { 200 } else { 401 }, "{place}");
        let search = AuditSearch { action: Some("recover_admin".parse().unwrap()), ..AuditSearch::default() };
        let records = kms.client("audrey").search_audit(&search).await.unwrap().records;
        assert_eq!(records.len(), happened, "{place}");
        stopped = kms.stop().await;
    }
}

/// While the server runs on it, nobody changes its database.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_must_be_stopped() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let config = kms.folder().join("kms.toml");
    let pin = kms.config.key_store.pin_file.as_ref().unwrap().display().to_string();
    let line = ["--name", "ada", "--issuer", keyward_tests::ISSUER, "--subject", "ada", "--pin-file", &pin];
    let refused = host_command("recover-admin", &config, &line).await;
    assert!(!refused.status.success() && refused.err.contains("another"), "{refused:?}");
    kms.stop().await;
}
