use super::*;

/// Settings from these variables, with a profile file of this text.
fn resolve(choice: &Choice, variables: &[(&str, &str)], profiles: Option<&str>) -> Result<Settings, Error> {
    let home = std::env::temp_dir().join(format!("kms-config-{:x}", rand()));
    let folder = home.join(".config/keyward");
    std::fs::create_dir_all(&folder).unwrap();
    if let Some(text) = profiles {
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }
    let settings = Settings::resolve(choice, &|name| match name {
        "HOME" => Some(home.to_str().unwrap().to_owned()),
        _ => variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()),
    });
    std::fs::remove_dir_all(home).unwrap();
    settings
}

fn rand() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

const PROFILES: &str = r#"
[profiles.default]
url = "https://default"
ca_file = "ca.pem"
cert_file = "/c"
key_file = "/k"

[profiles.audit]
url = "https://audit"
token_file = "/t"
"#;

fn named(profile: &str) -> Choice {
    Choice { profile: Some(profile.to_owned()), ..Choice::default() }
}

#[test]
fn the_environment_comes_before_the_default_profile() {
    let settings = resolve(&Choice::default(), &[("KMS_TOKEN", "t")], Some(PROFILES)).unwrap();
    assert_eq!(settings.url.as_deref(), Some("https://default"));
    assert!(settings.ca_file.unwrap().ends_with(".config/keyward/ca.pem"));
    assert!(settings.credential.token.is_some());
    assert!(settings.credential.cert_file.is_none(), "a credential comes from one place");

    let settings = resolve(&Choice::default(), &[("KMS_URL", "https://other")], Some(PROFILES)).unwrap();
    assert_eq!(settings.url.as_deref(), Some("https://other"));
    assert!(settings.credential.cert_file.is_some());
}

#[test]
fn a_named_profile_comes_before_the_environment() {
    let variables = [("KMS_URL", "https://other"), ("KMS_TOKEN", "t")];
    let settings = resolve(&named("audit"), &variables, Some(PROFILES)).unwrap();
    assert_eq!(settings.url.as_deref(), Some("https://audit"));
    assert_eq!(settings.credential.token_file.as_deref(), Some(Path::new("/t")));
    assert!(settings.credential.token.is_none());

    let settings = resolve(&Choice::default(), &[("KMS_PROFILE", "audit")], Some(PROFILES)).unwrap();
    assert_eq!(settings.url.as_deref(), Some("https://audit"));
}

#[test]
fn the_command_line_comes_first() {
    let choice = Choice { url: Some("https://mine".to_owned()), ..named("audit") };
    let settings = resolve(&choice, &[], Some(PROFILES)).unwrap();
    assert_eq!(settings.url.as_deref(), Some("https://mine"));
}

#[test]
fn what_is_named_has_to_be_there() {
    assert!(matches!(resolve(&named("nobody"), &[], Some(PROFILES)), Err(Error::NoProfile { .. })));
    assert!(matches!(resolve(&named("nobody"), &[], None), Err(Error::NoProfile { .. })));
    let odd = "[profiles.default]\ntoken = \"secret\"";
    assert!(matches!(resolve(&Choice::default(), &[], Some(odd)), Err(Error::ProfileForm { .. })));
    assert!(matches!(resolve(&Choice::default(), &[], None).unwrap().client(), Err(Error::NoUrl)));
}

#[test]
fn a_credential_is_whole() {
    let half = resolve(&Choice::default(), &[("KMS_CERT_FILE", "/c")], None);
    assert!(matches!(half, Err(Error::HalfCertificate)));
    let two = resolve(&Choice::default(), &[("KMS_TOKEN", "t"), ("KMS_TOKEN_FILE", "/t")], None);
    assert!(matches!(two, Err(Error::TwoTokens)));
}

#[test]
fn a_token_is_not_shown() {
    let settings = resolve(&Choice::default(), &[("KMS_TOKEN", "hunter2")], None).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
