//! Who may: each role does exactly what it says; nobody both administers and uses a production key; rights end by
//! themselves; and the last two administrators stay.

use std::{collections::BTreeSet, time::Duration};

use keyward_tests::{Ask, Backend, Newcomer, Reply, TestKms};
use kms_client::format::record::PrincipalKind;
use kms_server::model::{Clock as _, Environment, Role};
use serde_json::{Value, json};

use crate::authorisation::{ROWS, World, outcome, text};

/// What each role may, written down here a second time on purpose.
const ROLES: [(Role, &str); 7] = [
    (
        Role::KeyAdmin,
        "create_key describe_key list_keys update_key rotate_key enable_key disable_key revoke_key revoke_key_version \
         schedule_key_deletion cancel_key_deletion describe_key_usage create_principal describe_principal list_principals update_principal suspend_principal reinstate_principal \
         add_credential remove_credential create_binding describe_binding list_bindings end_binding \
         create_role update_role remove_role put_policy describe_policy list_policies remove_policy validate_policy \
         explain_others list_access preview_change \
         add_issuer list_issuers remove_issuer add_client_ca list_client_cas remove_client_ca \
         describe_change list_changes list_nodes whoami explain list_roles describe_role",
    ),
    (
        Role::Wrapper,
        "generate generate_without_plaintext wrap transfer_to random describe_key list_keys whoami explain list_roles describe_role",
    ),
    (Role::Unwrapper, "unwrap transfer_from random describe_key list_keys whoami explain list_roles describe_role"),
    (
        Role::Rewrapper,
        "rewrap transfer_from transfer_to random describe_key list_keys whoami explain list_roles describe_role",
    ),
    (
        Role::Auditor,
        "describe_key describe_key_usage list_keys describe_principal list_principals describe_binding list_bindings \
         describe_policy list_policies validate_policy explain_others list_access preview_change \
         list_issuers list_client_cas describe_change list_changes list_nodes search_audit whoami explain list_roles describe_role",
    ),
    (
        Role::Offboarder,
        "suspend_principal remove_credential end_binding describe_change describe_principal list_principals describe_binding \
         list_bindings whoami explain list_roles describe_role",
    ),
    (
        Role::Approver,
        "describe_key describe_key_usage list_keys describe_principal list_principals describe_binding \
         list_bindings describe_policy \
         list_policies list_issuers list_client_cas describe_change list_changes list_nodes whoami explain list_roles describe_role",
    ),
];

fn post(path: &str, body: Value) -> Ask {
    Ask::new("POST", path).json(body)
}

fn code(reply: &Reply) -> (u16, String) {
    let (status, code) = outcome(reply);
    (status, code.unwrap_or_default())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Each role over everything, asked for everything.
#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_exactly_what_it_says() {
    let people = ROLES.map(|(role, _)| Newcomer::new(role.as_str(), PrincipalKind::User, &[role]));
    let mut world = World::start(Backend::Sqlite, false, people.to_vec()).await;
    for row in ROWS.iter().filter(|row| !row.actions.is_empty()) {
        for (role, allowed) in ROLES {
            let allowed: BTreeSet<_> = allowed.split_whitespace().collect();
            let may = row.actions.iter().all(|action| allowed.contains(action));
            let ask = world.call(row).await;
            let (status, code) = code(&world.ask(role.as_str(), &ask).await);
            let right_found =
                status == 200 || code == "approval_required" || (status == 409 && code == "invalid_state");
            let what = format!("{} as {}: {status} {code}", row.call, role.as_str());
            assert_eq!(right_found, may, "{what}");
            assert!(may || code == "not_permitted" || code == "not_found", "{what}");
        }
    }
    world.kms.stop().await;
}

