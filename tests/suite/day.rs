//! A day in the life of a clinic that keeps its own keys, from the installation to the evening's checks. Everything is done
//! as people do it: by `kms-server` on the host and by `kms` at a shell, on a real token and a real database.

use std::{fs, path::Path};

use jiff::{SignedDuration, Timestamp};
use keyward_tests::{Backend, ISSUER, Process, Shell, StoppedKms, files, host_command, until};
use serde_json::Value;

const CONTEXT: [&str; 4] = ["--context", "patient=4711", "--context", "study=ct-7"];

/// The clinic: its host, its server, and who sits at which shell.
struct Clinic {
    host: StoppedKms,
    server: Process,
    ada: Shell,
    ben: Shell,
    audrey: Shell,
    /// The picture archive.
    pacs: Shell,
    /// The patients' records.
    ehr: Shell,
    /// The laboratory's instruments.
    lab: Shell,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_the_life() {
    let host = StoppedKms::unmade(Backend::Sqlite).await;
    let server = install(&host).await;
    let mut clinic = staff(host, server).await;
    keys_and_rights(&clinic).await;
    files_come_in(&clinic).await;
    a_rotation(&clinic).await;
    let contract = a_contractor_comes(&clinic).await;
    a_version_is_revoked(&clinic).await;
    a_key_is_nearly_deleted(&clinic).await;
    the_contract_ends(&clinic, &contract).await;
    who_read_the_record(&clinic).await;
    evening(&mut clinic).await;
}

/// In the morning there is a configuration, and nothing else.
async fn install(host: &StoppedKms) -> Process {
    let config = host.config_file();
    let checked = host_command("check-config", &config, &[]).await;
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("the configuration is good\n", ""));
    let mut arguments = host.founding();
    let path = |name: &str| host.folder().join(name).display().to_string();
    arguments.extend(["--so-pin-file".to_owned(), path("so-pin")]);
    arguments.extend(["--admin".to_owned(), format!("ada={}", path("ada.pem")), "--admin".to_owned()]);
    arguments.push("ben=ben@clinic".to_owned());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let made = host_command("init", &config, &arguments).await;
    assert!(made.status.success() && made.out.ends_with("is revision 1\n"), "{made:?}");
    fs::remove_file(path("so-pin")).unwrap();
    host.process(None).await.unwrap()
}

/// Two administrators are there from the start. One of them takes in an auditor and three services.
async fn staff(host: StoppedKms, server: Process) -> Clinic {
    let ben = Shell::at(&server, &host, "ben@clinic");
    let read = |name: &str| fs::read_to_string(host.folder().join(name)).unwrap();
    let leaf = keyward_tests::Leaf { certificate: read("ada.pem"), key: read("ada.key") };
    let ada = ben.with_certificate("ada", &leaf);
    for (shell, name) in [(&ada, "ada"), (&ben, "ben")] {
        let me = shell.json(&["whoami"]).await;
        assert_eq!((&me["principal"]["name"], &me["solo"]), (&name.into(), &false.into()));
    }
    let issuers = ada.json(&["trust", "issuer", "list"]).await;
    assert_eq!(issuers["issuers"][0]["issuer"], ISSUER, "{issuers}");
    let issuer = issuers["issuers"][0]["id"].as_str().unwrap();
    let authorities = ada.json(&["trust", "ca", "list"]).await;
    let ca = authorities["client_cas"][0]["id"].as_str().unwrap_or_else(|| panic!("{authorities}"));

    ada.text(&["principal", "create", "audrey", "--kind", "user", "--team", "Revision"]).await;
    ada.text(&["credential", "add", "jwt", "audrey", "--issuer", issuer, "--subject", "audrey@clinic"]).await;
    ada.text(&["binding", "create", "audrey", "auditor", "--all"]).await;
    let audrey = Shell::at(&server, &host, "audrey@clinic");
    assert!(audrey.text(&["whoami"]).await.contains("auditor"));

    let mut services = Vec::new();
    for name in ["pacs", "ehr", "lab"] {
        let san = format!("spiffe://clinic.example/{name}");
        ada.text(&["principal", "create", name, "--kind", "service"]).await;
        ada.text(&["credential", "add", "san", name, "--san", &format!("uri:{san}"), "--client-ca", ca]).await;
        let shell = ada.with_certificate(name, &host.identities.client(&san));
        // Known, and allowed nothing yet.
        let me = shell.json(&["whoami"]).await;
        assert_eq!((&me["principal"]["name"], &me["bindings"]), (&name.into(), &Value::Array(Vec::new())), "{me}");
        services.push(shell);
    }
    let listed = audrey.json(&["principal", "list", "--kind", "service"]).await;
    assert_eq!(listed["principals"].as_array().unwrap().len(), 3);
    let [pacs, ehr, lab] = services.try_into().unwrap();
    Clinic { host, server, ada, ben, audrey, pacs, ehr, lab }
}

