//! The two tables, and that every line of every policy is needed by one of them.

use std::{collections::BTreeMap, sync::Arc};

use kms_client::{
    format::record::PrincipalKind,
    id::{BindingId, KeyId, PrincipalId},
};
use serde::Deserialize;

use super::{
    super::{Denial, Permit, actions_of, bundle::Bundle},
    built_in, node_region,
    world::{CLIENT_CA, ISSUER, NOBODY, World, ask},
};
use crate::model::{Action, Environment, Role, Scope, Target};

/// One line of `cases.json`: all of its actions come out the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "production")]
    principal: Environment,
    /// `ROLE@SCOPE`: the scope is `all`, `key`, `other-key`, or a data class.
    roles: Vec<String>,
    /// Of another account of the same person.
    #[serde(default)]
    other_account: Vec<String>,
    /// What one custom role of the principal gives.
    #[serde(default)]
    custom: Vec<String>,
    /// A data class; everything unless given.
    custom_scope: Option<String>,
    #[serde(default = "user")]
    kind: PrincipalKind,
    #[serde(default)]
    key: KeyCase,
    actions: Vec<String>,
    expect: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyCase {
    exists: bool,
    environment: Environment,
    class: String,
    region: String,
}

/// What there is to be asked about.
struct Targets {
    key: KeyId,
    new_key: Target,
    principal: PrincipalId,
    binding: BindingId,
}

impl Default for KeyCase {
    fn default() -> Self {
        Self { exists: true, environment: Environment::Production, class: "imaging".into(), region: "eu".into() }
    }
}

impl Case {
    fn actions(&self) -> impl Iterator<Item = Action> {
        self.actions.iter().map(|code| Action::from_code(code).unwrap())
    }

    fn ask(&self, bundle: &Arc<Bundle>, action: Action) -> Result<Permit, Denial> {
        let mut world = World::new();
        let principal = world.principal(self.principal, "ada");
        let other = world.principal(self.principal, "ada");
        let stranger = world.principal(Environment::Production, "bob");
        let binding = world.bind(stranger, Role::Auditor, Scope::All);
        let key = world.key(self.key.environment, &self.key.class, &self.key.region);
        let other_key = world.key(self.key.environment, "other", "eu");
        for (account, grants) in [(principal, &self.roles), (other, &self.other_account)] {
            for grant in grants {
                let (role, scope) = grant.split_once('@').unwrap();
                let scope = match scope {
                    "all" => Scope::All,
                    "key" => Scope::Key(key),
                    "other-key" => Scope::Key(other_key),
                    class => Scope::DataClass(class.parse().unwrap()),
                };
                world.bind(account, role.parse().unwrap(), scope);
            }
        }
        world.change_principal(principal, |row| row.kind = self.kind);
        let actions: Vec<_> = self.custom.iter().map(|code| Action::from_code(code).unwrap()).collect();
        if !actions.is_empty() {
            let class = self.custom_scope.as_ref().map(|class| Scope::DataClass(class.parse().unwrap()));
            world.bind_custom(principal, "mine", &actions, class.unwrap_or(Scope::All));
        }
        let targets = Targets {
            key: if self.key.exists { key } else { KeyId::from_bytes(NOBODY) },
            new_key: Target::NewKey {
                data_class: self.key.class.parse().unwrap(),
                region: self.key.region.parse().unwrap(),
                environment: self.key.environment,
            },
            principal: stranger,
            binding,
        };
        ask(&world.snapshot(bundle), principal, action, targets.of(action))
    }

    fn fault(&self, bundle: &Arc<Bundle>, action: Action) -> Option<String> {
        let (outcome, reason) = match self.ask(bundle, action) {
            Ok(permit) => {
                assert_eq!(permit.action(), action);
                assert!(!permit.policies().is_empty());
                ("allowed", None)
            }
            Err(denial) => (denial.error.code(), Some(denial.reason)),
        };
        let expected = match self.expect.as_str() {
            "denied" => outcome != "allowed",
            expected => outcome == expected,
        };
        let stated = self.reason.is_none() || self.reason.as_deref() == reason;
        (!expected || !stated).then(|| format!("{}: {}: {outcome} {reason:?}", self.name, action.code()))
    }
}