/// What the API says of the roles is what was just shown.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_are_described_as_they_are() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let described = world.done("ada", &Ask::new("GET", "/v1/roles")).await;
    let described: Vec<(String, BTreeSet<String>)> = described["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| (text(&role["name"]), role["actions"].as_array().unwrap().iter().map(text).collect()))
        .collect();
    let shown: Vec<_> = ROLES
        .iter()
        .map(|(role, actions)| (role.as_str().to_owned(), actions.split_whitespace().map(str::to_owned).collect()))
        .collect();
    assert_eq!(described, shown);
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_administers_and_uses_whatever_the_account() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    // A second account of the administrator.
    let account = json!({ "name": "ada-laptop", "kind": "user", "person": "ada" });
    world.done("ben", &post("/v1/principals", account)).await;
    for role in ["wrapper", "unwrapper", "rewrapper"] {
        for scope in [json!("all"), json!({ "data_class": "records" })] {
            for principal in ["ada", "ada-laptop"] {
                let binding = json!({ "principal": principal, "role": role, "scope": scope });
                let reply = world.ask("ben", &post("/v1/bindings", binding)).await;
                assert_eq!(code(&reply), refused(409, "separation_of_duties"), "{principal} {role}");
            }
        }
    }
    // And the other way round: whoever uses some keys is made an administrator of them by no account.
    let accounts = [("carol", "carol"), ("carol-admin", "carol")];
    for (name, person) in accounts {
        let account = json!({ "name": name, "kind": "user", "person": person });
        world.done("ada", &post("/v1/principals", account)).await;
    }
    let uses = json!({ "principal": "carol", "role": "wrapper", "scope": { "data_class": "imaging" } });
    world.done("ada", &post("/v1/bindings", uses)).await;
    for (scope, expected) in [
        (json!("all"), "separation_of_duties"),
        (json!({ "data_class": "imaging" }), "separation_of_duties"),
        // Other keys are another matter, and need a second person only.
        (json!({ "data_class": "billing" }), "approval_required"),
    ] {
        for principal in ["carol", "carol-admin"] {
            let binding = json!({ "principal": principal, "role": "key-admin", "scope": scope });
            let (_, said) = code(&world.ask("ada", &post("/v1/bindings", binding)).await);
            assert_eq!(said, expected, "{principal} {scope}");
        }
    }
    world.kms.stop().await;
}

