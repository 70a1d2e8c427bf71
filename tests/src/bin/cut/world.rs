//! What is there before the first cut: an installation, its nodes, and who unwraps what by which right.

use std::{path::Path, sync::RwLock, time::Duration};

use keyward_tests::{Backend, Leaf, Newcomer, StoppedKms, TestKms, from};
use kms_client::{
    client::Client,
    format::record::PrincipalKind,
    id::{ClientCaId, CredentialId, KeyId, KeyVersion, PrincipalId},
    wire::{
        context::ContextPairs,
        data_key::{GenerateDataKey, UnwrapDataKey},
        name::KeyName,
    },
};
use kms_server::model::Role;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::{judge::Nanos, node::Node};

pub(crate) const READERS: usize = 32;
/// Keys that stay; others come and are revoked.
const KEYS: usize = 8;
/// Custom roles, and the teams that policies name.
pub(crate) const GROUPS: usize = 4;
/// Who looks whether a node serves; nothing that it needs is ever cut.
const PROBE: &str = "probe";
/// Who wraps what the others unwrap.
const MAKER: &str = "maker";

/// Everything that the load, the administrators and the faults share.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) stopped: StoppedKms,
    pub(crate) client_ca: ClientCaId,
    probe: (Leaf, UnwrapDataKey),
}

/// A service that unwraps as fast as it can.
pub(crate) struct Reader {
    pub(crate) number: usize,
    pub(crate) id: PrincipalId,
    pub(crate) name: String,
    /// Its place in the groups: of its role, and of its team.
    pub(crate) group: usize,
    /// What it may unwrap with, and by a binding of its own rather than by its role's.
    pub(crate) grants: Vec<(KeyId, bool)>,
    pub(crate) proof: RwLock<Proof>,
    pub(crate) targets: RwLock<Vec<Target>>,
}

/// How a reader proves who it is.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) credential: CredentialId,
    pub(crate) leaf: Leaf,
    /// How many it had before.
    pub(crate) generation: usize,
}

/// Something to unwrap.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    pub(crate) unwrap: UnwrapDataKey,
}

/// What the installation is made of besides its nodes.
struct Made {
    readers: Vec<Reader>,
    keys: Vec<KeyId>,
    client_ca: ClientCaId,
    probe: UnwrapDataKey,
}

impl World {
    /// Makes the installation with a server in this process, then describes its nodes. None runs yet.
    pub(crate) async fn make(nodes: usize, faults: bool) -> Self {
        let service = |name, roles: &[Role]| Newcomer::new(name, PrincipalKind::Service, roles);
        let newcomers = [service(MAKER, &[Role::Wrapper]), service(PROBE, &[])];
        let kms = TestKms::start_with_founders(Backend::Postgres, true, "", |trust| {
            let now = kms_server::model::Clock::now(&kms_server::model::SystemClock);
            newcomers.into_iter().flat_map(|newcomer| newcomer.operations(trust, now)).collect()
        })
        .await;
        let made = furnish(&kms).await;
        let stopped = kms.stop().await;
        let probe = (stopped.identities.client(&uri(PROBE)), made.probe);
        let mut world = Self {
            nodes: Vec::new(),
            readers: made.readers,
            keys: made.keys,
            client_ca: made.client_ca,
            probe,
            stopped,
        };
        for number in 0..nodes {
            world.nodes.push(Node::describe(&world.stopped, number, faults).await);
        }
        world
    }

    /// A client of the server at this address that shows a token of a founder.
    pub(crate) fn client(&self, api: &str, name: &str) -> Client {
        self.builder(api).token(self.stopped.token(name)).build().unwrap()
    }

    /// A client that shows a certificate.
    pub(crate) fn certified(&self, api: &str, leaf: &Leaf) -> Client {
        self.builder(api).certificate(leaf.certificate.clone(), leaf.key.clone()).build().unwrap()
    }

    /// Whether the server at this address does what nobody ever forbids.
    pub(crate) async fn serves(&self, api: &str) -> bool {
        let (leaf, unwrap) = &self.probe;
        self.certified(api, leaf).unwrap_data_key(unwrap).await.is_ok()
    }

    /// Wraps a data key with the newest version of a key.
    pub(crate) async fn wrap(&self, api: &str, key: KeyId) -> kms_client::client::Result<Target> {
        wrap(&self.client(api, MAKER), key).await
    }

