//! The programs as a shell sees them: what they print, how they refuse, and the exit codes that scripts act on.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use keyward_tests::{
    Backend, Ended, Process, SIGKILL, Shell, StoppedKms, TestKms, files, host_command, kms, program, run,
};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn people_administer_with_kms() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (ada, audrey, stranger) = (Shell::of(&kms, "ada"), Shell::of(&kms, "audrey"), Shell::of(&kms, "stranger"));

    let me = ada.json(&["whoami"]).await;
    assert_eq!((&me["principal"]["name"], &me["solo"]), (&Value::from("ada"), &Value::from(false)));
    assert!(ada.text(&["whoami"]).await.contains("key-admin"));

    let made = ada.json(&["key", "create", "--alias", "records", "--class", "clinical", "--tag", "ward=7"]).await;
    let id = made["key"]["id"].as_str().unwrap();
    assert_eq!(made["key"]["primary_version"], 1);
    assert!(ada.text(&["key", "list"]).await.contains("alias/records"));
    assert_eq!(ada.json(&["key", "list", "--class", "clinical"]).await["keys"].as_array().unwrap().len(), 1);
    assert_eq!(ada.json(&["key", "list", "--class", "none"]).await["keys"], Value::Array(Vec::new()));
    let rotated = ada.json(&["key", "rotate", "alias/records"]).await;
    assert_eq!(rotated["receipt"]["nodes"][0]["outcome"], "acknowledged");
    let shown = ada.text(&["key", "show", id]).await;
    assert!(shown.contains("primary version") && shown.contains("ward=7"), "{shown}");
    assert_eq!(ada.json(&["key", "show", "alias/records"]).await["key"]["versions"].as_array().unwrap().len(), 2);

    let change = rotated["receipt"]["change_id"].as_str().unwrap();
    assert_eq!(audrey.json(&["change", "show", change]).await["receipt"], rotated["receipt"]);
    assert!(audrey.text(&["change", "list"]).await.contains("rotate_key"));
    let found = audrey.json(&["audit", "search", "--key", "alias/records", "--action", "rotate_key"]).await;
    assert_eq!(found["records"][0]["id"], rotated["record"]);
    let record = rotated["record"].as_str().unwrap();
    assert!(audrey.text(&["audit", "show", record]).await.contains("rotate_key"));

    // 3: refused, 4: not found, 2: used wrongly, 5: out of reach. Each says what to do.
    let refused = stranger.fails(3, &["data-key", "generate", "--key", "alias/records"]).await;
    assert!(refused.contains("not permitted") && refused.contains("kms whoami"), "{refused}");
    assert!(refused.contains("code not_permitted, request "), "{refused}");
    stranger.fails(3, &["data-key", "generate", "--key", "alias/nothing"]).await;
    let unknown = ada.with_token("nobody.s.token").fails(3, &["whoami"]).await;
    assert!(unknown.contains("KMS_TOKEN"), "{unknown}");
    let nothing = ada.fails(4, &["key", "show", "alias/nothing"]).await;
    assert!(nothing.contains("not found"), "{nothing}");
    stranger.fails(4, &["key", "show", "alias/records"]).await;
    let usage = ada.fails(2, &["key", "show", "records"]).await;
    assert!(usage.contains("name it by its id or as `alias/NAME`"), "{usage}");
    ada.fails(2, &["key", "crate"]).await;
    ada.fails(2, &["key", "update", "alias/records"]).await;
    let taken = ada.fails(1, &["key", "create", "--alias", "records", "--class", "clinical"]).await;
    assert!(taken.contains("already exists"), "{taken}");
    let nobody = ada.fails(5, &["whoami", "--url", "https://127.0.0.1:1"]).await;
    assert!(nobody.contains("check KMS_URL"), "{nobody}");
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_kms_says_what_to_set() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(kms(home.path()).arg("whoami")).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.err.contains("no server address: set KMS_URL"), "{ended:?}");
    let ended = run(kms(home.path()).arg("whoami").env("KMS_URL", "https://127.0.0.1:1")).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.err.contains("no credential: set KMS_TOKEN"), "{ended:?}");
    let ended = run(kms(home.path()).arg("whoami").env("KMS_URL", "http://kms").env("KMS_TOKEN", "a")).await;
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.err.contains("https://"), "{ended:?}");

    for shell in ["bash", "zsh", "fish"] {
        let ended = run(kms(home.path()).args(["completion", shell])).await;
        assert!(ended.status.success() && ended.out.contains("rewrap") && ended.err.is_empty(), "{ended:?}");
    }
    for line in [&["--help"][..], &["key", "--help"], &["key", "create", "--help"], &["audit", "search", "--help"]] {
        let ended = run(kms(home.path()).args(line)).await;
        assert!(ended.status.success() && ended.out.contains("Usage: kms"), "{line:?}: {ended:?}");
    }
    let bare = run(&mut kms(home.path())).await;
    assert_eq!(bare.status.code(), Some(2), "{bare:?}");
    assert!(bare.err.contains("Exit codes") || bare.err.contains("Usage: kms"), "{bare:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_encrypted_rewrapped_and_decrypted() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("imaging", "imaging").await;
    let (ada, storage) = (Shell::of(&kms, "ada"), Shell::of(&kms, "storage"));
    let path = |name: &str| kms.folder().join(name).display().to_string();
    let (plain, encrypted, decrypted) = (path("plain"), path("encrypted"), path("decrypted"));
    fs::create_dir_all(format!("{plain}/ward")).unwrap();
    fs::write(format!("{plain}/empty"), b"").unwrap();
    fs::write(format!("{plain}/ward/scan"), b"Mrs Miller's knee".repeat(20_000)).unwrap();
    fs::write(format!("{plain}/note"), b"Mrs Miller's knee").unwrap();

    let line = ["encrypt", &plain, "--key", "alias/imaging", "--context", "study=7", "--out", &encrypted];
    let account = storage.json(&line).await;
    let done = account["files"].as_array().unwrap();
    assert_eq!((done.len(), account["failures"].as_array().unwrap().len()), (3, 0), "{account}");
    let data_keys: std::collections::BTreeSet<_> = done.iter().map(|file| file["data_key"].to_string()).collect();
    assert_eq!(data_keys.len(), 3, "each file has a data key of its own");
    let hidden = files(Path::new(&encrypted));
    assert_eq!(hidden.keys().collect::<Vec<_>>(), ["empty.kw", "note.kw", "ward/scan.kw"]);
    assert!(!hidden.values().any(|file| file.windows(6).any(|window| window == b"Miller")));
    // What is there stays, unless it is said otherwise.
    let kept = storage.run(&line).await;
    assert_eq!(kept.status.code(), Some(1), "{kept:?}");
    assert!(kept.err.contains("is there already") && kept.err.contains("3 of 3 failed"), "{kept:?}");
    assert_eq!(files(Path::new(&encrypted)), hidden);

    ada.text(&["key", "rotate", "alias/imaging"]).await;
    let account = storage.json(&["rewrap", &encrypted, "--context", "study=7"]).await;
    let done = account["files"].as_array().unwrap();
    assert!(
        done.len() == 3 && done.iter().all(|file| file["version"] == 2 && file["previous_version"] == 1),
        "{account}"
    );
    let rewrapped = files(Path::new(&encrypted));
    assert!(hidden.iter().all(|(name, file)| rewrapped[name] != *file && rewrapped[name].len() == file.len()));
    ada.text(&["key", "revoke", "alias/imaging", "--version", "1", "--reason", "done with"]).await;

    let wrong = storage.run(&["decrypt", &encrypted, "--context", "study=8", "--out", &decrypted]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(wrong.err.contains("invalid wrapped key"), "{wrong:?}");
    assert!(!Path::new(&decrypted).exists() || files(Path::new(&decrypted)).is_empty(), "a file was left behind");
    storage.text(&["decrypt", &encrypted, "--context", "study=7", "--out", &decrypted]).await;
    assert_eq!(files(Path::new(&decrypted)), files(Path::new(&plain)));

    let refused =
        Shell::of(&kms, "stranger").run(&["decrypt", &encrypted, "--context", "study=7", "--out", &path("none")]).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    storage.fails(4, &["encrypt", &path("missing"), "--key", &key.to_string()]).await;
    kms.stop().await;
}

/// What the policy author's guide types.
#[tokio::test(flavor = "multi_thread")]
async fn people_write_policies_with_kms() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    let (ada, audrey) = (Shell::of(&kms, "ada"), Shell::of(&kms, "audrey"));
    let guide = include_str!("../../deploy/POLICIES.md");
    let (_, pharmacy) = guide.split_once("```cedar pharmacy\n").unwrap();
    let file = kms.folder().join("pharmacy.cedar");
    fs::write(&file, pharmacy.split_once("```").unwrap().0).unwrap();
    let file = file.to_str().unwrap();
    let bad = kms.folder().join("bad.cedar");
    fs::write(&bad, "permit (principal, action, resource);").unwrap();
    let bad = bad.to_str().unwrap();

    assert!(ada.text(&["policy", "validate", file]).await.contains("encryption_context"));
    let wrong = ada.run(&["policy", "validate", bad]).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(wrong.out.contains("1:1") && wrong.err.contains("cannot be put in force"), "{wrong:?}");
    let seen = audrey.json(&["policy", "preview", "pharmacy", file, "--days", "30"]).await;
    assert_eq!(seen["effects_truncated"], false);
    assert!(ada.text(&["policy", "put", "pharmacy", file]).await.contains("In force since revision"));
    assert!(ada.fails(1, &["policy", "put", "bad", bad]).await.contains("line 1, column 1"));
    assert!(audrey.text(&["policy", "list"]).await.contains("pharmacy"));
    assert!(audrey.text(&["policy", "show", "pharmacy", "--version", "1"]).await.contains("forbid"));
    let line = ["explain", "unwrap", "--principal", "storage", "--key", "alias/records"];
    assert_eq!(audrey.json(&line).await["decision"], "allowed");
    assert!(audrey.text(&["key", "who-can", "alias/records", "unwrap"]).await.contains("storage"));
    assert!(ada.text(&["policy", "preview", "pharmacy", "--remove"]).await.contains("undetermined"));
    assert_eq!(ada.json(&["policy", "remove", "pharmacy"]).await["policy"]["in_force"], false);

    let made = ["role", "create", "archivist", "--action", "unwrap", "--action", "rewrap", "--action", "describe_key"];
    ada.text(&made).await;
    ada.text(&["binding", "create", "stranger", "archivist", "--class", "imaging"]).await;
    ada.text(&["role", "update", "archivist", "--action", "unwrap"]).await;
    assert_eq!(ada.json(&["role", "show", "archivist"]).await["role"]["actions"], serde_json::json!(["unwrap"]));
    assert!(ada.text(&["role", "list"]).await.contains("archivist"));
    assert!(ada.fails(1, &["role", "remove", "archivist"]).await.contains("kms binding list"));
    kms.stop().await;
}

