//! The pages for operators and for developers of storage services: every command on them is run, in the order in which it
//! stands there, and their tables are held against the program.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use keyward_tests::{Backend, Ended, Identities, TestKms, run, softhsm_module};
use kms_client::{
    format::context::{MAX_CANONICAL_BYTES, MAX_PAIRS},
    wire::{
        batch::MOST_ITEMS,
        bytes::Base64,
        data_key::{GenerateDataKey, LONGEST_PLAINTEXT, MOST_BYTES},
        lifecycle::MAX_WRAPS,
        problem::Code,
    },
};
use kms_server::http::Limits;
use tokio::process::Command;

use crate::storage_example;

pub(crate) const OPERATING: &str = include_str!("../../deploy/OPERATING.md");
const STORAGE: &str = include_str!("../../kms-client/STORAGE.md");

/// A fenced block of a page.
struct Block<'a> {
    line: usize,
    language: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push(Block { line: number + 1, language, text: text.join("\n") + "\n" });
        }
    }
    blocks
}

/// The blocks in these languages as one script that says which block failed.
fn script(page: &str, languages: &[&str]) -> String {
    let chosen: Vec<_> = blocks(page).into_iter().filter(|block| languages.contains(&block.language)).collect();
    assert!(chosen.len() > 4, "{languages:?}");
    let chosen: Vec<_> = chosen.iter().map(|Block { line, text, .. }| format!("here={line}\n{text}")).collect();
    let head = "set -Eeuo pipefail\ntrap 'echo \"the block at line $here failed\" >&2' ERR\n";
    head.to_owned() + &chosen.concat()
}

async fn bash(folder: &Path, path: &str, variables: &[(&str, String)], script: &str) -> Ended {
    let file = folder.join("page.sh");
    fs::write(&file, script).unwrap();
    let mut command = Command::new("bash");
    command.arg(&file).current_dir(folder).env_clear().env("PATH", path).env("HOME", folder).kill_on_drop(true);
    run(command.envs(variables.iter().map(|(name, value)| (name, value)))).await
}

/// The folder of the workspace's programs.
fn programs() -> PathBuf {
    let program = keyward_tests::program("kms-server");
    Path::new(program.as_std().get_program()).parent().unwrap().to_owned()
}

/// A machine of one's own as far as the page needs one: its folders are below a temporary one, its ports are free ones, and
/// what only root or a running systemd can do is done by small programs that read the unit.
struct Machine {
    folder: tempfile::TempDir,
    api: u16,
    operations: u16,
}