/// On keys for development one person may do both, and reaches nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn for_development_one_may_do_both() {
    let developer = Newcomer {
        environment: Environment::Development,
        ..Newcomer::new("dev", PrincipalKind::User, &[Role::KeyAdmin, Role::Wrapper, Role::Unwrapper])
    };
    let mut world = World::start(Backend::Sqlite, false, vec![developer]).await;
    let key = json!({ "data_class": "records", "environment": "development" });
    let key = text(&world.done("dev", &post("/v1/keys", key)).await["key"]["id"]);
    let made = world.done("dev", &post("/v1/data-keys/generate", json!({ "key": key }))).await;
    world.done("dev", &post("/v1/data-keys/unwrap", json!({ "wrapped": made["wrapped"] }))).await;
    world.done("dev", &post(&format!("/v1/keys/{key}/rotate"), json!({}))).await;
    // No wrapping for production with it, and no production for them.
    let generate = post("/v1/data-keys/generate", json!({ "key": key }));
    assert_eq!(code(&world.ask("storage", &generate).await), refused(403, "not_permitted"));
    let created = world.create_key("records").await;
    let production = text(&created["key"]["id"]);
    for (ask, status) in [
        (post("/v1/data-keys/generate", json!({ "key": production })), 403),
        (post("/v1/keys", json!({ "data_class": "records" })), 403),
        (post(&format!("/v1/keys/{production}/rotate"), json!({})), 404),
        (post(&format!("/v1/keys/{production}/revoke"), json!({ "reason": "no" })), 404),
        (Ask::new("GET", &format!("/v1/keys/{production}")), 404),
        (Ask::new("GET", "/v1/principals"), 403),
        (post("/v1/principals", json!({ "name": "eve", "kind": "user" })), 403),
    ] {
        assert_eq!(code(&world.ask("dev", &ask).await).0, status, "{ask:?}");
    }
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rehearses_never_reaches_production_keys() {
    let rehearsing = |name, roles: &[Role]| Newcomer {
        environment: Environment::Test,
        ..Newcomer::new(name, PrincipalKind::Service, roles)
    };
    let people = vec![
        rehearsing("test-storage", &[Role::Wrapper, Role::Unwrapper, Role::Rewrapper]),
        rehearsing("test-admin", &[Role::KeyAdmin, Role::Auditor]),
    ];
    let mut world = World::start(Backend::Sqlite, false, people).await;
    let production = text(&world.create_key("records").await["key"]["id"]);
    let made = world.done("storage", &post("/v1/data-keys/generate", json!({ "key": production }))).await;
    let rehearsed = json!({ "data_class": "records", "environment": "test" });
    let test = text(&world.done("test-admin", &post("/v1/keys", rehearsed)).await["key"]["id"]);
    let own = world.done("test-storage", &post("/v1/data-keys/generate", json!({ "key": test }))).await;
    world.done("test-storage", &post("/v1/data-keys/unwrap", json!({ "wrapped": own["wrapped"] }))).await;
    let denied = refused(403, "not_permitted");
    for ask in [
        post("/v1/data-keys/generate", json!({ "key": production })),
        post("/v1/data-keys/wrap", json!({ "key": production, "plaintext": "AA==" })),
        post("/v1/data-keys/unwrap", json!({ "wrapped": made["wrapped"] })),
        post("/v1/data-keys/rewrap", json!({ "wrapped": made["wrapped"] })),
        post("/v1/data-keys/transfer", json!({ "wrapped": made["wrapped"], "target_key": test })),
        post("/v1/data-keys/transfer", json!({ "wrapped": own["wrapped"], "target_key": production })),
    ] {
        assert_eq!(code(&world.ask("test-storage", &ask).await), denied, "{ask:?}");
    }
    for ask in [
        post(&format!("/v1/keys/{production}/rotate"), json!({})),
        post(&format!("/v1/keys/{production}/disable"), json!({ "reason": "no" })),
        Ask::new("GET", &format!("/v1/keys/{production}")),
    ] {
        assert_eq!(code(&world.ask("test-admin", &ask).await), refused(404, "not_found"), "{ask:?}");
    }
    for ask in [
        post("/v1/keys", json!({ "data_class": "records" })),
        post("/v1/principals", json!({ "name": "eve", "kind": "user" })),
        post("/v1/audit/search", json!({})),
    ] {
        assert_eq!(code(&world.ask("test-admin", &ask).await), denied, "{ask:?}");
    }
    let listed = world.done("test-admin", &Ask::new("GET", "/v1/keys")).await;
    let listed: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|key| text(&key["id"])).collect();
    assert_eq!(listed, [test.as_str()]);
    // Nor does production use the keys of rehearsals.
    let generate = post("/v1/data-keys/generate", json!({ "key": test }));
    assert_eq!(code(&world.ask("storage", &generate).await), denied);
    world.kms.stop().await;
}

