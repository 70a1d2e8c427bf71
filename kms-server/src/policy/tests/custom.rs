//! What custom policies can demand, as cases in JSON beside this file, with the guide's own examples; and what they cannot
//! say.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use kms_client::{
    format::{context::EncryptionContext, record::PrincipalKind},
    id::{KeyId, PolicyId, PrincipalId},
};
use serde::Deserialize;

use super::{
    super::{Denial, Permit, Policies, authorise},
    built_in,
    world::{CREDENTIAL, ISSUER, NOW, World, request},
};
use crate::{
    authn::{Assurance, Caller, Intent, Proof, Request},
    cluster::Snapshot,
    model::{Action, CustomPolicy, Environment, KeyState, Revision, Row, RuleState, Scope, Target, Text},
};

const GUIDE: &str = include_str!("../../../../deploy/POLICIES.md");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    guide: Option<String>,
    policy: Option<String>,
    #[serde(default = "user")]
    kind: PrincipalKind,
    team: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    key: KeyCase,
    #[serde(default)]
    context: BTreeMap<String, String>,
    /// An address; `none` for somebody who has none.
    #[serde(default = "somewhere")]
    source: String,
    #[serde(default)]
    amr: Vec<String>,
    acr: Option<String>,
    at: Option<Timestamp>,
    actions: Vec<String>,
    expect: String,
    policies: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyCase {
    class: String,
    region: String,
    environment: Environment,
    state: KeyState,
    tags: BTreeMap<String, String>,
}

impl Default for KeyCase {
    fn default() -> Self {
        Self {
            class: "imaging".into(),
            region: "eu".into(),
            environment: Environment::Production,
            state: KeyState::Enabled,
            tags: BTreeMap::new(),
        }
    }
}

fn user() -> PrincipalKind {
    PrincipalKind::User
}

fn somewhere() -> String {
    "192.0.2.1".to_owned()
}

/// The examples of the guide, by their names.
fn guide() -> BTreeMap<&'static str, &'static str> {
    let blocks = GUIDE.split("```cedar ").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.split_once('\n').unwrap()).collect()
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("custom.json")).unwrap()
}

pub(super) fn put(world: &mut World, name: &str, text: &str) {
    let ids = 0x7000 + u128::try_from(world.state.policies().count()).unwrap();
    world.state.put(Row::Policy(Arc::new(CustomPolicy {
        id: PolicyId::from_bytes(ids.to_be_bytes()),
        name: name.parse().unwrap(),
        description: Text::default(),
        text: text.to_owned(),
        version: 1,
        versions: Vec::new(),
        state: RuleState::Active,
        created_at: NOW,
        revision: Revision(1),
    })));
}

impl Case {
    fn text(&self, principal: PrincipalId, key: KeyId) -> String {
        let text = match (&self.guide, &self.policy) {
            (Some(name), None) => (*guide().get(name.as_str()).unwrap_or_else(|| panic!("{name}"))).to_owned(),
            (None, Some(text)) => text.clone(),
            _ => panic!("{}: one of guide and policy", self.name),
        };
        text.replace("PRINCIPAL", &principal.to_string()).replace("KEY", &key.to_string())
    }