/// Five keys, and each service gets what it needs of them.
async fn keys_and_rights(clinic: &Clinic) {
    let Clinic { ada, ben, pacs, ehr, lab, .. } = clinic;
    for (alias, class) in [
        ("imaging", "imaging"),
        ("records", "clinical"),
        ("results", "clinical"),
        ("billing", "finance"),
        ("study-7", "research"),
    ] {
        let made = ada.json(&["key", "create", "--alias", alias, "--class", class]).await;
        assert_eq!((&made["key"]["state"], &made["key"]["primary_version"]), (&"enabled".into(), &1.into()));
        assert_eq!(made["receipt"]["nodes"][0]["outcome"], "acknowledged");
    }
    for role in ["wrapper", "unwrapper", "rewrapper"] {
        ada.text(&["binding", "create", "pacs", role, "--key", "alias/imaging"]).await;
        ben.text(&["binding", "create", "ehr", role, "--class", "clinical"]).await;
    }
    // An instrument writes results that it cannot read again.
    ada.text(&["binding", "create", "lab", "wrapper", "--key", "alias/results"]).await;
    ada.text(&["binding", "create", "ehr", "wrapper", "--key", "alias/study-7"]).await;
    assert_eq!(ben.json(&["key", "list"]).await["keys"].as_array().unwrap().len(), 5);
    let who = clinic.audrey.text(&["key", "who-can", "alias/results", "unwrap"]).await;
    assert!(who.contains("ehr") && !who.contains("lab") && !who.contains("pacs"), "{who}");

    // Who administers a production key never uses it, and may not give itself the right to.
    let refused = ada.fails(1, &["binding", "create", "ada", "unwrapper", "--key", "alias/records"]).await;
    assert!(refused.contains("separation_of_duties"), "{refused}");
    let generated = lab.json(&["data-key", "generate", "--key", "alias/results", "--context", "sample=12"]).await;
    let wrapped = generated["wrapped"].as_str().unwrap();
    let unwrap = ["data-key", "unwrap", wrapped, "--context", "sample=12"];
    assert!(lab.fails(3, &unwrap).await.contains("not_permitted"));
    assert!(pacs.fails(3, &unwrap).await.contains("not_permitted"));
    assert_eq!(ehr.json(&unwrap).await["data_key"], generated["data_key"]);
}

/// A patient's pictures are encrypted, and come back as they were.
async fn files_come_in(clinic: &Clinic) {
    let path = |name: &str| clinic.host.folder().join(name).display().to_string();
    fs::create_dir_all(path("scans/series-1")).unwrap();
    for (name, text) in [("scans/report", "a knee"), ("scans/series-1/1", "slice 1"), ("scans/series-1/2", "slice 2")] {
        fs::write(path(name), text.repeat(10_000)).unwrap();
    }
    let encrypt = [&["encrypt", &path("scans"), "--key", "alias/imaging", "--out", &path("archive")], &CONTEXT[..]];
    let account = clinic.pacs.json(&encrypt.concat()).await;
    let done = account["files"].as_array().unwrap();
    assert!(done.len() == 3 && done.iter().all(|file| file["version"] == 1), "{account}");
    assert!(!files(Path::new(&path("archive"))).values().any(|file| file.windows(6).any(|text| text == b"a knee")));
    come_back(clinic, "archive").await;

    // Not for who administers the key, not for another service, and not under another patient's name.
    let decrypt = ["decrypt", &path("archive/report.kw"), "--out", &path("stolen")];
    for (shell, context, code) in [
        (&clinic.ada, &CONTEXT[..], "not_permitted"),
        (&clinic.ehr, &CONTEXT[..], "not_permitted"),
        (&clinic.pacs, &["--context", "patient=4712", "--context", "study=ct-7"], "invalid_wrapped_key"),
    ] {
        let refused = shell.run(&[&decrypt[..], context].concat()).await;
        assert!(!refused.status.success() && refused.err.contains(code), "{refused:?}");
        assert!(!Path::new(&path("stolen")).exists());
    }
}