impl Machine {
    fn new() -> Self {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap();
        // Both at once, so that they differ.
        let (api, operations) = (port(), port());
        let number = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let machine = Self { folder: tempfile::tempdir().unwrap(), api: number(&api), operations: number(&operations) };
        fs::create_dir_all(machine.at("deploy")).unwrap();
        fs::write(machine.at("deploy/kms.toml"), machine.placed(include_str!("../../deploy/kms.toml"))).unwrap();
        machine.write_certificates();
        machine.write_programs();
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A text with the machine's paths and ports in the place of a real one's.
    fn placed(&self, text: &str) -> String {
        let ports = text.replace(":7443", &format!(":{}", self.api)).replace(":7444", &format!(":{}", self.operations));
        let mut text = ports.replace("/usr/lib/softhsm/libsofthsm2.so", softhsm_module().to_str().unwrap());
        for path in ["/etc/keyward", "/var/lib/keyward", "/var/backups/keyward"] {
            text = text.replace(path, self.at(&path[1..]).to_str().unwrap());
        }
        text
    }

    /// What the clinic's authority has given.
    fn write_certificates(&self) {
        let identities = Identities::new();
        let (server, renewed) = (identities.server(), identities.server());
        fs::create_dir_all(self.at("etc/keyward/tls")).unwrap();
        let write = |name: &str, text: &str| {
            let file = self.at("etc/keyward").join(name);
            fs::write(&file, text).unwrap();
            let mode = if file.extension() == Some("key".as_ref()) { 0o600 } else { 0o644 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("clinic-ca.pem", &identities.ca_pem);
        write("tls/server.pem", &server.certificate);
        write("tls/server.key", &server.key);
        write("tls/new.pem", &renewed.certificate);
        write("tls/new.key", &renewed.key);
        for name in ["ada", "ben", "audrey", "nora"] {
            let leaf = identities.client(&format!("spiffe://clinic.example/{name}"));
            write(&format!("{name}.pem"), &leaf.certificate);
            write(&format!("{name}.key"), &leaf.key);
        }
    }

    fn write_programs(&self) {
        let unit = self.placed(include_str!("../../deploy/keyward.service"));
        let directive = |name: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            line.unwrap_or_else(|| panic!("the unit has no {name}=")).to_owned()
        };
        let (credential, pin) =
            directive("LoadCredential").split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let start = directive("ExecStart").replace("/usr/bin/", "");
        let reload = directive("ExecReload").replace("/bin/", "").replace("$MAINPID", "$(cat \"$run/pid\")");
        let run = self.at("run");
        fs::create_dir_all(run.join("credentials")).unwrap();
        let head = format!("#!/usr/bin/env bash\nset -eu\nrun={}\n", run.display());
        let ready = format!("http://127.0.0.1:{}/readyz", self.operations);
        self.write_program(
            "systemctl",
            &format!(
                r#"{head}[[ ${{*: -1}} == keyward ]]
case $1 in
enable | start)
    [[ $1 == start || $2 == --now ]]
    install -m 600 {pin} "$run/credentials/{credential}"
    rm -f "$run/end" "$run/pid" && mkfifo "$run/end"
    (
        env -i {environment} CREDENTIALS_DIRECTORY="$run/credentials" PATH="$PATH" {start} 2>>"$run/log" >/dev/null </dev/null &
        echo $! >"$run/pid"
        wait $! && code=0 || code=$?
        echo $code >"$run/end"
    ) >/dev/null 2>&1 </dev/null &
    until curl --silent --fail {ready} >/dev/null; do
        if [[ -s $run/pid ]] && ! kill -0 "$(cat "$run/pid")"; then
            rm "$run/pid" && read -r code <"$run/end"
            exit "$code"
        fi
    done
    ;;
reload) {reload} ;;
stop)
    kill -TERM "$(cat "$run/pid")"
    read -r code <"$run/end"
    rm "$run/pid"
    exit "$code"
    ;;
*) exit 1 ;;
esac
"#,
                environment = directive("Environment"),
            ),
        );
        self.write_program(
            "systemd-run",
            &format!(
                r#"{head}while [[ $1 == --* ]]; do
    case $1 in
    --quiet | --pipe | --wait | --uid=keyward) ;;
    --property=LoadCredential=*:*)
        credential=${{1#*=*=}}
        install -m 600 "${{credential#*:}}" "$run/credentials/${{credential%%:*}}"
        ;;
    *) exit 1 ;;
    esac
    shift
done
exec env -i CREDENTIALS_DIRECTORY="$run/credentials" PATH="$PATH" "$@"
"#
            ),
        );
        // Nobody can give a file away but root, and there is no such user.
        self.write_program(
            "install",
            &format!(
                "{head}arguments=()\nwhile (($# > 0)); do\n    case $1 in\n    -o | -g) shift ;;\n    *) arguments+=(\"$1\") ;;\n    \
                 esac\n    shift\ndone\nPATH=${{PATH#*:}}\nexec install \"${{arguments[@]}}\"\n"
            ),
        );
        self.write_program("journalctl", &format!("{head}[[ $* == '-u keyward -o cat' ]]\ncat \"$run/log\"\n"));
    }

    fn write_program(&self, name: &str, text: &str) {
        let file = self.at("bin").join(name);
        fs::create_dir_all(self.at("bin")).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn run(&self, variables: &[(&str, String)], script: &str) -> Ended {
        let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", self.at("bin").display(), programs().display());
        // Whatever happens, nothing is left running.
        let stop = "trap '[[ ! -e run/pid ]] || systemctl stop keyward' EXIT\n";
        bash(self.folder.path(), &path, variables, &format!("{stop}{}", self.placed(script))).await
    }
}

