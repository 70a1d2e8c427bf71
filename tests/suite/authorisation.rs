//! The authorisation table: every operation of the OpenAPI document, asked by nobody, by those who must not and by one who
//! may; and the record that each call left.
//!
//! A row names what stands in the path and body by placeholders, which [`World::make`] fills in anew for each row. Refused
//! calls come first, all on the same things, and change nothing.

use std::collections::{BTreeMap, BTreeSet};

use keyward_tests::{Ask, Backend, Connection, Identities, Newcomer, Reply, TestKms, Trust};
use kms_client::id::{ClientCaId, IssuerId};
use kms_server::model::{Clock as _, Ids, JwksSource, Operation, SystemClock};
use serde_json::{Value, json};

/// What a row needs to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Nothing,
    /// `{key}`, and `{other}` of the same class.
    Key,
    /// The same, disabled.
    DisabledKey,
    /// The same, with two versions.
    RotatedKey,
    /// A key and `{wrapped}` under it.
    Wrapped,
    /// `{principal}` with one `{credential}`, and a key.
    Principal,
    /// The same, suspended.
    SuspendedPrincipal,
    /// The same, with one `{binding}`.
    Binding,
    /// `{change}`.
    Change,
    /// `{record}`.
    Record,
}

/// One operation and who may ask for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Method and path as the document has them.
    pub(crate) call: &'static str,
    /// The body; none for an empty text.
    pub(crate) body: &'static str,
    /// What must be there.
    pub(crate) on: On,
    /// What its records call it.
    pub(crate) actions: &'static [&'static str],
    /// Who must not, and the status and code of the answer.
    refused: &'static [(&'static str, u16)],
    /// Who may; nobody where everybody may.
    right: &'static str,
    /// Whether it takes two persons.
    gated: bool,
}

const fn row(
    call: &'static str,
    body: &'static str,
    on: On,
    actions: &'static [&'static str],
    refused: &'static [(&'static str, u16)],
    right: &'static str,
) -> Row {
    Row { call, body, on, actions, refused, right, gated: false }
}

const fn gated(row: Row) -> Row {
    Row { gated: true, ..row }
}

/// Data operations: one answer for all who may not.
const DATA: &[(&str, u16)] = &[("stranger", 403), ("ada", 403), ("audrey", 403), ("olaf", 403)];
/// Changes of a key: `storage` and `audrey` may describe it, so they may know that it is there.
const KEY: &[(&str, u16)] = &[("stranger", 404), ("storage", 403), ("audrey", 403), ("olaf", 404)];
/// What only an administrator changes, with `audrey` and `olaf` able to describe it.
const PEOPLE: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403), ("olaf", 403)];
/// What an offboarder may do too.
const CUT: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403)];
/// Anchors, which `audrey` may list.
const ANCHOR: &[(&str, u16)] = &[("stranger", 404), ("storage", 404), ("audrey", 403), ("olaf", 404)];
/// What belongs to the installation as a whole: there is nothing to hide.
const WHOLE: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("audrey", 403), ("olaf", 403)];
const LIST: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("olaf", 403)];
const LIST_PEOPLE: &[(&str, u16)] = &[("stranger", 403), ("storage", 403)];
const AUDIT: &[(&str, u16)] = &[("stranger", 403), ("storage", 403), ("ada", 403), ("olaf", 403)];

const REASON: &str = r#"{"reason":"test"}"#;
const GENERATE: &str = r#"{"key":"{key}","context":{"a":"b"}}"#;
const GENERATE_WRAPPED: &str = r#"{"key":"{key}","plaintext":false}"#;
const WRAP: &str = r#"{"key":"{key}","plaintext":"AAECAw=="}"#;
const WRAPPED: &str = r#"{"wrapped":"{wrapped}"}"#;
const TRANSFER: &str = r#"{"wrapped":"{wrapped}","target_key":"{other}"}"#;
const ISSUER: &str = r#"{"issuer":"https://{fresh}.example","audiences":["keyward"],"jwks":{"inline":{key_set}}}"#;
const CLIENT_CA: &str = r#"{"name":"{fresh}","certificate_pem":{ca}}"#;
const CREDENTIAL: &str = r#"{"type":"certificate_fingerprint","sha256":"{fingerprint}"}"#;

