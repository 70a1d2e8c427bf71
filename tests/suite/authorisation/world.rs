//! A server on which every row of the table can be asked, by connections that are kept.

use std::collections::BTreeMap;

use keyward_tests::{Ask, Backend, Connection, Identities, Newcomer, Reply, TestKms, Trust};
use kms_client::id::{ClientCaId, IssuerId};
use kms_server::model::{Clock as _, Ids, JwksSource, Operation, SystemClock};
use serde_json::{Value, json};

use super::table::{On, REASON, Row};

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
            query if query.starts_with('?') => Ask::new(method, &fill(&format!("{path}{query}"))),
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
            On::DisabledKey | On::RotatedKey | On::EndingKey => {
                self.make_key(&mut made).await;
                let (verb, body) = match row.on {
                    On::RotatedKey => ("rotate", "{}"),
                    On::EndingKey => ("schedule-deletion", REASON),
                    _ => ("disable", REASON),
                };
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
            On::Policy => {
                let put =
                    json!({ "text": "forbid (principal in Team::\"none\", action == Action::\"wrap\", resource);" });
                self.done("ada", &Ask::new("PUT", &format!("/v1/policies/{fresh}")).json(put)).await;
                made.insert("policy", fresh.clone());
            }
            On::Role => {
                let role = json!({ "name": fresh, "actions": ["unwrap"] });
                self.done("ada", &Ask::new("POST", "/v1/roles").json(role)).await;
                made.insert("role", fresh.clone());
            }
            On::Change => {
                let created = self.create_key("records").await;
                made.insert("change", text(&created["receipt"]["change_id"]));
            }
            On::Operation => {
                let create = Ask::new("POST", "/v1/keys").header("prefer", "respond-async");
                let reply = self.ask("ada", &create.json(json!({ "data_class": "records" }))).await;
                let id = text(&reply.json()["operation"]["change_id"]);
                let path = format!("/v1/operations/{id}");
                while self.done("ada", &Ask::new("GET", &path)).await["operation"]["state"] == "running" {}
                made.insert("operation", id);
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

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