    fn decide(&self, action: Action) -> Result<Permit, Denial> {
        let mut world = World::new();
        let principal = world.principal(Environment::Production, "ada");
        world.change_principal(principal, |row| {
            row.kind = self.kind;
            row.team = self.team.as_ref().map(|team| team.parse().unwrap());
        });
        let stranger = world.principal(Environment::Production, "bob");
        let key = world.key(self.key.environment, &self.key.class, &self.key.region);
        world.change_key(key, |row| {
            row.state = self.key.state;
            row.tags = self.key.tags.clone().try_into().unwrap();
        });
        for grant in &self.roles {
            let (role, scope) = grant.split_once('@').unwrap();
            let scope = if scope == "all" { Scope::All } else { Scope::DataClass(scope.parse().unwrap()) };
            world.bind(principal, role.parse().unwrap(), scope);
        }
        let text = self.text(principal, key);
        let derived = Policies::of(built_in());
        derived.read(&"case".parse().unwrap(), &text, &world.state).unwrap_or_else(|faults| panic!("{faults:?}"));
        put(&mut world, "case", &text);
        let derived = derived.derive(&world.state).unwrap();
        let snapshot = Snapshot::of(world.state.clone(), derived);
        let caller =
            Caller::for_test(principal, CREDENTIAL, Proof::Token { issuer: ISSUER, expires_at: Timestamp::MAX });
        let mut caller = Arc::into_inner(caller).unwrap();
        caller.assurance = Assurance { amr: self.amr.clone(), acr: self.acr.clone() };
        let request = Arc::new(Request { source: self.source.parse::<IpAddr>().ok(), ..Request::clone(&request()) });
        let target = match action {
            action if action.uses_key() => Target::Key(key),
            Action::RotateKey
            | Action::UpdateKey
            | Action::DisableKey
            | Action::RevokeKey
            | Action::RevokeKeyVersion => Target::Key(key),
            Action::AddCredential | Action::SuspendPrincipal | Action::RemoveCredential => Target::Principal(stranger),
            _ => Target::Installation,
        };
        let context = EncryptionContext::from_pairs(self.context.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let intent = Arc::new(caller).intends(&request, action, target);
        let intent = Intent { context: Some(Arc::new(context.unwrap())), ..intent };
        authorise(&snapshot, self.at.unwrap_or(NOW), &intent)
    }
}

#[test]
fn policies_decide_as_the_cases_say() {
    for case in cases() {
        for action in case.actions.iter().map(|code| Action::from_code(code).unwrap()) {
            let (outcome, policies) = match case.decide(action) {
                Ok(permit) => ("allowed", permit.policies().to_vec()),
                Err(denial) => (denial.reason, denial.policies),
            };
            assert_eq!(outcome, case.expect, "{}: {}: {policies:?}", case.name, action.code());
            if let Some(expected) = &case.policies {
                let named: Vec<_> = policies.iter().map(ToString::to_string).collect();
                assert_eq!(&named, expected, "{}: {}", case.name, action.code());
            }
        }
    }
}

/// Each example of the guide is shown to let something through and to hold something back.
#[test]
fn every_example_of_the_guide_is_tried_both_ways() {
    let cases = cases();
    for name in guide().keys() {
        let of_it = || cases.iter().filter(|case| case.guide.as_deref() == Some(name));
        assert!(of_it().any(|case| case.expect == "allowed"), "{name} never lets anything through");
        assert!(of_it().any(|case| case.expect == "forbidden_by_policy"), "{name} never holds anything back");
    }
}

#[test]
fn what_a_policy_may_not_say_is_refused_with_its_place() {
    let world = World::new();
    let policies = Policies::of(built_in());
    for (text, expected) in [
        ("", "line 1, column 1: there is no statement"),
        ("// nothing\n", "there is no statement"),
        ("permit (principal, action, resource)", "line 1, column 37: "),
        ("\n\n  permit (principal, action, resource);", "line 3, column 3: name the actions"),
        ("forbid (principal, action, resource);", "name the actions"),
        ("permit (principal, action == Action::\"unwrap\", resource);", "a permit names whom it is for"),
        (
            "permit (principal in Role::\"wrapper\", action == Action::\"unwrap\", resource);",
            "a permit names whom it is for",
        ),
        ("permit (principal is Principal, action == Action::\"unwrap\", resource);", "a permit names whom it is for"),
        (
            "permit (principal in Kind::\"contractor\", action == Action::\"unwrap\", resource);",
            "contractors get rights by bindings alone",
        ),
        (
            "permit (principal in Team::\"a\", action in [Action::\"unwrap\", Action::\"create_key\"], resource);",
            "permits data actions only, and `create_key` is none",
        ),
        (
            "permit (principal in Team::\"a\", action == Action::\"describe_key\", resource);",
            "permits data actions only",
        ),
        (
            "forbid (principal in Team::\"a\", action == Action::\"wrap\", resource);\n\
             forbid (principal, action in [Action::\"remove_policy\"], resource);",
            "line 2, column 1: `remove_policy` cannot be forbidden",
        ),
        ("forbid (principal, action == Action::\"recover_admin\", resource);", "no caller ever does `recover_admin`"),
        ("forbid (principal, action == Action::\"unwarp\", resource);", "unwarp"),
        ("forbid (principal, action == Action::\"data\", resource);", "line 1"),
        ("forbid (principal, action == Action::\"unwrap\", resource) when { resource.clas == \"\" };", "clas"),
        (
            "forbid (principal, action == Action::\"unwrap\", resource)\nwhen { context.source == ip(\"10.0.0.1\") };",
            "line 2, column 8: ",
        ),
        (
            "forbid (principal, action == Action::\"unwrap\", resource)\n\
             when { context has source && context.source.isInRange(ip(\"10.0.0.0/99\")) };",
            "line 2",
        ),
        (
            "forbid (principal, action == Action::\"unwrap\", resource) when \
             { context.encryption_context.getTag(\"a\") == \"b\" };",
            "tag",
        ),
        ("forbid (principal == ?principal, action == Action::\"unwrap\", resource);", "slot"),
        (
            "forbid (principal == Principal::\"pharmacy\", action == Action::\"unwrap\", resource);",
            "no principal has the id `pharmacy`",
        ),
        (
            "forbid (principal, action == Action::\"unwrap\", resource == Key::\"00000000-0000-0000-0000-0000000000aa\");",
            "no key has the id",
        ),
    ] {
        let faults = policies.read(&"case".parse().unwrap(), text, &world.state).unwrap_err();
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|fault| fault.contains(expected)), "{text}: {said:#?}");
    }
    // No action that must stay open can be forbidden, and none that is no data action can be permitted.
    for action in Action::ALL {
        let forbid = format!("forbid (principal, action == Action::\"{}\", resource);", action.code());
        let permit = format!("permit (principal in Team::\"a\", action == Action::\"{}\", resource);", action.code());
        let valid = |text: &str| policies.read(&"case".parse().unwrap(), text, &world.state).is_ok();
        assert_eq!(valid(&forbid), !action.is_always_open() && !action.is_internal(), "{}", action.code());
        assert_eq!(valid(&permit), action.is_data(), "{}", action.code());
    }
}

#[test]
fn a_policy_that_cannot_be_put_in_force_leaves_the_older_ones() {
    let mut world = World::new();
    put(&mut world, "good", "forbid (principal, action == Action::\"wrap\", resource);");
    let policies = Policies::of(built_in()).derive(&world.state).unwrap();
    put(&mut world, "bad", "forbid (principal, action == Action::\"warp\", resource);");
    let error = policies.derive(&world.state).unwrap_err().to_string();
    assert!(error.contains("`bad`"), "{error}");
}

#[test]
fn statements_are_limited_in_number() {
    let mut world = World::new();
    let one = "forbid (principal, action == Action::\"wrap\", resource) when { context.hour > 30 };\n";
    put(&mut world, "many", &one.repeat(500));
    let policies = Policies::of(built_in());
    policies.derive(&world.state).unwrap();
    put(&mut world, "more", &one.repeat(501));
    let error = policies.derive(&world.state).unwrap_err().to_string();
    assert!(error.contains("1000") && error.contains("1001"), "{error}");
}
