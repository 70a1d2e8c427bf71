//! What an operator takes from `deploy/`: the sample configuration says what the code does, the unit is sound and tight, and
//! the image is made of what there is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kms_server::config::Config;

const SAMPLE: &str = include_str!("../../deploy/kms.toml");
const UNIT: &str = include_str!("../../deploy/keyward.service");
const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The configuration of this text, as the code shows it.
fn parse(text: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kms.toml");
    fs::write(&file, text).unwrap();
    let parsed = Config::parse(&file).map(|config| format!("{config:?}"));
    parsed.map_err(|error| error.to_string())
}

/// The setting of a line that is commented out.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix("# ")?.split_once(" = ")?;
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some((name, value))
}

fn switched_on(chosen: impl Fn(usize) -> bool) -> String {
    let switch = |(number, line): (usize, &str)| match setting(line) {
        Some((name, value)) if chosen(number) => format!("{name} = {value}\n"),
        _ => format!("{line}\n"),
    };
    SAMPLE.lines().enumerate().map(switch).collect()
}

/// What is commented out is a default, and leaving it so changes nothing; or else it is an alternative, and says so.
#[test]
fn the_sample_configuration_shows_the_defaults() {
    let plain = parse(SAMPLE).unwrap();
    let all = parse(&switched_on(|_| true)).unwrap();
    assert!(all.contains("postgres-url"), "{all}");
    let lines: Vec<_> = SAMPLE.lines().collect();
    let mut defaults = 0;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| setting(line).is_some()) {
        let one = parse(&switched_on(|chosen| chosen == number)).unwrap();
        let alternative = lines[number - 1] == "# Alternative:";
        assert_eq!(one != plain, alternative, "{line}");
        defaults += usize::from(!alternative);
    }
    assert!(defaults > 15, "{defaults}");
}

/// Every section and every field that the code knows is there, on or off.
#[test]
fn the_sample_configuration_is_complete() {
    let all = switched_on(|_| true);
    let sections = known(&format!("unknown_field = 1\n{all}"));
    assert!(sections.len() > 7, "{sections:?}");
    for section in sections {
        let heading = format!("[{section}]\n");
        if section == "region" {
            continue;
        }
        let (before, fields) = all.split_once(&heading).unwrap_or_else(|| panic!("[{section}] is missing"));
        for field in known(&format!("{before}{heading}unknown_field = 1\n{fields}")) {
            let own = fields.split("\n[").next().unwrap();
            assert!(own.lines().any(|line| line.starts_with(&format!("{field} = "))), "[{section}] {field} is missing");
        }
    }
}

/// The fields that stand in the refusal of an unknown one.
fn known(text: &str) -> Vec<String> {
    let refusal = parse(text).unwrap_err();
    let (_, expected) = refusal.split_once(", expected ").unwrap_or_else(|| panic!("{refusal}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Where systemd is, it reads the unit and judges it; everywhere, what must not get lost is looked for.
#[test]
fn the_unit_is_sound_and_tight() {
    let directives: Vec<_> = UNIT.lines().filter(|line| line.contains('=') && !line.starts_with('#')).collect();
    for wanted in [
        "User=keyward",
        "LoadCredential=hsm-pin:/etc/keyward/hsm-pin",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartPreventExitStatus=78",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "LimitCORE=0",
        "UMask=0077",
    ] {
        assert!(directives.contains(&wanted), "{wanted}");
    }
    assert!(UNIT.contains("code 75"));
    // The credential is the one that the sample configuration names.
    assert!(SAMPLE.contains("\npin_credential = \"hsm-pin\"\n"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keyward.service");
    let program = keyward_tests::program("kms-server");
    let program = program.as_std().get_program().to_str().unwrap();
    fs::write(&file, UNIT.replace("/usr/bin/kms-server", program)).unwrap();
    for arguments in [&["verify", "--man=no"][..], &["security", "--offline=yes", "--threshold=20"]] {
        let Ok(judged) = Command::new("systemd-analyze").args(arguments).arg(&file).output() else {
            println!("there is no systemd-analyze here: the unit was only read");
            return;
        };
        let said = String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()).into_owned();
        assert!(judged.status.success(), "{arguments:?}: {said}");
        assert!(arguments[0] != "verify" || !said.contains("keyward.service"), "{said}");
    }
}

/// An image cannot be built in a test; what it names must at least be there.
#[test]
fn the_image_is_made_of_what_there_is() {
    let text = DOCKERFILE.replace("\\\n", " ");
    let instructions: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let of = |name: &str| -> Vec<&str> {
        instructions.iter().filter(|(found, _)| *found == name).map(|(_, rest)| rest.trim()).collect()
    };
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut copied = Vec::new();
    for copy in of("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        match sources.split_first().unwrap() {
            (&"--from=build", programs) => {
                for program in programs {
                    let name = program.strip_prefix("/src/target/release/").unwrap();
                    keyward_tests::program(name);
                    assert!(of("RUN").iter().any(|run| run.contains(&format!("--bin {name}"))), "{name} is not built");
                }
            }
            _ => copied.extend(sources.iter().map(|source| (*source).to_owned())),
        }
    }
    for source in &copied {
        assert!(root().join(source).exists(), "{source}");
        assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} does not reach the builder");
    }
    // Cargo wants every member of the workspace, and the programs their migrations.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find(|line| line.starts_with("members")).unwrap();
    for member in members.split('"').skip(1).step_by(2).chain(["migrations"]) {
        assert!(copied.iter().any(|source| Path::new(member).starts_with(source)), "{member}");
    }
    let version = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(of("FROM").iter().any(|image| image.starts_with(&format!("rust:{version}-"))));
    assert!(of("USER") == ["keyward"]);
    assert!(matches!(of("HEALTHCHECK").as_slice(), [check] if check.contains("/livez")));
    assert!(of("LABEL").iter().any(|label| label.contains("org.opencontainers.image.licenses")));
    assert!(of("ENV").is_empty() && of("ARG").is_empty(), "nothing that could be a secret");
}
