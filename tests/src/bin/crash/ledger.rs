//! What the server acknowledged: it may never be lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use kms_client::{
    id::{KeyId, RecordId},
    wire::{data_key::UnwrapDataKey, key::KeyChanged, name::KeyName, receipt::Receipt},
};

/// What was acknowledged since the installation was made.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    inner: Mutex<Acknowledged>,
}

#[derive(Debug, Default)]
struct Acknowledged {
    /// Every answer's record; those checked once are only counted.
    records: BTreeSet<RecordId>,
    checked: usize,
    receipts: Vec<Receipt>,
    keys: BTreeMap<KeyId, KeyLedger>,
}

/// One key, as it was acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyLedger {
    /// The newest version.
    pub(crate) newest: u32,
    pub(crate) revoked: bool,
    /// A revocation was asked for, and may have happened.
    pub(crate) revoking: bool,
    /// Whether `storage` may use it.
    pub(crate) bound: bool,
    /// One wrapped data key of each version.
    pub(crate) wrapped: BTreeMap<u32, UnwrapDataKey>,
}

impl Ledger {
    /// An answer came.
    pub(crate) fn answer(&self, record: RecordId) {
        self.inner.lock().unwrap().records.insert(record);
    }

    /// A change came back with its receipt.
    pub(crate) fn change(&self, record: RecordId, receipt: Receipt) {
        let mut inner = self.inner.lock().unwrap();
        inner.records.insert(record);
        inner.receipts.push(receipt);
    }

    /// A key was changed.
    pub(crate) fn key(&self, changed: KeyChanged, edit: impl FnOnce(&mut KeyLedger)) {
        let newest = changed.key.primary_version.number();
        let id = changed.key.id;
        self.change(changed.record, changed.receipt);
        self.edit(id, |key| {
            key.newest = key.newest.max(newest);
            edit(key);
        });
    }

    /// Something became known of a key.
    pub(crate) fn edit(&self, id: KeyId, edit: impl FnOnce(&mut KeyLedger)) {
        edit(self.inner.lock().unwrap().keys.entry(id).or_default());
    }

    /// The keys that `storage` may use, with what was wrapped under them.
    pub(crate) fn usable(&self) -> Vec<(KeyName, KeyLedger)> {
        let inner = self.inner.lock().unwrap();
        let usable = inner.keys.iter().filter(|(_, key)| key.bound && !key.revoking);
        usable.map(|(id, key)| (KeyName::Id(*id), key.clone())).collect()
    }

    /// Every key.
    pub(crate) fn keys(&self) -> BTreeMap<KeyId, KeyLedger> {
        self.inner.lock().unwrap().keys.clone()
    }

    /// Every receipt.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.inner.lock().unwrap().receipts.clone()
    }

    /// Records that were not looked for yet.
    pub(crate) fn take_records(&self) -> BTreeSet<RecordId> {
        let mut inner = self.inner.lock().unwrap();
        let records = std::mem::take(&mut inner.records);
        inner.checked += records.len();
        records
    }

    /// How many answers there were.
    pub(crate) fn acknowledged(&self) -> usize {
        let inner = self.inner.lock().unwrap();
        inner.checked + inner.records.len()
    }
}