/// The region is part of a key: on a node elsewhere it can be read about, disabled and revoked, and nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_region_are_not_used() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("here", "records").await;
    let ask = |ask: Ask, token: String| ask.token(&token);
    let elsewhere = post("/v1/keys", json!({ "data_class": "records", "region": "us-test-9" }));
    assert_eq!(code(&kms.ask(&ask(elsewhere, kms.token("ada"))).await), refused(403, "not_permitted"));
    let generate = post("/v1/data-keys/generate", json!({ "key": key }));
    let made = kms.ask(&ask(generate.clone(), kms.token("storage"))).await.json();

    let mut stopped = kms.stop().await;
    stopped.config.region = "us-test-9".parse().unwrap();
    let kms = stopped.start_again().await.unwrap();
    for use_of_it in [
        generate,
        post("/v1/data-keys/wrap", json!({ "key": key, "plaintext": "AA==" })),
        post("/v1/data-keys/unwrap", json!({ "wrapped": made["wrapped"] })),
        post("/v1/data-keys/rewrap", json!({ "wrapped": made["wrapped"] })),
        post("/v1/data-keys/transfer", json!({ "wrapped": made["wrapped"], "target_context": { "a": "b" } })),
    ] {
        let reply = kms.ask(&ask(use_of_it.clone(), kms.token("storage"))).await;
        assert_eq!(code(&reply), refused(403, "not_permitted"), "{use_of_it:?}");
        let search = post("/v1/audit/search", json!({ "request": reply.request() }));
        let records = kms.ask(&ask(search, kms.token("audrey"))).await.json();
        assert_eq!(records["records"][0]["reason"], "guard.region", "{records}");
        assert_eq!(records["records"][0]["region"], "us-test-9");
    }
    let rotate = post(&format!("/v1/keys/{key}/rotate"), json!({}));
    assert_eq!(code(&kms.ask(&ask(rotate, kms.token("ada"))).await), refused(403, "not_permitted"));
    let revoke = post(&format!("/v1/keys/{key}/revoke"), json!({ "reason": "cut" }));
    assert_eq!(kms.ask(&ask(revoke, kms.token("ada"))).await.status, 200);
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contractor_has_an_end_a_sponsor_and_a_purpose() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let created = world.create_key("records").await;
    let key = text(&created["key"]["id"]);
    for (name, kind, person) in [
        ("con", "contractor", "con"),
        ("other-con", "contractor", "other-con"),
        ("sam", "user", "sam"),
        ("gone", "user", "gone"),
        ("con-staff", "user", "con"),
    ] {
        let principal = json!({ "name": name, "kind": kind, "person": person });
        world.done("ada", &post("/v1/principals", principal)).await;
    }
    world.done("ada", &post("/v1/principals/gone/suspend", json!({ "reason": "left" }))).await;
    let until = world.kms.clock.now() + Duration::from_hours(1);
    let good = json!({
        "principal": "con", "role": "wrapper", "scope": { "key": key },
        "until": until.to_string(), "sponsor": "sam", "purpose": "migration",
    });
    let before = world.revision().await;
    for (field, value) in [
        ("until", Value::Null),
        ("sponsor", Value::Null),
        ("purpose", Value::Null),
        ("purpose", json!("")),
        ("sponsor", json!("other-con")),
        ("sponsor", json!("storage")),
        ("sponsor", json!("gone")),
        ("sponsor", json!("con")),
        // The same person by another account answers for nobody.
        ("sponsor", json!("con-staff")),
        ("sponsor", json!("nobody")),
        ("until", json!("2020-01-01T00:00:00Z")),
    ] {
        let mut binding = good.clone();
        if value.is_null() {
            binding.as_object_mut().unwrap().remove(field);
        } else {
            binding[field] = value.clone();
        }
        let reply = world.ask("ada", &post("/v1/bindings", binding)).await;
        assert_eq!(code(&reply), refused(400, "invalid_request"), "{field}: {value}");
    }
    assert_eq!(world.revision().await, before);
    let bound = world.done("ada", &post("/v1/bindings", good)).await;
    assert_eq!((&bound["binding"]["purpose"], bound["binding"]["sponsor"].is_string()), (&json!("migration"), true));
    world.kms.stop().await;
}

/// Nobody does anything at the end of a binding, or at its beginning: time does.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_begins_and_ends_by_itself() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let key = text(&world.create_key("imaging").await["key"]["id"]);
    let now = world.kms.clock.now();
    let (from, until) = (now + Duration::from_mins(10), now + Duration::from_mins(20));
    let binding = json!({
        "principal": "stranger", "role": "wrapper", "scope": { "key": key },
        "from": from.to_string(), "until": until.to_string(),
    });
    world.done("ada", &post("/v1/bindings", binding)).await;
    let generate = post("/v1/data-keys/generate", json!({ "key": key }));
    let denied = refused(403, "not_permitted");
    assert_eq!(code(&world.ask("stranger", &generate).await), denied);
    let revision = world.revision().await;
    world.kms.advance(Duration::from_secs(590)).await;
    assert_eq!(code(&world.ask("stranger", &generate).await), denied);
    world.kms.advance(Duration::from_secs(20)).await;
    assert_eq!(world.ask("stranger", &generate).await.status, 200);
    assert_eq!(world.done("stranger", &Ask::new("GET", "/v1/whoami")).await["bindings"].as_array().unwrap().len(), 1);
    world.kms.advance(Duration::from_secs(580)).await;
    assert_eq!(world.ask("stranger", &generate).await.status, 200);
    // A wall clock that jumps lengthens nothing.
    world.kms.clock.jump(-86_400_000);
    world.kms.advance(Duration::from_secs(20)).await;
    assert_eq!(code(&world.ask("stranger", &generate).await), denied);
    assert_eq!(world.done("stranger", &Ask::new("GET", "/v1/whoami")).await["bindings"], json!([]));
    assert_eq!(world.revision().await, revision);
    world.kms.stop().await;
}

