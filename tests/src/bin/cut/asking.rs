//! How an administrator asks for a change: at any node that runs, again while no answer comes, with the time of asking and the
//! time of the receipt kept for the judge.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use keyward_tests::Chance;
use kms_client::{
    client::{self, Client, Error},
    id::{ChangeId, KeyId},
    wire::{
        problem::Code,
        receipt::{NodeOutcome, Receipt},
    },
};
use tokio::time::{sleep, timeout};

use super::{
    judge::Nanos,
    world::{GROUPS, Target, World, now},
};

/// How long an administrator waits for one node: longer than a receipt takes while another node is silent.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long no node may answer.
const OUTAGE: Duration = Duration::from_mins(2);
/// How often an administrator asks again after a refusal that nothing explains.
const SURPRISES: u32 = 5;
const AGAIN: Duration = Duration::from_millis(50);

/// Everything that can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Key,
    Version,
    Binding,
    Role,
    Policy,
    Principal,
    Credential,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Key, Self::Version, Self::Binding, Self::Role, Self::Policy, Self::Principal, Self::Credential];
}

/// A change of which an administrator holds the receipt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) asked: Nanos,
    pub(crate) held: Nanos,
}

/// What the administrators asked for and got.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    receipts: Mutex<HashMap<ChangeId, Held>>,
    /// When something was asked for of which no receipt came; it may have happened, at any time since.
    lost: Mutex<Vec<Nanos>>,
    cuts: Mutex<BTreeMap<Kind, u64>>,
    restorations: AtomicU64,
    /// Receipts that name a node which did not answer.
    expired: AtomicU64,
    /// Refusals that nothing explains.
    surprises: Mutex<Vec<String>>,
    busy: Mutex<BTreeSet<Thing>>,
    /// How often each group's role was replaced by another.
    pub(crate) roles: [AtomicU64; GROUPS],
}

/// What only one administrator at a time has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Key(KeyId),
    Grant(usize, KeyId),
    Role(usize),
    Team(usize),
    Reader(usize),
}

impl Ledger {
    /// Whether nobody else has it in hand; the asker does from now on.
    pub(crate) fn take(&self, thing: Thing) -> bool {
        self.busy.lock().unwrap().insert(thing)
    }

    pub(crate) fn give_back(&self, thing: Thing) {
        self.busy.lock().unwrap().remove(&thing);
    }

    pub(crate) fn receipts(&self) -> HashMap<ChangeId, Held> {
        self.receipts.lock().unwrap().clone()
    }

    /// Before the first request of which no receipt came.
    pub(crate) fn first_lost(&self) -> Option<Nanos> {
        self.lost.lock().unwrap().iter().min().copied()
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost.lock().unwrap().len()
    }

    /// How many cuts of each kind somebody holds a receipt of.
    pub(crate) fn cuts(&self) -> BTreeMap<Kind, u64> {
        self.cuts.lock().unwrap().clone()
    }

    /// How many restorations somebody holds a receipt of.
    /// Cuts and restorations that have their receipt.
    pub(crate) fn changes(&self) -> u64 {
        self.cuts.lock().unwrap().values().sum::<u64>() + self.restorations()
    }

    pub(crate) fn restorations(&self) -> u64 {
        self.restorations.load(Ordering::Relaxed)
    }

    /// Refusals that nothing explains.
    pub(crate) fn surprises(&self) -> Vec<String> {
        self.surprises.lock().unwrap().clone()
    }

    /// How many receipts name a node that did not answer.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    fn keep(&self, asked: Nanos, receipt: &Receipt) {
        // Who asks again for what is done gets a receipt of its own; of one change there is one.
        self.receipts.lock().unwrap().entry(receipt.change_id).or_insert(Held { asked, held: now() });
        let expired = receipt.nodes.iter().any(|node| node.outcome == NodeOutcome::Expired);
        self.expired.fetch_add(u64::from(expired), Ordering::Relaxed);
    }
}

/// An answer with a receipt.
pub(crate) trait Changed {
    fn receipt(&self) -> &Receipt;
}

macro_rules! changed {
    ($($answer:ty),+ $(,)?) => {
        $(impl Changed for $answer {
            fn receipt(&self) -> &Receipt {
                &self.receipt
            }
        })+
    };
}