/// Every operation there is.
pub(crate) const ROWS: &[Row] = &[
    row("GET /v1/openapi.json", "", On::Nothing, &[], &[], ""),
    row("GET /v1/whoami", "", On::Nothing, &["whoami"], &[], "stranger"),
    // Keys.
    row("POST /v1/keys", r#"{"data_class":"records","alias":"{fresh}"}"#, On::Nothing, &["create_key"], WHOLE, "ada"),
    row("GET /v1/keys", "", On::Key, &["list_keys"], &[("stranger", 403), ("olaf", 403)], "storage"),
    row("GET /v1/keys/{key}", "", On::Key, &["describe_key"], &[("stranger", 404), ("olaf", 404)], "storage"),
    row("PATCH /v1/keys/{key}", r#"{"description":"new"}"#, On::Key, &["update_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/rotate", "{}", On::Key, &["rotate_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/enable", "{}", On::DisabledKey, &["enable_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/disable", REASON, On::Key, &["disable_key"], KEY, "ada"),
    row("POST /v1/keys/{key}/revoke", REASON, On::Key, &["revoke_key"], KEY, "ada"),
    Row {
        call: "POST /v1/keys/{key}/versions/{version}/revoke",
        ..row("", REASON, On::RotatedKey, &["revoke_key_version"], KEY, "ada")
    },
    // Data keys.
    row("POST /v1/data-keys/generate", GENERATE, On::Key, &["generate"], DATA, "storage"),
    row("POST /v1/data-keys/generate", GENERATE_WRAPPED, On::Key, &["generate_without_plaintext"], DATA, "storage"),
    row("POST /v1/data-keys/generate/batch", GENERATE, On::Key, &["generate"], DATA, "storage"),
    row("POST /v1/data-keys/wrap", WRAP, On::Key, &["wrap"], DATA, "storage"),
    row("POST /v1/data-keys/wrap/batch", WRAP, On::Key, &["wrap"], DATA, "storage"),
    row("POST /v1/data-keys/unwrap", WRAPPED, On::Wrapped, &["unwrap"], DATA, "storage"),
    row("POST /v1/data-keys/unwrap/batch", WRAPPED, On::Wrapped, &["unwrap"], DATA, "storage"),
    row("POST /v1/data-keys/rewrap", WRAPPED, On::Wrapped, &["rewrap"], DATA, "storage"),
    row("POST /v1/data-keys/rewrap/batch", WRAPPED, On::Wrapped, &["rewrap"], DATA, "storage"),
    row("POST /v1/data-keys/transfer", TRANSFER, On::Wrapped, &["transfer_from", "transfer_to"], DATA, "storage"),
    row("POST /v1/data-keys/transfer/batch", TRANSFER, On::Wrapped, &["transfer_from", "transfer_to"], DATA, "storage"),
    row("POST /v1/random", "{}", On::Nothing, &["random"], DATA, "storage"),
    row("POST /v1/random/batch", "{}", On::Nothing, &["random"], DATA, "storage"),
    // Principals.
    row(
        "POST /v1/principals",
        r#"{"name":"{fresh}","kind":"service"}"#,
        On::Nothing,
        &["create_principal"],
        WHOLE,
        "ada",
    ),
    row("GET /v1/principals", "", On::Nothing, &["list_principals"], LIST_PEOPLE, "olaf"),
    row(
        "GET /v1/principals/{principal}",
        "",
        On::Principal,
        &["describe_principal"],
        &[("stranger", 404), ("storage", 404)],
        "olaf",
    ),
    row("PATCH /v1/principals/{principal}", r#"{"team":"t"}"#, On::Principal, &["update_principal"], PEOPLE, "ada"),
    row("POST /v1/principals/{principal}/suspend", REASON, On::Principal, &["suspend_principal"], CUT, "olaf"),
    gated(row(
        "POST /v1/principals/{principal}/reinstate",
        REASON,
        On::SuspendedPrincipal,
        &["reinstate_principal"],
        PEOPLE,
        "ada",
    )),
    row("POST /v1/principals/{principal}/credentials", CREDENTIAL, On::Principal, &["add_credential"], PEOPLE, "ada"),
    gated(Row {
        // Another proof for somebody who administers.
        actions: &["add_credential"],
        ..row("POST /v1/principals/{principal}/credentials", CREDENTIAL, On::Nothing, &[], PEOPLE, "ada")
    }),
    row(
        "DELETE /v1/principals/{principal}/credentials/{credential}",
        "",
        On::Principal,
        &["remove_credential"],
        CUT,
        "olaf",
    ),
    // Bindings.
    row(
        "POST /v1/bindings",
        r#"{"principal":"{principal}","role":"wrapper","scope":{"key":"{key}"}}"#,
        On::Principal,
        &["create_binding"],
        WHOLE,
        "ada",
    ),
    gated(row(
        "POST /v1/bindings",
        r#"{"principal":"{principal}","role":"offboarder","scope":"all"}"#,
        On::Principal,
        &["create_binding"],
        WHOLE,
        "ada",
    )),
    row("GET /v1/bindings", "", On::Nothing, &["list_bindings"], LIST_PEOPLE, "olaf"),
    row(
        "GET /v1/bindings/{binding}",
        "",
        On::Binding,
        &["describe_binding"],
        &[("stranger", 404), ("storage", 404)],
        "audrey",
    ),
    row("POST /v1/bindings/{binding}/end", REASON, On::Binding, &["end_binding"], CUT, "olaf"),
    row("GET /v1/roles", "", On::Nothing, &["list_roles"], LIST_PEOPLE, "olaf"),
    // Trust.
    gated(row("POST /v1/trust/issuers", ISSUER, On::Nothing, &["add_issuer"], WHOLE, "ada")),
    row("GET /v1/trust/issuers", "", On::Nothing, &["list_issuers"], LIST, "audrey"),
    row("DELETE /v1/trust/issuers/{issuer}", "", On::Nothing, &["remove_issuer"], ANCHOR, "ada"),
    gated(row("POST /v1/trust/client-cas", CLIENT_CA, On::Nothing, &["add_client_ca"], WHOLE, "ada")),
    row("GET /v1/trust/client-cas", "", On::Nothing, &["list_client_cas"], LIST, "audrey"),
    row("DELETE /v1/trust/client-cas/{client_ca}", "", On::Nothing, &["remove_client_ca"], ANCHOR, "ada"),
    // Changes and records.
    row("GET /v1/changes", "", On::Nothing, &["list_changes"], LIST, "audrey"),
    row("GET /v1/changes/{change}", "", On::Change, &["describe_change"], LIST, "audrey"),
    row("POST /v1/audit/search", r#"{"limit":1}"#, On::Nothing, &["search_audit"], AUDIT, "audrey"),
    row("GET /v1/audit/records/{record}", "", On::Record, &["search_audit"], AUDIT, "audrey"),
];

/// Somebody's answer, and what the log must say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    status: u16,
    code: Option<&'static str>,
    outcome: &'static str,
}

const ALLOWED: Expected = Expected { status: 200, code: None, outcome: "allowed" };
const ANONYMOUS: Expected = Expected { status: 401, code: Some("unauthenticated"), outcome: "denied" };
const TWO_PERSONS: Expected = Expected { status: 403, code: Some("approval_required"), outcome: "failed" };

const fn refusal(status: u16) -> Expected {
    let code = if status == 404 { "not_found" } else { "not_permitted" };
    Expected { status, code: Some(code), outcome: "denied" }
}

/// A server on which every row can be asked.
pub(crate) struct World {
    pub(crate) kms: TestKms,
    callers: BTreeMap<String, Connection>,
    anchors: Trust,
    fresh: u64,
}

/// What a row's placeholders stand for.
type Made = BTreeMap<&'static str, String>;

impl World {
    /// A server whose `storage` has every right on keys of class `records`, with an issuer and an authority to lose, and
    /// with these people besides the founders.
    pub(crate) async fn start(backend: Backend, solo: bool, people: Vec<Newcomer>) -> Self {
        let now = SystemClock.now();
        let anchors = Trust { issuer: IssuerId::new(Ids.fresh(now)), client_ca: ClientCaId::new(Ids.fresh(now)) };
        let partner = Identities::new();
        let kms = TestKms::start_with_founders(backend, solo, "", |trust| {
            let mut operations = vec![
                Operation::AddIssuer {
                    issuer: anchors.issuer,
                    iss: "https://login.partner.example".to_owned(),
                    audiences: vec!["keyward".to_owned()],
                    jwks: JwksSource::Inline(partner.key_set()),
                },
                Operation::AddClientCa {
                    client_ca: anchors.client_ca,
                    name: "partner".parse().unwrap(),
                    certificate_pem: partner.ca_pem.clone(),
                },
            ];
            operations.extend(people.into_iter().flat_map(|newcomer| newcomer.operations(trust, now)));
            operations
        })
        .await;
        let mut world = Self { kms, callers: BTreeMap::new(), anchors, fresh: 0 };
        for role in ["wrapper", "unwrapper", "rewrapper"] {
            let binding = json!({ "principal": "storage", "role": role, "scope": { "data_class": "records" } });
            world.done("ada", &Ask::new("POST", "/v1/bindings").json(binding)).await;
        }
        world
    }

    /// Asks as this founder, over its own kept connection and by its certificate.
    pub(crate) async fn ask(&mut self, who: &str, ask: &Ask) -> Reply {
        if let Some(connection) = self.callers.get_mut(who)
            && connection.is_open().await
        {
            return connection.ask(ask).await;
        }
        let mut connection = match who {
            "" => self.kms.connect(None).await,
            who => self.kms.connect(Some(&self.kms.certificate(who))).await,
        };
        let reply = connection.ask(ask).await;
        self.callers.insert(who.to_owned(), connection);
        reply
    }

    /// The same, where it must succeed.
    pub(crate) async fn done(&mut self, who: &str, ask: &Ask) -> Value {
        let reply = self.ask(who, ask).await;
        assert_eq!(reply.status, 200, "{ask:?}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// The call of a row on things of its own.
    pub(crate) async fn call(&mut self, row: &Row) -> Ask {
        let made = self.make(row).await;
        let fill = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &made {
                text = text.replace(&format!("{{{name}}}"), value);
            }
            text
        };
        let (method, path) = row.call.split_once(' ').unwrap();
        let ask = Ask::new(method, &fill(path));
        match row.body {
            "" => ask,
            body if path.ends_with("/batch") => ask.json(format!(r#"{{"items":[{}]}}"#, fill(body))),
            body => ask.json(fill(body)),
        }
    }

    /// The control revision that everybody is judged by.
    pub(crate) async fn revision(&mut self) -> u64 {
        self.done("ada", &Ask::new("GET", "/v1/whoami")).await["revision"].as_u64().unwrap()
    }

    /// The records that a request left.
    pub(crate) async fn records(&mut self, request: &str) -> Vec<Value> {
        let found =
            self.done("audrey", &Ask::new("POST", "/v1/audit/search").json(json!({ "request": request }))).await;
        found["records"].as_array().unwrap().clone()
    }

    async fn make(&mut self, row: &Row) -> Made {
        self.fresh += 1;
        let fresh = format!("fresh-{}", self.fresh);
        let mut made = Made::from([
            ("fingerprint", format!("{:064x}", self.fresh)),
            ("key_set", self.kms.identities.key_set()),
            ("ca", Value::from(self.kms.identities.ca_pem.clone()).to_string()),
            ("issuer", self.anchors.issuer.to_string()),
            ("client_ca", self.anchors.client_ca.to_string()),
            ("version", "1".to_owned()),
        ]);
        match row.on {
            On::Nothing => {
                made.insert("principal", "ben".to_owned());
            }
            On::Key => self.make_key(&mut made).await,
            On::DisabledKey | On::RotatedKey => {
                self.make_key(&mut made).await;
                let (verb, body) = if row.on == On::RotatedKey { ("rotate", "{}") } else { ("disable", REASON) };
                self.done("ada", &Ask::new("POST", &format!("/v1/keys/{}/{verb}", made["key"])).json(body)).await;
            }
            On::Wrapped => {
                self.make_key(&mut made).await;
                let generate = Ask::new("POST", "/v1/data-keys/generate").json(json!({ "key": made["key"] }));
                let generated = self.done("storage", &generate).await;
                made.insert("wrapped", text(&generated["wrapped"]));
            }
            On::Principal | On::SuspendedPrincipal | On::Binding => {
                self.make_key(&mut made).await;
                self.make_principal(&mut made, &fresh).await;
                if row.on == On::SuspendedPrincipal {
                    let path = format!("/v1/principals/{}/suspend", made["principal"]);
                    self.done("ada", &Ask::new("POST", &path).json(REASON)).await;
                }
                if row.on == On::Binding {
                    let binding =
                        json!({ "principal": made["principal"], "role": "wrapper", "scope": { "key": made["key"] } });
                    let bound = self.done("ada", &Ask::new("POST", "/v1/bindings").json(binding)).await;
                    made.insert("binding", text(&bound["binding"]["id"]));
                }
            }
            On::Change => {
                let created = self.create_key("records").await;
                made.insert("change", text(&created["receipt"]["change_id"]));
            }
            On::Record => {
                let me = self.done("ada", &Ask::new("GET", "/v1/whoami")).await;
                made.insert("record", text(&me["record"]));
            }
        }
        made.insert("fresh", fresh);
        made
    }

    async fn make_key(&mut self, made: &mut Made) {
        for (name, class) in [("key", "records"), ("other", "records")] {
            made.insert(name, text(&self.create_key(class).await["key"]["id"]));
        }
    }

    pub(crate) async fn create_key(&mut self, class: &str) -> Value {
        self.done("ada", &Ask::new("POST", "/v1/keys").json(json!({ "data_class": class }))).await
    }

    async fn make_principal(&mut self, made: &mut Made, name: &str) {
        let principal = json!({ "name": format!("p-{name}"), "kind": "user" });
        let created = self.done("ada", &Ask::new("POST", "/v1/principals").json(principal)).await;
        let id = text(&created["principal"]["id"]);
        let credential = json!({ "type": "certificate_fingerprint", "sha256": format!("f{:063x}", self.fresh) });
        let path = format!("/v1/principals/{id}/credentials");
        let with = self.done("ada", &Ask::new("POST", &path).json(credential)).await;
        made.insert("credential", text(&with["principal"]["credentials"][0]["id"]));
        made.insert("principal", id);
    }

    /// Asks, and holds answer and record to what is expected.
    async fn check(&mut self, row: &Row, who: &str, ask: &Ask, expected: Expected) {
        let what = format!("{} {} as {who:?}", row.call, row.body);
        let reply = self.ask(who, ask).await;
        let (status, code) = outcome(&reply);
        assert_eq!((status, code.as_deref()), (expected.status, expected.code), "{what}: {reply:?}");
        let records = self.records(&reply.request()).await;
        let said: BTreeSet<_> = records.iter().map(|record| record["action"].as_str().unwrap()).collect();
        let everything: BTreeSet<_> = row.actions.iter().copied().collect();
        let first: BTreeSet<_> = row.actions.iter().copied().take(1).collect();
        // Nobody asked for both sides of a transfer before it was known who.
        assert_eq!(said, if who.is_empty() { first } else { everything }, "{what}: {records:?}");
        for record in &records {
            assert_eq!(record["outcome"], expected.outcome, "{what}: {record}");
            assert_eq!(record["reason"] == "", expected == ALLOWED, "{what}: {record}");
            assert_eq!(record["surface"], "native", "{what}: {record}");
            assert_eq!(record["source"], "127.0.0.1", "{what}: {record}");
            assert_eq!(record["principal_name"].as_str().unwrap_or_default(), who, "{what}: {record}");
            assert_eq!(record["credential"].is_null(), who.is_empty(), "{what}: {record}");
        }
        let answered = named_record(&reply.json());
        assert!(records.iter().any(|record| record["id"] == answered), "{what}: {answered}: {records:?}");
    }
}

/// What became of a call; of a batch, of its one item.
pub(crate) fn outcome(reply: &Reply) -> (u16, Option<String>) {
    if reply.status != 200 {
        return (reply.status, reply.code());
    }
    match &reply.json()["items"][0]["error"] {
        Value::Null => (200, None),
        problem => {
            let status = u16::try_from(problem["status"].as_u64().unwrap()).unwrap();
            (status, Some(text(&problem["code"])))
        }
    }
}

fn named_record(answer: &Value) -> Value {
    let item = &answer["items"][0];
    [answer, &item["result"], &item["error"]]
        .iter()
        .map(|part| part["record"].clone())
        .find(|id| !id.is_null())
        .unwrap()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The operations of the served document.
pub(crate) async fn operations(kms: &TestKms) -> BTreeMap<String, Value> {
    let document = kms.ask(&Ask::new("GET", "/v1/openapi.json")).await.json();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if ["get", "put", "post", "delete", "options", "head", "patch", "trace"].contains(&method.as_str()) {
                operations.insert(format!("{} {path}", method.to_uppercase()), operation.clone());
            }
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_a_row_for_every_operation_and_no_other() {
    let kms = TestKms::start(Backend::Sqlite).await;
    let served: BTreeSet<_> = operations(&kms).await.into_keys().collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.call.to_owned()).collect();
    let (missing, gone): (Vec<_>, Vec<_>) = (served.difference(&rows).collect(), rows.difference(&served).collect());
    assert!(missing.is_empty() && gone.is_empty(), "without a row: {missing:?}; not an operation: {gone:?}");
    assert!(ROWS.iter().all(|row| row.call.ends_with("/openapi.json") || !row.right.is_empty()));
    kms.stop().await;
}

async fn every_row(backend: Backend) {
    let mut world = World::start(backend, false, Vec::new()).await;
    for row in ROWS {
        let ask = world.call(row).await;
        if row.right.is_empty() {
            assert_eq!(world.ask("", &ask).await.status, 200, "{}", row.call);
            continue;
        }
        let before = world.revision().await;
        world.check(row, "", &ask, ANONYMOUS).await;
        for (who, status) in row.refused {
            world.check(row, who, &ask, refusal(*status)).await;
        }
        assert_eq!(world.revision().await, before, "{} was refused and changed something", row.call);
        world.check(row, row.right, &ask, if row.gated { TWO_PERSONS } else { ALLOWED }).await;
    }
    world.kms.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_refused_to_the_wrong_and_done_for_the_right_on_sqlite() {
    every_row(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_refused_to_the_wrong_and_done_for_the_right_on_postgres() {
    every_row(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_alone_may_what_takes_two() {
    let mut world = World::start(Backend::Sqlite, true, Vec::new()).await;
    let gated: Vec<_> = ROWS.iter().filter(|row| row.gated).collect();
    assert_eq!(gated.len(), 5);
    for row in gated {
        let ask = world.call(row).await;
        for (who, status) in row.refused {
            world.check(row, who, &ask, refusal(*status)).await;
        }
        world.check(row, row.right, &ask, ALLOWED).await;
    }
    world.kms.stop().await;
}

/// Refused as what is there but out of reach is refused: nobody learns from an answer what there is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_may_not_be_seen_answer_alike() {
    let mut world = World::start(Backend::Sqlite, false, Vec::new()).await;
    for row in ROWS.iter().filter(|row| !row.right.is_empty() && row.call.contains("/{")) {
        let there = world.call(row).await;
        let (method, path) = row.call.split_once(' ').unwrap();
        let unknown = "01930000-0000-7000-8000-000000000000";
        let mut path = path.replace("{version}", "1").replace("{record}", &format!("{unknown}-1"));
        for name in ["key", "principal", "credential", "binding", "issuer", "client_ca", "change"] {
            path = path.replace(&format!("{{{name}}}"), unknown);
        }
        let body = row.body.replace("{fingerprint}", &"0".repeat(64));
        let absent = if body.is_empty() { Ask::new(method, &path) } else { Ask::new(method, &path).json(body) };
        let (there, absent) = (world.ask("stranger", &there).await, world.ask("stranger", &absent).await);
        let said = |reply: &Reply| {
            let mut problem = reply.json();
            for name in ["request_id", "record"] {
                problem[name].take();
            }
            (reply.status, problem)
        };
        assert_eq!(said(&there), said(&absent), "{}", row.call);
    }
    world.kms.stop().await;
}