/// The archive is decrypted, and every byte is the same.
async fn come_back(clinic: &Clinic, archive: &str) {
    let path = |name: &str| clinic.host.folder().join(name).display().to_string();
    let decrypt = [&["decrypt", &path(archive), "--force", "--out", &path("viewed")], &CONTEXT[..]];
    clinic.pacs.text(&decrypt.concat()).await;
    assert_eq!(files(Path::new(&path("viewed"))), files(Path::new(&path("scans"))));
}

/// The key gets a new version; the archive is moved to it without being decrypted. A copy stays behind on an old tape.
async fn a_rotation(clinic: &Clinic) {
    let path = |name: &str| clinic.host.folder().join(name).display().to_string();
    let rotated = clinic.ben.json(&["key", "rotate", "alias/imaging"]).await;
    assert_eq!(rotated["key"]["primary_version"], 2);
    come_back(clinic, "archive").await;
    fs::copy(path("archive/report.kw"), path("tape.kw")).unwrap();
    let account = clinic.pacs.json(&[&["rewrap", &path("archive")], &CONTEXT[..]].concat()).await;
    let done = account["files"].as_array().unwrap();
    let moved = |file: &Value| file["version"] == 2 && file["previous_version"] == 1;
    assert!(done.len() == 3 && done.iter().all(moved), "{account}");
    come_back(clinic, "archive").await;
}

/// Somebody from outside is to look at the pictures for a while. Returns what the contractor runs.
async fn a_contractor_comes(clinic: &Clinic) -> (Shell, Vec<String>) {
    let Clinic { ada, ben, host, .. } = clinic;
    let issuers = ada.json(&["trust", "issuer", "list"]).await;
    let issuer = issuers["issuers"][0]["id"].as_str().unwrap();
    ada.text(&["principal", "create", "devi", "--kind", "contractor", "--person", "devi@vendor"]).await;
    ada.text(&["credential", "add", "jwt", "devi", "--issuer", issuer, "--subject", "devi@vendor"]).await;
    let devi = Shell::at(&clinic.server, host, "devi@vendor");
    let grant = ["binding", "create", "devi", "unwrapper", "--key", "alias/imaging"];
    let endless = ben.fails(1, &grant).await;
    assert!(endless.contains("contractor"), "{endless}");

    let tape = host.folder().join("archive/report.kw").display().to_string();
    let copy = host.folder().join("lent").display().to_string();
    let line = [&["decrypt", &tape, "--force", "--out", &copy], &CONTEXT[..]].concat();
    devi.fails(3, &line).await;
    let terms = ["--until", "12s", "--sponsor", "ben", "--purpose", "second opinion on a knee"];
    let bound = ben.json(&[&grant[..], &terms].concat()).await;
    let until: Timestamp = bound["binding"]["until"].as_str().unwrap().parse().unwrap();
    assert!(until > Timestamp::now() && until < Timestamp::now() + SignedDuration::from_secs(13), "{bound}");
    assert_eq!((&bound["binding"]["purpose"], &bound["binding"]["sponsor"].is_null()), (&terms[5].into(), &false));
    devi.text(&line).await;
    assert_eq!(fs::read(&copy).unwrap(), fs::read(host.folder().join("scans/report")).unwrap());
    (devi, line.iter().map(|word| (*word).to_owned()).collect())
}

/// The tape is lost. What it holds was wrapped by version 1, which nothing needs any more.
async fn a_version_is_revoked(clinic: &Clinic) {
    let path = |name: &str| clinic.host.folder().join(name).display().to_string();
    let (tape, found) = (path("tape.kw"), path("found"));
    let decrypt = [&["decrypt", &tape, "--out", &found], &CONTEXT[..]].concat();
    let revoke = ["key", "revoke", "alias/imaging", "--version", "1", "--reason", "a tape was lost"];
    let revoked = clinic.ada.json(&revoke).await;
    assert_eq!(
        (&revoked["key"]["state"], &revoked["key"]["versions"][0]["state"]),
        (&"enabled".into(), &"revoked".into())
    );
    let refused = clinic.pacs.run(&decrypt).await;
    assert!(!refused.status.success() && refused.err.contains("version_revoked"), "{refused:?}");
    assert!(!Path::new(&found).exists());
    come_back(clinic, "archive").await;
}