changed!(
    kms_client::wire::key::KeyChanged,
    kms_client::wire::binding::BindingChanged,
    kms_client::wire::role::RoleChanged,
    kms_client::wire::policy::PolicyChanged,
    kms_client::wire::principal::PrincipalChanged,
);

/// One administrator's connections.
pub(crate) struct Asking<'a> {
    world: &'a World,
    ledger: &'a Ledger,
    chance: Chance,
    clients: HashMap<String, Client>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(world: &'a World, ledger: &'a Ledger, chance: Chance) -> Self {
        Self { world, ledger, chance, clients: HashMap::new() }
    }

    /// Takes something away.
    pub(crate) async fn cut<A: Changed>(
        &mut self,
        kind: Kind,
        call: impl AsyncFn(&Client) -> client::Result<A>,
    ) -> Option<A> {
        let changed = self.change(call).await;
        if changed.is_some() {
            *self.ledger.cuts.lock().unwrap().entry(kind).or_default() += 1;
        }
        changed
    }

    /// Gives back what was taken away.
    pub(crate) async fn restore<A: Changed>(&mut self, call: impl AsyncFn(&Client) -> client::Result<A>) -> Option<A> {
        let changed = self.change(call).await;
        self.ledger.restorations.fetch_add(u64::from(changed.is_some()), Ordering::Relaxed);
        changed
    }

    /// Changes something. Nothing, where an earlier request of which no answer came has changed it already.
    pub(crate) async fn change<A: Changed>(&mut self, call: impl AsyncFn(&Client) -> client::Result<A>) -> Option<A> {
        let (started, mut surprises) = (Instant::now(), 0);
        loop {
            let (_, ada) = self.somewhere().await;
            let asked = now();
            match timeout(PATIENCE, call(&ada)).await {
                Ok(Ok(changed)) => {
                    self.ledger.keep(asked, changed.receipt());
                    return Some(changed);
                }
                // An earlier request may have done it after all.
                Ok(Err(refused)) if is_final(&refused) && self.ledger.lost() > 0 => return None,
                Ok(Err(refused)) if is_final(&refused) => {
                    // A node that knows of all receipts would have done it.
                    self.ledger.surprises.lock().unwrap().push(format!("an administrator was refused: {refused:?}"));
                    surprises += 1;
                    if surprises == SURPRISES {
                        return None;
                    }
                }
                Ok(Err(error)) if did_nothing(&error) => {}
                Ok(Err(_)) | Err(_) => self.ledger.lost.lock().unwrap().push(asked),
            }
            assert!(started.elapsed() < OUTAGE, "no node makes a change any more");
            sleep(AGAIN).await;
        }
    }

    /// Reads something.
    pub(crate) async fn look<A>(&mut self, call: impl AsyncFn(&Client) -> client::Result<A>) -> A {
        let started = Instant::now();
        loop {
            let (_, ada) = self.somewhere().await;
            match timeout(PATIENCE, call(&ada)).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) | Err(_) => sleep(AGAIN).await,
            }
            assert!(started.elapsed() < OUTAGE, "no node answers any more");
        }
    }

    /// Something for the load to unwrap, under the newest version of a key.
    pub(crate) async fn wrap(&mut self, key: KeyId) -> Target {
        let started = Instant::now();
        loop {
            let (api, _) = self.somewhere().await;
            if let Ok(Ok(target)) = timeout(PATIENCE, self.world.wrap(&api, key)).await {
                return target;
            }
            assert!(started.elapsed() < OUTAGE, "no node wraps any more");
            sleep(AGAIN).await;
        }
    }

    /// Any node that runs.
    async fn somewhere(&mut self) -> (String, Client) {
        loop {
            let running: Vec<String> = self.world.nodes.iter().filter_map(|node| node.api.borrow().clone()).collect();
            let place = usize::try_from(self.chance.below(running.len() as u64)).unwrap();
            if let Some(api) = running.get(place) {
                let new = || self.world.client(api, "ada");
                return (api.clone(), self.clients.entry(api.clone()).or_insert_with(new).clone());
            }
            sleep(AGAIN).await;
        }
    }
}

/// Whether asking again gives the same answer.
fn is_final(error: &Error) -> bool {
    error.code().is_some_and(|code| (400..500).contains(&code.status()) && code.status() != 429)
}

/// Whether nothing has happened, and nothing will.
fn did_nothing(error: &Error) -> bool {
    error.code().is_some_and(|code| code != Code::OutcomeUnknown && matches!(code.status(), 429 | 503))
}
