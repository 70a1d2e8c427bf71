//! What must hold for all policies: the small sets, one an action, decide as Cedar does with every policy at once; and no
//! custom policy ever gives an action that is no data action.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, PolicySet};
use jiff::{SignedDuration, Timestamp};
use kms_client::format::{context::EncryptionContext, record::PrincipalKind};
use proptest::prelude::*;

use super::{
    super::{Denial, Permit, bundle::Bundle, decision::authorise},
    built_in,
    custom::put,
    world::{CREDENTIAL, ISSUER, NOW, World, request},
};
use crate::{
    authn::{Assurance, Caller, Intent, Proof, Request},
    model::{Action, Environment, Role, Scope, Target},
};

const CONDITIONS: &[&str] = &[
    "principal has team && principal.team == \"a\"",
    "principal.kind == \"service\"",
    "resource.class == \"imaging\"",
    "resource.hasTag(\"hold\")",
    "resource.state == \"enabled\"",
    "context.mfa",
    "context.amr.contains(\"hwk\")",
    "context has acr && context.acr == \"gold\"",
    "context has source && context.source.isInRange(ip(\"10.0.0.0/8\"))",
    "context.hour < 12",
    "context.weekday == \"friday\"",
    "context.encryption_context.hasTag(\"a\") && context.encryption_context.getTag(\"a\") == \"1\"",
    "context.time + 9223372036854775807 > 0",
    "context.person_administers",
];
const PRINCIPALS: &[&str] = &[
    "principal",
    "principal in Team::\"a\"",
    "principal in Team::\"b\"",
    "principal in Kind::\"user\"",
    "principal in Kind::\"service\"",
    "principal in Role::\"unwrapper\"",
    "principal == Principal::\"00000000-0000-0000-0000-000000000001\"",
];
const ACTIONS: &[&str] = &[
    "action in Action::\"data\"",
    "action == Action::\"unwrap\"",
    "action in [Action::\"unwrap\", Action::\"wrap\"]",
    "action in [Action::\"rewrap\", Action::\"transfer_from\"]",
    "action in [Action::\"describe_key\", Action::\"rotate_key\", Action::\"unwrap\"]",
];

#[derive(Debug, Clone)]
struct Question {
    statements: Vec<(bool, usize, usize, Vec<usize>)>,
    roles: Vec<(usize, usize)>,
    custom_role: Option<Vec<usize>>,
    kind: usize,
    team: Option<bool>,
    amr: Vec<usize>,
    hours: i64,
    /// Which of these hold: the key is of class `imaging`, the key is tagged, the caller is inside, its `acr` is gold, and
    /// there is a context.
    holds: [bool; 5],
}