/// The two founders who administer: an edit that leaves one of them is refused, a suspension never is.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_leaves_two_administrators() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let ben = world.done("ada", &Ask::new("GET", "/v1/principals/ben")).await;
    let bindings = world.done("ada", &Ask::new("GET", "/v1/bindings?principal=ben")).await;
    let binding = text(&bindings["bindings"][0]["id"]);
    let credentials: Vec<_> =
        ben["principal"]["credentials"].as_array().unwrap().iter().map(|each| text(&each["id"])).collect();
    let last = refused(409, "last_administrators");
    let end = post(&format!("/v1/bindings/{binding}/end"), json!({ "reason": "moved" }));
    let before = world.revision().await;
    for who in ["ada", "ben", "olaf"] {
        assert_eq!(code(&world.ask(who, &end).await), last, "{who}");
    }
    assert_eq!(world.revision().await, before);
    // One way to prove who one is may go, the last may not.
    let remove = |credential: &str| Ask::new("DELETE", &format!("/v1/principals/ben/credentials/{credential}"));
    world.done("ada", &remove(&credentials[0])).await;
    assert_eq!(code(&world.ask("ada", &remove(&credentials[1])).await), last);
    // Nor may the anchor behind it.
    let anchors = world.done("ada", &Ask::new("GET", "/v1/trust/client-cas")).await;
    let clinic = anchors["client_cas"].as_array().unwrap().iter().find(|ca| ca["name"] == "clinic").unwrap();
    let cut = Ask::new("DELETE", &format!("/v1/trust/client-cas/{}", text(&clinic["id"])));
    assert_eq!(code(&world.ask("ada", &cut).await), last);
    // A cut of a person is never refused for that, and reinstating takes two.
    world.done("olaf", &post("/v1/principals/ben/suspend", json!({ "reason": "left" }))).await;
    assert_eq!(world.ask("ben", &Ask::new("GET", "/v1/whoami")).await.status, 401);
    let back = post("/v1/principals/ben/reinstate", json!({ "reason": "back" }));
    assert_eq!(code(&world.ask("ada", &back).await), refused(403, "approval_required"));
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_when_one_person_runs_it_alone() {
    for solo in [false, true] {
        let kms = TestKms::start_with(Backend::Sqlite, solo, "").await;
        for who in ["ada", "stranger"] {
            let me = kms.ask(&Ask::new("GET", "/v1/whoami").token(&kms.token(who))).await.json();
            assert_eq!(me["solo"], solo);
            assert_eq!(me["principal"]["name"], who);
        }
        kms.stop().await;
    }
}

/// Not by a batch, not by a detour: whatever an administrator tries, no data key comes out.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_gets_no_data_key() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let key = text(&world.create_key("records").await["key"]["id"]);
    let made = world.done("storage", &post("/v1/data-keys/generate", json!({ "key": key }))).await;
    let own = json!({ "data_class": "records", "environment": "development" });
    let own = text(&world.done("ada", &post("/v1/keys", own)).await["key"]["id"]);
    for who in ["ada", "ben"] {
        for ask in [
            post("/v1/data-keys/unwrap", json!({ "wrapped": made["wrapped"] })),
            post("/v1/data-keys/unwrap/batch", json!({ "items": [{ "wrapped": made["wrapped"] }] })),
            post("/v1/data-keys/rewrap", json!({ "wrapped": made["wrapped"] })),
            post("/v1/data-keys/transfer", json!({ "wrapped": made["wrapped"], "target_key": own })),
            post("/v1/data-keys/generate", json!({ "key": key })),
            post("/v1/data-keys/generate", json!({ "key": own })),
        ] {
            let reply = world.ask(who, &ask).await;
            assert_eq!(code(&reply), refused(403, "not_permitted"), "{ask:?}");
            assert!(!String::from_utf8_lossy(&reply.body).contains(&text(&made["plaintext"])));
        }
    }
    world.kms.stop().await;
}
