//! Custom policies and roles through the API: what they demand is demanded at once, what they break can be taken back, and
//! who may what can be asked without doing it.

use std::collections::BTreeSet;

use keyward_tests::{Ask, Backend, Reply, TestKms};
use kms_server::model::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::authorisation::{World, outcome, text};

const PHARMACY: &str = r#"forbid (principal in Team::"pharmacy", action == Action::"unwrap", resource)
unless {
    context.encryption_context.hasTag("data_group") &&
    context.encryption_context.getTag("data_group") == "prescription"
};"#;

fn post(path: &str, body: Value) -> Ask {
    Ask::new("POST", path).json(body)
}

fn put(name: &str, text: &str) -> Ask {
    Ask::new("PUT", &format!("/v1/policies/{name}")).json(json!({ "text": text }))
}

fn code(reply: &Reply) -> (u16, String) {
    let (status, code) = outcome(reply);
    (status, code.unwrap_or_default())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A key of class `records`, and a data key under it with this context.
async fn wrapped(world: &mut World, key: &str, context: &Value) -> String {
    let generate = post("/v1/data-keys/generate", json!({ "key": key, "context": context }));
    text(&world.done("storage", &generate).await["wrapped"])
}

fn unwrap(wrapped: &str, context: &Value) -> Ask {
    post("/v1/data-keys/unwrap", json!({ "wrapped": wrapped, "context": context }))
}

async fn a_pharmacy(backend: Backend) {
    let mut world = World::start(backend, false, Vec::new()).await;
    let key = text(&world.create_key("records").await["key"]["id"]);
    world.done("ada", &Ask::new("PATCH", "/v1/principals/storage").json(json!({ "team": "pharmacy" }))).await;
    let (prescription, imaging) = (json!({ "data_group": "prescription" }), json!({ "data_group": "imaging" }));
    let (good, bad) = (wrapped(&mut world, &key, &prescription).await, wrapped(&mut world, &key, &imaging).await);
    world.done("storage", &unwrap(&bad, &imaging)).await;

    let made = world.done("ada", &put("pharmacy", PHARMACY)).await;
    assert_eq!((&made["policy"]["version"], &made["policy"]["in_force"]), (&json!(1), &json!(true)));
    assert!(made["receipt"]["nodes"][0]["outcome"] == "acknowledged", "{made}");
    world.done("storage", &unwrap(&good, &prescription)).await;
    let reply = world.ask("storage", &unwrap(&bad, &imaging)).await;
    assert_eq!(code(&reply), refused(403, "not_permitted"));
    let records = world.records(&reply.request()).await;
    assert_eq!(records[0]["reason"], "forbidden_by_policy", "{records:?}");
    assert_eq!(records[0]["policies"], json!(["custom.pharmacy"]), "{records:?}");
    // Nor by taking the data key out to another context.
    let moved = json!({ "wrapped": bad, "context": imaging, "target_context": prescription });
    assert_eq!(code(&world.ask("storage", &post("/v1/data-keys/transfer", moved)).await).0, 403);

    // Gone as soon as it came.
    world.done("ada", &Ask::new("DELETE", "/v1/policies/pharmacy")).await;
    world.done("storage", &unwrap(&bad, &imaging)).await;

    // Put again it is the next version, and the first can still be read.
    let second = format!("{PHARMACY}\n// the second\n");
    assert_eq!(world.done("ben", &put("pharmacy", &second)).await["policy"]["version"], 2);
    let shown = world.done("audrey", &Ask::new("GET", "/v1/policies/pharmacy?version=1")).await;
    assert_eq!((&shown["policy"]["text"], &shown["policy"]["in_force"]), (&json!(PHARMACY), &json!(false)));
    assert_eq!(world.done("audrey", &Ask::new("GET", "/v1/policies/pharmacy")).await["policy"]["text"], second);
    let missing = world.ask("audrey", &Ask::new("GET", "/v1/policies/pharmacy?version=3")).await;
    assert_eq!(code(&missing), refused(404, "not_found"));
    let listed = world.done("audrey", &Ask::new("GET", "/v1/policies")).await;
    assert_eq!(listed["policies"][0]["name"], "pharmacy", "{listed}");
    assert_eq!(code(&world.ask("storage", &unwrap(&bad, &imaging)).await), refused(403, "not_permitted"));

    // It is still in force after a restart.
    let World { kms, .. } = world;
    let kms = kms.restart().await;
    let reply = kms.ask(&unwrap(&bad, &imaging).token(&kms.token("storage"))).await;
    assert_eq!(code(&reply), refused(403, "not_permitted"));
    kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pharmacy_reads_prescriptions_only_on_sqlite() {
    a_pharmacy(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pharmacy_reads_prescriptions_only_on_postgres() {
    a_pharmacy(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_factors_are_demanded() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let elsewhere = r#"forbid (principal, action == Action::"random", resource)
        unless { context has source && context.source.isInRange(ip("10.0.0.0/8")) };"#;
    let random = post("/v1/random", json!({}));
    world.done("storage", &random).await;
    world.done("ada", &put("network", elsewhere)).await;
    assert_eq!(code(&world.ask("storage", &random).await), refused(403, "not_permitted"));
    world.done("ada", &put("network", &elsewhere.replace("10.0.0.0/8", "127.0.0.0/8"))).await;
    world.done("storage", &random).await;

    let factors = r#"forbid (principal, action == Action::"create_key", resource) unless { context.mfa };"#;
    world.done("ada", &put("factors", factors)).await;
    let create = post("/v1/keys", json!({ "data_class": "records" }));
    // A certificate says nothing of factors, and a token what its issuer puts into it.
    assert_eq!(code(&world.ask("ada", &create).await), refused(403, "not_permitted"));
    let claims = |amr: Value| {
        let claims = world.kms.identities.claims("ada", SystemClock.now());
        let mut claims = serde_json::to_value(&claims).unwrap();
        claims["amr"] = amr;
        world.kms.identities.token(&claims)
    };
    for (amr, expected) in [(json!(["pwd"]), 403), (json!(["pwd", "mfa"]), 200)] {
        let reply = world.kms.ask(&create.clone().token(&claims(amr))).await;
        assert_eq!(reply.status, expected, "{reply:?}");
    }
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_is_refused_whole_and_says_where() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let before = world.revision().await;
    for (policy, place, words) in [
        ("permit (principal, action, resource", "line 1, column 36", "unexpected end"),
        ("\n  permit (principal, action, resource);", "line 2, column 3", "name the actions"),
        (r#"forbid (principal, action == Action::"remove_policy", resource);"#, "line 1", "cannot be forbidden"),
        (
            r#"permit (principal in Team::"a", action == Action::"create_key", resource);"#,
            "line 1",
            "data actions only",
        ),
        (r#"forbid (principal == Principal::"storage", action == Action::"wrap", resource);"#, "line 1", "by id"),
        (&"//".repeat(40_000), "", "65536 bytes"),
    ] {
        let reply = world.ask("ada", &put("bad", policy)).await;
        let detail = text(&reply.json()["detail"]);
        assert_eq!(reply.status, 400, "{detail}");
        assert!(detail.contains(place) && detail.contains(words), "{detail}");
    }
    assert_eq!(world.revision().await, before);
    let validate = |text: &str| post("/v1/policies/validate", json!({ "text": text }));
    let twice = "permit (principal, action, resource);\nforbid (principal, action, resource);";
    let answer = world.done("audrey", &validate(twice)).await;
    assert_eq!(answer["valid"], false);
    assert_eq!((&answer["faults"][1]["line"], &answer["faults"][1]["column"]), (&json!(2), &json!(1)), "{answer}");
    let answer = world.done("audrey", &validate(PHARMACY)).await;
    assert_eq!(answer["valid"], true);
    assert_eq!(answer["statements"][0]["looks_at"], json!(["encryption_context"]), "{answer}");
    assert_eq!(answer["statements"][0]["actions"], json!(["unwrap", "transfer_from"]), "{answer}");
    assert_eq!(world.revision().await, before);
    world.kms.stop().await;
}

/// The worst that a custom policy can do to administrators leaves them the way back.
#[tokio::test(flavor = "multi_thread")]
async fn what_locks_out_can_be_taken_back() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let locked = r#"forbid (principal, action in [
        Action::"create_principal", Action::"create_binding", Action::"add_credential", Action::"list_principals",
        Action::"describe_principal", Action::"reinstate_principal", Action::"validate_policy"
    ], resource);"#;
    world.done("ada", &put("lock", locked)).await;
    let create = post("/v1/principals", json!({ "name": "new", "kind": "user" }));
    assert_eq!(code(&world.ask("ben", &create).await), refused(403, "not_permitted"));
    world.done("olaf", &post("/v1/principals/stranger/suspend", json!({ "reason": "test" }))).await;
    world.done("ben", &Ask::new("DELETE", "/v1/policies/lock")).await;
    world.done("ben", &create).await;
    // Whoever administers gains nothing by a policy of their own.
    let key = text(&world.create_key("records").await["key"]["id"]);
    let me = text(&world.done("ada", &Ask::new("GET", "/v1/whoami")).await["principal"]["id"]);
    let greedy = format!(r#"permit (principal == Principal::"{me}", action in Action::"data", resource);"#);
    world.done("ada", &put("greedy", &greedy)).await;
    let reply = world.ask("ada", &post("/v1/data-keys/generate", json!({ "key": key }))).await;
    assert_eq!(code(&reply), refused(403, "not_permitted"));
    let records = world.records(&reply.request()).await;
    assert_eq!(records[0]["reason"], "guard.separation_of_duties", "{records:?}");
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_roles_count_at_once() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let key = text(&world.create_key("imaging").await["key"]["id"]);
    let role = json!({ "name": "archivist", "actions": ["generate", "describe_key"], "description": "the archive's" });
    world.done("ada", &post("/v1/roles", role.clone())).await;
    let generate = post("/v1/data-keys/generate", json!({ "key": key }));
    assert_eq!(code(&world.ask("stranger", &generate).await), refused(403, "not_permitted"));
    let bind = json!({ "principal": "stranger", "role": "archivist", "scope": { "data_class": "imaging" } });
    let bound = world.done("ada", &post("/v1/bindings", bind.clone())).await;
    assert_eq!(bound["binding"]["role"], "archivist");
    let reply = world.ask("stranger", &generate).await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.records(&reply.request()).await[0]["policies"], json!(["role.archivist"]));
    let described = world.done("storage", &Ask::new("GET", "/v1/roles/archivist")).await;
    assert_eq!(
        (&described["role"]["built_in"], &described["role"]["description"]),
        (&json!(false), &json!("the archive's"))
    );

    let update = |actions: Value| Ask::new("PATCH", "/v1/roles/archivist").json(json!({ "actions": actions }));
    world.done("ada", &update(json!(["describe_key"]))).await;
    assert_eq!(code(&world.ask("stranger", &generate).await), refused(403, "not_permitted"));
    world.done("ada", &update(json!(["generate"]))).await;
    world.done("stranger", &generate).await;

    // Still bound, so it stays; ended, it goes, and its name with it.
    let remove = Ask::new("DELETE", "/v1/roles/archivist");
    assert_eq!(code(&world.ask("ada", &remove).await), refused(409, "in_use"));
    let end = format!("/v1/bindings/{}/end", text(&bound["binding"]["id"]));
    world.done("ada", &post(&end, json!({ "reason": "test" }))).await;
    world.done("ada", &remove).await;
    assert_eq!(code(&world.ask("ada", &post("/v1/roles", role)).await), refused(409, "already_exists"));
    assert_eq!(code(&world.ask("ada", &post("/v1/bindings", bind)).await), refused(400, "invalid_request"));

    for (name, actions, expected) in [
        ("wrapper", json!(["wrap"]), refused(409, "already_exists")),
        ("custom", json!(["wrap"]), refused(409, "already_exists")),
        ("too-much", json!(["wrap", "create_key"]), refused(400, "invalid_request")),
        ("too-little", json!([]), refused(400, "invalid_request")),
        ("unknown", json!(["fly"]), refused(400, "invalid_request")),
    ] {
        let reply = world.ask("ada", &post("/v1/roles", json!({ "name": name, "actions": actions }))).await;
        assert_eq!(code(&reply), expected, "{name}");
    }
    // Nobody both administers and uses, by a custom role neither.
    world.done("ada", &post("/v1/roles", json!({ "name": "user", "actions": ["wrap"] }))).await;
    world.done("ada", &post("/v1/roles", json!({ "name": "reader", "actions": ["describe_key"] }))).await;
    let bind = |role: &str| post("/v1/bindings", json!({ "principal": "ben", "role": role, "scope": "all" }));
    assert_eq!(code(&world.ask("ada", &bind("user")).await), refused(409, "separation_of_duties"));
    world.done("ada", &bind("reader")).await;
    let widen = Ask::new("PATCH", "/v1/roles/reader").json(json!({ "actions": ["describe_key", "wrap"] }));
    assert_eq!(code(&world.ask("ada", &widen).await), refused(409, "separation_of_duties"));
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_explained_without_being_done() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let key = text(&world.create_key("records").await["key"]["id"]);
    let explain = |more: Value| {
        let mut body = json!({ "action": "unwrap", "key": key });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post("/v1/explain", body)
    };
    let own = world.done("storage", &explain(json!({}))).await;
    assert_eq!((&own["decision"], &own["policies"]), (&json!("allowed"), &json!(["role.unwrapper"])), "{own}");
    assert_eq!(own["bindings"][0]["role"], "unwrapper", "{own}");
    assert_eq!(own["key"]["state"], "enabled");

    // What depends on circumstances says on which; given, it is decided.
    world.done("ada", &Ask::new("PATCH", "/v1/principals/storage").json(json!({ "team": "pharmacy" }))).await;
    world.done("ada", &put("pharmacy", PHARMACY)).await;
    let open = world.done("audrey", &explain(json!({ "principal": "storage" }))).await;
    assert_eq!(
        (&open["decision"], &open["depends_on"]),
        (&json!("conditional"), &json!(["encryption_context"])),
        "{open}"
    );
    for (group, decision) in [("prescription", "allowed"), ("imaging", "denied")] {
        let asked = explain(json!({ "principal": "storage", "context": { "data_group": group } }));
        let answer = world.done("audrey", &asked).await;
        assert_eq!(answer["decision"], decision, "{answer}");
        assert!(decision == "allowed" || answer["policies"] == json!(["custom.pharmacy"]), "{answer}");
    }
    // A guard, with its name; and a state that stands in the way of what is permitted.
    let answer = world.done("audrey", &explain(json!({ "principal": "ada" }))).await;
    assert_eq!((&answer["decision"], &answer["reason"]), (&json!("denied"), &json!("guard.separation_of_duties")));
    world.done("ada", &post(&format!("/v1/keys/{key}/disable"), json!({ "reason": "test" }))).await;
    let answer = world.done("storage", &explain(json!({ "context": { "data_group": "prescription" } }))).await;
    assert_eq!(
        (&answer["decision"], &answer["key"]["obstacle"]),
        (&json!("allowed"), &json!("key_disabled")),
        "{answer}"
    );

    // Of a key that one may not describe one learns as little as of none.
    let mut nothing = world.done("stranger", &explain(json!({}))).await;
    let unknown = json!({ "action": "unwrap", "key": "01890000-0000-7000-8000-000000000000" });
    let mut unknown = world.done("stranger", &post("/v1/explain", unknown)).await;
    for answer in [&mut nothing, &mut unknown] {
        assert_eq!((&answer["decision"], &answer["key"]), (&json!("denied"), &Value::Null), "{answer}");
        answer.as_object_mut().unwrap().remove("record");
    }
    assert_eq!(nothing, unknown);
    let new_key = json!({ "action": "create_key", "new_key": { "data_class": "records" }, "principal": "storage" });
    assert_eq!(world.done("ada", &post("/v1/explain", new_key)).await["decision"], "denied");
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_is_listed_in_pages() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    let key = text(&world.create_key("records").await["key"]["id"]);
    world.done("ada", &Ask::new("PATCH", "/v1/principals/stranger").json(json!({ "team": "archive" }))).await;
    let permit = r#"permit (principal in Team::"archive", action == Action::"unwrap", resource) when { context.mfa };"#;
    world.done("ada", &put("archive", permit)).await;
    let first = world.done("audrey", &Ask::new("GET", &format!("/v1/keys/{key}/access?action=unwrap&limit=1"))).await;
    let cursor = text(&first["next_cursor"]);
    let path = format!("/v1/keys/{key}/access?action=unwrap&limit=1&cursor={cursor}");
    let second = world.done("audrey", &Ask::new("GET", &path)).await;
    assert!(second["next_cursor"].is_null(), "{second}");
    let mut found: Vec<_> = [&first["access"][0], &second["access"][0]].map(Value::clone).to_vec();
    found.sort_by_key(|access| text(&access["name"]));
    assert_eq!((&found[0]["name"], &found[0]["decision"]), (&json!("storage"), &json!("allowed")));
    assert_eq!(found[0]["bindings"][0]["role"], "unwrapper");
    assert_eq!((&found[1]["name"], &found[1]["decision"]), (&json!("stranger"), &json!("conditional")));
    assert_eq!((&found[1]["depends_on"], &found[1]["policies"]), (&json!(["mfa"]), &json!(["custom.archive"])));
    // Whoever is suspended cannot.
    world.done("olaf", &post("/v1/principals/storage/suspend", json!({ "reason": "test" }))).await;
    let left = world.done("audrey", &Ask::new("GET", &format!("/v1/keys/{key}/access?action=unwrap"))).await;
    let names: BTreeSet<_> = left["access"].as_array().unwrap().iter().map(|access| text(&access["name"])).collect();
    assert_eq!(names, ["stranger".to_owned()].into());
    let wrong = world.ask("audrey", &Ask::new("GET", &format!("/v1/keys/{key}/access?action=list_keys"))).await;
    assert_eq!(code(&wrong), refused(400, "invalid_request"));
    world.kms.stop().await;
}

/// A policy that was put while a data operation's record was being written counts for that operation.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_cuts_like_every_control_change() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let key = kms.usable_key("records", "clinical").await;
    let storage = kms.client("storage");
    let generate = keyward_tests::from(json!({ "key": key }));
    storage.generate_data_key(&generate).await.unwrap();
    let forbid = r#"forbid (principal, action in Action::"data", resource);"#;
    let request = keyward_tests::from(json!({ "text": forbid }));
    kms.client("ada").put_policy(&"stop".parse().unwrap(), &request).await.unwrap();
    storage.generate_data_key(&generate).await.unwrap_err();
    kms.client("ada").remove_policy(&"stop".parse().unwrap()).await.unwrap();
    storage.generate_data_key(&generate).await.unwrap();
    kms.stop().await;
}

async fn a_preview(backend: Backend) {
    let mut world = World::start(backend, false, Vec::new()).await;
    let key = text(&world.create_key("records").await["key"]["id"]);
    world.done("ada", &Ask::new("PATCH", "/v1/principals/storage").json(json!({ "team": "pharmacy" }))).await;
    let (none, imaging) = (json!({}), json!({ "data_group": "imaging" }));
    for context in [&none, &imaging] {
        let wrapped = wrapped(&mut world, &key, context).await;
        world.done("storage", &unwrap(&wrapped, context)).await;
    }
    let before = world.revision().await;
    let preview = |change: Value| post("/v1/changes/preview", json!({ "change": change }));

    // What says nothing of itself would have been refused; what says something, the log does not know.
    let put_it = preview(json!({ "type": "put_policy", "name": "pharmacy", "text": PHARMACY }));
    let seen = world.done("audrey", &put_it).await;
    let past = &seen["past"];
    assert_eq!(
        (&past["examined"], &past["refused"], &past["undetermined"]),
        (&json!(4), &json!(1), &json!(1)),
        "{seen}"
    );
    assert_eq!(
        (&past["by"][0]["action"], &past["by"][0]["count"], &past["by"][0]["key"]),
        (&json!("unwrap"), &json!(1), &json!(key))
    );
    let unwraps: Vec<_> =
        seen["effects"].as_array().unwrap().iter().filter(|effect| effect["action"] == "unwrap").collect();
    assert_eq!(unwraps.len(), 1, "{seen}");
    assert_eq!((&unwraps[0]["name"], &unwraps[0]["key"]), (&json!("storage"), &json!(key)));
    assert_eq!((&unwraps[0]["before"], &unwraps[0]["after"]), (&json!("allowed"), &json!("conditional")));

    let disabled = world.done("audrey", &preview(json!({ "type": "disable_key", "key": key }))).await;
    assert_eq!(disabled["past"]["refused"], 4, "{disabled}");
    assert_eq!(disabled["effects_total"], 7, "{disabled}");
    let suspended =
        world.done("audrey", &preview(json!({ "type": "suspend_principal", "principal": "storage" }))).await;
    assert_eq!(suspended["past"]["refused"], 4, "{suspended}");
    let names: BTreeSet<_> =
        suspended["effects"].as_array().unwrap().iter().map(|effect| text(&effect["name"])).collect();
    assert_eq!(names, ["storage".to_owned()].into());
    let gains = json!({ "principal": "stranger", "role": "wrapper", "scope": { "key": key } });
    let gained = world.done("audrey", &preview(json!({ "type": "create_binding", "binding": gains }))).await;
    let gained = gained["effects"].as_array().unwrap();
    assert!(gained.iter().all(|effect| effect["name"] == "stranger" && effect["before"] == "denied"), "{gained:?}");
    assert!(gained.iter().any(|effect| effect["action"] == "wrap" && effect["key"] == key), "{gained:?}");

    // What could not be done cannot be previewed, and nothing was done.
    let bad = preview(json!({ "type": "put_policy", "name": "bad", "text": "permit" }));
    assert_eq!(code(&world.ask("ada", &bad).await), refused(400, "invalid_policy"));
    let far = json!({ "change": { "type": "disable_key", "key": key }, "days": 91 });
    assert_eq!(code(&world.ask("ada", &post("/v1/changes/preview", far)).await), refused(400, "invalid_request"));
    assert_eq!(world.revision().await, before);
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_a_change_would_do_on_sqlite() {
    a_preview(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_a_change_would_do_on_postgres() {
    a_preview(Backend::Postgres).await;
}