fn and(arguments: &[String], more: &[&str]) -> Vec<String> {
    arguments.iter().cloned().chain(more.iter().map(|text| (*text).to_owned())).collect()
}

async fn init(unmade: &StoppedKms, arguments: &[String]) -> Ended {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    host_command("init", &unmade.config_file(), &arguments).await
}

async fn whoami(server: &Process, token: &str) -> kms_client::wire::whoami::Whoami {
    server.client(token).whoami().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_an_installation_once() {
    let unmade = StoppedKms::unmade(Backend::Sqlite).await;
    let trust = unmade.founding();
    let path = |name: &str| unmade.folder().join(name).display().to_string();
    let (ada, so_pin) = (format!("ada={}", path("ada.pem")), path("so-pin"));

    let few = init(&unmade, &and(&trust, &["--admin", &ada, "--so-pin-file", &so_pin])).await;
    assert_eq!(few.status.code(), Some(1), "{few:?}");
    assert!(few.err.contains("2 administrators are needed") && few.err.contains("--solo"), "{few:?}");
    let none = init(&unmade, &trust).await;
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    let nowhere = unmade.process(None).await.unwrap_err();
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");

    let both = and(&trust, &["--admin", &ada, "--admin", "ben=ben@clinic", "--so-pin-file", &so_pin]);
    let made = init(&unmade, &both).await;
    assert!(made.status.success(), "{made:?}");
    assert!(
        made.out.starts_with("the installation is made; change ") && made.out.ends_with("is revision 1\n"),
        "{made:?}"
    );
    assert!(!format!("{made:?}").contains("31415926"), "{made:?}");
    let again = init(&unmade, &and(&trust, &["--admin", &ada, "--admin", "ben=ben@clinic"])).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(again.err.contains("already"), "{again:?}");

    let server = unmade.process(None).await.unwrap();
    let ben = whoami(&server, &unmade.token("ben@clinic")).await;
    assert_eq!((ben.principal.name.as_str(), ben.solo, ben.revision.number()), ("ben", false, 1));
    let read = |name: &str| fs::read(unmade.folder().join(name)).unwrap();
    let ada = server.builder().certificate(read("ada.pem"), read("ada.key")).build().unwrap();
    assert_eq!(ada.whoami().await.unwrap().principal.name.as_str(), "ada");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_is_declared() {
    let unmade = StoppedKms::unmade(Backend::Sqlite).await;
    let trust = unmade.founding();
    let so_pin = unmade.folder().join("so-pin").display().to_string();
    let made = init(&unmade, &and(&trust, &["--admin", "ben=ben@clinic", "--solo", "--so-pin-file", &so_pin])).await;
    assert!(made.status.success() && made.out.contains("one person"), "{made:?}");
    let server = unmade.process(None).await.unwrap();
    assert!(whoami(&server, &unmade.token("ben@clinic")).await.solo);
    server.kill().await;
}

/// Killed on its way, `init` goes on when it is called again; killed after its change, it is done.
#[tokio::test(flavor = "multi_thread")]
async fn init_survives_a_kill() {
    for (step, done) in [("change.before_commit", false), ("change.committed", true), ("change.remembered", true)] {
        let unmade = StoppedKms::unmade(Backend::Sqlite).await;
        let trust = unmade.founding();
        let so_pin = unmade.folder().join("so-pin").display().to_string();
        let admins = ["--admin", "ada=ada@clinic", "--admin", "ben=ben@clinic"];
        let mut command = program("kms-server");
        command.arg("init").arg("--config").arg(unmade.config_file()).env("KEYWARD_CRASH_AT", step);
        let killed = run(command.args(and(&trust, &admins)).args(["--so-pin-file", &so_pin])).await;
        assert_eq!(killed.status.signal(), Some(SIGKILL), "{step}: {killed:?}");
        let again = init(&unmade, &and(&trust, &admins)).await;
        assert_eq!(again.status.success(), !done, "{step}: {again:?}");
        let server = unmade.process(None).await.unwrap();
        let ben = whoami(&server, &unmade.token("ben@clinic")).await;
        assert_eq!(ben.revision.number(), 1, "{step}");
        server.kill().await;
        let whole = host_command("verify-audit", &unmade.config_file(), &[]).await;
        assert!(whole.status.success(), "{step}: {whole:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked() {
    let unmade = StoppedKms::unmade(Backend::Sqlite).await;
    let file = unmade.config_file();
    let good = host_command("check-config", &file, &[]).await;
    assert!(good.status.success() && good.out == "the configuration is good\n", "{good:?}");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to, word) in [
        ("[anchor]", "[anchor]\nfiel = 1", "fiel"),
        ("anchor/anchor.json", "database/anchor.json", "another folder"),
        ("server.key", "nothing.key", "nothing.key"),
        ("server.key", "server.pem", "a private key in PEM"),
        ("pin_file = \"pin\"", "pin_file = \"no-pin\"", "no-pin"),
        ("127.0.0.1:0", "localhost", "api"),
        ("[database]", "[database]\npostgres_url_file = \"x\"", "name one of"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replace(from, to)).unwrap();
        let bad = host_command("check-config", &file, &[]).await;
        assert_eq!(bad.status.code(), Some(1), "{to}: {bad:?}");
        assert!(bad.err.contains(word) && !bad.err.contains("panicked"), "{to}: {bad:?}");
    }
    let missing = host_command("check-config", Path::new("/nowhere/kms.toml"), &[]).await;
    assert!(missing.err.contains("`/nowhere/kms.toml` cannot be read"), "{missing:?}");
}

fn dev(folder: &Path, more: &[&str]) -> Command {
    let mut command = program("kms-server");
    command.arg("dev").arg("--data-dir").arg(folder).env_remove("SOFTHSM2_CONF");
    command.args(["--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0"]).args(more);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_serves_this_machine_alone_and_once() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let mut abroad = program("kms-server");
    abroad.arg("dev").arg("--data-dir").arg(&folder).args(["--listen", "0.0.0.0:0"]);
    let refused = run(&mut abroad).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.err.contains("`0.0.0.0` is not a loopback address") && !folder.exists(), "{refused:?}");

    let server = Process::start(dev(&folder, &[]), "").await.unwrap();
    assert!(server.log().contains("FOR DEVELOPMENT ONLY"), "{}", server.log());
    let second = run(&mut dev(&folder, &[])).await;
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.err.contains("is in use by another `kms-server dev`"), "{second:?}");
    let fresh = run(&mut dev(&folder, &["--fresh"])).await;
    assert!(fresh.err.contains("is in use by another `kms-server dev`"), "{fresh:?}");

    let file = folder.join("dev.env");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let variables: BTreeMap<_, _> = text
        .lines()
        .map(|line| line.strip_prefix("export ").unwrap().split_once('=').unwrap())
        .map(|(name, value)| (name, value.trim_matches('\'')))
        .collect();
    let base = || {
        let mut command = kms(home.path());
        command.env("KMS_URL", variables["KMS_URL"]).env("KMS_CA_FILE", variables["KMS_CA_FILE"]);
        command
    };
    for (token, name) in [
        ("KMS_ADMIN_TOKEN", "admin-1"),
        ("KMS_ADMIN2_TOKEN", "admin-2"),
        ("KMS_AUDITOR_TOKEN", "auditor"),
        ("KMS_STORAGE_TOKEN", "storage"),
    ] {
        let me = run(base().env("KMS_TOKEN", variables[token]).arg("whoami")).await;
        assert!(me.status.success() && me.out.contains(name), "{token}: {me:?}");
    }
    let mut storage = base();
    storage
        .env("KMS_CERT_FILE", variables["KMS_STORAGE_CERT_FILE"])
        .env("KMS_KEY_FILE", variables["KMS_STORAGE_KEY_FILE"]);
    let me = run(storage.arg("whoami")).await;
    assert!(me.status.success() && me.out.contains("storage"), "{me:?}");
    let made = run(base()
        .env("KMS_TOKEN", variables["KMS_ADMIN_TOKEN"])
        .args(["key", "create", "--alias", "a", "--class", "b"]))
    .await;
    assert!(made.status.success(), "{made:?}");
    server.kill().await;

    // What was made is there again; `--fresh` begins anew; and only what `dev` made is ever cleared.
    for (more, keys) in [(&[][..], 1), (&["--fresh"], 0)] {
        let server = Process::start(dev(&folder, more), "").await.unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let variable = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
            line.unwrap().trim_end_matches('\'').to_owned()
        };
        let mut list = kms(home.path());
        list.env("KMS_URL", variable("KMS_URL")).env("KMS_CA_FILE", variable("KMS_CA_FILE"));
        let list =
            run(list.env("KMS_TOKEN", variable("KMS_ADMIN_TOKEN")).args(["key", "list", "--output", "json"])).await;
        let list: Value = serde_json::from_str(&list.out).unwrap_or_else(|error| panic!("{error}: {list:?}"));
        assert_eq!(list["keys"].as_array().unwrap().len(), keys, "{more:?}");
        server.kill().await;
    }
    let mine = home.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("thesis"), "years of work").unwrap();
    let refused = run(&mut dev(&mine, &["--fresh"])).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(mine.join("thesis").exists() && refused.err.contains("leaves it alone"), "{refused:?}");
}