impl Targets {
    fn of(&self, action: Action) -> Target {
        match action {
            Action::CreateKey => self.new_key.clone(),
            Action::DescribePrincipal
            | Action::UpdatePrincipal
            | Action::SuspendPrincipal
            | Action::ReinstatePrincipal
            | Action::AddCredential
            | Action::RemoveCredential => Target::Principal(self.principal),
            Action::DescribeBinding | Action::EndBinding => Target::Binding(self.binding),
            Action::RemoveIssuer => Target::Issuer(ISSUER),
            Action::RemoveClientCa => Target::ClientCa(CLIENT_CA),
            Action::DescribeKey
            | Action::UpdateKey
            | Action::RotateKey
            | Action::EnableKey
            | Action::DisableKey
            | Action::RevokeKey
            | Action::RevokeKeyVersion
            | Action::ScheduleKeyDeletion
            | Action::CancelKeyDeletion
            | Action::DestroyKey
            | Action::DescribeKeyUsage
            | Action::ListAccess => Target::Key(self.key),
            action if action.is_data() && action != Action::Random => Target::Key(self.key),
            _ => Target::Installation,
        }
    }
}

fn user() -> PrincipalKind {
    PrincipalKind::User
}

fn production() -> Environment {
    Environment::Production
}

pub(super) fn roles() -> BTreeMap<String, Vec<String>> {
    serde_json::from_str(include_str!("roles.json")).unwrap()
}

/// `cases.json`, and `roles.json` as cases: one principal with one role over everything, and every action there is.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = serde_json::from_str(include_str!("cases.json")).unwrap();
    for (role, actions) in roles() {
        let (allowed, denied): (Vec<Action>, Vec<Action>) =
            Action::ALL.iter().copied().partition(|action: &Action| actions.iter().any(|code| code == action.code()));
        for (actions, expect) in [(allowed, "allowed"), (denied, "denied")] {
            cases.push(Case {
                name: format!("role {role}"),
                principal: Environment::Production,
                roles: vec![format!("{role}@all")],
                other_account: Vec::new(),
                custom: Vec::new(),
                custom_scope: None,
                kind: PrincipalKind::User,
                key: KeyCase::default(),
                actions: actions.iter().map(|action| action.code().to_owned()).collect(),
                expect: expect.to_owned(),
                // Whether a right is missing or a guard forbids besides is the other table's business.
                reason: None,
            });
        }
    }
    cases
}

#[test]
fn decisions_are_as_the_tables_say() {
    let bundle = built_in();
    let faults: Vec<_> = cases()
        .iter()
        .flat_map(|case| case.actions().filter_map(|action| case.fault(&bundle, action)).collect::<Vec<_>>())
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_policy_that_loses_an_action_is_noticed() {
    let (bundle, cases) = (built_in(), cases());
    for (policy, action) in bundle.covers() {
        let broken = Arc::new(Bundle::clone(&bundle).without(&policy, action));
        let asked = cases.iter().filter(|case| case.actions().any(|asked| asked == action));
        let noticed = asked.filter(|case| case.fault(&broken, action).is_some()).count();
        assert!(noticed > 0, "nothing needs `{policy}` for `{}`", action.code());
    }
}

#[test]
fn policies_cut_by_action_decide_as_all_of_them_do() {
    let (cut, uncut) = (built_in(), Arc::new(Bundle::uncut(node_region())));
    let shown = |decision: Result<Permit, Denial>| match decision {
        Ok(permit) => format!("{permit:?}"),
        Err(denial) => format!("{denial:?}"),
    };
    for case in cases() {
        for action in Action::ALL {
            assert_eq!(
                shown(case.ask(&cut, *action)),
                shown(case.ask(&uncut, *action)),
                "{}: {}",
                case.name,
                action.code()
            );
        }
    }
}

#[test]
fn the_table_for_people_is_what_the_policies_say() {
    for role in Role::ALL {
        let mut table: Vec<_> = actions_of(*role).iter().map(|action| action.code().to_owned()).collect();
        let mut decided = roles().remove(role.as_str()).unwrap();
        table.sort();
        decided.sort();
        assert_eq!(table, decided, "{}", role.as_str());
    }
}

#[test]
fn every_action_has_the_guards_of_its_kind() {
    let covers = built_in().covers();
    for action in Action::ALL {
        let key = matches!(action, Action::CreateKey) || (action.is_control() && action.code().contains("key"));
        let needed: &[&str] = match action {
            Action::DestroyKey => &["guard.server"],
            Action::Random => &["guard.contractor"],
            Action::ListKeys | Action::ListRoles | Action::DescribeRole | Action::WhoAmI | Action::Explain => &[],
            action if action.is_internal() => &["guard.host"],
            Action::DescribeKey | Action::DescribeKeyUsage | Action::ListAccess => &["guard.environment.administer"],
            action if action.is_data() => {
                &["guard.separation_of_duties.use", "guard.environment.use", "guard.region", "guard.contractor"]
            }
            _ if key => &["guard.separation_of_duties.administer", "guard.environment.administer"],
            _ => &["guard.environment.installation"],
        };
        for guard in needed {
            assert!(covers.contains(&((*guard).to_owned(), *action)), "`{guard}` lacks `{}`", action.code());
        }
    }
}