/// A study is over, and its key is to go. Then somebody remembers the appendix.
async fn a_key_is_nearly_deleted(clinic: &Clinic) {
    let Clinic { ada, ben, ehr, .. } = clinic;
    let generate = ["data-key", "generate", "--key", "alias/study-7"];
    ehr.text(&generate).await;
    let usage = ada.json(&["key", "usage", "alias/study-7"]).await;
    assert_eq!(
        (&usage["uses"][0]["name"], &usage["uses"][0]["action"]),
        (&"ehr".into(), &"generate_without_plaintext".into()),
        "{usage}"
    );
    let schedule = ["key", "schedule-deletion", "alias/study-7", "--days", "14", "--reason", "the study is over"];
    let asked = ada.fails(2, &schedule).await;
    assert!(asked.contains("kms key usage") && asked.contains("--yes"), "{asked}");
    let scheduled = ada.json(&[&schedule[..], &["--yes"]].concat()).await;
    assert_eq!(scheduled["key"]["state"], "pending_deletion");
    assert!(ehr.fails(1, &generate).await.contains("key_pending_deletion"));
    let shown = clinic.audrey.json(&["key", "show", "alias/study-7"]).await;
    let due: Timestamp = shown["key"]["deletion"]["due_at"].as_str().unwrap().parse().unwrap();
    let wait = due.duration_since(Timestamp::now()).as_hours();
    assert!((14 * 24 - 1..=14 * 24).contains(&wait), "{shown}");
    assert!(clinic.audrey.text(&["key", "show", "alias/study-7"]).await.contains("deletion due"));

    let cancelled = ben.json(&["key", "cancel-deletion", "alias/study-7"]).await;
    assert_eq!(cancelled["key"]["state"], "disabled");
    assert!(ehr.fails(1, &generate).await.contains("key_disabled"));
    ben.text(&["key", "enable", "alias/study-7"]).await;
    ehr.text(&generate).await;
}

/// At the end of the contract nobody does anything, and the access is gone.
async fn the_contract_ends(clinic: &Clinic, (devi, line): &(Shell, Vec<String>)) {
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    let refused = until(async || Some(devi.run(&line).await).filter(|ended| !ended.status.success())).await;
    assert!(refused.status.code() == Some(3) && refused.err.contains("not_permitted"), "{refused:?}");
    let bound = clinic.audrey.json(&["binding", "list", "--principal", "devi"]).await;
    let until: Timestamp = bound["bindings"][0]["until"].as_str().unwrap().parse().unwrap();
    assert!(until <= Timestamp::now(), "refused before the end: {bound}");
}

/// The patient asks who has read the pictures in the last week. The log holds no patient's name; who knows it can ask.
async fn who_read_the_record(clinic: &Clinic) {
    let search = ["audit", "search", "--action", "unwrap", "--from", "7d", "--all"];
    let asked = [&search[..], &CONTEXT].concat();
    let found = clinic.audrey.json(&[&asked[..], &["--outcome", "allowed"]].concat()).await;
    let mut readers: Vec<_> =
        found["records"].as_array().unwrap().iter().map(|record| record["principal_name"].as_str().unwrap()).collect();
    readers.sort_unstable();
    readers.dedup();
    assert_eq!(readers, ["devi", "pacs"]);
    let denied = clinic.audrey.json(&[&asked[..], &["--outcome", "denied"]].concat()).await;
    let denied = denied["records"].as_array().unwrap();
    for name in ["ada", "devi", "ehr"] {
        assert!(denied.iter().any(|record| record["principal_name"] == name), "{name}: {denied:?}");
    }
    let table = clinic.audrey.text(&asked).await;
    assert!(table.contains("devi") && !table.contains("patient"), "{table}");
    let nobody = clinic.audrey.json(&[&search[..], &["--context", "patient=4711"]].concat()).await;
    assert_eq!(nobody["records"], Value::Array(Vec::new()), "half a context is another context");
    // Only auditors ask.
    clinic.pacs.fails(3, &asked).await;
}

/// Before going home: the log is whole, the installation is sound, and the server stops in order.
async fn evening(clinic: &mut Clinic) {
    let config = clinic.host.config_file();
    let whole = host_command("verify-audit", &config, &[]).await;
    assert!(whole.status.success() && whole.out.contains("open, whole"), "{whole:?}");
    let sound = host_command("doctor", &config, &[]).await;
    assert!(sound.status.code() == Some(0) && sound.out.contains(" 0 warnings, 0 errors"), "{sound:?}");
    clinic.server.terminate().await;
    assert!(clinic.server.ended().await.success(), "{}", clinic.server.log());
    let log = clinic.server.log();
    assert!(!log.contains("patient") && !log.contains("BEGIN"), "{log}");
    let whole = host_command("verify-audit", &config, &[]).await;
    assert!(whole.status.success(), "{whole:?}");
    assert!(whole.out.lines().all(|line| line.ends_with("closed, whole")), "{whole:?}");
}
