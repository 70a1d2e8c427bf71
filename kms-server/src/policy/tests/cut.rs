//! What is cut stays cut; what fails denies; what may not be known is not told.

use std::sync::Arc;

use jiff::Timestamp;
use kms_client::{
    format::context::EncryptionContext,
    id::{BindingId, CredentialId, IssuerId, KeyId, PrincipalId},
};

use super::{
    super::{authorise, bundle::Bundle, may_describe},
    built_in, node_region,
    world::{CLIENT_CA, CREDENTIAL, ISSUER, LATER, NOBODY, NOW, World, ask, caller, intent, request},
};
use crate::{
    authn::{Caller, Proof},
    model::{Action, Environment, Period, PrincipalState, Role, Scope, Target, TrustState},
};

struct Unwrapping {
    world: World,
    principal: PrincipalId,
    binding: BindingId,
    key: KeyId,
}

impl Unwrapping {
    fn new() -> Self {
        let mut world = World::new();
        let principal = world.principal(Environment::Production, "ada");
        let binding = world.bind(principal, Role::Unwrapper, Scope::All);
        let key = world.key(Environment::Production, "imaging", "eu");
        Self { world, principal, binding, key }
    }

    fn outcome(&self) -> &'static str {
        self.outcome_of(&built_in())
    }

    fn outcome_of(&self, bundle: &Arc<Bundle>) -> &'static str {
        let snapshot = self.world.snapshot(bundle);
        let decide = || ask(&snapshot, self.principal, Action::Unwrap, Target::Key(self.key));
        let first = decide().map_or_else(|denial| denial.reason, |_| "allowed");
        // The second time what is prepared is there already.
        assert_eq!(decide().map_or_else(|denial| denial.reason, |_| "allowed"), first);
        first
    }

    fn outcome_as(&self, caller: &Arc<Caller>, now: Timestamp) -> &'static str {
        let intent = caller.intends(&request(), Action::Unwrap, Target::Key(self.key));
        authorise(&self.world.snapshot(&built_in()), now, &intent).map_or_else(|denial| denial.reason, |_| "allowed")
    }
}

#[test]
fn a_binding_counts_from_its_first_moment_to_before_its_last() {
    let mut case = Unwrapping::new();
    for (from, until, expected) in [
        (None, None, "allowed"),
        (Some(NOW), Some(LATER), "allowed"),
        (Some(LATER), None, "no_right"),
        (None, Some(NOW), "no_right"),
    ] {
        case.world.change_binding(case.binding, |binding| binding.period = Period { from, until });
        assert_eq!(case.outcome(), expected, "{from:?} {until:?}");
    }
}

#[test]
fn a_binding_that_runs_out_does_so_within_a_revision() {
    let mut case = Unwrapping::new();
    case.world.change_binding(case.binding, |binding| binding.period.until = Some(LATER));
    let snapshot = case.world.snapshot(&built_in());
    let intent = intent(case.principal, Action::Unwrap, Target::Key(case.key));
    assert!(authorise(&snapshot, NOW, &intent).is_ok());
    assert_eq!(authorise(&snapshot, LATER, &intent).unwrap_err().reason, "no_right");
}

#[test]
fn an_ended_binding_counts_no_more() {
    let mut case = Unwrapping::new();
    case.world.change_binding(case.binding, |binding| binding.ended_at = Some(LATER));
    assert_eq!(case.outcome(), "no_right");
}

#[test]
fn an_administering_binding_of_the_person_that_has_ended_bars_nobody() {
    let mut case = Unwrapping::new();
    let other = case.world.principal(Environment::Production, "ada");
    let binding = case.world.bind(other, Role::KeyAdmin, Scope::Key(case.key));
    assert_eq!(case.outcome(), "guard.separation_of_duties");
    case.world.change_principal(other, |principal| principal.state = PrincipalState::Suspended);
    assert_eq!(case.outcome(), "guard.separation_of_duties", "a suspended account may come back");
    case.world.change_binding(binding, |binding| binding.ended_at = Some(NOW));
    assert_eq!(case.outcome(), "allowed");
}