/// An orderly stop: SIGTERM ends the server with success, its chain closed and the newest revision in the token.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_server_ends_in_order() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("records", "clinical").await;
    let stopped = kms.stop().await;
    let mut server = stopped.process(None).await.unwrap();
    server.client(&stopped.token("ada")).whoami().await.unwrap();
    server.terminate().await;
    let status = server.ended().await;
    assert!(status.success(), "{status:?}: {}", server.log());
    let verified = host_command("verify-audit", &stopped.config_file(), &[]).await;
    assert!(verified.status.success(), "{verified:?}");
    assert!(verified.out.lines().all(|line| line.ends_with("closed, whole")), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_bound_to_terms_with_kms() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let ada = Shell::of(&kms, "ada");
    let create = ["key", "create", "--class", "clinical", "--alias", "records", "--idempotency-key", "first key"];
    let (made, again) = (ada.json(&create).await, ada.json(&create).await);
    assert_eq!((&made["key"], &made["receipt"]), (&again["key"], &again["receipt"]));
    let other = ["key", "create", "--class", "imaging", "--idempotency-key", "first key"];
    assert!(ada.fails(1, &other).await.contains("idempotency_key_reused"));

    let said = ada.fails(1, &["key", "rotate", "alias/records", "--if-revision", "1"]).await;
    assert!(said.contains("revision_mismatch") && said.contains("look at it as it is"), "{said}");
    let revision = made["key"]["revision"].to_string();
    let updated = ada.json(&["key", "update", "alias/records", "--description", "x", "--if-revision", &revision]).await;
    assert_eq!(updated["key"]["description"], "x");

    let accepted = ada.json(&["key", "rotate", "alias/records", "--no-wait"]).await;
    let id = accepted["change_id"].as_str().unwrap();
    let ended = ada.json(&["operation", "wait", id]).await;
    assert_eq!(
        (&ended["operation"]["state"], &ended["operation"]["change"]["kind"]),
        (&"succeeded".into(), &"rotate_key".into())
    );
    assert!(ada.text(&["operation", "get", id]).await.contains("succeeded"));
    assert_eq!(ada.json(&["key", "show", "alias/records"]).await["key"]["primary_version"], 2);
    ada.fails(4, &["operation", "get", "019abcde-0000-7000-8000-000000000000"]).await;
    kms.stop().await;
}