fn questions() -> impl Strategy<Value = Question> {
    let statement =
        (any::<bool>(), 0..PRINCIPALS.len(), 0..ACTIONS.len(), prop::collection::vec(0..CONDITIONS.len(), 0..3));
    let rules = (
        prop::collection::vec(statement, 1..6),
        prop::collection::vec((0..Role::ALL.len(), 0..3_usize), 0..4),
        prop::option::of(prop::collection::vec(0..10_usize, 1..4)),
    );
    let who = (0..3_usize, prop::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let how = (any::<bool>(), prop::collection::vec(0..2_usize, 0..3), any::<bool>(), any::<bool>(), 0..168_i64);
    (rules, who, how).prop_map(|((statements, roles, custom_role), who, how)| Question {
        statements,
        roles,
        custom_role,
        kind: who.0,
        team: who.1,
        amr: how.1,
        hours: how.4,
        holds: [who.2, who.3, how.0, how.2, how.3],
    })
}

impl Question {
    /// Those of the statements that may be said at all.
    fn text(&self, world: &World) -> String {
        let mut text = String::new();
        for (permits, principal, actions, conditions) in &self.statements {
            let effect = if *permits { "permit" } else { "forbid" };
            let mut statement = format!("{effect} ({}, {}, resource)", PRINCIPALS[*principal], ACTIONS[*actions]);
            for condition in conditions {
                statement.extend([" when { ", CONDITIONS[*condition], " }"]);
            }
            statement.push_str(";\n");
            let read = built_in().read(&"random".parse().unwrap(), &statement);
            if read.is_ok_and(|read| read.check_names(&statement, &world.state).is_ok()) {
                text += &statement;
            }
        }
        text
    }

    fn world(&self) -> World {
        let mut world = World::new();
        let ada = world.principal(Environment::Production, "ada");
        world.change_principal(ada, |row| {
            row.kind = [PrincipalKind::User, PrincipalKind::Service, PrincipalKind::Contractor][self.kind];
            row.team = self.team.map(|a| if a { "a" } else { "b" }.parse().unwrap());
        });
        let key = world.key(Environment::Production, if self.holds[0] { "imaging" } else { "billing" }, "eu");
        if self.holds[1] {
            world.change_key(key, |row| row.tags = BTreeMap::from([("hold".into(), "yes".into())]).try_into().unwrap());
        }
        for (role, scope) in &self.roles {
            let imaging = Scope::DataClass("imaging".parse().unwrap());
            world.bind(ada, Role::ALL[*role], [Scope::All, imaging, Scope::Key(key)][*scope].clone());
        }
        if let Some(actions) = &self.custom_role {
            let gives: Vec<_> =
                Action::ALL.iter().copied().filter(|action| crate::model::CustomRole::may_give(*action)).collect();
            let actions: Vec<_> = actions.iter().map(|place| gives[place % gives.len()]).collect();
            world.bind_custom(ada, "mine", &actions, Scope::All);
        }
        world
    }

    fn ask(&self, world: &World, bundle: &Arc<Bundle>, action: Action) -> Result<Permit, Denial> {
        let snapshot = world.snapshot(bundle);
        let ada = snapshot.state.principals_after(None).next().unwrap().id;
        let key = snapshot.state.keys_after(None).next().unwrap().id;
        let proof = Proof::Token { issuer: ISSUER, expires_at: Timestamp::MAX };
        let mut caller = Arc::into_inner(Caller::for_test(ada, CREDENTIAL, proof)).unwrap();
        let amr = self.amr.iter().map(|method| ["mfa", "hwk"][*method].to_owned()).collect();
        caller.assurance = Assurance { amr, acr: self.holds[3].then(|| "gold".to_owned()) };
        let source = if self.holds[2] { [10, 1, 2, 3] } else { [192, 0, 2, 1] };
        let request = Arc::new(Request { source: Some(source.into()), ..Request::clone(&request()) });
        let target = match action {
            Action::CreateKey => Target::NewKey {
                data_class: "imaging".parse().unwrap(),
                region: "eu".parse().unwrap(),
                environment: Environment::Production,
            },
            Action::DescribeKey | Action::ListAccess => Target::Key(key),
            action if action.uses_key() || (action.is_control() && action.code().contains("key")) => Target::Key(key),
            _ => Target::Installation,
        };
        let pairs: &[(&str, &str)] = if self.holds[4] { &[("a", "1")] } else { &[] };
        let context = Some(Arc::new(EncryptionContext::from_pairs(pairs.iter().copied()).unwrap()));
        let intent = Intent { context, ..Arc::new(caller).intends(&request, action, target) };
        authorise(&snapshot, NOW + SignedDuration::from_hours(self.hours), &intent)
    }
}

/// The statements as they were written, but that what forbids unwrapping forbids taking out.
fn whole(text: &str) -> Vec<Policy> {
    let set: PolicySet = text.parse().unwrap();
    let alone = set.policies().count() == 1;
    let named = |policy: &Policy| {
        let number: usize = policy.id().to_string().trim_start_matches("policy").parse().unwrap();
        let id = if alone { "custom.random".to_owned() } else { format!("custom.random.{}", number + 1) };
        let unwraps = match policy.action_constraint() {
            ActionConstraint::Eq(uid) => uid.id().unescaped() == "unwrap",
            ActionConstraint::In(uids) => uids.iter().any(|uid| uid.id().unescaped() == "unwrap"),
            ActionConstraint::Any => false,
        };
        let mut json = policy.to_json().unwrap();
        if policy.effect() == Effect::Forbid && unwraps {
            let mut entities = match policy.action_constraint() {
                ActionConstraint::In(uids) => uids,
                ActionConstraint::Eq(uid) => vec![uid],
                ActionConstraint::Any => Vec::new(),
            };
            entities.push("Action::\"transfer_from\"".parse().unwrap());
            let entities: Vec<_> = entities
                .iter()
                .map(|uid| serde_json::json!({ "type": "Action", "id": uid.id().unescaped() }))
                .collect();
            json["action"] = serde_json::json!({ "op": "in", "entities": entities });
        }
        Policy::from_json(Some(PolicyId::new(id)), json).unwrap()
    };
    set.policies().map(named).collect()
}

fn shown(decision: Result<Permit, Denial>) -> String {
    match decision {
        Ok(permit) => format!("{permit:?}"),
        Err(denial) => format!("{denial:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_sets_decide_as_all_policies_at_once(question in questions()) {
        let mut world = question.world();
        let text = question.text(&world);
        prop_assume!(!text.is_empty());
        put(&mut world, "random", &text);
        let cut = Arc::new(built_in().with_custom(&world.state).unwrap().unwrap());
        let uncut = Arc::new(Bundle::clone(&cut).uncut_with(whole(&text)));
        for action in Action::ALL {
            let decided = question.ask(&world, &cut, *action);
            if !action.is_data() && decided.is_ok() {
                prop_assert!(question.ask(&world, &built_in(), *action).is_ok(), "{}: {}", action.code(), text);
            }
            prop_assert_eq!(
                shown(decided),
                shown(question.ask(&world, &uncut, *action)),
                "{}: {}", action.code(), text
            );
        }
    }
}