#[test]
fn a_caller_that_no_longer_stands_may_do_nothing() {
    const NO_LONGER: &str = "caller_no_longer_stands";
    let mut case = Unwrapping::new();
    case.world.change_principal(case.principal, |principal| principal.state = PrincipalState::Suspended);
    assert_eq!(case.outcome(), NO_LONGER);

    let mut case = Unwrapping::new();
    case.world.change_principal(case.principal, |principal| principal.credentials[0].removed_at = Some(NOW));
    assert_eq!(case.outcome(), NO_LONGER);

    let mut case = Unwrapping::new();
    case.world.trust(TrustState::Removed, TrustState::Trusted);
    assert_eq!(case.outcome(), NO_LONGER);

    let mut case = Unwrapping::new();
    let certificate = |expires_at| Proof::Certificate { client_ca: CLIENT_CA, expires_at };
    let certified = Caller::for_test(case.principal, CREDENTIAL, certificate(LATER));
    assert_eq!(case.outcome_as(&certified, NOW), "allowed");
    assert_eq!(case.outcome_as(&certified, LATER), NO_LONGER);
    case.world.trust(TrustState::Trusted, TrustState::Removed);
    assert_eq!(case.outcome_as(&certified, NOW), NO_LONGER);

    let case = Unwrapping::new();
    let token = |issuer| Proof::Token { issuer, expires_at: LATER };
    let bearer = Caller::for_test(case.principal, CREDENTIAL, token(ISSUER));
    assert_eq!(case.outcome_as(&bearer, NOW), "allowed");
    assert_eq!(case.outcome_as(&bearer, LATER), NO_LONGER);
    for stranger in [
        Caller::for_test(PrincipalId::from_bytes(NOBODY), CREDENTIAL, token(ISSUER)),
        Caller::for_test(case.principal, CredentialId::from_bytes(NOBODY), token(ISSUER)),
        Caller::for_test(case.principal, CREDENTIAL, token(IssuerId::from_bytes(NOBODY))),
    ] {
        assert_eq!(case.outcome_as(&stranger, NOW), NO_LONGER);
        let intent = stranger.intends(&request(), Action::WhoAmI, Target::Installation);
        let denial = authorise(&case.world.snapshot(&built_in()), NOW, &intent).unwrap_err();
        assert_eq!(denial.error.code(), "unauthenticated");
    }
}

#[test]
fn an_unknown_key_and_a_denied_one_give_one_answer() {
    let mut case = Unwrapping::new();
    let stranger = case.world.principal(Environment::Production, "eve");
    case.world.bind(stranger, Role::Wrapper, Scope::DataClass("billing".parse().unwrap()));
    case.world.bind(stranger, Role::KeyAdmin, Scope::DataClass("reports".parse().unwrap()));
    let snapshot = case.world.snapshot(&built_in());
    for action in Action::ALL {
        let ask = |key| ask(&snapshot, stranger, *action, Target::Key(key)).unwrap_err();
        let (denied, unknown) = (ask(case.key), ask(KeyId::from_bytes(NOBODY)));
        assert_eq!(denied.error.code(), unknown.error.code(), "{}", action.code());
        assert_eq!(denied.error.to_string(), unknown.error.to_string(), "{}", action.code());
        assert_eq!(unknown.reason, "no_such_target");
    }
}

#[test]
fn unknown_principals_bindings_and_anchors_are_told_only_to_those_who_may_read_them() {
    let mut case = Unwrapping::new();
    let auditor = case.world.principal(Environment::Production, "aud");
    case.world.bind(auditor, Role::Auditor, Scope::All);
    let snapshot = case.world.snapshot(&built_in());
    let unknown = Target::Principal(PrincipalId::from_bytes(NOBODY));
    let code = |asker, target: &Target| {
        ask(&snapshot, asker, Action::SuspendPrincipal, target.clone()).unwrap_err().error.code()
    };
    assert_eq!(code(auditor, &unknown), "not_found");
    assert_eq!(code(auditor, &Target::Principal(case.principal)), "not_permitted");
    assert_eq!(code(case.principal, &unknown), "not_found");
    assert_eq!(code(case.principal, &Target::Principal(auditor)), "not_found");
}

#[test]
fn an_action_on_what_it_is_not_done_to_is_denied() {
    let mut case = Unwrapping::new();
    case.world.bind(case.principal, Role::Auditor, Scope::All);
    let snapshot = case.world.snapshot(&built_in());
    for (action, target) in [
        (Action::Unwrap, Target::Installation),
        (Action::SearchAudit, Target::Key(case.key)),
        (Action::ListKeys, Target::Key(case.key)),
        (Action::WhoAmI, Target::Key(case.key)),
    ] {
        assert_eq!(ask(&snapshot, case.principal, action, target).unwrap_err().reason, "policy_error");
    }
}

