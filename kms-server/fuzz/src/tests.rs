//! Bytes that nobody chose, and those that were once found.

use proptest::{collection::vec, prelude::*};

use crate::marked::MARK;

fn everywhere(bytes: &[u8]) {
    super::body::check(bytes);
    super::certificate::check(bytes);
    super::config::check(bytes);
    super::head::check(bytes);
    super::jwks::check(bytes);
    super::policy::check(bytes);
    super::query::check(bytes);
    super::stored::check(bytes);
    super::token::check(bytes);
}

/// A statement in Cedar, or nearly.
fn statement() -> impl Strategy<Value = String> {
    let principal = "principal|principal == Principal::\"[a-z0-9-]{1,4}\"|principal in Team::\"[a-z]{1,3}\"|principal in \
                     Kind::\"(service|user|contractor)\"";
    let action = "action|action == Action::\"(unwrap|wrap|suspend_principal|data)\"|action in Action::\"data\"|action in \
                  \\[Action::\"unwrap\", Action::\"(wrap|create_key)\"\\]";
    let condition = "|when \\{ context\\.encryption_context\\.hasTag\\(\"[a-zé]{1,3}\"\\) \\}|when \\{ principal\\.team == \
                     \"[a-z]\" \\}|unless \\{ true \\}|when \\{ [ -~]{0,12} \\}";
    ("permit|forbid", principal, action, condition).prop_map(|(effect, principal, action, condition)| {
        format!("{effect} ({principal}, {action}, resource) {condition};\n")
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..256)) {
        everywhere(&bytes);
    }

    #[test]
    fn any_text(text in "(\\PC|\n){0,80}") {
        everywhere(text.as_bytes());
    }

    #[test]
    fn any_object_with_a_secret(
        names in vec("key|plaintext|context|items|wrapped_key|text|inline|[a-z]{1,3}", 1..5),
        value in "\"@\"|\\[\"@\"\\]|\\{\"@\":\"@\"\\}|\"alias/@\"|\"@, expected @\"|[0-9]{1,3}|null|\"a` is not a valid @\"",
    ) {
        let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":{}", value.replace('@', MARK))).collect();
        super::body::check(format!("{{{}}}", members.join(",")).as_bytes());
    }

    #[test]
    fn any_parameters_with_a_secret(names in vec("limit|cursor|state|key|days|version|from|[a-z]{1,3}", 1..4)) {
        let pairs: Vec<_> = names.iter().map(|name| format!("{name}={MARK}")).collect();
        super::query::check(pairs.join("&").as_bytes());
    }

    #[test]
    fn any_terms(fields in vec("|\"[0-9]{0,21}\"|\\*|W/\"7\"|\"[ -~]{0,9}\"|respond-async|[a-z;=, ]{0,20}", 4..9)) {
        super::head::check(fields.join("\n").as_bytes());
    }

    #[test]
    fn any_claims(
        header in "\\{\"typ\":\"(JWT|at\\+jwt|x)\",\"alg\":\"(EdDSA|ES256|none)\"(,\"kid\":\"[ab]\")?(,\"crit\":\\[\\])?\\}",
        subject in "alice|bob|",
        audience in "\"keyward\"|\"other\"|\\[\"keyward\",\"other\"\\]|\\[\\]|7",
        until in "18000000[0-9]{2}(\\.5)?|1e[0-9]{1,3}|-1|17999999[0-9]{2}",
        more in "|,\"nbf\":18000000[0-9]{2}|,\"iat\":1e30|,\"cnf\":\\{\\}|,\"cnf\":null|,\"amr\":\"mfa\"|,\"amr\":[0-9]",
    ) {
        let claims = format!(
            "{{\"iss\":\"https://login.example\",\"sub\":\"{subject}\",\"aud\":{audience},\"exp\":{until}{more}}}"
        );
        super::token::check(format!("{header}\n{claims}").as_bytes());
    }

    #[test]
    fn any_lines_of_configuration(lines in vec("\\[[a-z_]{1,9}\\]|[a-z_]{1,9} = ([0-9]{1,20}|\"[ -~]{0,9}\"|-1|\\[\\])", 0..9)) {
        super::config::check(lines.join("\n").as_bytes());
    }
}

proptest! {
    // Each compiles every policy.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_policy(statements in vec(statement(), 1..4)) {
        super::policy::check(statements.concat().as_bytes());
    }
}

/// The good that the others are near to.
#[test]
fn what_is_good_is_read() {
    super::token::check(
        b"{\"typ\":\"JWT\",\"alg\":\"EdDSA\",\"kid\":\"a\"}\n{\"iss\":\"https://login.example\",\"sub\":\"alice\",\
          \"aud\":\"keyward\",\"exp\":1800000600}",
    );
    super::policy::check(b"forbid (principal, action in Action::\"data\", resource);");
}
