//! The load under which the server dies: storage services and administrators at once, until nobody answers any more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use keyward_tests::{Chance, Process, StoppedKms, from};
use kms_client::{
    client::{self, Client},
    wire::{
        data_key::{GenerateDataKey, UnwrapDataKey},
        name::KeyName,
    },
};
use serde_json::json;
use tokio::sync::watch;

use super::ledger::{KeyLedger, Ledger};

const SERVICES: u64 = 12;
const ADMINISTRATORS: u64 = 2;
/// At most so many answers before a kill.
const ANSWERS: u64 = 800;

/// Everybody works until the server is killed, which it is after a random number of answers.
pub(crate) async fn until_killed(stopped: &StoppedKms, server: Process, ledger: &Ledger, chance: &mut Chance) {
    let enough = 1 + chance.below(ANSWERS);
    let a_little_later = Duration::from_micros(chance.below(5_000));
    let answered = AtomicU64::new(0);
    let (reach, mut reached) = watch::channel(false);
    let count = || {
        if answered.fetch_add(1, Ordering::SeqCst) + 1 == enough {
            reach.send_replace(true);
        }
    };
    let mut at_work = Vec::new();
    for _ in 0..SERVICES {
        at_work.push((server.client(&stopped.token("storage")), chance.fork()));
    }
    let services = at_work.into_iter().map(async |(storage, mut chance)| {
        while serve(&storage, ledger, &mut chance).await.is_ok() {
            count();
        }
    });
    let mut in_charge = Vec::new();
    for _ in 0..ADMINISTRATORS {
        in_charge.push((server.client(&stopped.token("ada")), chance.fork()));
    }
    let administrators = in_charge.into_iter().map(async |(ada, mut chance)| {
        while administer(&ada, ledger, &mut chance).await.is_ok() {
            count();
        }
    });
    let killer = async {
        reached.wait_for(|reached| *reached).await.unwrap();
        tokio::time::sleep(a_little_later).await;
        server.kill().await;
    };
    tokio::join!(join_all(services), join_all(administrators), killer);
}

/// One data operation with some key.
async fn serve(storage: &Client, ledger: &Ledger, chance: &mut Chance) -> client::Result<()> {
    let usable = ledger.usable();
    let Some((key, known)) = usable.get(usize::try_from(chance.below(usable.len() as u64)).unwrap()) else {
        ledger.answer(storage.whoami().await?.record);
        return Ok(());
    };
    let wrapped = known.wrapped.values().nth(usize::try_from(chance.below(1 + known.wrapped.len() as u64)).unwrap());
    let done = match wrapped {
        Some(wrapped) => storage.unwrap_data_key(wrapped).await.map(|opened| opened.record),
        None => generate(storage, ledger, key).await,
    };
    match done {
        Ok(record) => ledger.answer(record),
        // Somebody else revoked it, or is about to.
        Err(refused) if refused.code().is_some() => {}
        Err(gone) => return Err(gone),
    }
    Ok(())
}

async fn generate(storage: &Client, ledger: &Ledger, key: &KeyName) -> client::Result<kms_client::id::RecordId> {
    let context = json!({ "patient": "4711" });
    let request: GenerateDataKey = from(json!({ "key": key, "context": context }));
    let made = storage.generate_data_key(&request).await?;
    let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(context) };
    ledger.edit(made.key, |key| {
        key.wrapped.entry(made.version.number()).or_insert(unwrap);
    });
    Ok(made.record)
}

/// One change.
async fn administer(ada: &Client, ledger: &Ledger, chance: &mut Chance) -> client::Result<()> {
    let usable = ledger.usable();
    let some = usable.get(usize::try_from(chance.below(usable.len() as u64)).unwrap());
    match (chance.below(10), some) {
        (0..3, _) | (_, None) => {
            let created = ada.create_key(&from(json!({ "data_class": "clinical" }))).await?;
            let id = created.key.id;
            ledger.key(created, |_| ());
            for role in ["wrapper", "unwrapper"] {
                let binding = json!({ "principal": "storage", "role": role, "scope": { "key": id } });
                let bound = ada.create_binding(&from(binding)).await?;
                ledger.change(bound.record, bound.receipt);
            }
            ledger.edit(id, |key| key.bound = true);
        }
        (3, Some((key, KeyLedger { wrapped, .. }))) if wrapped.len() > 1 => {
            let KeyName::Id(id) = key else { return Ok(()) };
            ledger.edit(*id, |key| key.revoking = true);
            let revoked = ada.revoke_key(key, "test".parse().unwrap()).await?;
            ledger.key(revoked, |key| key.revoked = true);
        }
        (_, Some((key, _))) => match ada.rotate_key(key).await {
            Ok(rotated) => ledger.key(rotated, |_| ()),
            // The other administrator was faster.
            Err(refused) if refused.code().is_some() => {}
            Err(gone) => return Err(gone),
        },
    }
    Ok(())
}