#[test]
fn a_policy_that_fails_denies() {
    let case = Unwrapping::new();
    for effect in [r#"@reason("no_right") forbid"#, "permit"] {
        let text = format!(
            r#"@id("custom") {effect} (principal, action == Action::"unwrap", resource)
               when {{ context.time + 9223372036854775807 > 0 }};"#
        );
        let bundle = Arc::new(Bundle::with(&text, node_region()).unwrap());
        assert_eq!(case.outcome_of(&bundle), "policy_error", "{effect}");
        let snapshot = case.world.snapshot(&bundle);
        let denial = ask(&snapshot, case.principal, Action::Unwrap, Target::Key(case.key)).unwrap_err();
        assert_eq!(denial.policies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["custom"]);
        assert_eq!(denial.error.code(), "not_permitted");
    }
}

#[test]
fn policies_see_the_encryption_context_and_where_a_request_comes_from() {
    let case = Unwrapping::new();
    let text = r#"
        @id("pharmacy") @reason("no_right")
        forbid (principal, action == Action::"unwrap", resource) unless {
            context.encryption_context.hasTag("data_group") &&
            context.encryption_context.getTag("data_group") == "prescription" &&
            context has source && context.source == ip("192.0.2.1") && context.surface == "native"
        };"#;
    let snapshot = case.world.snapshot(&Arc::new(Bundle::with(text, node_region()).unwrap()));
    for (pairs, allowed) in [
        (vec![("data_group", "prescription"), ("patient", "1")], true),
        (vec![("data_group", "imaging")], false),
        (vec![], false),
    ] {
        let mut intent = intent(case.principal, Action::Unwrap, Target::Key(case.key));
        intent.context = Some(Arc::new(EncryptionContext::from_pairs(pairs).unwrap()));
        assert_eq!(authorise(&snapshot, NOW, &intent).is_ok(), allowed);
    }
    assert_eq!(case.outcome_of(&Arc::new(Bundle::with(text, node_region()).unwrap())), "no_right");
}

#[test]
fn bad_policies_are_refused_whole() {
    for (text, expected) in [
        (r"permit (principal, action, resource)", "cannot be read"),
        (r#"permit (principal, action == Action::"whoami", resource);"#, "has no `@id`"),
        (r#"@id("a") forbid (principal, action == Action::"whoami", resource);"#, "gives no `@reason`"),
        (r#"@id("a") @reason("b") forbid (principal, action == Action::"whoami", resource);"#, "records do not know"),
        (r#"@id("a") @reason("no_right") permit (principal, action == Action::"whoami", resource);"#, "permits, but"),
        (r#"@id("a") permit (principal in Role::"unwraper", action, resource);"#, "does not fit the schema"),
        (r#"@id("a") permit (principal, action == Action::"unwarp", resource);"#, "does not fit the schema"),
        (
            r#"@id("a") permit (principal, action == Action::"unwrap", resource) when { resource.clas == "" };"#,
            "does not fit",
        ),
        (
            r#"@id("a") permit (principal, action == Action::"unwrap", resource) when { context.source == "" };"#,
            "does not fit",
        ),
        (r#"@id("a") permit (principal == ?principal, action, resource);"#, "is a template"),
        (r#"@id("role.auditor") permit (principal, action == Action::"whoami", resource);"#, "cannot be read"),
    ] {
        let error = Bundle::with(text, node_region()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn lists_show_what_may_be_described() {
    let mut case = Unwrapping::new();
    let test_key = case.world.key(Environment::Test, "imaging", "eu");
    let billing = case.world.key(Environment::Production, "billing", "eu");
    let tester = case.world.principal(Environment::Test, "tom");
    case.world.bind(tester, Role::Auditor, Scope::DataClass("imaging".parse().unwrap()));
    let snapshot = case.world.snapshot(&built_in());
    let sees = |principal, key| may_describe(&snapshot, NOW, &caller(principal), &request(), key);
    assert!(sees(tester, test_key));
    assert!(!sees(tester, case.key), "another environment");
    assert!(!sees(tester, billing), "another class");
    assert!(sees(case.principal, billing));
    assert!(sees(case.principal, test_key), "production may see what rehearses");
    assert!(!sees(PrincipalId::from_bytes(NOBODY), test_key));
}