async fn an_operator_follows_the_page(backend: Backend) {
    let machine = Machine::new();
    let (language, variables) = match backend {
        Backend::Sqlite => ("sh sqlite", Vec::new()),
        Backend::Postgres => {
            backend.section(machine.folder.path()).await;
            ("sh postgres", vec![("DATABASE_URL", fs::read_to_string(machine.at("postgres-url")).unwrap())])
        }
    };
    let ended = machine.run(&variables, &script(OPERATING, &["sh", language])).await;
    let log = fs::read_to_string(machine.at("run/log")).unwrap_or_default();
    assert!(ended.status.success(), "{}\n{}\n{log}", ended.out, ended.err);
    for said in [
        "the configuration is good",
        "the installation is made; change ",
        "\"ready\":true",
        "the database is up to date",
        "is an older copy",
        "the database is accepted",
        "`nora` is an administrator",
    ] {
        assert!(ended.out.contains(said), "{said}: {}\n{}", ended.out, ended.err);
    }
    assert!(ended.err.contains("ALARM"), "{}", ended.err);
    assert!(log.contains("the server's certificate was read again"), "{log}");
    let pin = fs::read_to_string(machine.at("etc/keyward/hsm-pin")).unwrap();
    assert!(pin.len() == 32 && ![&ended.out, &ended.err, &log].into_iter().any(|text| text.contains(&pin)));
    assert!(!machine.at("etc/keyward/so-pin").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_follows_the_page_on_sqlite() {
    an_operator_follows_the_page(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_follows_the_page_on_postgres() {
    an_operator_follows_the_page(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_follows_the_page() {
    let kms = TestKms::start(Backend::Sqlite).await;
    kms.usable_key("scans", "imaging").await;
    let leaf = kms.certificate("storage");
    let file = |name: &str, text: &str| {
        let path = kms.folder().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let variables = [
        ("KMS_URL", kms.url("")),
        ("KMS_CA_FILE", file("ca.pem", &kms.identities.ca_pem)),
        ("KMS_CERT_FILE", file("storage.pem", &leaf.certificate)),
        ("KMS_KEY_FILE", file("storage.key", &leaf.key)),
    ];
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs().display());
    let work = tempfile::tempdir().unwrap();
    let ended = bash(work.path(), &path, &variables, &script(STORAGE, &["sh"])).await;
    assert!(ended.status.success(), "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("\"previous_version\": 1") && ended.out.contains("allowed"), "{}", ended.out);
    assert_eq!(fs::read_to_string(work.path().join("decrypted/1")).unwrap(), "a knee\n");
    kms.stop().await;
}

/// The page's example in Rust, compiled as it stands there, and used.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_does_what_it_says() {
    let rust: Vec<_> = blocks(STORAGE).into_iter().filter(|block| block.language.starts_with("rust")).collect();
    let [example] = rust.as_slice() else { panic!("{} examples", rust.len()) };
    let (_, compiled) = include_str!("storage_example.rs").split_once("\n\n").unwrap();
    let same = |text: &str| text.replace("pub(crate) ", "");
    assert_eq!(same(compiled), example.text, "tests/suite/storage_example.rs and kms-client/STORAGE.md differ");

    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("scans", "imaging").await;
    let storage = kms.client("storage");
    let data = b"a knee".repeat(100_000);
    let encrypted = storage_example::put(&storage, &key, "scan-1", &data).await.unwrap();
    assert!(!encrypted.windows(6).any(|text| text == b"a knee"));
    assert_eq!(storage_example::get(&storage, "scan-1", &encrypted).await.unwrap(), data);
    let other = storage_example::get(&storage, "scan-2", &encrypted).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::InvalidWrappedKey));
    let cut = &encrypted[..encrypted.len() - 1];
    assert!(storage_example::get(&storage, "scan-1", cut).await.unwrap_err().code().is_none());

    let mut rows = Vec::new();
    for number in 0..3 {
        let object = format!("scan-{number}");
        let context = storage_example::context(&object).unwrap();
        let generated = storage.generate_data_key(&GenerateDataKey::new(key.clone(), (&context).into())).await.unwrap();
        rows.push((object, generated.wrapped));
    }
    rows.push(("scan-0".to_owned(), rows[1].1.clone()));
    kms.client("ada").rotate_key(&key).await.unwrap();
    let before: Vec<Base64> = rows.iter().map(|(_, wrapped)| wrapped.clone()).collect();
    let failed = storage_example::renew(&storage, &mut rows).await.unwrap();
    assert_eq!(failed, [("scan-0".to_owned(), Code::InvalidWrappedKey)]);
    let renewed: Vec<_> =
        rows.iter().zip(&before).map(|((_, now), before)| now.as_bytes() != before.as_bytes()).collect();
    assert_eq!(renewed, [true, true, true, false]);
    kms.stop().await;
}

/// What cannot be run is at least sound, and is little.
#[tokio::test(flavor = "multi_thread")]
async fn every_block_is_known() {
    let known = ["sh", "sh sqlite", "sh postgres", "console", "rust,no_run"];
    for page in [OPERATING, STORAGE] {
        let found = blocks(page);
        assert!(found.iter().all(|block| known.contains(&block.language)));
        let shown: Vec<_> = found.iter().filter(|block| block.language == "console").collect();
        assert!(shown.len() <= 2);
        for Block { line, text, .. } in shown {
            assert!(text.lines().all(|line| line.starts_with("# ")), "line {line}");
            let typed = text.replace("\n# ", "\n").split_off(2);
            let parsed = run(Command::new("bash").args(["-n", "-c", &typed])).await;
            assert!(parsed.status.success(), "line {line}: {parsed:?}");
        }
    }
}

/// The words in backticks of the first cells of a table, which begins with this heading.
pub(crate) fn first_cells(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("no table {heading}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| words(row.split('|').nth(1).unwrap())).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join("kms-server/src"), root.join("hsm/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(path).unwrap();
                found.extend(
                    text.split("\"keyward_").skip(1).map(|rest| format!("keyward_{}", rest.split('"').next().unwrap())),
                );
            }
        }
    }
    let explained: Vec<_> = first_cells(OPERATING, "| metric |").concat();
    assert_eq!(explained.iter().cloned().collect::<BTreeSet<_>>(), found);
    assert_eq!(explained.len(), found.len(), "explained twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_light_is_explained() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let (status, answer) = kms.operations("/readyz").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lights: BTreeSet<String> =
        serde_json::from_str::<serde_json::Map<_, _>>(body).unwrap().into_iter().map(|(name, _)| name).collect();
    // Only there while the token does not answer.
    assert!(status == 200 && lights.insert("hsm_error".to_owned()));
    assert_eq!(first_cells(OPERATING, "| light |").concat().into_iter().collect::<BTreeSet<_>>(), lights);
    kms.stop().await;
}

#[test]
fn every_error_is_explained() {
    let (_, table) = STORAGE.split_once("\n| code |").unwrap();
    let mut explained = Vec::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for word in words(cells[1]) {
            let code: Code = word.parse().unwrap();
            assert_eq!(cells[2], code.status().to_string(), "{code}");
            assert!(!cells[3].is_empty());
            explained.push(word);
        }
    }
    explained.sort();
    let mut all: Vec<_> = Code::ALL.iter().map(ToString::to_string).collect();
    all.sort();
    assert_eq!(explained, all);
}

#[test]
fn the_limits_are_those_of_the_code() {
    let limits = Limits::default();
    let expected = [
        MOST_BYTES.to_string(),
        LONGEST_PLAINTEXT.to_string(),
        format!("{MAX_PAIRS}, {MAX_CANONICAL_BYTES}"),
        MOST_ITEMS.to_string(),
        limits.body.to_string(),
        format!("{}, by default", limits.request.as_secs()),
        format!("{}, {}, by default", limits.principal_requests_per_second, limits.principal_burst),
        format!("{MAX_WRAPS}; it is rotated before"),
    ];
    let (_, table) = STORAGE.split_once("\n| what | most |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let shown: Vec<_> = rows.map(|row| row.split('|').nth(2).unwrap().trim().to_owned()).collect();
    assert_eq!(shown, expected);
}
