//! The database's disk gets full while a real server works: below the reserve keys are not used and cuts still are made;
//! on a disk that is really full nothing is done that is not on record, and nothing that was acknowledged is lost. Either
//! passes by itself when there is room again.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use keyward_tests::{Backend, SmallDisk, StoppedKms, TestKms, from, until};
use kms_client::{
    client::Client,
    format::record::Outcome,
    id::RecordId,
    wire::{
        data_key::{GenerateDataKey, GeneratedDataKey, UnwrapDataKey},
        key::KeyState,
        name::KeyName,
        problem::Code,
    },
};
use serde_json::json;
use tokio::sync::watch;

use crate::database_faults::allowed;

const MIB: u64 = 1024 * 1024;
const DISK_MIB: u32 = 40;

fn generate(key: &KeyName) -> GenerateDataKey {
    from(json!({ "key": key }))
}

fn other() -> KeyName {
    "alias/others".parse().unwrap()
}

async fn installation(reserve_mib: u32) -> (StoppedKms, KeyName) {
    let settings = format!("[database]\nreserve_mib = {reserve_mib}\n");
    let kms = TestKms::start_with(Backend::Sqlite, false, &settings).await;
    let key = kms.usable_key("records", "clinical").await;
    kms.usable_key("others", "clinical").await;
    (kms.stop().await, key)
}

/// What eight clients see who generate data keys all the time.
#[derive(Default)]
struct Load {
    acknowledged: Mutex<Vec<GeneratedDataKey>>,
    refused: AtomicUsize,
    over: watch::Sender<bool>,
}

impl Load {
    async fn run(&self, clients: &[Client], key: &KeyName, expected: &[Code]) {
        let work = clients.iter().map(async |storage| {
            let over = self.over.subscribe();
            while !*over.borrow() {
                match storage.generate_data_key(&generate(key)).await {
                    Ok(made) => self.acknowledged.lock().unwrap().push(made),
                    Err(refused) => {
                        assert!(refused.code().is_some_and(|code| expected.contains(&code)), "{refused:?}");
                        self.refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        join_all(work).await;
    }

    async fn until_answered(&self, more: usize) {
        let before = self.acknowledged.lock().unwrap().len();
        until(async || (self.acknowledged.lock().unwrap().len() >= before + more).then_some(())).await;
    }

    async fn until_refused(&self, more: usize) {
        let before = self.refused.load(Ordering::SeqCst);
        until(async || (self.refused.load(Ordering::SeqCst) >= before + more).then_some(())).await;
    }

    /// Everything that was acknowledged is on record, and opens.
    async fn nothing_is_lost(self, disk: &SmallDisk, stopped: &StoppedKms) {
        let recorded = allowed(&disk.server.client(&stopped.token("audrey"))).await;
        let storage = disk.server.client(&stopped.token("storage"));
        let acknowledged = self.acknowledged.into_inner().unwrap();
        let missing: BTreeSet<RecordId> = acknowledged.iter().map(|made| made.record).collect();
        assert_eq!(missing.difference(&recorded).count(), 0);
        for made in acknowledged.into_iter().rev().take(20) {
            let unwrap = UnwrapDataKey { wrapped: made.wrapped, context: from(json!({})) };
            let opened = storage.unwrap_data_key(&unwrap).await.unwrap();
            assert_eq!(opened.plaintext.expose(), made.plaintext.unwrap().expose());
        }
        let verified = disk.host_command("verify-audit").await;
        assert!(verified.status.success(), "{verified:?}");
        assert!(verified.out.lines().count() > 0 && verified.out.lines().all(|line| line.ends_with("whole")));
    }
}

fn clients(disk: &SmallDisk, stopped: &StoppedKms) -> Vec<Client> {
    (0..8).map(|_| disk.server.client(&stopped.token("storage"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_cuts_are_made_under_load() {
    let (stopped, key) = installation(12).await;
    let disk = SmallDisk::start(&stopped, DISK_MIB).await.unwrap();
    let (load, clients) = (Load::default(), clients(&disk, &stopped));
    let (ada, audrey) = (disk.server.client(&stopped.token("ada")), disk.server.client(&stopped.token("audrey")));
    let trouble = async {
        for _ in 0..2 {
            load.until_answered(50).await;
            disk.fill_but(10 * MIB);
            load.until_refused(50).await;
            // Once one is refused all are; and a cut is made as ever, with its record.
            let cut = ada.disable_key(&other(), "lost".parse().unwrap()).await.unwrap();
            assert_eq!(cut.key.state, KeyState::Disabled);
            let record = audrey.audit_record(cut.record).await.unwrap().found.record;
            assert_eq!((record.outcome, record.change), (Outcome::Allowed, Some(cut.receipt.change_id)));
            ada.enable_key(&other()).await.unwrap();
            disk.empty();
        }
        load.until_answered(50).await;
        load.over.send_replace(true);
    };
    tokio::join!(load.run(&clients, &key, &[Code::DiskReserve]), trouble);
    load.nothing_is_lost(&disk, &stopped).await;
    disk.server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_really_full_loses_nothing() {
    let (stopped, key) = installation(0).await;
    let disk = SmallDisk::start(&stopped, DISK_MIB).await.unwrap();
    let (load, clients) = (Load::default(), clients(&disk, &stopped));
    let ada = disk.server.client(&stopped.token("ada"));
    // Without a record there is no answer; that of the node being in doubt carries nothing either.
    let expected = [Code::AuditUnavailable, Code::StoreUnavailable, Code::LeaseLost];
    let trouble = async {
        for _ in 0..2 {
            load.until_answered(50).await;
            disk.fill_but(0);
            load.until_refused(50).await;
            // What the disk's last blocks still take may succeed; whatever is answered, it is true.
            let cut = ada.disable_key(&other(), "lost".parse().unwrap()).await;
            if let Err(refused) = &cut {
                let told = refused.code();
                assert!(told == Some(Code::OutcomeUnknown) || expected.contains(&told.unwrap()), "{refused:?}");
            }
            disk.empty();
            load.until_answered(50).await;
            let now = until(async || ada.key(&other()).await.ok()).await.key.state;
            match cut {
                Ok(_) => assert_eq!(now, KeyState::Disabled),
                Err(refused) if refused.code() != Some(Code::OutcomeUnknown) => assert_eq!(now, KeyState::Enabled),
                Err(_) => {}
            }
            ada.enable_key(&other()).await.unwrap();
        }
        load.over.send_replace(true);
    };
    tokio::join!(load.run(&clients, &key, &expected), trouble);
    load.nothing_is_lost(&disk, &stopped).await;
    disk.server.kill().await;
}
