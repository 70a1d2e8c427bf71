//! The administrators: each cuts something, lets the load run into it, and gives it back, again and again. What they ask
//! for, and what they hold a receipt of, is kept for the judge.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::join_all;
use keyward_tests::{Chance, from};
use kms_client::{
    id::{KeyId, KeyVersion},
    wire::{
        binding::{BindingQuery, CreateBinding},
        key::VersionState,
        name::{KeyName, Reason},
    },
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{
    asking::{Asking, Kind, Ledger, Thing},
    world::{GROUPS, Proof, Reader, World, policy_name, role_name, team_name},
};

/// How many administrators work at once, each on something of its own.
const HANDS: usize = 4;
/// How long a cut, and what follows it, may last.
const AT_MOST: u64 = 200;
/// How long what is revoked for good stays in the load.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// Between two looks whether somebody else is done with it.
const IN_HAND: Duration = Duration::from_millis(5);
/// Past it a service has as many credentials as one may have, removed ones among them.
const CREDENTIALS: usize = 60;

/// Cuts and restores until it is over; what is cut then is given back.
pub(crate) async fn make(world: &World, ledger: &Ledger, chance: &mut Chance, over: &watch::Receiver<bool>) {
    let mut hands = Vec::new();
    for _ in 0..HANDS {
        let asking = Asking::new(world, ledger, chance.fork());
        hands.push(Hand { world, ledger, asking, chance: chance.fork() }.work(over.clone()));
    }
    join_all(hands).await;
}

/// One administrator.
struct Hand<'a> {
    world: &'a World,
    ledger: &'a Ledger,
    asking: Asking<'a>,
    chance: Chance,
}