    fn builder(&self, api: &str) -> kms_client::client::Builder {
        let ca = self.stopped.identities.ca_pem.clone();
        // Longer than any fault: what a node answers after it woke up is to be seen.
        let timeout = Duration::from_secs(20);
        Client::builder().url(format!("https://{api}")).ca_pem(ca).retries(0).timeout(timeout)
    }
}

impl Reader {
    /// One more to unwrap.
    pub(crate) fn learn(&self, target: Target) {
        self.targets.write().unwrap().push(target);
    }

    /// One less.
    pub(crate) fn forget(&self, key: KeyId, version: KeyVersion) {
        self.targets.write().unwrap().retain(|target| (target.key, target.version) != (key, version));
    }

    /// The name of a certificate of this generation.
    pub(crate) fn uri(&self, generation: usize) -> String {
        uri(&format!("{}/{generation}", self.name))
    }
}

/// Principals, credentials, keys, roles and bindings, by the API.
async fn furnish(kms: &TestKms) -> Made {
    let (ada, maker) = (kms.client("ada"), kms.client(MAKER));
    let client_ca = ada.list_client_cas().await.unwrap().client_cas[0].id;
    let mut keys = Vec::new();
    for _ in 0..=KEYS {
        keys.push(ada.create_key(&from(json!({ "data_class": "clinical" }))).await.unwrap().key.id);
    }
    let probed = keys.pop().unwrap();
    bind(&ada, PROBE, "unwrapper", probed).await;
    let probe = wrap(&maker, probed).await.unwrap().unwrap;
    for group in 0..GROUPS {
        let role = json!({ "name": role_name(group, 0), "actions": ["unwrap"] });
        ada.create_role(&from(role)).await.unwrap();
    }
    let mut targets = Vec::new();
    for key in &keys {
        targets.push(wrap(&maker, *key).await.unwrap());
    }
    let mut readers = Vec::new();
    for number in 0..READERS {
        let name = format!("reader-{number}");
        // Neighbours differ in role and team.
        let group = number % GROUPS;
        let principal = json!({ "name": name, "kind": "service", "team": team_name(group) });
        let id = ada.create_principal(&from(principal)).await.unwrap().principal.id;
        let mut reader = Reader {
            number,
            id,
            name,
            group,
            grants: Vec::new(),
            proof: RwLock::new(Proof {
                credential: CredentialId::from_bytes([0; 16]),
                leaf: Leaf { certificate: String::new(), key: String::new() },
                generation: 0,
            }),
            targets: RwLock::default(),
        };
        let leaf = kms.identities.client(&reader.uri(0));
        let proof =
            json!({ "type": "certificate_san", "client_ca": client_ca, "san": format!("uri:{}", reader.uri(0)) });
        let added = ada.add_credential(&from(json!(id)), &from(proof)).await.unwrap();
        let credential = added.principal.credentials.last().unwrap().id;
        *reader.proof.get_mut().unwrap() = Proof { credential, leaf, generation: 0 };
        for step in 0..4 {
            let place = (number + step) % KEYS;
            let (key, own) = (keys[place], step < 2);
            let role = if own { "unwrapper".to_owned() } else { role_name(group, 0) };
            bind(&ada, &reader.name, &role, key).await;
            reader.grants.push((key, own));
            reader.learn(targets[place].clone());
        }
        readers.push(reader);
    }
    Made { readers, keys, client_ca, probe }
}

async fn bind(ada: &Client, principal: &str, role: &str, key: KeyId) {
    let binding = json!({ "principal": principal, "role": role, "scope": { "key": key } });
    ada.create_binding(&from(binding)).await.unwrap();
}

async fn wrap(maker: &Client, key: KeyId) -> kms_client::client::Result<Target> {
    let context: ContextPairs = from(json!({ "object": "1" }));
    let made = maker.generate_data_key(&GenerateDataKey::new(KeyName::Id(key), context.clone())).await?;
    Ok(Target { key, version: made.version, unwrap: UnwrapDataKey { wrapped: made.wrapped, context } })
}

/// The name of a group's role; a removed one's is never used again.
pub(crate) fn role_name(group: usize, generation: u64) -> String {
    format!("reader-{group}-{generation}")
}

pub(crate) fn team_name(group: usize) -> String {
    format!("team-{group}")
}

/// The policy that forbids a team everything.
pub(crate) fn policy_name(team: &str) -> String {
    format!("forbid-{team}")
}

fn uri(name: &str) -> String {
    format!("spiffe://clinic.example/{name}")
}

/// The moment, as the servers' traces write it.
pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

/// A copy of what a configuration names by relative paths.
pub(crate) fn copy_files(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}
