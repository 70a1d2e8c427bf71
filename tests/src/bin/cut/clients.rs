//! The load: 32 services, each over a kept connection to every node, unwrapping as fast as it can whatever it may, and what
//! it may not any more. Each has one request under way; one that waits for a silent node does not keep it from the others.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use keyward_tests::Chance;
use kms_client::{
    client::Client,
    id::{CredentialId, KeyId, KeyVersion, RecordId},
    wire::problem::Code,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    judge::{Nanos, Rule},
    node::Node,
    world::{Reader, Target, World, now, team_name},
};

/// How long a service waits for one node before it goes on with another.
const SILENCE: Duration = Duration::from_millis(100);
/// Between two tries at a node that is not there or may not answer.
const AWAY: Duration = Duration::from_millis(10);

/// A success as its client saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwrapped {
    pub(crate) node: usize,
    pub(crate) reader: usize,
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    pub(crate) credential: CredentialId,
    pub(crate) sent: Nanos,
    pub(crate) answered: Nanos,
    pub(crate) record: RecordId,
}

/// What all services saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Successes and refusals; not what a node answers while something that it needs is away.
    pub(crate) answers: AtomicU64,
    /// Refusals by their code, and what was no answer.
    pub(crate) refusals: Mutex<BTreeMap<String, u64>>,
}

/// Works until it is over, and answers every success.
pub(crate) async fn work(
    world: &World,
    tally: &Tally,
    chance: &mut Chance,
    over: &watch::Receiver<bool>,
) -> Vec<Unwrapped> {
    let turns: Vec<_> = world.readers.iter().map(|_| Semaphore::new(1)).collect();
    let mut lanes = Vec::new();
    for (place, reader) in world.readers.iter().enumerate() {
        for node in &world.nodes {
            let turn = &turns[place];
            lanes.push(Lane { world, tally, place, reader, node, turn, chance: chance.fork() }.run(over.clone()));
        }
    }
    join_all(lanes).await.concat()
}

impl Unwrapped {
    /// What had to be in force.
    pub(crate) fn rules(&self, world: &World) -> Vec<Rule> {
        rules(&world.readers[self.reader], self.key, self.version, self.credential)
    }
}

/// What must be in force for a reader to unwrap this.
pub(crate) fn rules(reader: &Reader, key: KeyId, version: KeyVersion, credential: CredentialId) -> Vec<Rule> {
    vec![
        Rule::Key(key),
        Rule::Version(key, version),
        Rule::Grant(reader.id, key),
        Rule::Team(team_name(reader.group)),
        Rule::Principal(reader.id),
        Rule::Credential(credential),
    ]
}

/// One service at one node.
struct Lane<'a> {
    world: &'a World,
    tally: &'a Tally,
    place: usize,
    reader: &'a Reader,
    node: &'a Node,
    /// Whoever has it sends.
    turn: &'a Semaphore,
    chance: Chance,
}

/// A connection, and for whom.
struct Connected {
    client: Client,
    api: String,
    credential: CredentialId,
}

impl Lane<'_> {
    async fn run(mut self, mut over: watch::Receiver<bool>) -> Vec<Unwrapped> {
        let mut api = self.node.api.subscribe();
        let (mut seen, mut connected) = (Vec::new(), None);
        loop {
            // While the node is away, this waits for it or for the end.
            tokio::select! {
                _ = over.wait_for(|over| *over) => {}
                _ = api.wait_for(Option::is_some) => {}
            }
            if *over.borrow() {
                return seen;
            }
            let Some(address) = api.borrow().clone() else { continue };
            let connection = self.connect(&mut connected, address);
            let (client, credential) = (connection.client.clone(), connection.credential);
            let target = self.target();
            seen.extend(self.unwrap(&client, credential, &target).await);
        }
    }

    /// The kept connection, or a new one where the node or the credential is another.
    fn connect<'c>(&self, kept: &'c mut Option<Connected>, api: String) -> &'c Connected {
        let proof = self.reader.proof.read().unwrap();
        if kept.as_ref().is_none_or(|kept| (&kept.api, kept.credential) != (&api, proof.credential)) {
            let client = self.world.certified(&api, &proof.leaf);
            *kept = Some(Connected { client, api, credential: proof.credential });
        }
        kept.as_ref().unwrap()
    }

    fn target(&mut self) -> Target {
        let targets = self.reader.targets.read().unwrap();
        targets[usize::try_from(self.chance.below(targets.len() as u64)).unwrap()].clone()
    }

    async fn unwrap(&self, client: &Client, credential: CredentialId, target: &Target) -> Option<Unwrapped> {
        let mut turn = Some(self.turn.acquire().await.unwrap());
        let sent = now();
        let call = client.unwrap_data_key(&target.unwrap);
        tokio::pin!(call);
        let answer = if let Ok(answer) = timeout(SILENCE, call.as_mut()).await {
            answer
        } else {
            turn = None;
            call.await
        };
        let answered = now();
        drop(turn);
        let pause = match answer {
            Ok(opened) => {
                self.tally.answers.fetch_add(1, Ordering::Relaxed);
                let (node, reader, record) = (self.node.number, self.place, opened.record);
                let (key, version) = (opened.key, opened.version);
                return Some(Unwrapped { node, reader, key, version, credential, sent, answered, record });
            }
            Err(error) => {
                let code = error.code();
                let decided = code.is_some_and(|code| code.status() != 503);
                self.tally.answers.fetch_add(u64::from(decided), Ordering::Relaxed);
                let name = code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
                *self.tally.refusals.lock().unwrap().entry(name).or_default() += 1;
                match code {
                    Some(code) => code.status() == 503 || code == Code::Unauthenticated,
                    None => true,
                }
            }
        };
        if pause {
            sleep(AWAY).await;
        }
        None
    }
}