impl Hand<'_> {
    async fn work(mut self, over: watch::Receiver<bool>) {
        while !*over.borrow() {
            let kind = Kind::ALL[self.below(Kind::ALL.len())];
            let thing = self.thing(kind);
            if !self.ledger.take(thing) {
                tokio::task::yield_now().await;
                continue;
            }
            match (kind, thing) {
                (Kind::Key, _) if self.chance.one_in(6) => self.revoke_a_fresh_key().await,
                (Kind::Key, Thing::Key(key)) => self.key(key).await,
                (_, Thing::Key(key)) => self.version(key).await,
                (_, Thing::Grant(reader, key)) => self.binding(&self.world.readers[reader], key).await,
                (_, Thing::Role(group)) => self.role(group).await,
                (_, Thing::Team(group)) => self.policy(group).await,
                (Kind::Credential, Thing::Reader(reader)) => self.credential(&self.world.readers[reader]).await,
                (_, Thing::Reader(reader)) => self.principal(&self.world.readers[reader]).await,
            }
            self.ledger.give_back(thing);
            self.pause().await;
        }
    }

    fn thing(&mut self, kind: Kind) -> Thing {
        let reader = self.below(self.world.readers.len());
        match kind {
            Kind::Key | Kind::Version => Thing::Key(self.world.keys[self.below(self.world.keys.len())]),
            Kind::Binding => {
                let own: Vec<_> = self.world.readers[reader].grants.iter().filter(|(_, own)| *own).collect();
                let (key, _) = own[self.below(own.len())];
                Thing::Grant(reader, *key)
            }
            Kind::Role => Thing::Role(self.below(GROUPS)),
            Kind::Policy => Thing::Team(self.below(GROUPS)),
            Kind::Principal | Kind::Credential => Thing::Reader(reader),
        }
    }

    async fn key(&mut self, key: KeyId) {
        let name = KeyName::Id(key);
        self.asking.cut(Kind::Key, async |ada| ada.disable_key(&name, reason()).await).await;
        self.pause().await;
        self.asking.restore(async |ada| ada.enable_key(&name).await).await;
    }

    /// A key is revoked for good, so it is one that nobody needs afterwards.
    async fn revoke_a_fresh_key(&mut self) {
        let create = from(json!({ "data_class": "clinical" }));
        let Some(created) = self.asking.change(async |ada| ada.create_key(&create).await).await else { return };
        let key = created.key.id;
        let readers: Vec<_> = (0..3).map(|_| &self.world.readers[self.below(self.world.readers.len())]).collect();
        for reader in &readers {
            self.bind(reader, "unwrapper", key).await;
        }
        let target = self.asking.wrap(key).await;
        for reader in &readers {
            reader.learn(target.clone());
        }
        self.pause().await;
        let name = KeyName::Id(key);
        self.asking.cut(Kind::Key, async |ada| ada.revoke_key(&name, reason()).await).await;
        sleep(AFTERWARDS).await;
        for reader in &readers {
            reader.forget(key, target.version);
        }
    }

    /// A version is revoked for good, so the key gets a newer one first.
    async fn version(&mut self, key: KeyId) {
        let name = KeyName::Id(key);
        let Some(rotated) = self.asking.change(async |ada| ada.rotate_key(&name).await).await else { return };
        let newest = rotated.key.primary_version;
        let target = self.asking.wrap(key).await;
        for reader in self.readers_of(key) {
            reader.learn(target.clone());
        }
        self.pause().await;
        let versions = rotated.key.versions.iter().filter(|version| version.state == VersionState::Enabled);
        let older: Vec<KeyVersion> = versions.map(|version| version.version).filter(|it| *it < newest).collect();
        for version in &older {
            self.asking.cut(Kind::Version, async |ada| ada.revoke_version(&name, *version, reason()).await).await;
        }
        sleep(AFTERWARDS).await;
        for reader in self.readers_of(key) {
            for version in &older {
                reader.forget(key, *version);
            }
        }
    }

    async fn binding(&mut self, reader: &Reader, key: KeyId) {
        self.end_bindings(Some(Kind::Binding), reader, "unwrapper", key).await;
        self.pause().await;
        self.alone_with(reader).await;
        let binding = binding(reader, "unwrapper", key);
        self.asking.restore(async |ada| ada.create_binding(&binding).await).await;
        self.ledger.give_back(Thing::Reader(reader.number));
    }

    async fn role(&mut self, group: usize) {
        let generation = &self.ledger.roles[group];
        let role = role_name(group, generation.load(Ordering::SeqCst));
        let name = role.parse().unwrap();
        let without = from(json!({ "actions": ["random"] }));
        self.asking.cut(Kind::Role, async |ada| ada.update_role(&name, &without).await).await;
        self.pause().await;
        if !self.chance.one_in(12) {
            let with = from(json!({ "actions": ["unwrap"] }));
            self.asking.restore(async |ada| ada.update_role(&name, &with).await).await;
            return;
        }
        // Another role takes its place.
        let group_of = self.world.readers.iter().filter(|reader| reader.group == group);
        let members: Vec<_> = group_of
            .flat_map(|reader| reader.grants.iter().filter(|(_, own)| !own).map(move |(key, _)| (reader, *key)))
            .collect();
        for (reader, key) in &members {
            self.end_bindings(None, reader, &role, *key).await;
        }
        self.asking.change(async |ada| ada.remove_role(&name).await).await;
        let role = role_name(group, generation.fetch_add(1, Ordering::SeqCst) + 1);
        let create = from(json!({ "name": role, "actions": ["unwrap"] }));
        self.asking.change(async |ada| ada.create_role(&create).await).await;
        for (reader, key) in &members {
            self.bind(reader, &role, *key).await;
        }
    }

    async fn policy(&mut self, group: usize) {
        let team = team_name(group);
        let name = policy_name(&team).parse().unwrap();
        let text = format!("forbid (principal in Team::\"{team}\", action == Action::\"unwrap\", resource);");
        let put = from(json!({ "text": text }));
        self.asking.cut(Kind::Policy, async |ada| ada.put_policy(&name, &put).await).await;
        self.pause().await;
        self.asking.restore(async |ada| ada.remove_policy(&name).await).await;
    }

    async fn principal(&mut self, reader: &Reader) {
        let id = from(json!(reader.id));
        self.asking.cut(Kind::Principal, async |ada| ada.suspend_principal(&id, reason()).await).await;
        self.pause().await;
        self.asking.restore(async |ada| ada.reinstate_principal(&id, reason()).await).await;
    }

    /// A credential is never used again, so the service gets another one.
    async fn credential(&mut self, reader: &Reader) {
        let id = from(json!(reader.id));
        let Proof { credential, generation, .. } = reader.proof.read().unwrap().clone();
        if generation >= CREDENTIALS {
            return;
        }
        self.asking.cut(Kind::Credential, async |ada| ada.remove_credential(&id, credential).await).await;
        self.pause().await;
        let (generation, client_ca) = (generation + 1, self.world.client_ca);
        let san = format!("uri:{}", reader.uri(generation));
        let proof = from(json!({ "type": "certificate_san", "client_ca": client_ca, "san": san }));
        let added = self.asking.restore(async |ada| ada.add_credential(&id, &proof).await).await;
        let principal = match added {
            Some(added) => added.principal,
            // An answer was lost, and the credential is there.
            None => self.asking.look(async |ada| ada.principal(&id).await).await.principal,
        };
        if let Some(credential) = principal.credentials.iter().find(|credential| credential.proof == proof) {
            let leaf = self.world.stopped.identities.client(&reader.uri(generation));
            *reader.proof.write().unwrap() = Proof { credential: credential.id, leaf, generation };
        }
    }

    async fn bind(&mut self, reader: &Reader, role: &str, key: KeyId) {
        self.alone_with(reader).await;
        let binding = binding(reader, role, key);
        self.asking.change(async |ada| ada.create_binding(&binding).await).await;
        self.ledger.give_back(Thing::Reader(reader.number));
    }

    /// Nobody is given a role while suspended. Whoever suspends waits for nobody, so this ends.
    async fn alone_with(&self, reader: &Reader) {
        while !self.ledger.take(Thing::Reader(reader.number)) {
            sleep(IN_HAND).await;
        }
    }

    /// Ends every binding by which the reader has this role over the key: an answer that was lost may have left two.
    async fn end_bindings(&mut self, cut: Option<Kind>, reader: &Reader, role: &str, key: KeyId) {
        let query = BindingQuery {
            principal: Some(from(json!(reader.id))),
            role: Some(role.parse().unwrap()),
            key: Some(KeyName::Id(key)),
            limit: Some(1000),
            cursor: None,
        };
        let bindings = self.asking.look(async |ada| ada.list_bindings(&query).await).await.bindings;
        for binding in bindings.iter().filter(|binding| binding.ended.is_none()) {
            match cut {
                Some(kind) => self.asking.cut(kind, async |ada| ada.end_binding(binding.id, reason()).await).await,
                None => self.asking.change(async |ada| ada.end_binding(binding.id, reason()).await).await,
            };
        }
    }

    fn readers_of(&self, key: KeyId) -> impl Iterator<Item = &Reader> + use<'_> {
        self.world.readers.iter().filter(move |reader| reader.grants.iter().any(|(granted, _)| *granted == key))
    }

    async fn pause(&mut self) {
        sleep(Duration::from_millis(self.chance.below(AT_MOST))).await;
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.chance.below(limit as u64)).unwrap()
    }
}

fn binding(reader: &Reader, role: &str, key: KeyId) -> CreateBinding {
    from(json!({ "principal": reader.id, "role": role, "scope": { "key": key } }))
}

fn reason() -> Reason {
    "cut".parse().unwrap()
}
