//! What is lost after a kill. The log is verified by the program for it, the rest is asked of a server that starts again.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use keyward_tests::{StoppedKms, TestKms, host_command};
use kms_client::{
    id::ChangeId,
    wire::{
        change::ChangeQuery,
        key::{KeyState, VersionState},
        name::KeyName,
        problem::Code,
        receipt::Receipt,
    },
};
use kms_server::store::Store;

use super::ledger::{KeyLedger, Ledger};

/// How many questions are under way at once.
const AT_ONCE: usize = 16;

/// Everything that was acknowledged and is not there any more.
pub(crate) async fn what_is_lost(stopped: StoppedKms, ledger: &Ledger) -> (StoppedKms, Vec<String>) {
    let mut lost = Vec::new();
    lost.extend(chain(&stopped, "after the kill").await);
    let kms = stopped.start_again().await.unwrap_or_else(|error| panic!("it does not start: {error}"));
    lost.extend(keys(&kms, ledger).await);
    lost.extend(receipts(&kms, ledger).await);
    let stopped = kms.stop().await;
    lost.extend(records(&stopped, ledger).await);
    lost.extend(chain(&stopped, "after the next start").await);
    (stopped, lost)
}

async fn chain(stopped: &StoppedKms, when: &str) -> Option<String> {
    let verified = host_command("verify-audit", &stopped.config_file(), &[]).await;
    let whole = verified.status.success() && verified.out.lines().all(|line| line.ends_with("whole"));
    (!whole).then(|| format!("the log {when}: {verified:?}"))
}

async fn records(stopped: &StoppedKms, ledger: &Ledger) -> Vec<String> {
    let store = Store::open_to_read(&stopped.config.database.database().unwrap()).await.unwrap();
    let mut tx = store.read().await.unwrap();
    let mut lost = Vec::new();
    for id in ledger.take_records() {
        if tx.record(id).await.unwrap().is_none() {
            lost.push(format!("record {id}"));
        }
    }
    drop(tx);
    store.close().await;
    lost
}

async fn receipts(kms: &TestKms, ledger: &Ledger) -> Vec<String> {
    let audrey = kms.client("audrey");
    let mut stored: BTreeMap<ChangeId, Receipt> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = audrey.list_changes(&ChangeQuery { limit: Some(1000), cursor }).await.unwrap();
        stored.extend(page.changes.into_iter().map(|change| (change.receipt.change_id, change.receipt)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let lost = ledger.receipts().into_iter().filter(|receipt| stored.get(&receipt.change_id) != Some(receipt));
    lost.map(|receipt| format!("receipt {receipt:?}")).collect()
}

async fn keys(kms: &TestKms, ledger: &Ledger) -> Vec<String> {
    let (ada, storage) = (kms.client("ada"), kms.client("storage"));
    let ask = async |(id, known): (_, KeyLedger)| {
        let mut lost = Vec::new();
        let key = match ada.key(&KeyName::Id(id)).await {
            Ok(answer) => answer.key,
            Err(error) => return vec![format!("key {id}: {error}")],
        };
        let enough = key.primary_version.number() >= known.newest
            && key.versions.iter().all(|version| version.state == VersionState::Enabled);
        let state = match key.state {
            KeyState::Revoked => known.revoking,
            KeyState::Enabled => !known.revoked,
            _ => false,
        };
        if !enough || !state {
            lost.push(format!("key {id}: {known:?} has become {key:?}"));
        }
        for (version, wrapped) in &known.wrapped {
            match storage.unwrap_data_key(wrapped).await {
                Ok(opened) if key.state == KeyState::Enabled && opened.version.number() == *version => {}
                Err(refused) if key.state == KeyState::Revoked && refused.code() == Some(Code::KeyRevoked) => {}
                other => lost.push(format!("key {id}, version {version}, {:?}: {other:?}", key.state)),
            }
        }
        lost
    };
    stream::iter(ledger.keys()).map(ask).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat()
}
